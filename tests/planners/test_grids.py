"""Batched grid search, against networkx, scipy.sparse.csgraph, and search on one graph."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra as csgraph_dijkstra

from pilotage.envs.maze.grid import BLOCKED, from_free, to_graph
from pilotage.planners import exact
from pilotage.planners.grids import count_shortest_paths, distance_fields, solve_grids
from pilotage.planners.plan import PlanStatus
from pilotage.planners.validate_grids import check_grid_paths


def problems(seed, n=12, h=6, w=7, free=0.65):
    """Obstacle grids with free starts and goals, solvable or not."""
    rng = np.random.default_rng(seed)
    grids = rng.random((n, h, w)) < free
    ends = np.array([rng.permutation(h * w)[:2] for _ in range(n)])
    grids.reshape(n, -1)[np.arange(n)[:, None], ends] = True
    places = np.stack(np.divmod(ends, w), axis=-1)
    return from_free(grids), places[:, 0], places[:, 1]


def csgraph_distances(cells, starts, goals):
    """Least moves by scipy, -1 for none."""
    h, w = cells.shape[1:]
    found = []
    for maze, start, goal in zip(cells, starts, goals):
        dense = np.zeros((h * w, h * w))
        for (a, b), (c, d) in to_graph(maze).edges:
            dense[a * w + b, c * w + d] = dense[c * w + d, a * w + b] = 1
        far = csgraph_dijkstra(csr_array(dense), unweighted=True, indices=start[0] * w + start[1])
        value = far[goal[0] * w + goal[1]]
        found.append(int(value) if np.isfinite(value) else -1)
    return np.array(found)


OPTIONS = [("bfs", "first"), ("astar", "first"), ("astar", "searchformer")]


@given(st.integers(0, 2**31 - 1))
def test_paths_are_shortest(seed):
    cells, starts, goals = problems(seed)
    distances = csgraph_distances(cells, starts, goals)
    fields = distance_fields(cells, goals)
    assert (fields[np.arange(len(cells)), starts[:, 0], starts[:, 1]] == distances).all()
    for algorithm, tie_break in OPTIONS:
        plans = solve_grids(cells, starts, goals, algorithm=algorithm, tie_break=tie_break)
        assert (plans.n_moves == distances).all()
        assert ((plans.status == PlanStatus.INFEASIBLE) == (distances < 0)).all()
        verdicts = check_grid_paths(
            cells, plans.cells, plans.n_moves, starts, goals, distances=distances
        )
        assert (verdicts.valid == (distances >= 0)).all()
        assert (verdicts.optimal == verdicts.valid).all()


@given(st.integers(0, 2**31 - 1))
def test_the_tie_break_gives_the_very_path_of_the_search_on_one_graph(seed):
    """(col + 100000 * row) as a key there, cell numbers in a compiled heap here."""
    cells, starts, goals = problems(seed, free=0.8)
    plans = solve_grids(cells, starts, goals, algorithm="astar", tie_break="searchformer")
    for i, maze in enumerate(cells):
        expected = exact.astar(
            to_graph(maze),
            tuple(starts[i].tolist()),
            tuple(goals[i].tolist()),
            heuristic=lambda a, b: abs(a[0] - b[0]) + abs(a[1] - b[1]),
            tie_break=lambda cell: cell[1] + 100000 * cell[0],
        )
        assert plans.plan(i) == expected


def test_tie_breaks_differ_on_an_open_field():
    cells = from_free(np.ones((1, 4, 4), bool))
    starts, goals = np.array([[0, 0]]), np.array([[3, 3]])
    paths = {
        option: solve_grids(cells, starts, goals, algorithm=option[0], tie_break=option[1])
        .cells[0]
        .tolist()
        for option in OPTIONS
    }
    assert paths["astar", "searchformer"][:4] == [[0, 0], [0, 1], [0, 2], [0, 3]]  # small rows
    assert paths["astar", "first"][1] == [1, 0]  # down is discovered before right


@given(st.integers(0, 2**31 - 1))
def test_the_number_of_shortest_paths_is_networkx_s(seed):
    cells, starts, goals = problems(seed, n=6, h=4, w=4, free=0.8)
    counts = count_shortest_paths(cells, starts, goals)
    for i, maze in enumerate(cells):
        ends = tuple(starts[i].tolist()), tuple(goals[i].tolist())
        graph = to_graph(maze)
        known = nx.has_path(graph, *ends)
        assert counts[i] == (len(list(nx.all_shortest_paths(graph, *ends))) if known else 0)


def test_the_field_count_is_the_binomial():
    cells = from_free(np.ones((1, 8, 8), bool))
    corner = count_shortest_paths(cells, np.array([[0, 0]]), np.array([[7, 7]]))
    assert corner[0] == 3432  # 14 choose 7


def test_a_maze_does_not_depend_on_the_batch():
    cells, starts, goals = problems(3, n=9)
    for algorithm, tie_break in OPTIONS:
        kw = {"algorithm": algorithm, "tie_break": tie_break}
        together = solve_grids(cells, starts, goals, **kw)
        for i in range(9):
            alone = solve_grids(cells[i : i + 1], starts[i : i + 1], goals[i : i + 1], **kw)
            assert alone.plan(0) == together.plan(i)


@pytest.mark.parametrize("algorithm", ["bfs", "astar"])
def test_out_of_budget_is_not_infeasible(algorithm):
    free = np.ones((2, 1, 9), bool)
    free[1, 0, 4] = False
    ends = np.array([[0, 0]] * 2), np.array([[0, 8]] * 2)
    plans = solve_grids(from_free(free), *ends, algorithm=algorithm, max_expanded=6)
    assert plans.status.tolist() == [PlanStatus.TIMED_OUT, PlanStatus.INFEASIBLE]
    assert plans.n_expanded.tolist() == [6, 4]


def test_bad_input_is_named():
    cells = from_free(np.array([[[True, False, True]]] * 2))
    good = np.array([[0, 0], [0, 0]])
    cases = [
        ((cells, good, np.array([[0, 0], [0, 1]])), r"maze 1: goal \(0, 1\) is blocked"),
        ((cells, np.array([[0, 3], [0, 0]]), good), r"maze 0: start \(0, 3\) is outside 1 x 3"),
        ((cells, good.astype(float), good), "starts must be integers"),
        ((cells[:, :, :0], good, good), "not empty"),
    ]
    for arguments, message in cases:
        with pytest.raises(ValueError, match=message):
            solve_grids(*arguments)
    one_way = np.array([[[8, 0]]], np.uint8)
    with pytest.raises(ValueError, match=r"maze 0, cell \(0, 0\) with byte 8 leads by side 8"):
        distance_fields(one_way, np.array([[0, 0]]))
    with pytest.raises(ValueError, match="is blocked but has exits"):
        distance_fields(np.full((1, 1, 1), BLOCKED | 1, np.uint8), np.array([[0, 0]]))
    with pytest.raises(TypeError, match="uint8"):
        distance_fields(one_way.astype(int), np.array([[0, 0]]))
    for options, message in [
        ({"algorithm": "dfs"}, "algorithm must be"),
        ({"tie_break": "searchformer"}, 'is for algorithm="astar"'),
        ({"tie_break": "none"}, "tie_break must be"),
        ({"max_expanded": 0}, "max_expanded"),
    ]:
        with pytest.raises(ValueError, match=message):
            solve_grids(cells, good, good, **options)
