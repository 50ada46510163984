"""pi0-FAST and SmolVLA from disk, against transformers' own classes and numbers made by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import DynamicCache

from pilotage.agents.loaders.lerobot_files import hand_state
from pilotage.agents.loaders.opening import load_pretrained
from pilotage.agents.loaders.pictures import fitted
from pilotage.agents.loaders.policy import PretrainedAgent
from pilotage.agents.loaders.smolvla_model import Prefix, ffn_width, time_embedding
from pilotage.agents.vla.cache import CACHE_ARGUMENT
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.envs.tabletop import TabletopVectorEnv, make_tasks
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE, Condition, Seeds

from . import tiny_lerobot as tiny
from .tiny import tiny_task

TEXTS = ["push the red cube", "lift the ball", "push the red ball to the zone"]
PROPRIO = np.array([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0], np.float32)  # centre, straight, open


def _observations(n: int) -> dict:
    rng = np.random.default_rng(0)
    pictures = rng.integers(0, 256, (n, 2, 28, 28, 3), dtype=np.uint8)  # a slot's own, whatever n
    return {
        "rgb": pictures[:, 0],
        "wrist_rgb": pictures[:, 1],
        "proprio": np.tile(PROPRIO, (n, 1)),
        "instruction": tuple(TEXTS[:n]),
    }


def _play(
    agent: PretrainedAgent, conditions: list[Condition], n_steps: int, noise: int = 0
) -> np.ndarray:
    """Raw actions [n, T, 7], one condition a slot."""
    n, observations = len(conditions), _observations(len(conditions))
    agent.prepare(list({c.name: c for c in conditions}.values()), n)
    for slot, condition in enumerate(conditions):
        task = tiny_task(slot, observations["instruction"][slot])
        agent.reset_slot(slot, task, condition, Seeds(0, 0, noise))
    made = []
    for _ in range(n_steps):
        agent.act(observations, np.ones(n, bool))
        made.append(agent.step_trace()["raw_action"])
    return np.stack(made, axis=1)


# --------------------------------------------------------------------------------- pi0-FAST


@pytest.fixture(scope="module")
def pi0fast(tmp_path_factory: pytest.TempPathFactory) -> PretrainedAgent:
    folder = tiny.write_pi0fast(tmp_path_factory.mktemp("hub") / "pi0fast-tiny")
    return load_pretrained(f"pi0fast:{folder}", "tabletop")


@torch.inference_mode()
def _written_by_hand(folder: Path, row: int) -> list[int]:
    """Greedy tokens of transformers' own PaliGemma over the whole sequence, one row, no cache."""
    model, seen = tiny.paligemma(), _observations(3)
    pictures = [torch.from_numpy(seen[k][row]).permute(2, 0, 1) for k in ("rgb", "wrist_rgb")]
    x = torch.stack(pictures).float() / 127.5 - 1.0
    patches = model.model.multi_modal_projector(model.model.vision_tower(x).last_hidden_state)
    state = (hand_state(PROPRIO[None], 8, "")[0] + 1.0) / 2.0 - 1.0  # q01 -1, q99 3
    bins = [int((v + 1.0) * 128) if v < 1 else 255 for v in [*state, 0, 0]]
    said = f"Task: {TEXTS[row]}, State: {' '.join(map(str, bins))};\n"
    text = Tokenizer.from_file(str(folder / "text_tokenizer" / "tokenizer.json"))
    ids = [*text.encode(said).ids, 2]
    prefix = 2 * patches.shape[1] + len(ids)
    for _ in range(7):
        words = model.get_input_embeddings()(torch.tensor(ids))
        states = torch.cat([patches.flatten(0, 1), words])[None]
        size = states.shape[1]
        mask = torch.ones(size, size, dtype=torch.bool).tril()
        mask[:prefix, :prefix] = True
        output = model.model.language_model(
            inputs_embeds=states,
            attention_mask=mask[None, None],
            position_ids=torch.arange(size)[None],
            use_cache=False,
        )
        ids.append(int(model.lm_head(output.last_hidden_state[0, -1]).argmax()))
    return ids[-7:]


