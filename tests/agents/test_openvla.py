"""OpenVLA from disk, against forwards made by hand, published formulas, transformers' towers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from transformers import (
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    SiglipVisionConfig,
    SiglipVisionModel,
)

from pilotage.agents.loaders.bins import BinCodec, NormStats
from pilotage.agents.loaders.opening import load_pretrained
from pilotage.agents.loaders.openvla import load_openvla
from pilotage.agents.loaders.policy import PretrainedAgent
from pilotage.agents.loaders.timm_vit import TimmViT, ViTSizes
from pilotage.envs.tabletop import TabletopVectorEnv, make_tasks
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE, Condition, Seeds
from pilotage.steering.projection import project
from pilotage.steering.sites import unembedding, value_vectors

from . import tiny_openvla as tiny
from .tiny import tiny_task

CLAMP = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "neurons": [3, 7]}
TEXTS = ["push the red cube", "lift the ball", "up"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_openvla(tmp_path_factory.mktemp("hub") / "openvla-tiny")


@pytest.fixture(scope="module")
def agent(folder: Path) -> PretrainedAgent:
    return load_pretrained(f"openvla:{folder},key=bridge_orig", "tabletop")


def _observations(n: int, size: int = 40, seed: int = 0) -> dict:
    rng = np.random.default_rng(seed)
    return {
        "rgb": rng.integers(0, 256, (n, size, size, 3), dtype=np.uint8),
        "proprio": rng.normal(size=(n, 7)).astype(np.float32),
        "instruction": tuple(TEXTS[:n]),
    }


def _act(agent: PretrainedAgent, conditions: list[Condition], observations: dict) -> np.ndarray:
    """Action tokens [n, 7] of one step, one condition a slot."""
    n = len(conditions)
    agent.prepare(list({c.name: c for c in conditions}.values()), n)
    for slot, condition in enumerate(conditions):
        task = tiny_task(slot, observations["instruction"][slot])
        agent.reset_slot(slot, task, condition, Seeds(0, 0, 0))
    agent.act(observations, np.ones(n, bool))
    return agent.step_trace()["action_tokens"].astype(np.int64)


def _by_hand(folder: Path, picture: np.ndarray, prompt: list[int]) -> list[int]:
    """Seven action tokens without any code of the loader: a new forward over the whole sequence
    for each, batch of one, no cache."""
    tensors = tiny.tensors()
    model = tiny.llama(0)
    small = np.asarray(Image.fromarray(picture).resize((tiny.SIZE, tiny.SIZE), Image.BICUBIC))
    seen = []
    scales = json.loads((folder / "preprocessor_config.json").read_text())
    for tower, mean, std in zip(tiny.WIDTHS, scales["means"], scales["stds"]):
        values = (small / 255.0 - np.array(mean)) / np.array(std)
        x = torch.from_numpy(values).float().permute(2, 0, 1)[None]
        seen.append(_tower(tensors, f"vision_backbone.{tower}.", tower, x))
    x = torch.cat(seen, dim=-1)
    for i in (1, 2, 3):
        x = x @ tensors[f"projector.fc{i}.weight"].T + tensors[f"projector.fc{i}.bias"]
        x = nn.functional.gelu(x) if i < 3 else x
    ids = list(prompt)
    for _ in range(7):
        words = model.get_input_embeddings()(torch.tensor([ids]))
        states = torch.cat([words[:, :1], x, words[:, 1:]], dim=1)
        logits = model(inputs_embeds=states).logits[0, -1]
        first = tiny.vocab_size() - tiny.PADDING - tiny.N_BINS
        ids.append(first + int(logits[first : first + tiny.N_BINS].argmax()))
    return ids[-7:]


def _tower(tensors: dict, root: str, tower: str, x: torch.Tensor) -> torch.Tensor:
    weights = {k[len(root) :]: v for k, v in tensors.items() if k.startswith(root)}
    width, depth = tiny.WIDTHS[tower], tiny.DEPTHS[tower]
    model = (
        _dino(weights, width, depth) if tower == "featurizer" else _siglip(weights, width, depth)
    )
    states = model(x, output_hidden_states=True).hidden_states[-2]
    return states[:, -tiny.N_PATCHES :]


def _dino(weights: dict, width: int, depth: int) -> nn.Module:
    """transformers' DINOv2 with the same weights under its own names."""
    config = Dinov2WithRegistersConfig(
        hidden_size=width,
        num_hidden_layers=depth,
        num_attention_heads=16,
        mlp_ratio=2,
        image_size=tiny.SIZE,
        patch_size=tiny.PATCH,
        num_register_tokens=4,
        layer_norm_eps=1e-6,
    )
    model = Dinov2WithRegistersModel(config).eval()
    zero = torch.zeros(1, 1, width)
    named = {
        "embeddings.cls_token": weights["cls_token"],
        "embeddings.register_tokens": weights["reg_token"],
        "embeddings.position_embeddings": torch.cat([zero, weights["pos_embed"]], dim=1),
        "embeddings.patch_embeddings.projection.weight": weights["patch_embed.proj.weight"],
        "embeddings.patch_embeddings.projection.bias": weights["patch_embed.proj.bias"],
    }
    for i in range(depth):
        for end in ("weight", "bias"):
            ours, theirs = f"blocks.{i}.", f"encoder.layer.{i}."
            parts = weights[f"{ours}attn.qkv.{end}"].chunk(3)
            for part, value in zip("qkv", parts):
                named[f"{theirs}attention.{part}_proj.{end}"] = value
            named[f"{theirs}attention.o_proj.{end}"] = weights[f"{ours}attn.proj.{end}"]
            for name in ("norm1", "norm2", "mlp.fc1", "mlp.fc2"):
                named[f"{theirs}{name}.{end}"] = weights[f"{ours}{name}.{end}"]
        for k in (1, 2):
            named[f"{theirs}layer_scale{k}.lambda1"] = weights[f"{ours}ls{k}.scale_factor"]
    return _loaded(model, named)


