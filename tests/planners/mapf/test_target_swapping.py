"""TSWAP against networkx, brute force over sets of cells, permutations, and the judge."""

from __future__ import annotations

from itertools import permutations, product

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, read_movingai, validate_paths
from pilotage.planners.mapf import PlanStatus, relabelled, tswap
from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.results import PlanResult, Problem
from pilotage.planners.mapf.target_assignment import bottleneck_assignment, linear_assignment
from pilotage.planners.mapf.target_swapping import ASSIGNMENTS, _walk


def grid(free) -> nx.Graph:
    graph = nx.grid_2d_graph(*free.shape)
    graph.remove_nodes_from([tuple(c) for c in np.argwhere(~free).tolist()])
    return graph


def crowds(n: int, seed: int, size: int = 7) -> list[MapfInstance]:
    """Random maps, also in parts, with any number of agents up to one on every cell."""
    rng = np.random.default_rng(seed)
    made: list[MapfInstance] = []
    while len(made) < n:
        free = rng.random((int(rng.integers(1, size)), int(rng.integers(2, size)))) < 0.75
        cells = np.argwhere(free)
        if len(cells):
            k = int(rng.integers(1, len(cells) + 1))
            starts, goals = (cells[rng.permutation(len(cells))[:k]] for _ in range(2))
            made.append(MapfInstance.one_shot(free, starts, goals, name=f"crowd {len(made)}"))
    return made


def judge(instance: MapfInstance, result):
    assert result.status is PlanStatus.SOLVED
    report = validate_paths(relabelled(instance, result.paths), result.paths)
    assert report.success, report.violations[:3]
    assert (report.sum_of_costs, report.makespan) == (result.sum_of_costs, result.makespan)
    assert result.lower_bound <= report.sum_of_costs
    return report


def balanced(instance: MapfInstance) -> bool:
    starts, goals = (set(map(tuple, x.tolist())) for x in (instance.starts, instance.goals))
    parts = nx.connected_components(grid(instance.free))
    return all(len(part & starts) == len(part & goals) for part in parts)


@pytest.mark.parametrize("assignment", list(ASSIGNMENTS))
def test_every_instance_is_solved_or_has_a_part_with_too_many_agents(assignment) -> None:
    solvable = []
    for instance in crowds(250, seed=1):
        result = tswap(instance, time_limit_s=60.0, assignment=assignment)
        solvable.append(balanced(instance))
        if solvable[-1]:
            judge(instance, result)
        else:
            assert result.status is PlanStatus.INFEASIBLE, instance.name
            assert "more agents than goals" in result.message
    assert min(solvable.count(True), solvable.count(False)) > 20


def least_makespan(instance: MapfInstance) -> int:
    """Breadth-first over sets of cells: agents are not told apart, so swaps are no moves."""
    graph = grid(instance.free)
    goals = frozenset(map(tuple, instance.goals.tolist()))
    front = {frozenset(map(tuple, instance.starts.tolist()))}
    seen, steps = set(front), 0
    while goals not in front:
        after = set()
        for cells in front:
            order = list(cells)
            for chosen in product(*([c, *graph[c]] for c in order)):
                moves = {(a, b) for a, b in zip(order, chosen) if a != b}
                if len(set(chosen)) == len(order) and not any((b, a) in moves for a, b in moves):
                    after.add(frozenset(chosen))
        front, steps = after - seen, steps + 1
        seen |= after
    return steps


def test_no_plan_is_shorter_than_brute_force() -> None:
    reached = n = 0
    for instance in crowds(150, seed=2, size=4):
        if not balanced(instance) or instance.n_agents > 4:
            continue
        report = judge(instance, tswap(instance, time_limit_s=60.0))
        least = least_makespan(instance)
        assert report.makespan >= least, instance.name
        n += 1
        reached += report.makespan == least
    assert reached > 0.8 * n > 40


