"""`pilotage train vla`: a small training from start to end, and on the same folder again."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from pilotage.agents.vla.checkpoint import load_checkpoint
from pilotage.scripts.train_vla import Options, train
from pilotage.scripts.worlds import TrainingWorld

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
