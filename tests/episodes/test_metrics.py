"""Metrics: numbers worked out by hand, brute force over alignments, and properties."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pilotage.episodes.metrics import (
    MANIPULATION_METRICS,
    NAVIGATION_METRICS,
    delivered_dose,
    episode_metrics,
    manipulation_metrics,
    navigation_metrics,
)
from pilotage.episodes.metrics_paths import cls, dtw, ndtw, path_length, without_repeats
from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task


def record(
    positions: Any = (),
    to_goal: Any = (),
    *,
    end: EndReason = EndReason.AGENT_STOPPED,
    reference: Any = (),
    shortest: float = 4.0,
    traces: dict[str, Any] | None = None,
    success: bool = False,
    receipt: dict[str, Any] | None = None,
) -> EpisodeRecord:
    named = {"position": positions, "distance_to_goal": [[d] for d in to_goal]} | (traces or {})
    trace = {name: np.array(rows, np.float64) for name, rows in named.items() if len(rows)}
    n_steps = len(next(iter(trace.values()))) - 1 if trace else 0
    return EpisodeRecord(
        task=Task("t", "w", "val", "f", "go", 9, {}, [], [], shortest, reference),
        condition="baseline",
        seeds=Seeds(0, 0, 0),
        agent_id="a",
        end=end,
        success=success,
        actions=np.zeros(n_steps, np.int64),
        rewards=np.zeros(n_steps),
        trace=trace,
        receipt=receipt or {},
        error="x" if end.is_error else None,
    )


# A walk along x to the goal at x = 5 with a detour of 2 m along y on the way; 0.5 m short of it.
DETOUR = [[0, 0, 0], [2, 0, 0], [2, 1, 0], [2, 1, 0], [2, 0, 0], [4.5, 0, 0]]
TO_GOAL = [5, 3, 4, 4, 3, 0.5]
STRAIGHT = [[0, 0, 0], [2.5, 0, 0], [5, 0, 0]]
COLLISION = [[1], [0], [0], [1], [1], [0]]


def detour(**kwargs: Any) -> EpisodeRecord:
    settings = {"reference": STRAIGHT, "traces": {"collision": COLLISION}} | kwargs
    return record(DETOUR, TO_GOAL, **settings)


def test_a_detour_worked_out_by_hand() -> None:
    found = navigation_metrics(detour(), success_radius_m=1.0)
    assert tuple(sorted(found)) == tuple(sorted(NAVIGATION_METRICS))
    expected = {
        "success": 1,
        "oracle_success": 1,
        "navigation_error": 0.5,
        "oracle_error": 0.5,
        "path_length": 6.5,
        "spl": 5 / 6.5,
        "soft_spl": 0.9 * 5 / 6.5,
        "collisions": 2,  # what the start says does not count
        "steps": 5,
    }
    for name, value in expected.items():
        assert found[name] == pytest.approx(value), name
    # Points to their nearest: 0, 0.5, sqrt(1.25) twice, 0.5, 0.5; monotone, so it is the alignment.
    warped = 0.0 + 0.5 + 2 * math.sqrt(1.25) + 0.5 + 0.5
    assert found["ndtw"] == pytest.approx(math.exp(-warped / 3))
    assert found["sdtw"] == found["ndtw"]
    coverage = (1 + 2 * math.exp(-0.5)) / 3
    expected_length = 5 * coverage
    score = expected_length / (expected_length + abs(expected_length - 6.5))
    assert found["cls"] == pytest.approx(coverage * score)


def test_conventions_differ_where_they_should() -> None:
    limit = detour(end=EndReason.STEP_LIMIT)
    found = {
        name: navigation_metrics(limit, convention=name, success_radius_m=1.0)
        for name in ("habitat", "vlnce", "r2r", "duet")
    }
    assert [found[name]["success"] for name in found] == [0, 0, 1, 1]
    assert [found[name]["oracle_success"] for name in found] == [1, 1, 1, 1]
    assert [found[name]["spl"] for name in found] == pytest.approx([0, 0, 4 / 6.5, 5 / 6.5])
    # The detour's point that is visited twice costs sqrt(1.25) less without repeats.
    ratio = found["vlnce"]["ndtw"] / found["habitat"]["ndtw"]
    assert ratio == pytest.approx(math.exp(math.sqrt(1.25) / 3))
    assert [found[name]["sdtw"] for name in ("habitat", "r2r")] == [0, found["r2r"]["ndtw"]]


def test_success_is_strictly_inside_the_radius_and_the_start_counts_for_the_oracle() -> None:
    edge = record([[0, 0, 0], [1, 0, 0]], [2, 3])
    found = navigation_metrics(edge)
    assert (found["success"], found["oracle_success"]) == (0, 1)
    assert (found["navigation_error"], found["oracle_error"]) == (3, 2)
    assert found["soft_spl"] == 0.0
    assert navigation_metrics(edge, success_radius_m=2)["oracle_success"] == 0
    assert navigation_metrics(edge, success_radius_m=3.001)["success"] == 1
    reached = record([[0, 0, 0], [1, 0, 0]], [3, 2], end=EndReason.GOAL_REACHED)
    assert navigation_metrics(reached)["success"] == 1


def test_start_at_the_goal_and_unreachable_goals() -> None:
    at_goal = navigation_metrics(record([[0, 0, 0]], [0], shortest=0))
    assert (at_goal["spl"], at_goal["soft_spl"], at_goal["steps"]) == (1, 1, 0)
    circle = navigation_metrics(record([[0, 0, 0], [1, 0, 0], [0, 0, 0]], [0, 1, 0]))
    assert (circle["spl"], circle["success"]) == (0, 1)
    lost = navigation_metrics(record([[0, 0, 0], [1, 0, 0]], [math.inf, math.inf]))
    assert (lost["success"], lost["navigation_error"]) == (0, math.inf)
    assert math.isnan(lost["spl"])
    assert math.isnan(lost["soft_spl"])
    for name in ("ndtw", "sdtw", "cls", "collisions"):
        assert math.isnan(lost[name])
    floor = record([[0, 0, 0]], [0], reference=[[0, 0, 0]])
    assert navigation_metrics(floor, convention="duet")["spl"] == 0  # 0 / max(0, 0, 0.01)


points = npst.arrays(
    np.float64,
    st.tuples(st.integers(1, 5), st.just(2)),
    elements=st.integers(-3, 3).map(float),
)


def alignments(n: int, m: int) -> Iterator[list[tuple[int, int]]]:
    """Every monotone alignment from (0, 0) to (n - 1, m - 1)."""
    if n == m == 1:
        yield [(0, 0)]
    for i, j in ((n - 1, m), (n, m - 1), (n - 1, m - 1)):
        if i >= 1 and j >= 1:
            for shorter in alignments(i, j):
                yield [*shorter, (n - 1, m - 1)]


@given(p=points, r=points)
def test_dtw_is_the_least_over_all_alignments(p: np.ndarray, r: np.ndarray) -> None:
    brute = min(
        sum(math.dist(p[i], r[j]) for i, j in alignment) for alignment in alignments(len(p), len(r))
    )
    assert dtw(p, r) == pytest.approx(brute, abs=1e-12)
    assert dtw(r, p) == pytest.approx(brute, abs=1e-12)


@given(p=points, r=points, radius=st.floats(0.5, 5))
def test_fidelity_is_between_0_and_1_and_1_for_the_reference(
    p: np.ndarray, r: np.ndarray, radius: float
) -> None:
    assert 0 < ndtw(p, r, radius_m=radius) <= 1
    assert 0 <= cls(p, r, radius_m=radius) <= 1 + 1e-12
    assert ndtw(r, r, radius_m=radius) == 1
    assert cls(r, r, radius_m=radius) == pytest.approx(1)
    moved = [q + np.array([5.0, -2.0]) for q in (p, r)]
    assert ndtw(*moved, radius_m=radius) == pytest.approx(ndtw(p, r, radius_m=radius))


def test_dtw_on_long_paths_agrees_with_the_textbook_recursion() -> None:
    rng = np.random.default_rng(0)
    p, r = rng.normal(size=(57, 3)).cumsum(0), rng.normal(size=(31, 3)).cumsum(0)
    table = np.full((58, 32), np.inf)
    table[0, 0] = 0
    for i in range(57):
        for j in range(31):
            step = min(table[i, j], table[i, j + 1], table[i + 1, j])
            table[i + 1, j + 1] = step + math.dist(p[i], r[j])
    assert dtw(p, r) == pytest.approx(table[-1, -1], rel=1e-12)


@given(p=points)
def test_path_lengths(p: np.ndarray) -> None:
    by_hand = sum(math.dist(a, b) for a, b in pairwise(p))
    assert path_length(p) == pytest.approx(by_hand)
    assert path_length(p[::-1]) == pytest.approx(by_hand)
    assert path_length(np.repeat(p, 2, axis=0)) == pytest.approx(by_hand)  # waiting is free
    kept = without_repeats(np.repeat(p, 3, axis=0))
    assert (kept == without_repeats(p)).all()
    assert not (kept[1:] == kept[:-1]).all(axis=1).any()


@given(st.lists(st.tuples(st.integers(-9, 9), st.integers(0, 9)), min_size=1, max_size=8))
def test_spl_bounds(rows: list[tuple[int, int]]) -> None:
    found = navigation_metrics(record([[x, 0, 0] for x, _ in rows], [d for _, d in rows]))
    assert 0 <= found["spl"] <= found["success"] <= found["oracle_success"] <= 1
    assert 0 <= found["soft_spl"] <= 1
    assert found["oracle_error"] <= found["navigation_error"]


@pytest.mark.parametrize("shape", [(0, 3), (3,), (2, 2, 2)])
def test_paths_that_are_no_paths_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="path must be points"):
        path_length(np.zeros(shape))


def test_wrong_questions_are_refused() -> None:
    with pytest.raises(KeyError, match=r"unknown convention 'habbitat'.*'duet', 'habitat', 'r2r'"):
        navigation_metrics(detour(), convention="habbitat")
    with pytest.raises(ValueError, match="success_radius_m must be > 0, got -1"):
        navigation_metrics(detour(), success_radius_m=-1)
    with pytest.raises(ValueError, match="no trace 'ee_position'"):
        manipulation_metrics(detour())
    for measure in (navigation_metrics, manipulation_metrics):
        with pytest.raises(ValueError, match="an error is not an attempt"):
            measure(detour(end=EndReason.AGENT_ERROR))


# -- manipulation ----------------------------------------------------------------------------------


def arm(path: Any, **kwargs: Any) -> EpisodeRecord:
    return record(end=EndReason.GOAL_REACHED, success=True, traces={"ee_position": path}, **kwargs)


def test_a_straight_lift_worked_out_by_hand() -> None:
    """0.3 m up in three equal steps of 0.1 s: 1 m/s, no jerk."""
    found = manipulation_metrics(arm([[0, 0, 0.1], [0, 0, 0.2], [0, 0, 0.3], [0, 0, 0.4]]))
    assert tuple(found) == MANIPULATION_METRICS
    assert found["path_length"] == pytest.approx(0.3)
    assert found["mean_speed_per_step"] == pytest.approx(0.1)
    assert found["mean_speed"] == pytest.approx(1.0)
    assert found["peak_height"] == pytest.approx(0.4)
    assert found["mean_height"] == pytest.approx(0.25)
    assert found["jerk"] == pytest.approx(0.0, abs=1e-10)
    assert math.isnan(found["final_distance"])
    assert (found["success"], found["steps"]) == (1, 3)


def test_jerk_of_a_cubic_is_its_third_derivative() -> None:
    """x = a t^3 / 6 has jerk a everywhere, and third differences are exact for cubics."""
    times = np.arange(12) / 20
    path = np.stack([3 * times**3 / 6, 4 * times**3 / 6, times], axis=1)
    assert manipulation_metrics(arm(path), control_hz=20)["jerk"] == pytest.approx(5.0)


@given(p=npst.arrays(np.float64, (6, 3), elements=st.integers(-3, 3).map(float)))
def test_speed_does_not_depend_on_the_place_and_scales_with_the_path(p: np.ndarray) -> None:
    here = manipulation_metrics(arm(p))
    there = manipulation_metrics(arm(2 * p + 7))
    for name in ("path_length", "mean_speed", "mean_speed_per_step", "jerk"):
        assert there[name] == pytest.approx(2 * here[name])


def test_what_needs_more_steps_is_nan() -> None:
    still = manipulation_metrics(arm([[0, 0, 0.5]], to_goal=[0.25]))
    assert (still["path_length"], still["final_distance"]) == (0, 0.25)
    assert math.isnan(still["mean_speed"])
    assert math.isnan(still["jerk"])


def test_episode_metrics_follow_the_traces() -> None:
    assert set(episode_metrics(detour())) == set(NAVIGATION_METRICS)
    assert set(episode_metrics(arm([[0, 0, 0]]))) == set(MANIPULATION_METRICS)
    assert episode_metrics(record(success=True)) == {"success": 1.0, "steps": 0.0}
    assert episode_metrics(detour(end=EndReason.ENV_ERROR)) == {}
    assert episode_metrics(detour(), convention="r2r")["spl"] == pytest.approx(4 / 6.5)


def test_the_dose_comes_from_the_receipt() -> None:
    def dose(*values: float | None) -> float:
        return delivered_dose(
            record(receipt={"interventions": [{"mean_dose": value} for value in values]})
        )

    assert dose(0.2, 0.4) == pytest.approx(0.3)
    assert dose() == delivered_dose(record()) == 0.0
    assert math.isnan(dose(0.2, None))