def _siglip(weights: dict, width: int, depth: int) -> nn.Module:
    """transformers' SigLIP with the same weights under its own names."""
    config = SiglipVisionConfig(
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=depth,
        num_attention_heads=16,
        image_size=tiny.SIZE,
        patch_size=tiny.PATCH,
        hidden_act="gelu",
        vision_use_head=False,
    )
    model = SiglipVisionModel(config).eval()
    named = {
        "embeddings.position_embedding.weight": weights["pos_embed"][0],
        "embeddings.patch_embedding.weight": weights["patch_embed.proj.weight"],
        "embeddings.patch_embedding.bias": weights["patch_embed.proj.bias"],
    }
    pairs = {"norm1": "layer_norm1", "norm2": "layer_norm2", "mlp.fc1": "mlp.fc1"}
    pairs |= {"mlp.fc2": "mlp.fc2", "attn.proj": "self_attn.out_proj"}
    for i in range(depth):
        for end in ("weight", "bias"):
            ours, theirs = f"blocks.{i}.", f"encoder.layers.{i}."
            parts = weights[f"{ours}attn.qkv.{end}"].chunk(3)
            for part, value in zip("qkv", parts):
                named[f"{theirs}self_attn.{part}_proj.{end}"] = value
            for a, b in pairs.items():
                named[f"{theirs}{b}.{end}"] = weights[f"{ours}{a}.{end}"]
    return _loaded(model, named)


def _loaded(model: nn.Module, named: dict[str, torch.Tensor]) -> nn.Module:
    """Every name must find its place; a prefix such as `vision_model.` is the library's own."""
    there = model.state_dict()
    for name, value in named.items():
        (full,) = [n for n in there if n == name or n.endswith(f".{name}")]
        assert there[full].shape == value.shape, full
        there[full].copy_(value)
    return model


