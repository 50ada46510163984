"""What an instance refuses, by name, place and remedy."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance

FREE = np.array([[1, 1, 1], [1, 0, 1]], bool)


def test_arrays_are_copied_and_read_only() -> None:
    free = FREE.copy()
    instance = MapfInstance.one_shot(free, [[0, 0]], [[1, 2]])
    free[:] = False
    assert instance.free.sum() == 5
    assert instance.starts.dtype == np.int32
    with pytest.raises(ValueError, match="read-only"):
        instance.starts[0, 0] = 1


@pytest.mark.parametrize(
    ("free", "starts", "goals", "message"),
    [
        (FREE, [[0, 0], [0, 0]], [[0, 1], [0, 2]], r"start 1 is \(0, 0\), the same as start 0"),
        (FREE, [[0, 0], [0, 1]], [[1, 0], [1, 0]], r"goal 1 is \(1, 0\), the same as goal 0"),
        (FREE, [[1, 1]], [[0, 0]], r"start 0 is \(1, 1\), a wall; choose a free cell"),
        (FREE, [[0, 0]], [[1, 1]], r"goal 0 is \(1, 1\), a wall"),
        (FREE, [[0, 3]], [[0, 0]], r"start 0 is \(0, 3\), outside the map of 2 rows and 3 columns"),
        (FREE, [[0, -1]], [[0, 0]], "outside the map"),
        (FREE, [[0, 0]], [[0, 1], [0, 2]], r"goals have shape \[2, 2\], expected \[1, 2\]"),
        (FREE, [[0, 0, 0]], [[0, 1]], r"starts have shape \[1, 3\]"),
        (FREE, np.zeros((0, 2), int), np.zeros((0, 2), int), "no agents; give at least one"),
        (FREE, [[0, 0]] * 6, [[0, 0]] * 6, "6 agents do not fit on 5 free cells; ask for fewer"),
        (np.zeros((0, 3), bool), [[0, 0]], [[0, 1]], r"shape \[0, 3\], expected \[H, W\]"),
        (np.ones(3, bool), [[0, 0]], [[0, 1]], r"shape \[3\], expected"),
        (np.zeros((2, 2), bool), [[0, 0]], [[0, 1]], "no free cell; True means free"),
    ],
)
def test_bad_values_are_named(free, starts, goals, message) -> None:
    with pytest.raises(ValueError, match=message):
        MapfInstance.one_shot(free, starts, goals)


def test_wrong_kinds_are_named() -> None:
    with pytest.raises(TypeError, match="map is int64, expected bool with True = may stand"):
        MapfInstance.one_shot(np.ones((2, 2), np.int64), [[0, 0]], [[0, 1]])
    with pytest.raises(TypeError, match="starts are float64; give whole numbers"):
        MapfInstance.one_shot(FREE, [[0.0, 0.5]], [[0, 1]])


def test_lifelong_goals_may_be_shared_but_lists_may_not_be_empty() -> None:
    instance = MapfInstance.lifelong(FREE, [[0, 0], [0, 1]], [[[0, 2], [0, 0]], [[0, 2]]])
    assert instance.is_lifelong
    assert instance.goals.tolist() == [[0, 2], [0, 2]]
    with pytest.raises(ValueError, match=r"goal_lists\[1\] has shape \[0\]"):
        MapfInstance.lifelong(FREE, [[0, 0], [0, 1]], [[[0, 2]], []])
    with pytest.raises(ValueError, match=r"agent 0, goal 1 is \(1, 1\), a wall"):
        MapfInstance.lifelong(FREE, [[0, 0]], [[[0, 2], [1, 1]]])
    with pytest.raises(ValueError, match="goals have shape"):
        MapfInstance.lifelong(FREE, [[0, 0], [0, 1]], [[[0, 2]]])


def test_first_agents() -> None:
    instance = MapfInstance.one_shot(FREE, [[0, 0], [0, 1]], [[0, 1], [0, 2]])
    assert instance.first_agents(1).goals.tolist() == [[0, 1]]
    with pytest.raises(ValueError, match="has 2 agents; cannot take 3"):
        instance.first_agents(3)
