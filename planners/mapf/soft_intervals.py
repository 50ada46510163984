"""SIPPS: one agent's path that meets as few others as possible, of these the shortest, compiled.

After Li et al. 2022, MAPF-LNS2 (AAAI-22), from the paper: a safe-interval search (Phillips and
Likhachev 2011) in which others may be met at a cost. A vertex's steps are cut into spans with the
same agents on it; who enters a span meets all of them, once, however long it stays; who exchanges
places with somebody meets it. Labels (span, arrival, meetings) are expanded by (meetings, length);
a label is dropped when another of its span is not later and meets not more, which loses nothing
since waiting inside a span is free. The answer is therefore exact in these costs.

Where everybody must be met by somebody, looking for the fewest sees the whole map. With a `price`
in steps for each meeting, meetings and steps are added up instead, and what is found is the least
sum.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.heap import pop, push
from pilotage.planners.mapf.team_table import EPOCH, FOREVER, WORK, TeamTable, read_spans

# answers of `find` that are no length
NO_PATH, NO_ROOM, NO_BUDGET = -1, -2, -3
_RESTING = -1  # the span of a label that rests at the goal
_STEP_BITS = 20
FEWEST = 1 << _STEP_BITS  # the price at which no number of steps makes up for a meeting
_LAST_STEP = (1 << _STEP_BITS) - 1


class Ways(NamedTuple):
    """What the search needs to know of the map and the team."""

    neighbours: np.ndarray  # int32 [V, 5]
    table: np.ndarray  # int32 [n_rows, V], distances to goals
    rows: np.ndarray  # int32 [N]
    starts: np.ndarray  # int32 [N]


class Labels(NamedTuple):
    """Memory of the search: L labels, and what is known of each span of the pool."""

    labels: np.ndarray  # int32 [L, 5]: vertex, span (or _RESTING), arrival, met, parent
    heap: np.ndarray  # int64 [2, L + 1]
    known: np.ndarray  # int32 [P, 4]: the search that wrote the next three, the earliest arrival
    # among the labels that were expanded, arrival and met of one that waits to be expanded
    size: np.ndarray  # int64 [2], labels and heap entries in use
    path: np.ndarray  # int32 [T], the answer


def labels_for(team: TeamTable, n_labels: int) -> Labels:
    return Labels(
        labels=np.empty((n_labels, 5), np.int32),
        heap=np.empty((2, n_labels + 1), np.int64),
        known=np.full((len(team.spans), 4), -1, np.int32),
        size=np.zeros(2, np.int64),
        path=np.zeros(team.head.shape[1], np.int32),
    )


@numba.njit(cache=True)
def find(i, price, max_met, max_work, ways, team, memory):  # type: ignore[no-untyped-def]
    """The length of the path of agent i with the least length + price * meetings that meets at
    most `max_met`, written into `memory.path`; or NO_PATH, NO_ROOM (of pool, labels or steps),
    NO_BUDGET (WORK > max_work).

    The agent itself must be taken out.
    """
    team.counts[EPOCH] += 1
    epoch = np.int32(team.counts[EPOCH])
    neighbours, field = ways.neighbours, ways.table[ways.rows[i]]
    stale, first, n_spans, spans = team.stale, team.first, team.n_spans, team.spans
    head, following, where, arrive = team.head, team.following, team.where, team.arrive
    labels, heap, known, size, counts = (
        memory.labels,
        memory.heap,
        memory.known,
        memory.size,
        team.counts,
    )
    size[:] = 0
    start, goal = ways.starts[i], team.goals[i]
    if not read_spans(start, team) or not read_spans(goal, team):
        return NO_ROOM
    origin = first[start]
    met = np.int64(spans[origin, 2])
    key = met * price + field[start]
    if not _offer(start, origin, 0, met, -1, key, epoch, labels, heap, known, size):
        return NO_ROOM
    while size[1] > 0:
        top, size[1] = pop(heap, size[1])
        v, span, step = labels[top, 0], labels[top, 1], labels[top, 2]
        met = np.int64(labels[top, 3])
        if span == _RESTING:
            return _trace(top, labels, memory.path)
        if known[span, 1] <= step:
            continue
        known[span, 1] = step
        counts[WORK] += 1
        if counts[WORK] > max_work:
            return NO_BUDGET
        end = spans[span, 1]
        if v == goal:  # rest there: all who pass later are met
            later = met
            for k in range(span + 1, first[v] + n_spans[v]):
                later += spans[k, 2]
            key = later * price + step
            if later <= max_met and not _write(
                v, _RESTING, step, later, top, key, labels, heap, size
            ):
                return NO_ROOM
        if end < FOREVER:  # wait for those who come next
            more = met + spans[span + 1, 2]
            key = more * price + end + 1 + field[v]
            if more <= max_met and not _offer(
                v, span + 1, end + 1, more, top, key, epoch, labels, heap, known, size
            ):
                return NO_ROOM
        for action in range(1, 5):
            u = neighbours[v, action]
            if u < 0 or field[u] >= FAR:
                continue
            if stale[u] and not read_spans(u, team):
                return NO_ROOM
            last = first[u] + n_spans[u]
            for k in range(_first_after(spans, first[u], last, step + 1), last):
                begin = spans[k, 0]
                if begin - 1 > end:
                    break  # it would have to wait where it no longer stays in its span
                arrival, more = max(step + 1, begin), met + spans[k, 2]
                if k != first[u] and arrival == begin and spans[k - 1, 2] > 0:
                    more += _swaps(v, u, begin - 1, team.goals, head, following, where, arrive)
                key = more * price + arrival + field[u]
                if more <= max_met and not _offer(
                    u, k, arrival, more, top, key, epoch, labels, heap, known, size
                ):
                    return NO_ROOM
    return NO_PATH


@numba.njit(cache=True)
def _offer(v, span, step, met, parent, key, epoch, labels, heap, known, size):  # type: ignore[no-untyped-def]
    """Adds a label unless another of its span is as good; False when there is no room."""
    written = True
    if known[span, 0] != epoch:
        known[span, 0], known[span, 1] = epoch, FOREVER
        known[span, 2], known[span, 3] = FOREVER, FOREVER
    worse = known[span, 2] <= step and known[span, 3] <= met
    if known[span, 1] > step and not worse:
        if met <= known[span, 3]:
            known[span, 2], known[span, 3] = step, met
        written = _write(v, span, step, met, parent, key, labels, heap, size)
    return written


@numba.njit(cache=True)
def _write(v, span, step, met, parent, key, labels, heap, size):  # type: ignore[no-untyped-def]
    at = size[0]
    if at >= len(labels) or step >= _LAST_STEP:
        return False
    labels[at, 0], labels[at, 1], labels[at, 2] = v, span, step
    labels[at, 3], labels[at, 4] = met, parent
    size[0] += 1
    later_first = np.int64(_LAST_STEP - step)
    size[1] = push(heap, size[1], (np.int64(key) << _STEP_BITS) | later_first, at)
    return True


@numba.njit(cache=True, inline="always")
def _first_after(spans, first, last, step):  # type: ignore[no-untyped-def]
    """The first of the spans from `first` to before `last` that does not end before `step`."""
    low, high = first, last
    while low < high:
        middle = (low + high) >> 1
        if spans[middle, 1] < step:
            low = middle + 1
        else:
            high = middle
    return low


@numba.njit(cache=True, inline="always")
def _swaps(v, u, t, goals, head, following, where, arrive):  # type: ignore[no-untyped-def]
    """How many agents go from u to v while somebody goes from v at step t to u."""
    n, j = 0, -1
    if t < head.shape[1]:
        j = head[u, t]
    while j >= 0:
        if (where[j, t + 1] if t + 1 < arrive[j] else goals[j]) == v:
            n += 1
        j = following[j, t]
    return n


@numba.njit(cache=True)
def _trace(resting, labels, path):  # type: ignore[no-untyped-def]
    """Writes the path that ends in a label; its length."""
    length = np.int64(labels[resting, 2])
    if length >= len(path):
        return np.int64(NO_ROOM)
    after, at = length + 1, labels[resting, 4]
    while at >= 0:
        for t in range(labels[at, 2], after):
            path[t] = labels[at, 0]
        after, at = labels[at, 2], labels[at, 4]
    return length
