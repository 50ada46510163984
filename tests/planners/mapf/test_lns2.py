"""LNS2 against brute force and CBS, SIPPS against a search over steps, and the table by hand."""

from __future__ import annotations

import heapq
import time
from itertools import pairwise

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, validate_paths
from pilotage.planners.mapf import PlanStatus, cbs, lns2
from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.results import Problem
from pilotage.planners.mapf.soft_intervals import FEWEST, NO_BUDGET, NO_PATH, Ways, find, labels_for
from pilotage.planners.mapf.team_table import OUT, met_by, put, take, team_table

PASSAGE = MapfInstance.one_shot(np.ones((1, 5), bool), [[0, 0], [0, 4]], [[0, 4], [0, 0]])
APART = MapfInstance.one_shot(np.array([[1, 0, 1]], bool), [[0, 0]], [[0, 2]])


def at(path, t: int) -> int:
    return int(path[min(t, len(path) - 1)])


def walk_to(rng, problem: Problem, i: int) -> np.ndarray:
    """A random walk from the start of agent i, then the shortest way to its goal."""
    neighbours, field = problem.graph.neighbours, problem.fields.table[problem.rows[i]]
    path = [int(problem.starts[i])]
    for _ in range(int(rng.integers(6))):
        ways = neighbours[path[-1]]
        path.append(int(rng.choice(ways[ways >= 0])))
    while path[-1] != problem.goals[i]:
        ways = neighbours[path[-1]]
        path.append(int(min(ways[ways >= 0], key=lambda u: field[u])))
    return np.array(path, np.int32)


def worlds(n: int, seed: int):
    """(problem, paths) on small maps; agent 0 has no path yet."""
    rng = np.random.default_rng(seed)
    while n:
        free = rng.random((int(rng.integers(1, 5)), int(rng.integers(2, 5)))) < 0.85
        cells = np.argwhere(free)
        k = int(rng.integers(1, 6))
        if len(cells) < k + 1:
            continue
        starts, goals = (rng.permutation(cells)[:k] for _ in range(2))
        problem = Problem(MapfInstance.one_shot(free, starts, goals), 60.0)
        if problem.measure() is None:
            yield problem, [None] + [walk_to(rng, problem, i) for i in range(1, k)]
            n -= 1


def cheapest_meetings(problem: Problem, paths, price: int = FEWEST) -> tuple[int, int]:
    """(meetings, length) of agent 0 with the least sum; Dijkstra over (step, vertex).

    Meetings as the search defines them: who comes into a cell meets all in it, who stays meets them
    again only when others are there than a step before; and exchanges of places.
    """
    others = [p for p in paths if p is not None]
    horizon = max([len(p) for p in others], default=1)
    longest = horizon + problem.graph.n_vertices
    start, goal = int(problem.starts[0]), int(problem.goals[0])

    def there(v: int, t: int) -> frozenset[int]:
        return frozenset(j for j, p in enumerate(others) if at(p, t) == v)

    def resting(t: int) -> int:
        sets = [there(goal, s) for s in range(t, longest + 1)]
        return sum(len(b) for a, b in pairwise(sets) if b != a)

    met = len(there(start, 0))
    queue = [(met * price, 0, start, met, False)]
    seen = set()
    while queue:
        _, t, v, met, rests = heapq.heappop(queue)
        if rests:
            return met, t
        if (t, v) in seen or t == longest:
            continue
        seen.add((t, v))
        if v == goal:
            at_last = met + resting(t)
            heapq.heappush(queue, (at_last * price + t, t, v, at_last, True))
        for u in problem.graph.neighbours[v].tolist():
            if u < 0:
                continue
            now = there(u, t + 1)
            more = len(now) if u != v or now != there(v, t) else 0
            if u != v:
                more += sum(at(p, t) == u and at(p, t + 1) == v for p in others)
            paid = (met + more) * price + t + 1
            heapq.heappush(queue, (paid, t + 1, u, met + more, False))
    raise AssertionError("every goal can be reached")


