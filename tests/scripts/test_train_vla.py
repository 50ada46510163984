"""`pilotage train vla`: a small training from start to end, and on the same folder again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pilotage.agents.vla.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.presets import preset
from pilotage.scripts.train_vla import Options, start_from, train
from pilotage.scripts.worlds import TrainingWorld, training_world

SMALL = Options(
    env="rooms",
    updates=4,
    scenes=2,
    view_updates=2,
    demos=4,
    dagger_rounds=1,
    dagger_demos=2,
    val_tasks=1,
    slots=4,
    batch_windows=2,
)


def log_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_training_makes_a_checkpoint_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An agent that knows nothing walks 500 steps a task; how well it does is not the matter here.
    monkeypatch.setattr(TrainingWorld, "evaluate", lambda *_: {"all": 0.0})
    options = replace(SMALL, out=str(tmp_path))
    assert train(options) == tmp_path
    _, header = load_checkpoint(tmp_path)
    assert header["training"]["updates"] == 4
    assert "--updates 4" in header["training"]["command"]
    rows = log_of(tmp_path)
    assert [r["episodes"] for r in rows if "episodes" in r] == ["expert", "round-1"]
    assert [r["update"] for r in rows if "val" in r] == [2, 4]

    digest = header["weights_sha256"]
    train(options)  # finished: it plays nothing again and changes nothing
    assert load_checkpoint(tmp_path)[1]["weights_sha256"] == digest
    more = log_of(tmp_path)[len(rows) :]
    assert [r["resumed_at"] for r in more if "resumed_at" in r] == [4]
    assert not any("episodes" in r for r in more)

    with pytest.raises(ValueError, match=r"other options: demos 4 \(now 5\); give another --out"):
        train(replace(options, demos=5))


def test_a_training_begins_with_the_weights_of_another(tmp_path: Path) -> None:
    words = training_world("rooms").vocabulary()
    old = replace(preset("rooms", "nano", words, aux_dim=5), n_pointed=0)
    source = VLAModel(old)
    save_checkpoint(tmp_path, source, training={})
    model = VLAModel(replace(old, n_pointed=2))
    assert model.pointer is not None
    pointer = model.pointer.weight.clone()
    start_from(model, tmp_path)
    assert torch.equal(model.pointer.weight, pointer)  # what the source lacks stays as it was
    for name, value in source.state_dict().items():
        assert torch.equal(model.state_dict()[name], value.half().float()), name


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    words = training_world("rooms").vocabulary()
    config = preset("rooms", "nano", words, aux_dim=5)
    save_checkpoint(tmp_path, VLAModel(config), training={})
    with pytest.raises(CheckpointError, match=r"d_ff 512 \(here 256\)"):
        start_from(VLAModel(replace(config, d_ff=256)), tmp_path)
    with pytest.raises(CheckpointError, match=r"agent\.json is missing"):
        start_from(VLAModel(config), tmp_path / "nowhere")
