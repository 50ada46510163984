"""How `bench hold` measures, on paths made by hand."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from pilotage.scripts.cmd_bench_hold import SETTLE_STEPS, step_speeds, table

HELD = "fast:hold-0.3"


def _record(name: str, task: str, speeds: list[float], *, success=True, error=False):
    along = np.r_[0.0, np.cumsum(speeds)] * 0.1
    feedback = {"n_measured": 4, "mean_multiplier": 0.5, "share_at_bound": 0.25}
    return SimpleNamespace(
        condition=name,
        task=SimpleNamespace(task_id=task),
        end=SimpleNamespace(is_error=error),
        success=success,
        trace={"ee_position": np.stack([along, 0 * along, 0 * along], axis=1)},
        agent_trace={},
        receipt={"feedback": feedback} if ":" in name else {},
    )


def test_speed_is_metres_over_a_tenth_of_a_second() -> None:
    np.testing.assert_allclose(step_speeds(_record("baseline", "a", [0.2, 0.4])), [0.2, 0.4])


def test_the_first_steps_do_not_count_and_means_do_not_hide_single_steps() -> None:
    assert SETTLE_STEPS == 3
    records = [
        _record("baseline", "a", [0.2] * 6),
        _record("baseline", "b", [0.2] * 6, success=False),
        _record(HELD, "a", [9, 9, 9, 0.3, 0.31, 0.29]),
        _record(HELD, "b", [9, 9, 9, 0.1, 0.5, 0.3]),  # right on average only
    ]
    base, held = table(records, ["baseline", HELD], [0.25, 0.3])
    assert base["bias"] == ""
    assert base["speed_m_s"] == pytest.approx(0.2)
    assert held["speed_m_s"] == pytest.approx(0.3)
    assert held["within_10"] == 1.0
    assert held["steps_within"] == pytest.approx((1 + 1 / 3) / 2, abs=1e-3)
    assert held["success_kept"] == 2.0
    assert (held["multiplier"], held["at_bound"]) == (0.5, 0.25)


def test_a_task_that_one_condition_lost_counts_in_none() -> None:
    records = [
        _record("baseline", "a", [0.2] * 6),
        _record("baseline", "b", [0.9] * 6),
        _record(HELD, "a", [0.3] * 6),
        _record(HELD, "b", [0.3] * 6, error=True),
    ]
    base, held = table(records, ["baseline", HELD], [0.3])
    assert base["n"] == held["n"] == 1
    assert (base["n_errors"], held["n_errors"]) == (0, 1)
    assert base["speed_m_s"] == pytest.approx(0.2)


def test_episodes_that_are_over_by_then_leave_blanks_not_nan() -> None:
    records = [_record("baseline", "a", [0.2]), _record(HELD, "a", [0.3])]
    rows = table(records, [HELD], [0.3])
    json.dumps(rows, allow_nan=False)
    assert rows[0]["n_held"] == 0
    assert rows[0]["speed_m_s"] == rows[0]["bias"] == ""