# ------------------------------------------------------------------------------------ numbers


def test_tokens_stand_for_the_published_numbers() -> None:
    """Id 31999 is the lowest of 255 centres between 256 edges: -1 + 1/255; 31744 and 31745 are
    both the highest; words are cut to the ends."""
    codec = BinCodec(32000)
    ids = np.array([31999, 31998, 31872, 31745, 31744, 5])
    expected = [-254 / 255, -252 / 255, 0.0, 254 / 255, 254 / 255, 254 / 255]
    np.testing.assert_allclose(codec.decode(ids), expected, atol=1e-12)
    assert codec.ids == range(31744, 32000)


def test_encoding_is_the_inverse_of_decoding() -> None:
    codec = BinCodec(32000)
    ids = np.arange(31745, 32000)
    np.testing.assert_array_equal(codec.encode(codec.decode(ids)), ids)
    with pytest.raises(ValueError, match="finite"):
        codec.encode(np.array([np.nan]))


def test_actions_return_to_the_units_of_the_data() -> None:
    """0 is the middle of q01 and q99; 1 is q99; the masked gripper stays as it is."""
    key, stats = NormStats.read(tiny.NORM_STATS, "bridge_orig", "x")
    assert key == "bridge_orig"
    middle = stats.restore(np.zeros(7))
    np.testing.assert_allclose(middle, [0.005, 0, 0, 0, 0, 0, 0], atol=1e-12)
    top = stats.restore(np.full(7, 0.5))
    np.testing.assert_allclose(top, [0.0175, 0.02, 0.02, 0.04, 0.045, 0.1, 0.5], atol=1e-12)


# ------------------------------------------------------------------------------------ network


