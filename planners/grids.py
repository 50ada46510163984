"""Exact search on thousands of grid mazes in one call: breadth-first, A*, distance fields.

Mazes are uint8 [B, H, W] as in `envs.maze.grid`; every move costs 1. The kernels are compiled by
numba and go through the batch on one core: a call, not a Python loop.

Tie-breaks of A* (they fix which of several shortest paths is the answer):

    "searchformer"  ties in f by col + 100000 * row, smallest first: the labels of the deterministic
                    A* mazes of Lehnert et al. 2024 (arXiv:2402.14083) and Nolte et al. 2024
                    (arXiv:2412.05117), whose (x, y) is our (col, row)
    "first"         ties in f by order of discovery, neighbours up, down, left, right

Breadth-first search looks at neighbours up, down, left, right ("first").
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from pilotage.envs.maze.grid import BLOCKED, MOVES, check_cells
from pilotage.planners.plan import Plan, PlanStatus

ALGORITHMS = ("bfs", "astar")
TIE_BREAKS = ("first", "searchformer")
_DR = np.array([m[0] for m in MOVES], np.int64)
_DC = np.array([m[1] for m in MOVES], np.int64)
_SOLVED, _INFEASIBLE, _TIMED_OUT = (int(s) for s in PlanStatus)


@dataclass(frozen=True)
class GridPlans:
    """Answers for B mazes. `plan(i)` is one of them as a `Plan`."""

    status: np.ndarray  # uint8 [B], values of PlanStatus
    n_moves: np.ndarray  # int32 [B], -1 unless solved
    cells: np.ndarray  # int32 [B, longest, 2], (row, col), start first; -1 after the goal
    n_expanded: np.ndarray  # int32 [B]

    def plan(self, i: int) -> Plan:
        status, n = PlanStatus(int(self.status[i])), int(self.n_expanded[i])
        if status != PlanStatus.SOLVED:
            return Plan(status, n_expanded=n)
        moves = int(self.n_moves[i])
        path = tuple((int(r), int(c)) for r, c in self.cells[i, : moves + 1])
        return Plan(status, path, float(moves), n)


def solve_grids(
    cells: np.ndarray,
    starts: np.ndarray,
    goals: np.ndarray,
    *,
    algorithm: str = "bfs",
    tie_break: str = "first",
    max_expanded: int | None = None,
) -> GridPlans:
    """A shortest path in every maze.

    Args:
        cells: uint8 [B, H, W].
        starts, goals: integers [B, 2], (row, col).
        algorithm: "bfs" or "astar" (Manhattan heuristic).
        tie_break: see above; "searchformer" is for "astar".
        max_expanded: expansions per maze after which it is TIMED_OUT, or None.

    Raises:
        TypeError, ValueError: a wrong shape or type, a maze with one-way sides, a start or goal
            outside its maze or blocked (named with maze and cell), an unknown option.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {ALGORITHMS}, got {algorithm!r}")
    if tie_break not in TIE_BREAKS:
        raise ValueError(f"tie_break must be one of {TIE_BREAKS}, got {tie_break!r}")
    if algorithm == "bfs" and tie_break != "first":
        raise ValueError(f'tie_break {tie_break!r} is for algorithm="astar"; "bfs" has "first"')
    if max_expanded is not None and max_expanded < 1:
        raise ValueError(f"max_expanded must be >= 1 or None, got {max_expanded}")
    check_cells(cells)
    start, goal = _flat(cells, starts, "start"), _flat(cells, goals, "goal")
    n, h, w = cells.shape
    status = np.empty(n, np.uint8)
    n_moves, n_expanded = np.empty(n, np.int32), np.empty(n, np.int32)
    came = np.empty((n, h * w), np.int8)  # direction of the move into the cell
    budget = np.int64(max_expanded if max_expanded is not None else np.iinfo(np.int64).max)
    flat = np.ascontiguousarray(cells.reshape(n, h * w))
    if algorithm == "bfs":
        _bfs(flat, w, start, goal, budget, status, n_moves, n_expanded, came)
    else:
        by_cell = tie_break == "searchformer"
        _astar(flat, w, start, goal, by_cell, budget, status, n_moves, n_expanded, came)
    paths = np.full((n, int(n_moves.max()) + 1, 2), -1, np.int32)
    _trace(w, goal, n_moves, came, paths)
    return GridPlans(status, n_moves, paths, n_expanded)