def test_assignments_are_the_best_of_all_permutations() -> None:
    rng = np.random.default_rng(3)
    each, n_none = np.arange(4), 0
    for _ in range(200):
        distances = rng.integers(0, 9, (4, 4)).astype(np.int32)
        distances[rng.random((4, 4)) < 0.3] = FAR
        costs = [distances[each, p] for p in permutations(range(4))]
        allowed = [c for c in costs if c.max() < FAR]
        by_sum, by_largest = linear_assignment(distances), bottleneck_assignment(distances)
        if not allowed:
            assert by_sum is None
            assert by_largest is None
            n_none += 1
            continue
        assert distances[each, by_sum].sum() == min(c.sum() for c in allowed)
        best = min((c.max(), c.sum()) for c in allowed)
        chosen = distances[each, by_largest]
        assert (chosen.max(), chosen.sum()) == best
    assert 10 < n_none < 150


def test_who_stands_in_the_way_takes_the_goal() -> None:
    """A corridor: the goal of the first is behind the second, which rests at its own."""
    corridor = MapfInstance.one_shot(np.ones((1, 5), bool), [[0, 0], [0, 3]], [[0, 3], [0, 4]])
    by_sum = tswap(corridor, time_limit_s=5.0, assignment="linear")
    assert (by_sum.sum_of_costs, by_sum.makespan, by_sum.lower_bound) == (4, 3, 4)
    assert by_sum.optimal
    assert by_sum.paths[:, -1].tolist() == [[0, 3], [0, 4]]
    passage = MapfInstance.one_shot(np.ones((1, 5), bool), [[0, 0], [0, 4]], [[0, 4], [0, 0]])
    still = tswap(passage, time_limit_s=5.0)  # impossible with labels, nothing to do without
    assert (still.sum_of_costs, still.makespan) == (0, 0)


def test_plans_for_other_goals_are_refused() -> None:
    instance = MapfInstance.one_shot(np.ones((1, 3), bool), [[0, 0]], [[0, 2]])
    with pytest.raises(ValueError, match="do not end at its goals"):
        relabelled(instance, np.array([[[0, 0], [0, 1]]]))
    with pytest.raises(ValueError, match="one of bottleneck, linear, got 'greedy'"):
        tswap(instance, time_limit_s=1.0, assignment="greedy")
    lifelong = MapfInstance.lifelong(np.ones((1, 2), bool), [[0, 0]], [[[0, 1]]])
    with pytest.raises(ValueError, match="is lifelong"):
        tswap(lifelong, time_limit_s=1.0)


def test_four_hundred_agents_on_a_published_map(data_path) -> None:
    folder = data_path("mapf/movingai")
    instance = read_movingai(
        folder / "random-32-32-20.map", folder / "random-32-32-20-random-1.scen", n_agents=400
    )
    report = judge(instance, tswap(instance, time_limit_s=60.0))
    assert report.sum_of_costs < 8944  # the sum of the labelled shortest paths


def test_agents_that_wait_in_a_circle_hand_their_goals_on() -> None:
    """Four agents on four cells, each sent to the cell across: whoever moves first is blocked by
    one who is not at its goal, all the way round. And many drawn assignments, far from the best."""
    ring = [[0, 0], [0, 1], [1, 1], [1, 0]]
    free = np.ones((2, 2), dtype=bool)
    across = MapfInstance.one_shot(free, ring, [ring[(k + 2) % 4] for k in range(4)], name="ring")
    assert walked(across, np.arange(4)).makespan <= 4
    rng = np.random.default_rng(4)
    for instance in crowds(120, seed=3, size=5):
        if nx.is_connected(grid(instance.free)):
            judge(instance, walked(instance, rng.permutation(instance.n_agents)))


def walked(instance: MapfInstance, goal_of: np.ndarray) -> PlanResult:
    """The plan that begins with a given assignment."""
    problem = Problem(instance, 60.0)
    assert problem.measure_fields() is None
    problem.lower_bound = 0
    result = _walk(problem, goal_of.astype(np.int32))
    judge(instance, result)
    return result