def test_pi0fast_writes_what_transformers_writes_without_a_cache(
    pi0fast: PretrainedAgent,
) -> None:
    """Rows of three lengths, the black third camera masked out; and the actions made of them."""
    raw = _play(pi0fast, [BASELINE] * 3, 1)
    tokens = pi0fast.step_trace()["action_tokens"]
    assert pi0fast.folder is not None
    for row in range(3):
        assert tokens[row].tolist() == _written_by_hand(pi0fast.folder, row)
    chunk, _ = pi0fast.model.codec.decode(tokens[0].tolist())
    low, high = -0.1 - 0.01 * np.arange(7), 0.3 + 0.02 * np.arange(7)
    np.testing.assert_allclose(raw[0, 0], (chunk[0] + 1) / 2 * (high - low) + low, atol=1e-6)


def test_a_chunk_is_carried_out_before_the_next_decision(pi0fast: PretrainedAgent) -> None:
    _play(pi0fast, [BASELINE], 5)
    receipt = pi0fast.finish_slot(0)
    assert receipt["decisions"] == 2  # horizon 4
    assert receipt["corrected_choices"] > 0, "a random model writes words too"


def test_pi0fast_is_steered_in_prefill_and_in_decode(pi0fast: PretrainedAgent) -> None:
    site = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "neurons": [3]}
    zero = Condition("zero", {"interventions": [{**site, "coefficient": 0.0}]})
    full = Condition("full", {"interventions": [{**site, "coefficient": 30.0}]})
    plain = _play(pi0fast, [BASELINE] * 3, 1)
    before = pi0fast.step_trace()["action_tokens"]
    mixed = _play(pi0fast, [BASELINE, zero, full], 1)
    np.testing.assert_array_equal(mixed[:2], plain[:2])
    assert not np.array_equal(pi0fast.step_trace()["action_tokens"][2], before[2])
    edited = pi0fast.finish_slot(2)["interventions"][0]["edited_tokens"]
    written = int((pi0fast.step_trace()["action_tokens"][2] >= 0).sum())
    assert edited["decode"] == written - 1
    assert edited["prefill"] > 8
    pi0fast.close()


# ---------------------------------------------------------------------------------- SmolVLA