def distance_fields(cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """Moves to the goal from every cell, int32 [B, H, W]; -1 where there is no way.

    Errors as in `solve_grids`.
    """
    check_cells(cells)
    n, h, w = cells.shape
    fields = np.full((n, h * w), -1, np.int32)
    flat = np.ascontiguousarray(cells.reshape(n, h * w))
    _flood(flat, w, _flat(cells, goals, "goal"), fields)
    return fields.reshape(n, h, w)


def count_shortest_paths(cells: np.ndarray, starts: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """How many shortest paths each maze has, float64 [B]; 0 without one, exact below 2**53."""
    fields = distance_fields(cells, goals)
    n, h, w = cells.shape
    flat = np.ascontiguousarray(cells.reshape(n, h * w))
    counts = np.empty(n, np.float64)
    _count(flat, w, _flat(cells, starts, "start"), fields.reshape(n, h * w), counts)
    return counts


def _flat(cells: np.ndarray, places: np.ndarray, name: str) -> np.ndarray:
    """Cell numbers int64 [B] of checked (row, col) pairs."""
    n, h, w = cells.shape
    places = np.asarray(places)
    if places.dtype.kind not in "iu" or places.shape != (n, 2):
        raise ValueError(
            f"{name}s must be integers [{n}, 2] (row, col), got {places.dtype} {places.shape}"
        )
    places = places.astype(np.int64)
    rows, cols = places[:, 0], places[:, 1]
    outside = (rows < 0) | (rows >= h) | (cols < 0) | (cols >= w)
    if outside.any():
        i = int(np.argmax(outside))
        raise ValueError(f"maze {i}: {name} {tuple(places[i].tolist())} is outside {h} x {w} cells")
    blocked = cells[np.arange(n), rows, cols] & BLOCKED > 0
    if blocked.any():
        i = int(np.argmax(blocked))
        raise ValueError(
            f"maze {i}: {name} {tuple(places[i].tolist())} is blocked; take a free one"
        )
    return rows * w + cols


@njit(cache=True)
def _bfs(cells, width, starts, goals, budget, status, n_moves, n_expanded, came):  # type: ignore[no-untyped-def]
    size = cells.shape[1]
    queue = np.empty(size, np.int32)
    depth = np.empty(size, np.int32)
    for b in range(cells.shape[0]):
        came[b] = -1
        start, goal = starts[b], goals[b]
        queue[0], depth[start] = start, 0
        came[b, start] = 4
        head, tail, n = 0, 1, 0
        status[b], n_moves[b] = _INFEASIBLE, -1
        while head < tail:
            if n == budget:
                status[b] = _TIMED_OUT
                break
            cell = queue[head]
            head += 1
            n += 1
            if cell == goal:
                status[b], n_moves[b] = _SOLVED, depth[cell]
                break
            for k in range(4):
                if cells[b, cell] >> k & 1:
                    there = cell + _DR[k] * width + _DC[k]
                    if came[b, there] < 0:
                        came[b, there] = k
                        depth[there] = depth[cell] + 1
                        queue[tail] = there
                        tail += 1
        n_expanded[b] = n


@njit(cache=True)
def _astar(cells, width, starts, goals, by_cell, budget, status, n_moves, n_expanded, came):  # type: ignore[no-untyped-def]
    size = cells.shape[1]
    keys = np.empty(4 * size + 4, np.int64)  # a cell enters at most once per neighbour
    heap = np.empty(4 * size + 4, np.int32)
    depth = np.empty(size, np.int32)
    closed = np.empty(size, np.bool_)
    span = np.int64(4 * size + 4)
    for b in range(cells.shape[0]):
        came[b] = -1
        depth[:] = 2147483647
        closed[:] = False
        start, goal = starts[b], goals[b]
        goal_row, goal_col = goal // width, goal % width
        depth[start], came[b, start] = 0, 4
        far = abs(start // width - goal_row) + abs(start % width - goal_col)
        keys[0], heap[0] = far * span + (start if by_cell else 0), start
        used, pushed, n = 1, 1, 0
        status[b], n_moves[b] = _INFEASIBLE, -1
        while used:
            cell = heap[0]
            used -= 1
            if used:
                _sift_down(keys, heap, used)
            if closed[cell]:
                continue
            if n == budget:
                status[b] = _TIMED_OUT
                break
            closed[cell] = True
            n += 1
            if cell == goal:
                status[b], n_moves[b] = _SOLVED, depth[cell]
                break
            for k in range(4):
                if cells[b, cell] >> k & 1:
                    there = cell + _DR[k] * width + _DC[k]
                    if depth[cell] + 1 < depth[there]:
                        depth[there] = depth[cell] + 1
                        came[b, there] = k
                        far = abs(there // width - goal_row) + abs(there % width - goal_col)
                        tie = there if by_cell else pushed
                        _sift_up(keys, heap, used, (depth[there] + far) * span + tie, there)
                        used += 1
                        pushed += 1
        n_expanded[b] = n


@njit(cache=True)
def _sift_up(keys, heap, used, key, cell):  # type: ignore[no-untyped-def]
    at = used
    while at > 0:
        above = (at - 1) // 2
        if keys[above] <= key:
            break
        keys[at], heap[at] = keys[above], heap[above]
        at = above
    keys[at], heap[at] = key, cell


@njit(cache=True)
def _sift_down(keys, heap, used):  # type: ignore[no-untyped-def]
    """Move the last entry, at `used`, to the root and down."""
    key, cell = keys[used], heap[used]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= used:
            break
        if below + 1 < used and keys[below + 1] < keys[below]:
            below += 1
        if keys[below] >= key:
            break
        keys[at], heap[at] = keys[below], heap[below]
        at = below
    keys[at], heap[at] = key, cell


@njit(cache=True)
def _trace(width, goals, n_moves, came, paths):  # type: ignore[no-untyped-def]
    for b in range(len(goals)):
        cell = goals[b]
        for step in range(n_moves[b], -1, -1):
            paths[b, step, 0], paths[b, step, 1] = cell // width, cell % width
            k = came[b, cell]
            if k < 4:
                cell -= _DR[k] * width + _DC[k]


@njit(cache=True)
def _flood(cells, width, goals, fields):  # type: ignore[no-untyped-def]
    queue = np.empty(cells.shape[1], np.int32)
    for b in range(cells.shape[0]):
        queue[0], fields[b, goals[b]] = goals[b], 0
        head, tail = 0, 1
        while head < tail:
            cell = queue[head]
            head += 1
            for k in range(4):
                if cells[b, cell] >> k & 1:
                    there = cell + _DR[k] * width + _DC[k]
                    if fields[b, there] < 0:
                        fields[b, there] = fields[b, cell] + 1
                        queue[tail] = there
                        tail += 1


@njit(cache=True)
def _count(cells, width, starts, fields, counts):  # type: ignore[no-untyped-def]
    """Paths to the goal add up outwards: a cell has those of its neighbours one move nearer."""
    size = cells.shape[1]
    ways = np.zeros(size, np.float64)
    for b in range(cells.shape[0]):
        ways[:] = 0.0
        order = np.argsort(fields[b], kind="mergesort")
        for cell in order:
            near = fields[b, cell]
            if near == 0:
                ways[cell] = 1.0
            elif near > 0:
                for k in range(4):
                    if cells[b, cell] >> k & 1:
                        there = cell + _DR[k] * width + _DC[k]
                        if fields[b, there] == near - 1:
                            ways[cell] += ways[there]
        counts[b] = ways[starts[b]]
