"""Solvers against brute force, the independent judge, the clock, and each other."""

from __future__ import annotations

import time

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, read_movingai, validate_paths
from pilotage.envs.mapf.validation import Rule
from pilotage.planners.mapf import (
    PlanStatus,
    cbs,
    eecbs,
    lacam,
    lacam_star,
    pibt,
    prioritised,
)
from pilotage.planners.mapf.results import PlanResult

SOLVERS = [prioritised, cbs, eecbs, pibt, lacam, lacam_star]
# Two agents must exchange their ends of a passage with one bay: easy for a complete solver only.
BAY = MapfInstance.one_shot(
    np.array([[1, 1, 1, 1, 1], [0, 0, 1, 0, 0]], bool), [[0, 0], [0, 4]], [[0, 4], [0, 0]]
)
# The same without the bay: impossible, though each agent alone could go.
PASSAGE = MapfInstance.one_shot(np.ones((1, 5), bool), [[0, 0], [0, 4]], [[0, 4], [0, 0]])
APART = MapfInstance.one_shot(np.array([[1, 0, 1]], bool), [[0, 0]], [[0, 2]])


def judge(instance: MapfInstance, result: PlanResult) -> None:
    """The plan breaks no rule, and costs what the solver says."""
    assert result.status is PlanStatus.SOLVED
    report = validate_paths(instance, result.paths)
    assert report.success, report.violations[:3]
    assert report.sum_of_costs == result.sum_of_costs
    assert report.makespan == result.makespan == result.paths.shape[1] - 1
    assert result.lower_bound <= report.sum_of_costs


def test_cbs_is_optimal(small, oracle) -> None:
    """What needs too many nodes (agents that must change places in a corner) stays undecided, and
    then the bound must hold."""
    answers = {True: 0, False: 0}
    for instance in small(120, seed=1):
        expected = oracle(instance)
        result = cbs(instance, time_limit_s=60.0, max_nodes=1000 if expected else 50)
        if result.status is not PlanStatus.SOLVED:
            assert expected is None or result.lower_bound <= expected, instance.name
            answers[False] += expected is not None
            continue
        judge(instance, result)
        assert result.sum_of_costs == expected == result.lower_bound, instance.name
        assert result.optimal
        answers[True] += 1
    assert answers[True] > 70
    assert answers[False] < 5


def test_lacam_solves_what_can_be_solved_and_proves_the_rest(small, oracle) -> None:
    verdicts = []
    for instance in small(250, seed=2):
        expected = oracle(instance)
        result = lacam(instance, time_limit_s=20.0)
        verdicts.append(result.status)
        if expected is None:
            assert result.status is PlanStatus.INFEASIBLE, instance.name
            assert result.message
        else:
            judge(instance, result)
    assert min(verdicts.count(PlanStatus.SOLVED), verdicts.count(PlanStatus.INFEASIBLE)) > 20


def test_lacam_star_ends_with_the_least_sum_of_loss(small, oracle) -> None:
    for instance in small(60, seed=3):
        expected = oracle(instance, loss=True)
        result = lacam_star(instance, time_limit_s=60.0, search_share=1.0)
        if expected is None:
            assert result.status is PlanStatus.INFEASIBLE
            continue
        judge(instance, result)
        assert result.optimal
        assert validate_paths(instance, result.paths).sum_of_loss == expected, instance.name


@pytest.mark.parametrize("solver", [prioritised, pibt])
def test_incomplete_solvers_are_right_when_they_answer(solver, small, oracle) -> None:
    n_solved = 0
    for instance in small(80, seed=4):
        limits = {"max_restarts": 20} if solver is prioritised else {"max_steps": 200}
        result = solver(instance, time_limit_s=5.0, **limits)
        if result.status is PlanStatus.SOLVED:
            judge(instance, result)
            assert result.sum_of_costs >= oracle(instance)
            n_solved += 1
        elif result.status is PlanStatus.INFEASIBLE:
            assert oracle(instance) is None
    assert n_solved > 40


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_goal_that_cannot_be_reached_is_proved(solver) -> None:
    result = solver(APART, time_limit_s=1.0)
    assert result.status is PlanStatus.INFEASIBLE
    assert "agent 0 cannot reach its goal" in result.message
    assert result.paths is None


@pytest.mark.parametrize("solver", SOLVERS)
def test_time_limits_are_kept_and_prove_nothing(solver) -> None:
    """A passage without a bay: only LaCAM can tell that it is impossible, all others must stop."""
    limits = {"max_restarts": 10**6} if solver is prioritised else {}
    limits |= {"max_steps": 10**9} if solver is pibt else {}
    solver(BAY, time_limit_s=0.3)
    start = time.process_time()
    result = solver(PASSAGE, time_limit_s=0.3, **limits)
    assert time.process_time() - start < 0.3 + 0.05
    expected = PlanStatus.INFEASIBLE if "lacam" in solver.__name__ else PlanStatus.TIMED_OUT
    assert result.status is expected