@pytest.fixture(scope="module")
def smolvla(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write_smolvla(tmp_path_factory.mktemp("hub") / "smolvla-tiny")


def _prefix(network, n_tokens: int = 6) -> tuple[torch.Tensor, Prefix]:
    generator = torch.Generator().manual_seed(1)
    states = torch.randn(1, n_tokens, 32, generator=generator)
    return states, network.read_prefix(states, torch.ones(1, n_tokens, dtype=torch.bool))


def _with_published_rotation(stack):
    """transformers' stack, its rotary base set to the 10,000 that the release computes with."""
    half = stack.config.head_dim // 2
    stack.rotary_emb.inv_freq = 10_000.0 ** -(torch.arange(half) / half)
    return stack


@torch.inference_mode()
def test_the_prefix_is_read_as_transformers_reads_it() -> None:
    """The keys and values of every layer; the state, last, is seen by itself only."""
    network = tiny.smolvla()
    states, prefix = _prefix(network)
    mask = torch.ones(6, 6, dtype=torch.bool)
    mask[:5, 5] = False
    cache = DynamicCache()
    stack = _with_published_rotation(network.vlm.model.text_model)
    stack(
        inputs_embeds=states,
        attention_mask=mask[None, None],
        position_ids=torch.arange(6)[None],
        use_cache=True,
        **{CACHE_ARGUMENT: cache},
    )
    for i in range(3):
        keys, values = cache.layers[i].keys, cache.layers[i].values
        torch.testing.assert_close(prefix.keys[i].transpose(1, 2), keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(prefix.values[i].transpose(1, 2), values, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_noisy_actions_are_mixed_with_the_time_by_hand() -> None:
    """Actions first, then sines and cosines of the time; SiLU between the two maps."""
    network = tiny.smolvla()
    noisy = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(3))
    own = {n: p.numpy().astype(np.float64) for n, p in network.named_parameters() if "action" in n}
    acted = noisy[0].numpy() @ own["action_in_proj.weight"].T + own["action_in_proj.bias"]
    periods = 4e-3 * 1000.0 ** (np.arange(12) / 11)
    angles = 2 * np.pi * 0.3 / periods
    when = np.tile(np.concatenate([np.sin(angles), np.cos(angles)]), (4, 1))
    x = np.concatenate([acted, when], axis=1)
    x = x @ own["action_time_mlp_in.weight"].T + own["action_time_mlp_in.bias"]
    x = x / (1 + np.exp(-x))
    x = x @ own["action_time_mlp_out.weight"].T + own["action_time_mlp_out.bias"]
    np.testing.assert_allclose(network._suffix(noisy, 0.3)[0].numpy(), x, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_an_expert_that_always_sees_itself_is_transformers_llama() -> None:
    """Given the prefix as its cache."""
    network = tiny.smolvla(self_attn_every_n_layers=1)
    _, prefix = _prefix(network)
    noisy = torch.randn(1, 4, 9, generator=torch.Generator().manual_seed(2))
    cache = DynamicCache()
    for i, (keys, values) in enumerate(zip(prefix.keys, prefix.values)):
        cache.update(keys.transpose(1, 2), values.transpose(1, 2), i)
    mask = torch.cat([torch.ones(4, 6), torch.ones(4, 4).tril()], dim=1).bool()
    output = _with_published_rotation(network.expert)(
        inputs_embeds=network._suffix(noisy, 0.3),
        attention_mask=mask[None, None],
        position_ids=6 + torch.arange(4)[None],
        use_cache=True,
        **{CACHE_ARGUMENT: cache},
    )
    expected = network.action_out_proj(output.last_hidden_state)
    found = network.velocity(noisy, 0.3, prefix)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_cross_layers_see_the_prefix_only() -> None:
    """Layer 1 by hand, and nothing that a later action does reaches an earlier one there."""
    network = tiny.smolvla()
    _, prefix = _prefix(network)
    own = network.expert.layers[1]
    calls: list[torch.Tensor] = []
    hooks = [
        own.self_attn.o_proj.register_forward_pre_hook(lambda m, a: calls.append(a[0])),
        own.input_layernorm.register_forward_hook(lambda m, a, out: calls.append(out)),
    ]
    network.velocity(torch.randn(1, 4, 9), 0.5, prefix)
    for hook in hooks:
        hook.remove()
    normed, seen = calls
    keys = (prefix.keys[1].flatten(2) @ own.self_attn.k_proj.weight.T).view(6, 2, 8)
    values = (prefix.values[1].flatten(2) @ own.self_attn.v_proj.weight.T).view(6, 2, 8)
    q = (normed @ own.self_attn.q_proj.weight.T).view(4, 4, 8)
    for step in range(4):
        for head in range(4):
            turned = q[step, head].clone()
            for j in range(4):  # positions count from 0 in these layers
                angle = step / 10_000 ** (j / 4)
                a, b = q[step, head, j], q[step, head, j + 4]
                turned[j] = a * math.cos(angle) - b * math.sin(angle)
                turned[j + 4] = b * math.cos(angle) + a * math.sin(angle)
            share = torch.softmax(keys[:, head // 2] @ turned / math.sqrt(8), dim=0)
            expected = share @ values[:, head // 2]
            found = seen[0, step, 8 * head : 8 * head + 8]
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_euler_steps_against_their_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    """dx/dt = x - a from t = 1 to 0 in N steps leaves (1 - 1/N)^N of the way; times 1, 0.8, ..."""
    network, times = tiny.smolvla(), []

    def velocity(x: torch.Tensor, time: float, prefix: Prefix) -> torch.Tensor:
        times.append(time)
        return x - 3.0

    monkeypatch.setattr(network, "velocity", velocity)
    steps: list[int] = []
    end = network.sample(torch.ones(1, 4, 9), Prefix([], [], torch.ones(1, 1)), steps.append)
    torch.testing.assert_close(end, torch.full((1, 4, 9), 3.0 - 2.0 * 0.8**5))
    np.testing.assert_allclose(times, [1.0, 0.8, 0.6, 0.4, 0.2])
    assert steps == [0, 1, 2, 3, 4]


def test_numbers_of_the_release() -> None:
    """The expert of width 720 has an FFN of 2048; periods run from 0.004 to 4."""
    assert ffn_width(720) == 2048
    made = time_embedding(0.5, 4, 4e-3, 4.0)
    expected = [math.sin(2 * math.pi * 125), math.sin(math.pi / 4), 1.0, math.cos(math.pi / 4)]
    np.testing.assert_allclose(made.numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("stream", ["vlm", "expert"])
def test_smolvla_acts_and_is_steered_in_either_stack(smolvla: Path, stream: str) -> None:
    agent = load_pretrained(f"smolvla:{smolvla},stream={stream}", "tabletop")
    site = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "neurons": [3, 5]}
    zero = Condition("zero", {"interventions": [{**site, "coefficient": 0.0}]})
    full = Condition("full", {"interventions": [{**site, "coefficient": 20.0}]})
    plain = _play(agent, [BASELINE] * 3, 2)
    mixed = _play(agent, [BASELINE, zero, full], 2)
    np.testing.assert_array_equal(mixed[:2], plain[:2])
    assert not np.array_equal(mixed[2], plain[2])
    edited = agent.finish_slot(2)["interventions"][0]["edited_tokens"]
    if stream == "expert":  # one decision: 4 actions at each of 5 Euler steps
        assert edited == {"prefill": 0, "decode": 20}
    else:  # two pictures of 4 tokens, 7 words and a line break, the state
        assert edited == {"prefill": 8 + 8 + 1, "decode": 0}
    agent.close()


def test_an_edit_can_wait_for_a_decision_and_for_steps_of_its_denoising(smolvla: Path) -> None:
    agent = load_pretrained(f"smolvla:{smolvla},stream=expert", "tabletop")
    site = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "neurons": [3, 5]}
    when = {"replans": [1, 2], "denoise_steps": [0, 4]}
    late = Condition("late", {"interventions": [{**site, "coefficient": 20.0, "selector": when}]})
    plain = _play(agent, [BASELINE], 9)
    steered = _play(agent, [late], 9)
    edited = agent.finish_slot(0)["interventions"][0]["edited_tokens"]
    assert edited == {"prefill": 0, "decode": 2 * 4}  # of 3 decisions one; 2 of its 5 steps
    changed = (plain != steered).any(-1)[0]
    assert not changed[:4].any()
    assert changed[4:8].all()
    agent.close()


def test_noise_belongs_to_the_episode(smolvla: Path) -> None:
    agent = load_pretrained(f"smolvla:{smolvla}", "tabletop")
    first = _play(agent, [BASELINE], 5)
    np.testing.assert_array_equal(first, _play(agent, [BASELINE], 5))
    np.testing.assert_array_equal(first[0], _play(agent, [BASELINE] * 3, 5)[0])
    assert not np.array_equal(first, _play(agent, [BASELINE], 5, noise=1))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pi0fast", "smolvla"])
def test_they_act_in_the_tabletop_like_any_agent(kind: str, tmp_path: Path) -> None:
    write = {"pi0fast": tiny.write_pi0fast, "smolvla": tiny.write_smolvla}[kind]
    agent = load_pretrained(f"{kind}:{write(tmp_path / kind)}", "tabletop")
    tasks = [replace(t, max_steps=2) for t in make_tasks("val", 2, seed=0)]
    check_agent(agent, lambda n: TabletopVectorEnv(n, wrist=True), tasks, n_slots=(2,))


# --------------------------------------------------------------------------- states and files


def test_the_state_of_a_hand_that_points_down() -> None:
    """Centre of the workspace, turned by 90 degrees, half open: 2 cm a finger."""
    row = np.array([[0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]])
    root = math.pi / math.sqrt(2)
    np.testing.assert_allclose(
        hand_state(row, 8, "x")[0], [0.5, 0.0, 0.25, root, root, 0, 0.02, -0.02], atol=1e-9
    )
    with pytest.raises(CheckpointError, match="a state of 6 numbers"):
        hand_state(row, 6, "x")


def test_pictures_keep_their_shape_on_black() -> None:
    white = torch.ones(1, 3, 10, 20)
    centred = fitted(white, (20, 20), centred=True)[0, 0].sum(1)
    assert centred.tolist() == [0.0] * 5 + [20.0] * 10 + [0.0] * 5
    below = fitted(white, (20, 20), centred=False)[0, 0].sum(1)
    assert below.tolist() == [0.0] * 10 + [20.0] * 10


def test_what_is_missing_from_a_folder_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(name: str, allow_patterns: list[str]) -> str:
        raise OSError("no way out")

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    folder = tiny.write_pi0fast(tmp_path / "p")
    (folder / "action_tokenizer" / "processor_config.json").unlink()
    with pytest.raises(CheckpointError, match=r"hf download lerobot/fast-action-tokenizer"):
        load_pretrained(f"pi0fast:{folder}", "tabletop")
    (folder / "policy_postprocessor_step_0_unnormalizer_processor.safetensors").unlink()
    with pytest.raises(CheckpointError, match="does not say how action is scaled"):
        load_pretrained(f"pi0fast:{folder}", "tabletop")
    other = tiny.write_smolvla(tmp_path / "s")
    with pytest.raises(CheckpointError, match="type 'smolvla', not 'pi0_fast'"):
        load_pretrained(f"pi0fast:{other}", "tabletop")
    (other / "vlm" / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"config.json is missing. Get it with: hf download"):
        load_pretrained(f"smolvla:{other}", "tabletop")


def test_old_folders_keep_the_scaling_among_the_weights(smolvla: Path, tmp_path: Path) -> None:
    folder = tiny.write_smolvla(tmp_path / "old")
    for path in folder.glob("policy_*.safetensors"):
        path.unlink()
    state = {f"model.{k}": v.clone() for k, v in tiny.smolvla().state_dict().items()}
    n = torch.arange(7.0)
    state["unnormalize_outputs.buffer_action.mean"] = -0.1 - 0.01 * n
    state["unnormalize_outputs.buffer_action.std"] = 0.3 + 0.02 * n
    state["normalize_inputs.buffer_observation_state.mean"] = -torch.ones(8)
    state["normalize_inputs.buffer_observation_state.std"] = 3 * torch.ones(8)
    save_file(state, folder / "model.safetensors")
    old, new = (load_pretrained(f"smolvla:{f}", "tabletop") for f in (folder, smolvla))
    np.testing.assert_array_equal(_play(old, [BASELINE], 1), _play(new, [BASELINE], 1))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"attention_mode": "self_attn"}, "attention_mode = 'self_attn' is not read here"),
        ({"add_image_special_tokens": True}, "add_image_special_tokens = True"),
        ({"output_features": {"action": {"type": "ACTION", "shape": [6]}}}, "have 6 numbers"),
        ({"normalization_mapping": {"STATE": "X"}}, "scales STATE by 'X'"),
    ],
)
def test_variants_that_are_not_read_are_refused(tmp_path: Path, changes: dict, match: str) -> None:
    folder = tiny.write_smolvla(tmp_path / "v", **changes)
    with pytest.raises(CheckpointError, match=match):
        load_pretrained(f"smolvla:{folder}", "tabletop")


def test_options_of_another_kind_are_refused() -> None:
    with pytest.raises(ValueError, match="pi0fast has no option 'key'"):
        load_pretrained("pi0fast:x,key=a", "tabletop")
    with pytest.raises(ValueError, match="openvla has no option 'stream'"):
        load_pretrained("openvla:x,stream=vlm", "tabletop")
