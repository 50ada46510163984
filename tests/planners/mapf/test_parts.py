"""The parts of the solvers: distances, space-time search, one step of PIBT, conflicts of CBS."""

from __future__ import annotations

from collections import deque

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.mapf.instance import MOVES
from pilotage.planners.mapf import DistanceFields, GridGraph, PibtPolicy
from pilotage.planners.mapf.conflict_based_search import find_conflicts
from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.results import Deadline
from pilotage.planners.mapf.space_time import Reservations, SpaceTimeSearch


def test_distances_are_those_of_networkx() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        free = rng.random((7, 9)) < 0.7
        free[0, 0] = True
        graph = GridGraph(free)
        other = nx.grid_2d_graph(*free.shape)
        other.remove_nodes_from([tuple(c) for c in np.argwhere(~free).tolist()])
        fields = DistanceFields(graph)
        goal = int(rng.integers(graph.n_vertices))
        expected = nx.single_source_shortest_path_length(other, tuple(graph.cells[goal].tolist()))
        field = fields.field(goal)
        for v, cell in enumerate(graph.cells.tolist()):
            assert field[v] == expected.get(tuple(cell), FAR)


def test_fields_are_computed_once_and_when_asked() -> None:
    fields = DistanceFields(GridGraph(np.ones((4, 4), bool)))
    assert len(fields.table) == 0
    rows = fields.rows(np.array([3, 5, 3]))
    assert rows[0] == rows[2] != rows[1]
    before = fields.table
    assert fields.rows(np.array([5, 3])).tolist() == [rows[1], rows[0]]
    assert fields.table is before


def breadth_first_in_time(graph, start, goal, reserved, forbidden):
    """The length of the shortest path by plain search over (step, vertex), far into the future."""
    horizon = len(reserved) + len(forbidden) + 2 * graph.n_vertices

    def held(t, v):
        return reserved[min(t, len(reserved) - 1), v]

    last = max([t for t in range(len(reserved)) if held(t, goal) >= 0], default=-1)
    last = max([t + 1 for t in range(len(forbidden)) if forbidden[t, goal, 0]] + [last])
    if held(horizon, goal) >= 0:
        return None
    queue, seen = deque([(0, start)]), {(0, start)}
    while queue:
        t, v = queue.popleft()
        if v == goal and t > last:
            return t
        if t == horizon:
            continue
        for action in range(5):
            u = int(graph.neighbours[v, action])
            if u < 0 or held(t + 1, u) >= 0 or (t < len(forbidden) and forbidden[t, v, action]):
                continue
            if action and held(t, u) >= 0 and held(t, u) == held(t + 1, v):
                continue
            if (t + 1, u) not in seen:
                seen.add((t + 1, u))
                queue.append((t + 1, u))
    return None


def test_space_time_search_is_shortest() -> None:
    """Among random walkers and forbidden moves, against a search without a heuristic."""
    rng = np.random.default_rng(1)
    n_found = 0
    for _ in range(150):
        free = rng.random((4, 4)) < 0.8
        free[0, :2] = True
        graph = GridGraph(free)
        start, goal = rng.permutation(graph.n_vertices)[:2].tolist()
        reserved = Reservations(graph.n_vertices)
        for agent in range(int(rng.integers(3))):
            path = [int(rng.integers(graph.n_vertices))]
            for _ in range(int(rng.integers(6))):
                ways = graph.neighbours[path[-1]]
                path.append(int(rng.choice(ways[ways >= 0])))
            reserved.add(agent, np.array(path, np.int32))
        forbidden = (rng.random((int(rng.integers(6)), graph.n_vertices, 5)) < 0.15).astype("u2")
        field = DistanceFields(graph).field(goal)
        if reserved.table[0, start] >= 0:
            continue
        expected = breadth_first_in_time(graph, start, goal, reserved.table, forbidden)
        path, decided = SpaceTimeSearch(graph).find(
            field,
            start,
            goal,
            deadline=Deadline(10.0),
            reserved=reserved.table,
            forbidden=forbidden,
        )
        assert decided
        assert (None if path is None else len(path) - 1) == expected
        if path is None:
            continue
        n_found += 1
        assert path[0] == start
        assert path[-1] == goal
        tight, _ = SpaceTimeSearch(graph).find(
            field,
            start,
            goal,
            deadline=Deadline(10.0),
            reserved=reserved.table,
            forbidden=forbidden,
            max_cost=len(path) - 2,
        )
        assert tight is None
    assert n_found > 60