@pytest.mark.parametrize("solver", [cbs, eecbs, pibt, lacam, lacam_star])
def test_a_bay_lets_two_agents_pass(solver) -> None:
    result = solver(BAY, time_limit_s=2.0)
    judge(BAY, result)
    # one waits in the bay: 2 steps aside and 1 of waiting, or the other waits outside
    assert result.sum_of_costs >= 11
    if solver is cbs:
        assert result.sum_of_costs == 11


def test_dense_rooms_need_swaps() -> None:
    """7 agents on 8 cells, like sliding tiles, and a full ring that turns."""
    rng = np.random.default_rng(0)
    cells = np.argwhere(np.ones((2, 4), bool))
    for _ in range(5):
        starts, goals = (rng.permutation(cells)[:6] for _ in range(2))
        instance = MapfInstance.one_shot(np.ones((2, 4), bool), starts, goals)
        judge(instance, lacam(instance, time_limit_s=20.0))
    ring = [(0, 0), (0, 1), (1, 1), (1, 0)]
    turning = MapfInstance.one_shot(np.ones((2, 2), bool), ring, ring[1:] + ring[:1])
    result = cbs(turning, time_limit_s=5.0)
    judge(turning, result)
    assert result.sum_of_costs == 4


def test_lacam_star_improves_and_ends_on_time() -> None:
    rng = np.random.default_rng(5)
    free = rng.random((16, 16)) < 0.85
    cells = np.argwhere(free)
    starts, goals = (rng.permutation(cells)[:40] for _ in range(2))
    instance = MapfInstance.one_shot(free, starts, goals)
    first = lacam(instance, time_limit_s=5.0, seed=1)
    if first.status is PlanStatus.INFEASIBLE:
        pytest.fail("choose another seed: an agent is walled in")
    better = lacam_star(instance, time_limit_s=1.5, seed=1)
    judge(instance, first)
    judge(instance, better)
    assert better.sum_of_costs < first.sum_of_costs
    assert better.first_solution_s < better.elapsed_s <= 1.5 + 0.25  # the machine may be busy
    unrefined = lacam_star(instance, time_limit_s=0.2, seed=1, search_share=1.0)
    assert better.sum_of_costs < unrefined.sum_of_costs


@pytest.mark.parametrize("solver", [prioritised, pibt, lacam])
def test_the_same_seed_gives_the_same_plan(solver) -> None:
    free = np.ones((6, 6), bool)
    cells = np.random.default_rng(7).permutation(np.argwhere(free))
    instance = MapfInstance.one_shot(free, cells[:12], cells[12:24])
    one, two = (solver(instance, time_limit_s=5.0, seed=3) for _ in range(2))
    judge(instance, one)
    assert np.array_equal(one.paths, two.paths)


@pytest.mark.parametrize("solver", SOLVERS)
def test_bad_arguments_are_refused(solver) -> None:
    lifelong = MapfInstance.lifelong(np.ones((1, 2), bool), [[0, 0]], [[[0, 1]]])
    with pytest.raises(ValueError, match="is lifelong; one-shot solvers need one goal"):
        solver(lifelong, time_limit_s=1.0)
    for limit in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="time_limit_s must be finite and > 0"):
            solver(BAY, time_limit_s=limit)


@pytest.mark.parametrize(
    ("solver", "bad"),
    [
        (prioritised, {"max_restarts": -1}),
        (cbs, {"max_nodes": 0}),
        (pibt, {"max_steps": 0}),
        (lacam_star, {"search_share": 1.5}),
    ],
)
def test_each_option_is_checked(solver, bad) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        solver(BAY, time_limit_s=1.0, **bad)


def test_lacam_says_when_its_memory_is_used_up() -> None:
    result = lacam(PASSAGE, time_limit_s=5.0, max_cells=10)
    assert result.status is PlanStatus.TIMED_OUT
    assert "max_cells" in result.message


def test_everyone_is_at_the_goal_already() -> None:
    cells = np.argwhere(np.ones((2, 2), bool))
    instance = MapfInstance.one_shot(np.ones((2, 2), bool), cells, cells)
    for solver in SOLVERS:
        result = solver(instance, time_limit_s=1.0)
        judge(instance, result)
        assert (result.sum_of_costs, result.makespan) == (0, 0)


def test_status_and_paths_cannot_disagree() -> None:
    with pytest.raises(ValueError, match="disagree"):
        PlanResult(PlanStatus.SOLVED, None, None, None, 0, False, 0.0, None, 0)


def test_a_published_instance(data_path) -> None:
    """LaCAM with swap plans for 409 agents (half of all cells), as its author reports."""
    folder = data_path("mapf/movingai")
    instance = read_movingai(
        folder / "random-32-32-20.map", folder / "random-32-32-20-random-1.scen", n_agents=400
    )
    result = lacam(instance, time_limit_s=10.0)
    judge(instance, result)
    assert result.lower_bound == 8944  # as other tools count it
    assert Rule.VERTEX not in validate_paths(instance, result.paths).broken_rules
