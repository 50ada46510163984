"""SIPP against space-time A*, against a search over steps and lists of paths, and by hand."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, validate_paths
from pilotage.planners.mapf import DistanceFields, GridGraph, PlanStatus, prioritised
from pilotage.planners.mapf.results import Deadline
from pilotage.planners.mapf.safe_intervals import FOREVER, SafeIntervals, SafeIntervalSearch
from pilotage.planners.mapf.space_time import Reservations, SpaceTimeSearch


def walk(rng, graph, longest: int) -> np.ndarray:
    path = [int(rng.integers(graph.n_vertices))]
    for _ in range(int(rng.integers(longest))):
        ways = graph.neighbours[path[-1]]
        path.append(int(rng.choice(ways[ways >= 0])))
    return np.array(path, np.int32)


def at(path, t: int) -> int:
    return int(path[min(t, len(path) - 1)])


def may_step(paths, t: int, v: int, u: int) -> bool:
    """From v at step t to u."""
    return not any(
        at(p, t + 1) == u or (v != u and at(p, t) == u and at(p, t + 1) == v) for p in paths
    )


def worlds(n: int, seed: int, *, apart: bool):
    """(graph, start, goal, paths of others); they share no vertex at any step if `apart`."""
    rng = np.random.default_rng(seed)
    for _ in range(n):
        free = rng.random((int(rng.integers(1, 6)), int(rng.integers(2, 6)))) < 0.85
        free[0, :2] = True
        graph = GridGraph(free)
        start, goal = rng.permutation(graph.n_vertices)[:2].tolist()
        paths: list[np.ndarray] = []
        for _ in range(int(rng.integers(5))):
            path = walk(rng, graph, 14)
            meets = any(at(path, t) == at(q, t) for q in paths for t in range(14))
            if path[0] != start and not (apart and meets):
                paths.append(path)
        yield graph, start, goal, paths


def sipp(graph, start, goal, paths, **limits):
    safe = SafeIntervals(graph.n_vertices)
    for path in paths:
        safe.add(path, graph.neighbours)
    found, decided = SafeIntervalSearch(graph).find(
        DistanceFields(graph).field(goal), start, goal, deadline=Deadline(60), safe=safe, **limits
    )
    assert decided
    return found


def judge(graph, start, goal, paths, found) -> None:
    assert (found[0], found[-1]) == (start, goal)
    for t in range(len(found) + 14):
        v, u = at(found, t), at(found, t + 1)
        assert u in graph.neighbours[v]
        assert may_step(paths, t, v, u)


def test_paths_are_as_short_as_those_of_space_time_search() -> None:
    n_found = n_none = 0
    for graph, start, goal, paths in worlds(600, 0, apart=True):
        reserved = Reservations(graph.n_vertices)
        for i, path in enumerate(paths):
            reserved.add(i, path)
        field = DistanceFields(graph).field(goal)
        expected, _ = SpaceTimeSearch(graph).find(
            field, start, goal, deadline=Deadline(60), reserved=reserved.table
        )
        found = sipp(graph, start, goal, paths)
        if expected is None:
            assert found is None
            n_none += 1
            continue
        assert len(found) == len(expected)
        judge(graph, start, goal, paths, found)
        assert sipp(graph, start, goal, paths, max_cost=len(found) - 2) is None
        n_found += 1
    assert min(n_found, n_none) > 100


def shortest_by_steps(graph, start, goal, paths) -> int | None:
    """Breadth-first over (step, vertex), every step looked up in the paths themselves."""
    if any(at(p, 99) == goal for p in paths):
        return None
    last = max([t for p in paths for t in range(15) if at(p, t) == goal], default=-1)
    queue, seen = deque([(0, start)]), {(0, start)}
    while queue:
        t, v = queue.popleft()
        if v == goal and t > last:
            return t
        if t > 15 + graph.n_vertices:
            continue
        for u in graph.neighbours[v].tolist():
            if u >= 0 and (t + 1, u) not in seen and may_step(paths, t, v, u):
                seen.add((t + 1, u))
                queue.append((t + 1, u))
    return None


def test_also_where_the_others_overlap() -> None:
    for graph, start, goal, paths in worlds(200, 1, apart=False):
        expected = shortest_by_steps(graph, start, goal, paths)
        found = sipp(graph, start, goal, paths)
        assert (None if found is None else len(found) - 1) == expected
        if found is not None:
            judge(graph, start, goal, paths, found)


def test_intervals_by_hand() -> None:
    """Vertex 1 of a corridor is visited at steps 1 and 2 on the way to 2, and at step 5."""
    graph = GridGraph(np.ones((1, 4), bool))
    safe = SafeIntervals(4)
    safe.add(np.array([0, 1, 1, 2, 2, 1, 0, 0]), graph.neighbours)
    right, left = 1 << 4, 1 << 3

    def spans(v: int) -> list[list[int]]:
        return safe.spans[v, : safe.counts[v]].tolist()

    assert spans(1) == [[0, 0, 0], [3, 4, right], [6, FOREVER, left]]
    assert spans(0) == [[1, 5, right]]
    assert spans(3) == [[0, FOREVER, 0]]
    safe.add(np.array([3, 2, 1, 0, 1, 1]), graph.neighbours)
    assert spans(1) == [[0, 0, 0], [3, 3, right | left]]


def test_many_visits_need_more_room() -> None:
    graph = GridGraph(np.ones((1, 3), bool))
    safe = SafeIntervals(3)
    safe.add(np.array([0, 1] * 40 + [2]), graph.neighbours)
    assert safe.counts.tolist() == [40, 41, 1]
    assert safe.spans[0, 39].tolist() == [79, FOREVER, 1 << 4]


def test_intervals_read_from_a_table_are_those_of_its_paths() -> None:
    """Also where a path was taken out again."""
    n_visited = 0
    for graph, _, _, paths in worlds(100, 6, apart=True):
        reserved, safe = Reservations(graph.n_vertices), SafeIntervals(graph.n_vertices)
        every = np.arange(graph.n_vertices, dtype=np.int32)
        for i, path in enumerate(paths):
            reserved.add(i, path)
        read = SafeIntervals(graph.n_vertices)
        read.read(reserved.table, every, graph.neighbours)
        if paths:
            reserved.remove(paths[0])
            read.read(reserved.table, np.unique(paths[0]), graph.neighbours)
        for path in paths[1:]:
            safe.add(path, graph.neighbours)
            n_visited += len(path)
        for v in every:
            assert read.counts[v] == safe.counts[v]
            spans = (x.spans[v, : x.counts[v]].tolist() for x in (read, safe))
            assert next(spans) == next(spans)
    assert n_visited > 200


def test_prioritised_plans_by_either_low_level() -> None:
    free = np.random.default_rng(2).random((10, 10)) < 0.9
    cells = np.random.default_rng(3).permutation(np.argwhere(free))
    instance = MapfInstance.one_shot(free, cells[:20], cells[20:40])
    for low_level in ("space_time", "sipp"):
        result = prioritised(instance, time_limit_s=60.0, low_level=low_level)
        assert result.status is PlanStatus.SOLVED
        assert validate_paths(instance, result.paths).success
    with pytest.raises(ValueError, match="one of space_time, sipp, got 'astar'"):
        prioritised(instance, time_limit_s=1.0, low_level="astar")


def test_the_first_agent_of_an_order_costs_the_same_by_either() -> None:
    """One free agent after another: with two agents the sum is decided by the second's search."""
    rng = np.random.default_rng(5)
    for _ in range(50):
        cells = rng.permutation(np.argwhere(np.ones((3, 4), bool)))
        instance = MapfInstance.one_shot(np.ones((3, 4), bool), cells[:1], cells[1:2])
        costs = [
            prioritised(instance, time_limit_s=9.0, low_level=level).sum_of_costs
            for level in ("space_time", "sipp")
        ]
        assert costs == [int(np.abs(cells[0] - cells[1]).sum())] * 2