def test_soft_conflicts_choose_among_shortest_paths() -> None:
    graph = GridGraph(np.ones((3, 3), bool))
    field = DistanceFields(graph).field(8)
    soft = np.zeros((1, 9, 5), np.uint16)
    soft[0, 0, 4] = 1  # to the right costs a conflict, so go down first
    path, _ = SpaceTimeSearch(graph).find(field, 0, 8, deadline=Deadline(5.0), soft=soft)
    assert path[1] == 3
    soft[0, 0] = [0, 0, 1, 0, 0]
    path, _ = SpaceTimeSearch(graph).find(field, 0, 8, deadline=Deadline(5.0), soft=soft)
    assert path[1] == 1


def test_reservations_can_be_taken_back() -> None:
    reserved = Reservations(4)
    reserved.add(0, np.array([0, 1], np.int32))
    reserved.add(1, np.array([3, 3, 2], np.int32))
    assert reserved.table.tolist() == [[0, -1, -1, 1], [-1, 0, -1, 1], [-1, 0, 1, -1]]
    reserved.remove(np.array([0, 1], np.int32))
    assert reserved.table.tolist() == [[-1, -1, -1, 1], [-1, -1, -1, 1], [-1, -1, 1, -1]]


def test_conflicts_are_found() -> None:
    paths = [np.array(p, np.int32) for p in ([0, 1, 2], [2, 1, 0], [5, 2], [3, 0, 3])]
    found = find_conflicts(tuple(paths))
    assert (0, 1, 1, 1, 1) in found  # both at 1
    assert (0, 2, 2, 2, 2) in found  # 2 rests at 2
    assert (1, 3, 2, 0, 3) not in found
    swapping = (np.array([0, 1], np.int32), np.array([1, 0], np.int32))
    assert find_conflicts(swapping) == [(0, 1, 1, 1, 0)]


@pytest.mark.parametrize("n_agents", [1, 20, 60])
def test_a_pibt_step_has_no_conflict(n_agents) -> None:
    """On a crowded map, for changing goals: no vertex or swapping conflict, no wall, no jump."""
    rng = np.random.default_rng(2)
    free = np.ones((9, 9), bool)
    free[rng.integers(0, 9, 12), rng.integers(0, 9, 12)] = False
    free[4] = True
    free[:, 4] = True
    graph = GridGraph(free)
    reachable = DistanceFields(graph).field(int(graph.index[4, 4])) < FAR
    places = graph.cells[reachable]
    cells = rng.permutation(places)[:n_agents]
    policy = PibtPolicy(free, n_agents, seed=0)
    goals = places[rng.integers(0, len(places), n_agents)]
    reached = 0
    for _ in range(200):
        after = policy.next_cells(cells, goals)
        assert free[after[:, 0], after[:, 1]].all()
        assert (np.abs(after - cells).sum(axis=1) <= 1).all()
        assert len(np.unique(after, axis=0)) == n_agents
        steps = {(*a, *b) for a, b in zip(cells.tolist(), after.tolist()) if a != b}
        assert not any((c, d, a, b) in steps for a, b, c, d in steps)
        cells = after
        there = (cells == goals).all(axis=1)
        reached += int(there.sum())
        goals[there] = places[rng.integers(0, len(places), there.sum())]
    assert reached > 10


def test_pibt_policy_refuses_bad_states() -> None:
    policy = PibtPolicy(np.array([[1, 1, 0, 1]], bool), 2)
    with pytest.raises(ValueError, match="two agents stand on one cell"):
        policy.next_cells(np.array([[0, 0], [0, 0]]), np.array([[0, 1], [0, 1]]))
    with pytest.raises(ValueError, match=r"goals\[1\] is \[0, 2\], which is not a free cell"):
        policy.next_cells(np.array([[0, 0], [0, 1]]), np.array([[0, 1], [0, 2]]))
    with pytest.raises(ValueError, match="agent 0 cannot reach its goal"):
        policy.next_cells(np.array([[0, 0], [0, 1]]), np.array([[0, 3], [0, 1]]))
    with pytest.raises(ValueError, match=r"cells have shape \[1, 2\], expected \[2, 2\]"):
        policy.next_cells(np.array([[0, 0]]), np.array([[0, 3], [0, 1]]))
    with pytest.raises(ValueError, match="n_agents must be >= 1"):
        PibtPolicy(np.ones((1, 1), bool), 0)


def test_actions_lead_where_their_moves_say() -> None:
    graph = GridGraph(np.array([[1, 1], [0, 1]], bool))
    for v, cell in enumerate(graph.cells):
        for action, move in enumerate(MOVES):
            target = cell + move
            inside = ((target >= 0) & (target < 2)).all() and graph.index[tuple(target)] >= 0
            assert graph.neighbours[v, action] == (graph.index[tuple(target)] if inside else -1)