def prepared(problem: Problem, paths):
    team = team_table(problem, 64)
    for i, path in enumerate(paths):
        if path is not None:
            put(i, path, len(path) - 1, team)
    for _ in range(4):  # room in the pool, as the solver makes it
        team = team_table(problem, 64, old=team)
    graph = problem.graph
    ways = Ways(graph.neighbours, problem.fields.table, problem.rows, problem.starts)
    return ways, team, labels_for(team, 20_000)


def meetings(problem: Problem, paths, path) -> int:
    """Of a path, step by step, as `cheapest_meetings` counts them."""
    others = [p for p in paths if p is not None]
    count, before = 0, frozenset()
    for t in range(max([len(p) for p in [*others, path]]) + 1):
        now = frozenset(j for j, p in enumerate(others) if at(p, t) == at(path, t))
        moved = t > 0 and at(path, t) != at(path, t - 1)
        if moved or now != before:
            count += len(now)
        if moved:
            count += sum(
                at(p, t - 1) == at(path, t) and at(p, t) == at(path, t - 1) for p in others
            )
        before = now
    return count


def test_sipps_meets_the_fewest_and_is_the_shortest_of_these() -> None:
    met_somebody = waited = 0
    for problem, paths in worlds(250, seed=1):
        expected = cheapest_meetings(problem, paths)
        ways, team, labels = prepared(problem, paths)
        length = find(0, FEWEST, FAR, 1 << 40, ways, team, labels)
        path = labels.path[: length + 1].copy()
        assert (path[0], path[-1]) == (problem.starts[0], problem.goals[0])
        assert all(u in problem.graph.neighbours[v] for v, u in pairwise(path))
        assert (meetings(problem, paths, path), length) == expected
        met_somebody += expected[0] > 0
        waited += length > problem.shortest[0]
    assert min(met_somebody, waited) > 25


def test_with_a_price_the_sum_is_the_least() -> None:
    shorter = 0
    for problem, paths in worlds(150, seed=5):
        met, length = cheapest_meetings(problem, paths, price=2)
        ways, team, labels = prepared(problem, paths)
        found = find(0, 2, FAR, 1 << 40, ways, team, labels)
        path = labels.path[: found + 1].copy()
        assert 2 * meetings(problem, paths, path) + found == 2 * met + length
        shorter += length < cheapest_meetings(problem, paths)[1]
    assert shorter > 10


def test_the_limits_of_a_search_are_kept() -> None:
    met = [(p, q) for p, q in worlds(100, seed=2) if cheapest_meetings(p, q)[0] > 0]
    for problem, paths in met:
        ways, team, labels = prepared(problem, paths)
        fewest = cheapest_meetings(problem, paths)[0]
        assert find(0, FEWEST, fewest - 1, 1 << 40, ways, team, labels) == NO_PATH
        assert find(0, FEWEST, fewest, 1 << 40, ways, team, labels) >= 0
        assert find(0, FEWEST, FAR, 0, ways, team, labels) == NO_BUDGET


def meet(p, q) -> bool:
    return any(
        at(p, t) == at(q, t)
        or (at(p, t) == at(q, t + 1) != at(p, t + 1) and at(q, t) == at(p, t + 1))
        for t in range(64)
    )


def test_the_table_knows_who_meets_whom() -> None:
    """Pairs against the definitions; and a table in which all were exchanged is like a new one."""
    n_pairs = 0
    for problem, paths in worlds(80, seed=3):
        problem_paths = dict(enumerate(paths[1:], start=1))
        team = team_table(problem, 64)
        rng = np.random.default_rng(0)
        for i in problem_paths:
            detour = walk_to(rng, problem, i)
            put(i, detour, len(detour) - 1, team)
        for i, path in problem_paths.items():
            take(i, team)
            put(i, path, len(path) - 1, team)
        assert team.arrive[0] == OUT
        out = np.zeros(problem.n_agents, np.int32)
        for i, p in problem_paths.items():
            expected = {j for j, q in problem_paths.items() if j != i and meet(p, q)}
            found = out[: met_by(i, team, out)].tolist()
            assert sorted(found) == sorted(expected)
            n_pairs += len(expected)
    assert n_pairs > 80


