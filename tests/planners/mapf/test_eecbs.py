"""EECBS against brute force and CBS; its low level and its queue against plain enumeration."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, validate_paths
from pilotage.planners.mapf import DistanceFields, GridGraph, PlanStatus, cbs, eecbs
from pilotage.planners.mapf.calm_path import CalmPathSearch
from pilotage.planners.mapf.conflict_based_search import decision_diagram, find_conflicts
from pilotage.planners.mapf.explicit_estimation import Errors, ExplicitEstimation, Node
from pilotage.planners.mapf.results import Deadline
from pilotage.planners.mapf.symmetries import Diagram
from pilotage.planners.mapf.traffic import Traffic


def judge(instance: MapfInstance, result, w: float, least: int) -> None:
    assert result.status is PlanStatus.SOLVED
    report = validate_paths(instance, result.paths)
    assert report.success, report.violations[:3]
    assert report.sum_of_costs == result.sum_of_costs
    assert result.lower_bound <= least <= result.sum_of_costs <= w * result.lower_bound
    assert result.optimal == (result.sum_of_costs == result.lower_bound)


@pytest.mark.parametrize("w", [1.0, 1.1, 1.5])
def test_the_bound_holds_and_without_slack_the_plan_is_optimal(w, small, oracle) -> None:
    solved = undecided = 0
    for instance in small(120, seed=int(10 * w)):
        least = oracle(instance)
        result = eecbs(
            instance, time_limit_s=600.0, suboptimality=w, max_nodes=1000 if least else 50
        )
        if least is None:
            assert result.status is not PlanStatus.SOLVED
        elif result.status is PlanStatus.SOLVED:
            judge(instance, result, w, least)
            solved += 1
            if w == 1.0:
                assert result.sum_of_costs == least
                assert result.optimal
        else:
            assert result.status is PlanStatus.TIMED_OUT
            assert result.lower_bound <= least
            undecided += 1
    assert solved > 70
    assert undecided < 5


def team(seed: int, n: int, size: int = 8) -> MapfInstance:
    rng = np.random.default_rng(seed)
    cells = rng.permutation(np.argwhere(np.ones((size, size), bool)))
    return MapfInstance.one_shot(np.ones((size, size), bool), cells[:n], cells[n : 2 * n])


@pytest.mark.parametrize("seed", range(4))
def test_teams_as_cbs_solves_them(seed) -> None:
    instance = team(seed, 10)
    least = cbs(instance, time_limit_s=600.0, max_nodes=5000).sum_of_costs
    assert least is not None
    for w in (1.0, 1.02, 1.2, 2.0):
        judge(instance, eecbs(instance, time_limit_s=600.0, suboptimality=w), w, least)


def test_what_is_proved_when_the_nodes_are_used_up() -> None:
    passage = MapfInstance.one_shot(np.ones((1, 5), bool), [[0, 0], [0, 4]], [[0, 4], [0, 0]])
    result = eecbs(passage, time_limit_s=600.0, suboptimality=1.0, max_nodes=40)
    assert result.status is PlanStatus.TIMED_OUT
    assert result.lower_bound > 8  # the swap was seen to cost both
    for bad in (0.99, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="suboptimality must be finite and >= 1"):
            eecbs(passage, time_limit_s=1.0, suboptimality=bad)
    with pytest.raises(ValueError, match="max_nodes must be >= 1, got 0"):
        eecbs(passage, time_limit_s=1.0, max_nodes=0)


def others(rng, graph, n: int) -> list[np.ndarray]:
    """Random walks that end at different vertices."""
    made: list[np.ndarray] = []
    while len(made) < n:
        path = [int(rng.integers(graph.n_vertices))]
        for _ in range(int(rng.integers(8))):
            ways = graph.neighbours[path[-1]]
            path.append(int(rng.choice(ways[ways >= 0])))
        if path[-1] not in [p[-1] for p in made]:
            made.append(np.array(path, np.int32))
    return made


def all_paths(graph, start: int, goal: int, longest: int, hold: int, forbidden):
    """Every path up to a length, by plain recursion."""
    stack = [[start]]
    while stack:
        path = stack.pop()
        t = len(path) - 1
        if path[-1] == goal and t >= hold:
            yield np.array(path, np.int32)
        if t < longest:
            for action in range(5):
                u = int(graph.neighbours[path[-1], action])
                if u >= 0 and not (t < len(forbidden) and forbidden[t, path[-1], action]):
                    stack.append([*path, u])


def test_calm_paths_meet_the_fewest_of_all_paths() -> None:
    rng = np.random.default_rng(4)
    n_paths = n_none = n_longer = 0
    for _ in range(150):
        graph = GridGraph(np.array([[1, 1, 1], [1, rng.random() < 0.7, 1]], bool))
        walks = others(rng, graph, 3)
        start = int(rng.integers(graph.n_vertices))
        goal = int(
            rng.choice([v for v in range(graph.n_vertices) if v not in [p[-1] for p in walks]])
        )
        share = rng.choice([0.2, 0.7])
        forbidden = (rng.random((2, graph.n_vertices, 5)) < share).astype(np.uint16)
        hold, longest = int(rng.integers(3)), 5
        traffic = Traffic(graph, 4, 3)
        for agent, path in enumerate(walks):
            traffic.put(agent, path)
        field = DistanceFields(graph).field(goal)
        found = CalmPathSearch(graph).find(
            field,
            start,
            goal,
            longest=longest,
            hold=hold,
            forbidden=forbidden,
            traffic=traffic.table,
            deadline=Deadline(60),
        )
        every = list(all_paths(graph, start, goal, longest, hold, forbidden))
        met = [len([c for c in find_conflicts((*walks, p)) if c[1] == 3]) for p in every]
        if not every:
            assert found is None
            n_none += 1
            continue
        assert found.tolist() in [p.tolist() for p in every]
        mine = traffic.conflicts_of(3, found)
        theirs = [c for c in find_conflicts((*walks, found)) if c[1] == 3]
        assert sorted(map(tuple, mine.tolist())) == sorted(theirs)
        assert len(theirs) == min(met)
        n_paths += 1
        n_longer += len(found) > min(map(len, every))
    assert n_paths > 100
    assert n_none > 3
    assert n_longer > 10


def test_traffic_forgets_what_is_taken_out() -> None:
    rng = np.random.default_rng(6)
    graph = GridGraph(np.ones((3, 3), bool))
    traffic = Traffic(graph, 3, 4)
    kept = others(rng, graph, 3)
    for _ in range(20):
        traffic.put(int(rng.integers(3)), others(rng, graph, 1)[0])
    traffic.follow(tuple(kept))
    fresh = Traffic(graph, 3, len(traffic.table))
    for agent, path in enumerate(kept):
        fresh.put(agent, path)
    assert np.array_equal(traffic.table, fresh.table)
    assert np.array_equal(traffic.where, fresh.where)
    for agent in range(3):
        traffic.take(agent)
    assert not traffic.table.any()


def test_diagrams_and_their_narrow_levels() -> None:
    rng = np.random.default_rng(7)
    narrow = 0
    for _ in range(60):
        graph = GridGraph(np.ones((3, 4), bool))
        start, goal = rng.permutation(12)[:2].tolist()
        field = DistanceFields(graph).field(goal)
        forbidden = (rng.random((3, 12, 5)) < 0.3).astype(np.uint16)
        cost = int(field[start]) + int(rng.integers(2))
        level = decision_diagram(graph.neighbours, field, start, goal, cost, forbidden)
        expected = [int(np.argmax(row)) if row.sum() == 1 else -1 for row in level]
        states = CalmPathSearch(graph).diagram(field, start, goal, cost, forbidden)
        assert sorted(states.tolist()) == np.flatnonzero(level).tolist()
        assert (np.diff(states // 12) >= 0).all()
        if len(states):
            assert Diagram.of_states(states, 12).only.tolist() == expected
        narrow += expected.count(-1) < cost + 1
    assert narrow > 10


def node(cost: int, bound: int, n_conflicts: int, estimate: float) -> Node:
    conflicts = np.zeros((n_conflicts, 5), np.int64)
    return Node((), (), conflicts, np.full(n_conflicts, -1), cost, bound, bound, estimate)


def test_the_queue_selects_by_the_three_rules() -> None:
    queue = ExplicitEstimation(1.5)
    lowest, likely, calm = node(14, 10, 9, 20.0), node(15, 12, 5, 18.0), node(15, 13, 1, 26.0)
    far = node(12, 11, 0, 28.0)  # estimated above 1.5 times 18
    for each in (lowest, likely, calm, far):
        queue.push(each)
    assert queue.select() == (calm, False)
    calm.cost = 16  # above 1.5 times 10
    assert queue.select() == (likely, False)
    likely.cost = 16
    assert queue.select() == (lowest, True)
    lowest.bound = 12
    queue.file_by_bound(lowest)
    assert queue.select() == (calm, False)  # the least bound is now 11
    assert queue.bound == 11
    calm.closed = likely.closed = True
    assert queue.select() == (far, False)  # 28 is within 1.5 times 20
    far.closed = lowest.closed = True
    assert queue.select() is None


def test_estimates_by_hand() -> None:
    """Each step costs 2 and takes away half a conflict instead of one: 3 conflicts cost 12."""
    errors = Errors()
    assert errors.estimate(node(10, 10, 3, 0.0)) == 10
    parent = node(10, 10, 4, 0.0)
    errors.learn(parent, node(11, 10, 3, 0.0))
    errors.learn(parent, node(13, 10, 4, 0.0))
    assert errors.estimate(node(10, 10, 3, 0.0)) == pytest.approx(10 + 3 * 2 / (1 - 0.5))
    assert errors.estimate(node(10, 30, 0, 0.0)) == 30
