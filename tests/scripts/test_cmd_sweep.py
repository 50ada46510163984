"""The sweep's front and its recommendation, on tables made by hand; which conditions it plays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotage.scripts.cmd_sweep import best_dose, conditions_of, mark_front


def _row(condition: str, speed: float, kept: float) -> dict:
    return {"condition": condition, "speed_m_s": speed, "success_kept": kept}


ROWS = [
    _row("baseline", 0.20, 1.0),
    _row("fast:prompt", 0.50, 1.0),
    _row("fast@0.5", 0.25, 1.0),
    _row("fast@1", 0.40, 0.97),
    _row("fast@1:random-matched-0", 0.90, 1.0),  # a control is on no front and beats nobody
    _row("fast@1.5", 0.38, 0.90),  # less effect and less success than fast@1
    _row("fast@2", 0.45, 0.60),
]


def test_the_front_holds_the_doses_that_no_other_dose_beats() -> None:
    marked = {r["condition"]: r["front"] for r in mark_front([dict(r) for r in ROWS])}
    assert [name for name, front in marked.items() if front] == ["fast@0.5", "fast@1", "fast@2"]


def test_two_equal_doses_are_both_on_the_front() -> None:
    rows = [_row("baseline", 0.2, 1.0), _row("slow@1", 0.1, 1.0), _row("slow@2", 0.1, 1.0)]
    assert [r["front"] for r in mark_front(rows)] == ["", "yes", "yes"]


def test_the_recommended_dose_keeps_success() -> None:
    assert "fast@1," in best_dose(ROWS, "fast")
    hard = [ROWS[0], _row("fast@1", 0.5, 0.5)]
    assert best_dose(hard, "fast").startswith("no dose of fast keeps 95%")


def test_every_dose_comes_with_its_controls(tmp_path: Path) -> None:
    table = {"fast": {"interventions": [], "prompt_suffix": "quickly"}, "bare": {}}
    (tmp_path / "conditions.json").write_text(json.dumps(table))
    names = conditions_of(tmp_path, "fast", [0.5, 2.0], 2)
    assert names[:3] == ["baseline", "fast:prompt", "fast@0.5"]
    assert names[-1] == "fast@2:random-matched-1"
    assert "bare:prompt" not in conditions_of(tmp_path, "bare", [1.0], 1)
    with pytest.raises(KeyError, match="did you mean fast"):
        conditions_of(tmp_path, "fsat", [1.0], 1)
    with pytest.raises(ValueError, match="distinct and other than 0"):
        conditions_of(tmp_path, "fast", [1.0, 0.0], 1)
