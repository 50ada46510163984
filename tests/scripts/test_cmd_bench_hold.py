"""How `bench hold` measures: the speed behind the settling steps, on a path made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from pilotage.scripts.cmd_bench_hold import SETTLE_STEPS, held_speed


def _record(speeds: list[float]) -> SimpleNamespace:
    along = np.r_[0.0, np.cumsum(speeds)] * 0.1
    return SimpleNamespace(trace={"ee_position": np.stack([along, 0 * along, 0 * along], axis=1)})


def test_the_first_steps_do_not_count() -> None:
    assert SETTLE_STEPS == 3
    mean, ripple = held_speed(_record([9.0, 9.0, 9.0, 0.2, 0.4]))
    assert mean == pytest.approx(0.3)
    assert ripple == pytest.approx(0.1)


def test_an_episode_that_is_over_by_then_has_no_held_speed() -> None:
    assert np.isnan(held_speed(_record([0.2, 0.2, 0.2]))).all()
