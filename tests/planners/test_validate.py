"""The judges: each fault is found, and the batched judge agrees with the one that reads graphs."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotage.envs.maze.grid import from_free, to_graph
from pilotage.planners.validate import Fault, check_path
from pilotage.planners.validate_grids import check_grid_paths

SQUARE = nx.DiGraph([(0, 1), (1, 2), (2, 3)])
SQUARE.add_edge(0, 3, weight=5)


@pytest.mark.parametrize(
    ("path", "fault", "at"),
    [
        ((), Fault.EMPTY, 0),
        (None, Fault.EMPTY, 0),
        ((1, 2, 3), Fault.WRONG_START, 0),
        ((0, 9, 3), Fault.NOT_A_NODE, 1),
        ((0, 1, 3), Fault.NOT_ADJACENT, 2),
        ((0, 0, 3), Fault.NOT_ADJACENT, 1),
        ((0, 1, 2), Fault.WRONG_GOAL, 2),
    ],
)
def test_every_fault_is_named_with_its_place(path, fault, at):
    verdict = check_path(SQUARE, path, 0, 3, distance=1)
    assert (verdict.fault, verdict.at, verdict.is_optimal) == (fault, at, False)


def test_valid_optimal_and_cost_are_three_things():
    direct, around = (0, 3), (0, 1, 2, 3)
    assert check_path(SQUARE, direct, 0, 3, weight="weight", distance=3).is_optimal is False
    assert check_path(SQUARE, around, 0, 3, weight="weight", distance=3).is_optimal is True
    assert check_path(SQUARE, direct, 0, 3, distance=1).is_optimal is True
    lied = check_path(SQUARE, direct, 0, 3, weight="weight", claimed_cost=3.0)
    assert (lied.fault, lied.cost) == (Fault.WRONG_COST, 5.0)
    with pytest.raises(ValueError, match="contradicts the distance 4"):
        check_path(SQUARE, around, 0, 3, weight="weight", distance=4)


def test_the_cheapest_of_parallel_edges_counts():
    graph = nx.MultiGraph([("a", "b", {"weight": 4}), ("a", "b", {"weight": 2})])
    assert check_path(graph, "ab", "a", "b", weight="weight").cost == 2


@given(st.integers(0, 2**31 - 1))
def test_the_batched_judge_agrees_with_the_one_on_graphs(seed):
    rng = np.random.default_rng(seed)
    n, h, w, length = 24, 3, 4, 5
    cells = from_free(rng.random((n, h, w)) < 0.8)
    paths = np.zeros((n, length, 2), np.int64)
    paths[:, 0] = rng.integers((h, w), size=(n, 2))
    for k in range(1, length):  # mostly neighbours, now and then a jump or a step outside
        move = rng.permuted(np.tile([[-1, 0], [1, 0], [0, -1], [0, 1]], (n, 1, 1)), axis=1)[:, 0]
        paths[:, k] = paths[:, k - 1] + move
        jump = rng.random(n) < 0.1
        paths[jump, k] = rng.integers(-1, 5, (int(jump.sum()), 2))
    n_moves = rng.integers(-1, length, n)
    starts = np.where(rng.random((n, 1)) < 0.9, paths[:, 0], 0)
    last = paths[np.arange(n), np.maximum(n_moves, 0)]
    goals = np.where(rng.random((n, 1)) < 0.9, last, 0)
    verdicts = check_grid_paths(cells, paths, n_moves, starts, goals)
    for i in range(n):
        walk = [tuple(c) for c in paths[i, : n_moves[i] + 1].tolist()]
        expected = check_path(to_graph(cells[i]), walk, tuple(starts[i]), tuple(goals[i]))
        assert verdicts.fault(i) == expected.fault


def test_batched_shapes_and_distances_are_checked():
    cells = from_free(np.ones((2, 2, 2), bool))
    paths = np.array([[[0, 0], [0, 1]]] * 2)
    ends = (paths[:, 0], paths[:, 1])
    right = np.array([1, 1])
    verdicts = check_grid_paths(cells, paths, right, *ends, distances=right)
    assert verdicts.optimal is not None
    assert verdicts.optimal.all()
    with pytest.raises(ValueError, match="maze 1: a valid path of 1 moves contradicts"):
        check_grid_paths(cells, paths, np.array([1, 1]), *ends, distances=np.array([1, 2]))
    with pytest.raises(ValueError, match="do not fit 2 mazes"):
        check_grid_paths(cells, paths[:1], np.array([1, 1]), *ends)
    with pytest.raises(ValueError, match="n_moves must be from -1 to 1"):
        check_grid_paths(cells, paths, np.array([1, 2]), *ends)