def judge(instance: MapfInstance, result) -> None:
    report = validate_paths(instance, result.paths)
    assert report.success, report.violations[:3]
    assert (report.sum_of_costs, report.makespan) == (result.sum_of_costs, result.makespan)
    assert result.first_solution_s <= result.elapsed_s


def test_lns2_is_never_below_the_optimum_and_often_at_it(small, oracle) -> None:
    n_solved = n_equal = 0
    for instance in small(60, seed=11):
        expected = oracle(instance)
        result = lns2(instance, time_limit_s=0.1)
        if result.status is not PlanStatus.SOLVED:
            if result.status is PlanStatus.INFEASIBLE:
                assert expected is None
            continue
        judge(instance, result)
        assert expected is not None
        assert result.sum_of_costs >= expected
        assert not result.optimal or result.sum_of_costs == expected
        n_solved += 1
        n_equal += result.sum_of_costs == expected
    assert n_solved > 35
    assert n_equal >= 0.8 * n_solved


def test_lns2_beside_cbs_on_larger_maps() -> None:
    rng = np.random.default_rng(3)
    for _ in range(4):
        free = rng.random((10, 10)) < 0.9
        cells = np.argwhere(free)
        starts, goals = (rng.permutation(cells)[:8] for _ in range(2))
        instance = MapfInstance.one_shot(free, starts, goals)
        best = cbs(instance, time_limit_s=20.0)
        result = lns2(instance, time_limit_s=0.5)
        if best.status is PlanStatus.INFEASIBLE:
            assert result.status is PlanStatus.INFEASIBLE
            continue
        judge(instance, result)
        assert best.sum_of_costs <= result.sum_of_costs <= 1.05 * best.sum_of_costs


def test_crowded_rooms_are_repaired_and_better_plans_are_announced() -> None:
    """40 agents on 100 cells: first paths meet; costs that are told fall, and end at the plan's."""
    cells = np.argwhere(np.ones((10, 10), bool))
    rng = np.random.default_rng(0)
    starts, goals = (rng.permutation(cells)[:40] for _ in range(2))
    instance = MapfInstance.one_shot(np.ones((10, 10), bool), starts, goals)
    told: list[tuple[float, int]] = []
    result = lns2(instance, time_limit_s=3.0, on_better=lambda s, cost: told.append((s, cost)))
    judge(instance, result)
    assert result.n_expanded > 0
    costs = [cost for _, cost in told]
    assert costs == sorted(set(costs), reverse=True)
    assert costs[-1] == result.sum_of_costs < costs[0]
    first = lns2(instance, time_limit_s=60.0, first_only=True)
    judge(instance, first)
    again = lns2(instance, time_limit_s=60.0, first_only=True)
    assert np.array_equal(first.paths, again.paths)


def test_what_lns2_cannot_know_is_timed_out_and_the_limit_is_kept() -> None:
    lns2(PASSAGE, time_limit_s=0.05)  # compiled
    start = time.process_time()
    result = lns2(PASSAGE, time_limit_s=0.3)
    assert time.process_time() - start < 0.3 + 0.05
    assert result.status is PlanStatus.TIMED_OUT
    assert "1 pairs of paths still meet; a complete solver is lacam" in result.message
    apart = lns2(APART, time_limit_s=1.0)
    assert apart.status is PlanStatus.INFEASIBLE
    assert "agent 0 cannot reach its goal" in apart.message


def test_everyone_is_at_the_goal_already_and_bad_arguments() -> None:
    cells = np.argwhere(np.ones((2, 2), bool))
    still = MapfInstance.one_shot(np.ones((2, 2), bool), cells, cells)
    result = lns2(still, time_limit_s=1.0)
    judge(still, result)
    assert (result.sum_of_costs, result.optimal) == (0, True)
    lifelong = MapfInstance.lifelong(np.ones((1, 2), bool), [[0, 0]], [[[0, 1]]])
    with pytest.raises(ValueError, match="is lifelong; one-shot solvers need one goal"):
        lns2(lifelong, time_limit_s=1.0)
    for limit in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="time_limit_s must be finite and > 0"):
            lns2(PASSAGE, time_limit_s=limit)
