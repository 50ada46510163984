"""The judge: one broken plan per rule, reported by name and alone; costs worked out by hand."""

from __future__ import annotations

import re
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.envs.mapf import MapfInstance, validate_paths
from pilotage.envs.mapf.validation import Rule, lifelong_report

FREE = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [1, 1, 1, 1]], bool)
INSTANCE = MapfInstance.one_shot(FREE, [[0, 0], [0, 3]], [[0, 1], [2, 3]])
GOOD = [[(0, 0), (0, 1), (0, 1)], [(0, 3), (1, 3), (2, 3)]]


def judge(*paths):
    return validate_paths(INSTANCE, np.array(paths))


def test_a_good_plan_and_its_costs() -> None:
    report = judge(*GOOD)
    assert report.success
    assert (report.sum_of_costs, report.sum_of_loss, report.makespan) == (3, 3, 2)
    assert (report.n_at_goal, report.n_agents) == (2, 2)


@pytest.mark.parametrize(
    ("rule", "first", "second", "text"),
    [
        ("start", [(1, 0), (0, 0), (0, 1)], GOOD[1], r"agent 0 at step 0, cell \(1, 0\)"),
        ("bounds", [(0, 0), (-1, 0), (0, 0), (0, 1)], [*GOOD[1], (2, 3)], "agent 0 at step 1"),
        ("obstacle", [(0, 0), (0, 1), (1, 1), (0, 1)], [*GOOD[1], (2, 3)], r"step 2, cell \(1, 1"),
        ("jump", GOOD[0], [(0, 3), (0, 3), (2, 3)], r"agent 1 at step 2, cell \(2, 3\)"),
        ("jump", [(0, 0), (0, 0), (0, 1)], [(0, 3), (1, 2), (2, 3)], "agent 1 at step 1"),
        (
            "vertex",
            [(0, 0), (0, 1), (0, 2), (0, 2), (0, 1)],
            [(0, 3), (0, 3), (0, 2), (1, 2), (2, 2)],
            r"agent 0 and 1 at step 2, cell \(0, 2\)",
        ),
        (
            "swapping",
            [(0, 0), (0, 1), (0, 2), (0, 1), (0, 1)],
            [(0, 3), (0, 2), (0, 1), (0, 0), (1, 0)],
            "agent 0 and 1 at step 2",
        ),
        ("goal", [(0, 0), (0, 0), (0, 0)], GOOD[1], r"agent 0 at step 2, cell \(0, 0\)"),
    ],
)
def test_each_rule_is_named(rule, first, second, text) -> None:
    report = judge(first, second)
    allowed = {rule, "jump", "goal"} if text == "agent 1 at step 1" else {rule, "goal"}
    assert {r.value for r in report.broken_rules} <= allowed
    (violation,) = [v for v in report.violations if v.rule == Rule(rule)][:1]
    assert re.search(text, str(violation)), str(violation)
    assert not report.success


def test_rest_at_the_goal_and_leaving_it() -> None:
    """Agent 0 is at its goal at step 1, leaves at 3 and is back at 5."""
    first = [(0, 0), (0, 1), (0, 1), (0, 2), (0, 2), (0, 1)]
    second = [(0, 3), (1, 3), (2, 3), (2, 3), (2, 3), (2, 3)]
    report = judge(first, second)
    assert report.success
    assert report.sum_of_costs == 5 + 2
    assert report.sum_of_loss == 4 + 2  # the rest from 1 to 2 is free
    assert report.makespan == 5


def test_costs_are_unknown_while_an_agent_is_away() -> None:
    report = judge(GOOD[0], [(0, 3), (0, 3), (0, 3)])
    assert (report.sum_of_costs, report.sum_of_loss, report.makespan) == (None, None, None)
    assert report.n_at_goal == 1


def test_following_and_turning_in_a_circle_are_allowed() -> None:
    ring = [(0, 0), (0, 1), (1, 1), (1, 0)]
    instance = MapfInstance.one_shot(np.ones((2, 2), bool), ring, ring[1:] + ring[:1])
    paths = [[ring[i], ring[(i + 1) % 4]] for i in range(4)]
    assert validate_paths(instance, np.array(paths)).success


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match=r"shape \[2, 3\], expected \[2, T \+ 1, 2\]"):
        validate_paths(INSTANCE, np.zeros((2, 3), int))
    with pytest.raises(TypeError, match="paths are float64"):
        validate_paths(INSTANCE, np.zeros((2, 3, 2)))
    lifelong = MapfInstance.lifelong(FREE, [[0, 0]], [[[0, 1]]])
    with pytest.raises(ValueError, match="is lifelong"):
        validate_paths(lifelong, np.zeros((1, 1, 2), int))
    with pytest.raises(ValueError, match="is one-shot"):
        lifelong_report(INSTANCE, np.array(GOOD))
    with pytest.raises(ValueError, match="no step"):
        lifelong_report(lifelong, np.zeros((1, 1, 2), int))


def test_throughput_counts_goals_in_turn() -> None:
    instance = MapfInstance.lifelong(FREE, [[0, 0], [0, 3]], [[[0, 1], [0, 0]], [[0, 3], [2, 3]]])
    first = [(0, 0), (0, 1), (0, 0), (0, 1), (0, 1)]  # reaches at 1, 2, 3; then waits for (0, 0)
    second = [(0, 3), (0, 3), (1, 3), (2, 3), (2, 3)]  # (0, 3) counts after a step, then (2, 3)
    report = lifelong_report(instance, np.array([first, second]))
    assert report.goals_reached.tolist() == [3, 2]
    assert report.throughput == pytest.approx(5 / 4)
    assert report.violations == ()


cells = st.tuples(st.integers(-1, 3), st.integers(-1, 4))


@given(st.lists(st.tuples(cells, cells), min_size=1, max_size=5))
def test_success_is_what_a_second_reading_of_the_rules_says(steps) -> None:
    """Random walks of two agents, judged again with sets instead of arrays."""
    paths = [[(0, 0)] + [s[0] for s in steps], [(0, 3)] + [s[1] for s in steps]]
    free = {(r, c) for r in range(3) for c in range(4) if FREE[r, c]}
    good = all(cell in free for path in paths for cell in path)
    good &= all(abs(a[0] - b[0]) + abs(a[1] - b[1]) < 2 for p in paths for a, b in pairwise(p))
    good &= all(a != b for a, b in zip(*paths))
    good &= all(
        not (a == d and b == c and a != b)
        for (a, b), (c, d) in zip(pairwise(paths[0]), pairwise(paths[1]))
    )
    good &= paths[0][-1] == (0, 1) and paths[1][-1] == (2, 3)
    assert validate_paths(INSTANCE, np.array(paths)).success == good
