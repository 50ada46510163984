"""Trainings that stop and go on: demonstrations and optimisers on disk, and back."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.agents.vla import store
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.store import DemoStore, load_trainer, save_trainer
from pilotage.agents.vla.training import TrainConfig, Trainer, WindowSampler

from .tiny import tiny_config, tiny_task


def demo(config: VLAConfig, i: int, n_steps: int, like: Demo | None = None) -> Demo:
    """A random demo; with `like` another task on the same pictures."""
    rng = np.random.default_rng(i)
    size = config.image_size
    images = [rng.integers(0, 256, (n_steps, size, size, config.channels), dtype=np.uint8)]
    proprio = rng.normal(size=(n_steps, config.proprio_dim)).astype(np.float32)
    return Demo(
        task=tiny_task(i, "go to the red cube" if i % 2 else "go left slowly"),
        images=like.images if like else images,
        proprio=like.proprio if like else proprio,
        actions=rng.uniform(-1, 1, (n_steps, 3)).astype(np.float32),
        narrations=["go left" if k % 2 else "go right" for k in range(n_steps)],
        aux=rng.normal(size=(n_steps, config.aux_dim)).astype(np.float32),
        success=bool(i % 2),
        pointed=rng.random((n_steps, 1, 2)) < 0.3 if i == 2 else None,
        clause=rng.random((n_steps, config.max_instruction)) < 0.3 if i in (1, 2) else None,
    )


def some_demos(config: VLAConfig) -> list[Demo]:
    first, second = demo(config, 0, 5), demo(config, 1, 3)
    return [first, demo(config, 2, 5, like=first), second, demo(config, 3, 3, like=second)]


@pytest.mark.parametrize("chunk", [1, 1000])
def test_demos_come_back_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int
) -> None:
    monkeypatch.setattr(store, "CHUNK_STEPS", chunk)
    demos = some_demos(tiny_config())
    DemoStore(tmp_path).save("expert", demos)
    again = DemoStore(tmp_path).load("expert")
    assert len(list(tmp_path.glob("*.safetensors"))) == (2 if chunk == 1 else 1)
    for ours, theirs in zip(demos, again, strict=True):
        assert ours.task.to_json() == theirs.task.to_json()
        assert ours.narrations == theirs.narrations
        assert ours.success == theirs.success
        for name in ("proprio", "actions", "aux"):
            assert np.array_equal(getattr(ours, name), getattr(theirs, name))
        assert np.array_equal(ours.images[0], theirs.images[0])
        for name in ("pointed", "clause"):
            given, found = getattr(ours, name), getattr(theirs, name)
            assert (given is None) == (found is None)
            assert given is None or np.array_equal(given, found)
    assert demos[1].pointed is not None
    assert again[0].images is again[1].images  # once in memory
    assert again[1].images is not again[2].images


def test_missing_and_torn_demos_are_refused(tmp_path: Path) -> None:
    kept = DemoStore(tmp_path)
    assert not kept.has("expert")
    with pytest.raises(CheckpointError, match=r"'expert'.*cannot be read"):
        kept.load("expert")
    kept.save("expert", some_demos(tiny_config()))
    assert kept.has("expert")
    file = next(tmp_path.glob("*.safetensors"))
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="train again"):
        kept.load("expert")


def trainer() -> tuple[Trainer, WindowSampler]:
    torch.manual_seed(0)
    config = tiny_config(n_pointed=2)
    model = VLAModel(config)
    train = TrainConfig(n_updates=20, batch_windows=4, window_steps=3, warmup=2)
    sampler = WindowSampler(config, train, model)
    sampler.add(some_demos(config))
    return Trainer(model, train), sampler


def test_a_training_that_goes_on_is_the_same_training(tmp_path: Path) -> None:
    whole, windows = trainer()
    for _ in range(4):
        whole.update(windows.draw())
    save_trainer(tmp_path, whole, {"sampler": windows.rng.bit_generator.state})
    for _ in range(4):
        whole.update(windows.draw())

    later, again = trainer()
    state = load_trainer(tmp_path, later)
    again.rng.bit_generator.state = state["sampler"]
    assert later.step == 4
    for _ in range(4):
        later.update(again.draw())
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, later.model.state_dict()[name]), name
        assert torch.equal(whole.average[name], later.average[name]), name


def test_only_the_newest_state_stays_and_a_torn_one_is_refused(tmp_path: Path) -> None:
    made, windows = trainer()
    save_trainer(tmp_path, made, {})
    made.update(windows.draw())
    save_trainer(tmp_path, made, {})
    assert [p.name for p in tmp_path.glob("*.safetensors")] == ["trainer-1.safetensors"]
    state = json.loads((tmp_path / "trainer.json").read_text())
    assert state["step"] == 1
    (tmp_path / "trainer-1.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot go on"):
        load_trainer(tmp_path, made)


def test_demos_are_drawn_by_weight() -> None:
    config = tiny_config(n_pointed=2)
    model = VLAModel(config)
    train = TrainConfig(batch_windows=500, window_steps=1)
    sampler = WindowSampler(config, train, model)
    demos = some_demos(config)
    sampler.add(demos[:1], weight=3.0)
    sampler.add(demos[2:3])
    heads = torch.from_numpy(sampler._words[0])
    share = float((sampler.draw().instruction == heads).all(dim=1).float().mean())
    assert 0.69 < share < 0.81  # three quarters, within three standard deviations