@pytest.mark.parametrize("tower", ["featurizer", "fused_featurizer"])
def test_towers_agree_with_transformers(tower: str) -> None:
    tensors = tiny.tensors()
    root, width, depth = f"vision_backbone.{tower}.", tiny.WIDTHS[tower], tiny.DEPTHS[tower]
    has = tower == "featurizer"
    sizes = ViTSizes(tiny.SIZE, tiny.PATCH, width, 16, 2 * width, depth - 1, 4 * has, has, has)
    ours = TimmViT(sizes).eval()
    own = {k[len(root) :]: v for k, v in tensors.items() if k.startswith(root)}
    ours.load_state_dict({k: own[k] for k in ours.state_dict()})
    x = torch.randn(2, 3, tiny.SIZE, tiny.SIZE, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        torch.testing.assert_close(ours(x), _tower(tensors, root, tower, x), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_cached_decoding_of_a_batch_equals_uncached_forwards_by_hand(
    agent: PretrainedAgent, folder: Path
) -> None:
    """Prompts of three lengths side by side; every token of every row."""
    observations = _observations(3)
    found = _act(agent, [BASELINE] * 3, observations)
    lengths = set()
    for row in range(3):
        said = f"In: What action should the robot take to {TEXTS[row]}?\nOut:"
        # <s> before, the empty piece behind
        prompt = [*tiny.write_tokenizer(folder / "again.json").encode(said).ids, 3]
        lengths.add(len(prompt))
        assert prompt[0] == 1
        assert found[row].tolist() == _by_hand(folder, observations["rgb"][row], prompt)
    assert len(lengths) == 3
    assert len(np.unique(found)) > 7, "the test is empty if every choice is the same"


def test_half_precision_acts(folder: Path) -> None:
    agent = load_pretrained(f"openvla:{folder},key=bridge_orig,dtype=bfloat16", "tabletop")
    assert agent.manifest()["dtype"] == "bfloat16"
    tokens = _act(agent, [BASELINE], _observations(1))
    first = agent.model.codec.ids
    assert set(tokens.ravel().tolist()) <= set(first)


# ------------------------------------------------------------------------------------ steering


def test_coefficient_zero_is_the_baseline_bit_for_bit(agent: PretrainedAgent) -> None:
    observations = _observations(3)
    plain = _act(agent, [BASELINE] * 3, observations)
    zero = Condition("zero", {"interventions": [{**CLAMP, "coefficient": 0.0}]})
    full = Condition("full", {"interventions": [{**CLAMP, "coefficient": 4.0}]})
    mixed = _act(agent, [BASELINE, zero, full], observations)
    np.testing.assert_array_equal(mixed[:2], plain[:2])
    assert not np.array_equal(mixed[2], plain[2])


def test_a_receipt_counts_every_token_of_every_decision(agent: PretrainedAgent) -> None:
    full = Condition("full", {"interventions": [{**CLAMP, "coefficient": 4.0}]})
    only = {**CLAMP, "coefficient": 4.0, "selector": {"token_groups": ["image"]}}
    seen = Condition("seen", {"interventions": [only]})
    observations = _observations(2)
    _act(agent, [full, seen], observations)
    agent.act(observations, np.array([True, True]))
    whole, image = (agent.finish_slot(slot) for slot in (0, 1))
    prompt = len(agent.model.prompt_ids(TEXTS[0]))
    edited = whole["interventions"][0]["edited_tokens"]
    assert edited == {"prefill": 2 * (prompt + tiny.N_PATCHES), "decode": 2 * 6}
    assert image["interventions"][0]["edited_tokens"] == {
        "prefill": 2 * tiny.N_PATCHES,
        "decode": 0,
    }
    assert whole["decisions"] == 2
    agent.close()


def test_value_vectors_can_be_read(agent: PretrainedAgent) -> None:
    """The top token of a neuron that writes an unembedding row is that row's token."""
    decoder = agent.model.decoder
    head = unembedding(decoder)
    wanted = agent.model.tokenizer.id_of("up")
    values = value_vectors(decoder, 1).clone()
    values[5] = 10 * head[wanted]
    top = project(values, head, top_k=1)
    assert agent.model.text_of(int(top.token_ids[5, 0])) == "up"
    assert agent.model.text_of(agent.model.action_ids.stop - 1) == "-1.00"


# ------------------------------------------------------------------------------------ acting


@pytest.mark.slow
def test_it_acts_in_the_tabletop_like_any_agent(agent: PretrainedAgent) -> None:
    tasks = [replace(t, max_steps=2) for t in make_tasks("val", 3, seed=0)]
    full = Condition("full", {"interventions": [{**CLAMP, "coefficient": 4.0}]})
    records = check_agent(
        agent, lambda n: TabletopVectorEnv(n, wrist=True), tasks, [BASELINE, full], n_slots=(3,)
    )
    assert {r.agent_trace["action_tokens"].shape for r in records} == {(2, 7)}


def test_what_an_action_means_in_the_tabletop(agent: PretrainedAgent, folder: Path) -> None:
    """2.5 cm is half of the world's 5 cm, 0.125 rad half of its 0.25; above 0.5 it opens."""
    raw = np.array([0.025, -0.01, 0.2, 0.125, 0.0, -0.05, 0.7])
    np.testing.assert_allclose(
        agent.motion.to_world(raw), [0.5, -0.2, 1.0, 0.5, 0.0, -0.2, 1.0], atol=1e-6
    )
    libero = load_pretrained(f"openvla:{folder},key=libero_spatial", "tabletop").motion
    np.testing.assert_allclose(
        libero.to_world(np.array([0.5, 0, 0, 0.1, 0, 0, 0.2])),
        [0.5, 0, 0, 0.2, 0, 0, -1],
        atol=1e-6,
    )


def test_too_long_an_instruction_is_refused(folder: Path) -> None:
    policy, _ = load_openvla(folder, key="bridge_orig", max_prompt=20)
    policy.check_text("lift the ball")
    with pytest.raises(ValueError, match="at most 20 are read"):
        policy.check_text("push the red cube to the green zone")
