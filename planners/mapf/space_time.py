"""Space-time A*: the shortest path of one agent among moving obstacles and forbidden moves.

Silver 2005, Cooperative Pathfinding. A state is (step, vertex); after the last step at which
anything moves, time stands still and the states are vertices only, so the search always ends. The
heuristic is the larger of the distance to the goal and the wait until the goal is free for good;
both are consistent. Ties go to fewer soft conflicts, then to the later step.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR, GridGraph
from pilotage.planners.mapf.heap import pop, push
from pilotage.planners.mapf.results import Deadline

CHUNK = 20_000  # expansions between two looks at the clock
RUNNING, FOUND, NO_PATH = 0, 1, 2
_BACK = np.array([0, 2, 1, 4, 3])  # the action that undoes an action
_MAX_SOFT = (1 << 16) - 1
_MAX_TIME = (1 << 24) - 1


class Reservations:
    """Who is where at which step: int32 [T, V], -1 for no one; the last row holds for ever."""

    def __init__(self, n_vertices: int, n_steps: int = 1) -> None:
        self._table = np.full((max(1, n_steps), n_vertices), -1, np.int32)
        self.n_rows = 1

    @property
    def table(self) -> np.ndarray:
        return self._table[: self.n_rows]

    def add(self, agent: int, path: np.ndarray) -> None:
        """Reserve a path, int32 [length]; its last vertex is kept for ever."""
        self._grow(len(path))
        _write(self.table, path, agent)

    def remove(self, path: np.ndarray) -> None:
        """Free what `add` reserved for this path."""
        self._grow(len(path))
        _write(self.table, path, -1)

    def _grow(self, n_rows: int) -> None:
        if n_rows > len(self._table):
            larger = np.full((2 * n_rows, self._table.shape[1]), -1, np.int32)
            larger[: self.n_rows] = self.table
            self._table = larger
        if n_rows > self.n_rows:
            self._table[self.n_rows : n_rows] = self._table[self.n_rows - 1]
            self.n_rows = n_rows


class SpaceTimeSearch:
    """Searches on one graph, with memory that is kept from one to the next."""

    def __init__(self, graph: GridGraph) -> None:
        self.graph = graph
        self._states = np.zeros((4, 0), np.int32)  # g, parent, soft conflicts, mark
        self._heap = np.empty((2, 8 * CHUNK), np.int64)  # keys, states
        self._epoch = 0
        self._no_moves = np.zeros((0, graph.n_vertices, 5), np.uint16)
        self._no_one = np.full((1, graph.n_vertices), -1, np.int32)

    def find(
        self,
        field: np.ndarray,
        start: int,
        goal: int,
        *,
        deadline: Deadline,
        reserved: np.ndarray | None = None,
        forbidden: np.ndarray | None = None,
        soft: np.ndarray | None = None,
        max_cost: int = FAR,
        hold: int = 0,
    ) -> tuple[np.ndarray | None, bool]:
        """The shortest path to `goal`, where the agent then rests for ever.

        Args:
            field: int32 [V], distances to the goal.
            reserved: int32 [T, V], occupied vertices by agent (-1: free), last row for ever.
            forbidden: uint16 [T', V, 5], non-zero where action a from v at step t is forbidden.
            soft: uint16 [T'', V, 5], conflicts to avoid among paths of one length.
            max_cost: give up on paths longer than this.
            hold: the first step at which the path may end.

        Returns:
            (path, decided): int32 [length + 1] vertices, or None; `decided` is False when the
            time was up first.
        """
        reserved = self._no_one if reserved is None else reserved
        forbidden = self._no_moves if forbidden is None else forbidden
        soft = self._no_moves if soft is None else soft
        last = max(len(reserved) - 1, len(forbidden) + 1, len(soft), hold)  # then nothing moves
        n_states = (last + 1) * self.graph.n_vertices
        if n_states > self._states.shape[1]:
            self._states = np.zeros((4, max(n_states, 2 * self._states.shape[1])), np.int32)
            self._epoch = 0
        self._epoch += 2  # marks: epoch = open, epoch + 1 = closed
        if self._epoch > 2**31 - 4:
            self._states[3] = 0
            self._epoch = 2
        hold = max(hold, earliest_rest(reserved, forbidden, goal))
        size = 0
        while hold < FAR:
            if size + 6 * CHUNK > self._heap.shape[1]:
                self._heap = np.concatenate([self._heap, np.empty_like(self._heap)], axis=1)
            status, size, state = _advance(
                self.graph.neighbours,
                field,
                start,
                goal,
                hold,
                last,
                reserved,
                forbidden,
                soft,
                max_cost,
                self._states,
                self._heap,
                size,
                self._epoch,
            )
            if status == FOUND:
                path = _trace(self._states, state, self.graph.n_vertices)
                return path, True
            if status == NO_PATH:
                break
            if deadline.passed:
                return None, False
        return None, True


@numba.njit(cache=True)
def _write(table, path, agent):  # type: ignore[no-untyped-def]
    for t in range(len(table)):
        table[t, path[min(t, len(path) - 1)]] = agent


@numba.njit(cache=True)
def earliest_rest(reserved, forbidden, goal):  # type: ignore[no-untyped-def]
    """The first step from which on the goal is free for ever; FAR when it never is."""
    if reserved[-1, goal] >= 0:
        return FAR
    hold = 0
    for t in range(len(reserved)):
        if reserved[t, goal] >= 0:
            hold = t + 1
    for t in range(len(forbidden)):
        if forbidden[t, goal, 0] > 0:
            hold = max(hold, t + 2)
    return hold


@numba.njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    neighbours,
    field,
    start,
    goal,
    hold,
    last,
    reserved,
    forbidden,
    soft,
    max_cost,
    states,
    heap,
    size,
    epoch,
):
    """Up to CHUNK expansions. Returns (status, heap size, goal state)."""
    n = len(field)
    g, parent, conflicts, mark = states[0], states[1], states[2], states[3]
    if mark[start] < epoch:
        g[start], parent[start], conflicts[start], mark[start] = 0, -1, 0, epoch
        size = push(heap, size, _key(max(field[start], hold), 0, 0), start)
    for _ in range(CHUNK):
        if size == 0:
            return NO_PATH, 0, -1
        state, size = pop(heap, size)
        if mark[state] == epoch + 1:
            continue
        mark[state] = epoch + 1
        v, step = state % n, g[state]
        if v == goal and step >= hold:
            return FOUND, size, state
        for action in range(5):
            u = neighbours[v, action]
            if u < 0 or not _may_move(v, u, action, step, reserved, forbidden):
                continue
            layer = min(step + 1, last)
            following = layer * n + u
            cost = step + 1
            f = cost + max(field[u], hold - cost)
            if f > max_cost or field[u] >= FAR:
                continue
            met = conflicts[state]
            if step < len(soft):
                met += soft[step, v, action]
            if mark[following] == epoch + 1:
                continue
            if mark[following] == epoch and (
                g[following] < cost or (g[following] == cost and conflicts[following] <= met)
            ):
                continue
            g[following], parent[following] = cost, state
            conflicts[following], mark[following] = met, epoch
            size = push(heap, size, _key(f, met, cost), following)
    return RUNNING, size, -1


@numba.njit(cache=True)
def _may_move(v, u, action, step, reserved, forbidden):  # type: ignore[no-untyped-def]
    if step < len(forbidden) and forbidden[step, v, action] > 0:
        return False
    now, then = min(step, len(reserved) - 1), min(step + 1, len(reserved) - 1)
    if reserved[then, u] >= 0:
        return False
    other = reserved[now, u]  # comes here while we go there?
    return not (action > 0 and other >= 0 and reserved[then, v] == other)


@numba.njit(cache=True)
def _key(f, met, step):  # type: ignore[no-untyped-def]
    return (f << 40) | (min(met, _MAX_SOFT) << 24) | (_MAX_TIME - min(step, _MAX_TIME))


@numba.njit(cache=True)
def _trace(states, state, n):  # type: ignore[no-untyped-def]
    path = np.empty(states[0, state] + 1, np.int32)
    for k in range(len(path) - 1, -1, -1):
        path[k] = state % n
        state = states[1, state]
    return path
