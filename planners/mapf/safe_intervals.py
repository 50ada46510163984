"""SIPP: the shortest path of one agent among timed paths, over safe intervals instead of steps.

Phillips and Likhachev 2011, SIPP: Safe Interval Path Planning for Dynamic Environments (ICRA). A
safe interval is a longest stretch of steps at which a vertex is free; a state is (vertex, interval)
and is reached as early as possible, since waiting inside an interval costs nothing else. However
long the others take, a vertex has few intervals: the search does not grow with the horizon as
space-time A* does. The lengths of the paths are the same as there.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR, GridGraph
from pilotage.planners.mapf.heap import pop, push
from pilotage.planners.mapf.results import Deadline
from pilotage.planners.mapf.space_time import CHUNK, FOUND, NO_PATH, RUNNING

FOREVER = FAR
_BACK = np.array([0, 2, 1, 4, 3])  # the action that undoes an action
_MAX_TIME = (1 << 24) - 1


class SafeIntervals:
    """The steps at which each vertex is free, as sorted intervals with both ends included.

    Attributes:
        spans: int32 [V, room, 3]: first step, last step (FOREVER when it never ends), and as bits
            the actions by which somebody leaves the vertex during the step before the first.
        counts: int32 [V], how many of them are in use.
    """

    def __init__(self, n_vertices: int) -> None:
        self.spans = np.zeros((n_vertices, 4, 3), np.int32)
        self.spans[:, 0, 1] = FOREVER
        self.counts = np.ones(n_vertices, np.int32)

    def add(self, path: np.ndarray, neighbours: np.ndarray) -> None:
        """Take a path out, vertices int32 [length]; its last vertex is kept for ever.

        Paths may overlap. `neighbours` is that of the graph, int32 [V, 5].
        """
        begin = 0
        while True:
            begin = _take_out(path, begin, neighbours, self.spans, self.counts)
            if begin < 0:
                return
            self._make_room()

    def read(self, reserved: np.ndarray, vertices: np.ndarray, neighbours: np.ndarray) -> None:
        """Find the intervals of some vertices, int32 [n], anew in a table of reservations, int32
        [T, V] (-1: free; the last row holds for ever): the way to give something free."""
        while not _read(reserved, vertices, neighbours, self.spans, self.counts):
            self._make_room()

    def _make_room(self) -> None:
        room = np.zeros((len(self.spans), 2 * self.spans.shape[1], 3), np.int32)
        room[:, : self.spans.shape[1]] = self.spans
        self.spans = room


class SafeIntervalSearch:
    """Searches on one graph, with memory that is kept from one to the next."""

    def __init__(self, graph: GridGraph) -> None:
        self.graph = graph
        self._states = np.zeros((3, 0), np.int32)  # arrival, parent, mark
        self._heap = np.empty((2, 4096), np.int64)
        self._epoch = 0

    def find(
        self,
        field: np.ndarray,
        start: int,
        goal: int,
        *,
        deadline: Deadline,
        safe: SafeIntervals,
        max_cost: int = FAR,
    ) -> tuple[np.ndarray | None, bool]:
        """The shortest path to `goal`, where the agent then rests for ever.

        Args:
            field: int32 [V], distances to the goal.
            safe: when the vertices are free; the start must be free at step 0.
            max_cost: give up on paths longer than this.

        Returns:
            (path, decided): int32 [length + 1] vertices, or None; `decided` is False when the
            time was up first.
        """
        spans, counts = safe.spans, safe.counts
        if counts[start] == 0 or spans[start, 0, 0] > 0:
            return None, True
        rest = int(counts[goal]) - 1
        if rest < 0 or spans[goal, rest, 1] < FOREVER:
            return None, True
        room = spans.shape[1]
        if spans.shape[0] * room > self._states.shape[1]:
            self._states = np.zeros((3, spans.shape[0] * room), np.int32)
            self._epoch = 0
        self._epoch += 2  # marks: epoch = open, epoch + 1 = closed
        if self._epoch > 2**31 - 4:
            self._states[2] = 0
            self._epoch = 2
        size = 0
        while True:
            if size + 4 * room + 2 > self._heap.shape[1]:
                self._heap = np.concatenate([self._heap, np.empty_like(self._heap)], axis=1)
            status, size = _advance(
                self.graph.neighbours,
                field,
                start,
                goal * room + rest,
                spans,
                counts,
                max_cost,
                self._states,
                self._heap,
                size,
                self._epoch,
            )
            if status == FOUND:
                return _trace(self._states, goal * room + rest, room), True
            if status == NO_PATH:
                return None, True
            if deadline.passed:
                return None, False


@numba.njit(cache=True)
def _take_out(path, begin, neighbours, spans, counts):  # type: ignore[no-untyped-def]
    """Takes the visits from step `begin` on out of the intervals. Returns -1 when all is done, or
    the step from which to go on when there is more room."""
    last = len(path) - 1
    while True:
        end = begin
        while end < last and path[end + 1] == path[begin]:
            end += 1
        v = path[begin]
        if counts[v] + 1 > spans.shape[1]:
            return begin
        if end == last:
            _cut(spans[v], counts, v, begin, FOREVER, 0)
            return -1
        leaving = 0
        for action in range(1, 5):
            if neighbours[v, action] == path[end + 1]:
                leaving = 1 << action
        _cut(spans[v], counts, v, begin, end, leaving)
        begin = end + 1


@numba.njit(cache=True)
def _read(reserved, vertices, neighbours, spans, counts):  # type: ignore[no-untyped-def]
    """See `SafeIntervals.read`; False when there is no room."""
    last = len(reserved) - 1
    for v in vertices:
        n = 0
        for t in range(last + 1):
            if reserved[t, v] >= 0:
                continue
            if t == 0 or reserved[t - 1, v] >= 0:
                if n == spans.shape[1]:
                    return False
                leaving = 0
                for action in range(1, 5):
                    u = neighbours[v, action]
                    if t > 0 and u >= 0 and reserved[t, u] == reserved[t - 1, v]:
                        leaving = 1 << action
                spans[v, n, 0], spans[v, n, 2] = t, leaving
                n += 1
            spans[v, n - 1, 1] = FOREVER if t == last else t
        counts[v] = n
    return True


@numba.njit(cache=True)
def _cut(spans, counts, v, begin, end, leaving):  # type: ignore[no-untyped-def]
    """Takes the steps begin..end out of the intervals [room, 3] of vertex v."""
    n, k = counts[v], 0
    while k < n:
        first, last = spans[k, 0], spans[k, 1]
        if first == end + 1:  # somebody else left at the same time
            spans[k, 2] |= leaving
        if last < begin or first > end:
            k += 1
            continue
        before, after = first < begin, last > end
        if before and after:
            for j in range(n, k + 1, -1):
                spans[j] = spans[j - 1]
            n += 1
        if before:
            spans[k, 1] = begin - 1
            k += 1
        if after:
            spans[k, 0], spans[k, 1], spans[k, 2] = end + 1, last, leaving
            k += 1
        if not before and not after:
            for j in range(k, n - 1):
                spans[j] = spans[j + 1]
            n -= 1
    counts[v] = n


@numba.njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    neighbours, field, start, goal, spans, counts, max_cost, states, heap, size, epoch
):
    """Up to CHUNK expansions, fewer when the heap is nearly full. Returns (status, heap size);
    states are vertex * room + interval, also `goal`, while `start` is a vertex."""
    arrival, parent, mark = states[0], states[1], states[2]
    room = spans.shape[1]
    hold = spans[goal // room, goal % room, 0]  # nobody rests at the goal earlier
    if mark[start * room] < epoch:
        arrival[start * room], parent[start * room], mark[start * room] = 0, -1, epoch
        size = push(heap, size, _key(max(field[start], hold), 0), start * room)
    for _ in range(CHUNK):
        if size == 0:
            return NO_PATH, 0
        if size + 4 * room + 2 > heap.shape[1]:
            return RUNNING, size
        state, size = pop(heap, size)
        if mark[state] == epoch + 1:
            continue
        mark[state] = epoch + 1
        if state == goal:
            return FOUND, size
        v, step = state // room, arrival[state]
        end = spans[v, state % room, 1]
        for action in range(1, 5):
            u = neighbours[v, action]
            if u < 0 or field[u] >= FAR:
                continue
            for k in range(_first_after(spans[u], counts[u], step + 1), counts[u]):
                begin = spans[u, k, 0]
                cost = max(step + 1, begin)
                if cost - 1 > end:  # it would have to wait where it no longer can
                    break
                if cost - 1 == end and cost == begin and spans[u, k, 2] >> _BACK[action] & 1:
                    continue  # who leaves u comes here
                following = u * room + k
                f = max(cost + field[u], hold)
                if f > max_cost or mark[following] == epoch + 1:
                    continue
                if mark[following] == epoch and arrival[following] <= cost:
                    continue
                arrival[following], parent[following], mark[following] = cost, state, epoch
                size = push(heap, size, _key(f, cost), following)
    return RUNNING, size


@numba.njit(cache=True)
def _first_after(spans, n, step):  # type: ignore[no-untyped-def]
    """The first of n intervals that does not end before `step`."""
    low, high = 0, n
    while low < high:
        middle = (low + high) >> 1
        if spans[middle, 1] < step:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True)
def _key(f, step):  # type: ignore[no-untyped-def]
    return (f << 24) | (_MAX_TIME - min(step, _MAX_TIME))


@numba.njit(cache=True)
def _trace(states, state, room):  # type: ignore[no-untyped-def]
    arrival, parent = states[0], states[1]
    path = np.empty(arrival[state] + 1, np.int32)
    after = len(path)
    while state >= 0:
        path[arrival[state] : after] = state // room
        after = arrival[state]
        state = parent[state]
    return path
