"""The monitor's tables on records made by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task
from pilotage.scripts.cmd_monitor import monitor
from pilotage.scripts.monitor_tables import auc_rows, commitment_rows, void_rows

K, LAYERS, BINS = 2, 3, 20


def record(
    i: int, condition: str, *, success: bool, n_steps: int, bins: list[int]
) -> EpisodeRecord:
    """An episode whose entropy is 1 for a success and 2 for a failure until step 4, and reversed
    behind it; after each of three blocks the lens says `bins`; 10 is done."""
    task = Task(f"t{i}", "tabletop", "val", f"f{i % 2}", "go", 50, None, None, None, 1.0)
    early = np.arange(n_steps)[:, None] < 4
    told = np.where(early == success, 1.0, 2.0) * np.ones((n_steps, K))
    trace = {
        "action_bins": np.full((n_steps, K), 10, np.int16),
        "lens_bins": np.tile(np.array(bins, np.int16), (n_steps, K, 1)),
        "action_entropy": told,
        "action_margin": np.ones((n_steps, K)),
        "depth_signals": np.full((n_steps, 3), float(i)),
        "time_signals": np.full((n_steps, LAYERS + 1, 3), float(success)),
        "stream_norms": np.tile([1.0, 4.0, 5.0, 4.0], (n_steps, K, 1)),
        "stream_moves": np.tile([2.0, 2.0, 10.0], (n_steps, K, 1)),
    }
    trace["time_signals"][0] = np.nan
    return EpisodeRecord(
        task,
        condition,
        Seeds(0, 0, 0),
        "a@0",
        EndReason.GOAL_REACHED if success else EndReason.STEP_LIMIT,
        success,
        np.zeros((n_steps, 7)),
        np.zeros(n_steps),
        {},
        trace,
    )


RECORDS = [
    *(record(i, "baseline", success=i < 6, n_steps=5 + i, bins=[3, 11, 10]) for i in range(10)),
    *(record(i, "fast", success=i < 5, n_steps=5 + i, bins=[10, 12, 10]) for i in range(10)),
]


def test_areas_are_of_the_first_steps_of_the_episodes_that_reach_them() -> None:
    rows = {(r["step"], r["signal"]): r for r in auc_rows(RECORDS, [3, 8])}
    entropy = rows[3, "entropy of action tokens"]
    assert (entropy["successes"], entropy["failures"]) == (11, 9)
    assert entropy["within conditions"] == "0.00 (-, -)"  # lower in every success so far
    assert rows[3, "net change over steps"]["within conditions"] == "1.00 (-, -)"
    assert rows[3, "margin of action tokens"]["baseline"].startswith("0.50")
    # Three of each condition are over before step 8.
    late = rows[8, "entropy of action tokens"]
    assert (late["successes"], late["failures"]) == (5, 9)
    assert rows[8, "net change over layers"]["within conditions"] == "0.00 (-, -)"
    at_first = auc_rows(RECORDS, [1])[0]
    assert (at_first["successes"], at_first["failures"]) == (0, 0)  # NaN: no path yet


def test_an_error_is_no_failure() -> None:
    broken = replace(
        record(10, "baseline", success=False, n_steps=9, bins=[3, 11, 10]),
        end=EndReason.AGENT_ERROR,
        error="x",
    )
    assert auc_rows([*RECORDS, broken], [3]) == auc_rows(RECORDS, [3])
    assert void_rows([*RECORDS, broken], alpha=0.8) == void_rows(RECORDS, alpha=0.8)


def test_commitment_is_exact_and_within_a_tolerance() -> None:
    rows = commitment_rows(RECORDS, tolerance=1, n_bins=BINS)
    assert [(r["condition"], r["action token"]) for r in rows] == [
        ("baseline", 0),
        ("baseline", 1),
        ("fast", 0),
        ("fast", 1),
    ]
    base, fast = rows[0], rows[2]
    assert base["depth"] == fast["depth"] == "2.000 (2.000, 2.000)"
    assert base["depth within 1 of 20"] == "1.000 (1.000, 1.000)"
    assert fast["depth within 1 of 20"] == "2.000 (2.000, 2.000)"
    assert (base["less baseline"], fast["less baseline"]) == ("", "1.000 (1.000, 1.000)")


def test_voids_are_by_phase_and_block() -> None:
    rows = void_rows(RECORDS[:10], alpha=0.8)
    assert [(r["phase"], r["block"]) for r in rows] == [
        (p, b) for p in ("prefill", "decode") for b in range(3)
    ]
    # gains 3, 1, -1: the third is below 0.8 (3 - 1)
    assert [r["void"][:5] for r in rows[:3]] == ["0.000", "0.000", "1.000"]
    assert [r["moves"][:5] for r in rows[:3]] == ["2.000", "0.500", "2.000"]


def test_signals_are_not_looked_for_on_test_tasks(tmp_path: Path) -> None:
    options = {
        "agent": "nano",
        "env": "tabletop",
        "conditions": ["baseline"],
        "episodes": 1,
        "families": [],
        "tolerance": 8,
        "alpha": 0.8,
        "steps": 0,
        "out": tmp_path,
        "slots": 1,
        "seed": 0,
        "quiet": True,
        "as_json": False,
    }
    with pytest.raises(ValueError, match="split 'test'"):
        monitor(split="test", at=[8], **options)
    with pytest.raises(ValueError, match="at least 2 steps"):
        monitor(split="val", at=[1], **options)
