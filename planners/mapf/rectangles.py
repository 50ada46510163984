"""Rectangle symmetry: two agents cross a rectangle, each in many ways, and meet in all of them.

The idea is that of Li et al. 2019, Symmetry-Breaking Constraints for Grid-Based Multi-Agent Path
Finding (AAAI), and of Li et al. 2021, Pairwise Symmetry Reasoning for Multi-Agent Path Finding
Search (Artificial Intelligence 301). The geometry is worked out anew from decision diagrams:

Agents a and b meet at a cell, a having moved along one axis and b along the other. Measure `u` and
`w` from that cell along the two moves. At a cell (u, w) an agent is *on time* at the step of the
meeting plus u + w. A move ahead keeps it on time, and nothing makes up for a wait or a step back,
so each path is on time during one interval of steps.

Take columns x0 <= 0 <= x1 and rows y0 <= 0 <= y1. Let a's shortest paths that are on time in column
x0 be so between the rows y0 and y1, and b's in row y0 between the columns. Forbid a the places on
time in column x1 that it reaches only through column x0, and b the same with rows. A path of a that
takes such a place crosses the rectangle from side to side without delay, a path of b from bottom to
top; the two share a cell, and at the same step. So every plan keeps one of the two sets of
constraints. Where all the shortest paths of an agent pass its set, its cost rises.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

REACH = 12  # cells from the meeting to each side that are looked at
_NOT = -(1 << 30)
_FAR = 1 << 30


@dataclass(frozen=True)
class Crossing:
    """How one agent is on time around a meeting; offsets are shifted by REACH."""

    entered: np.ndarray  # int32 [D, D] by (along, across): the last way in, _NOT: never on time
    vertices: np.ndarray  # int32 [D, D]: the vertex there, where it is on time
    least: np.ndarray  # int32 [D]: smallest `across` on time, by `along`; _FAR: none
    most: np.ndarray  # int32 [D]: the largest
    cut: tuple[int, int]  # all shortest paths are on time from here to there, along; else empty
    walked: np.ndarray  # int32 [D, 2]: where the agent's own path is on time, by `along`


class OnTime:
    """Makes crossings of decision diagrams; memory is kept from one to the next."""

    def __init__(self, neighbours: np.ndarray) -> None:
        self._neighbours = neighbours
        self._scratch = np.zeros((2, 0), np.int32)  # mark, way in; [step * V + vertex]
        self._epoch = 0

    def crossing(
        self, states: np.ndarray, path: np.ndarray, step: int, along: np.ndarray, across: np.ndarray
    ) -> Crossing:
        """Of an agent with these diagram states (int32, step * V + vertex, by step) and this path.

        Args:
            step: of the meeting.
            along, across: int32 [V], coordinates of every vertex from the meeting.
        """
        n = len(self._neighbours)
        size = (int(states[-1]) // n + 1) * n
        if size > self._scratch.shape[1]:
            self._scratch = np.zeros((2, 2 * size), np.int32)
            self._epoch = 0
        self._epoch += 1
        entered, vertices, ranges, low, high = _on_time(
            self._neighbours, states, step, along, across, self._scratch, self._epoch
        )
        walked = _walked(path, step, along, across)
        return Crossing(entered, vertices, ranges[0], ranges[1], (low, high), walked)


@dataclass(frozen=True)
class Rectangle:
    """Bounds in the coordinates of agent a (u along its move, w across it), and how many of the two
    agents must pay when they are kept off their sides."""

    sides: int
    x0: int
    x1: int
    y0: int
    y1: int


def best_rectangle(a: Crossing, b: Crossing) -> Rectangle | None:
    """The rectangle that costs on most sides, and of these the largest; None: only single cells, or
    rectangles whose constraints the agents' own paths already keep."""
    found = _best(
        *(a.entered, a.least, a.most, *a.cut, a.walked),
        *(b.entered, b.least, b.most, *b.cut, b.walked),
    )
    return None if found[0] < 0 else Rectangle(*(int(x) for x in found))


def barred(
    crossing: Crossing, enter: int, leave: int, low: int, high: int
) -> list[tuple[int, int]]:
    """(vertex, steps after the meeting): the places with `across` from low to high at `leave` that
    the agent reaches only through `enter`."""
    at = leave + REACH
    return [
        (int(crossing.vertices[at, w + REACH]), leave + w)
        for w in range(low, high + 1)
        if _NOT < crossing.entered[at, w + REACH] <= enter
    ]


@numba.njit(cache=True)
def _on_time(neighbours, states, step, along, across, scratch, epoch):  # type: ignore[no-untyped-def]
    """(entered, vertices, [least, most], low, high), see `Crossing`."""
    n, d = len(neighbours), 2 * REACH + 1
    mark, way_in = scratch[0], scratch[1]
    entered, vertices = np.full((d, d), _NOT, np.int32), np.full((d, d), -1, np.int32)
    ranges = np.empty((2, d), np.int32)
    ranges[0], ranges[1] = _FAR, _NOT
    low, high = _NOT, _FAR
    for state in states:
        mark[state] = epoch
    end = states[-1] // n
    for state in states:
        t, v = state // n, state % n
        late = t - step - along[v] - across[v]
        if (t == 0 and late > 0) or (t == end and late < 0):
            high = _NOT  # a path that is never on time
        onward = False  # is there a way to go on that is late?
        for action in range(5):
            u = neighbours[v, action]
            if t < end and u >= 0 and mark[state + n + u - v] == epoch:
                onward = onward or t + 1 - step - along[u] - across[u] > 0
        if late < 0 and onward:
            high = _NOT
        if late != 0:
            continue
        way = _NOT
        fresh = t == 0
        for action in range(5):
            u = neighbours[v, action]
            if t == 0 or u < 0:
                continue
            before = state - n + u - v
            if mark[before] != epoch:
                continue
            if t - 1 - step - along[u] - across[u] == 0:
                way = max(way, way_in[before])
            else:
                fresh = True
        if fresh:
            way = max(way, along[v])
            low = max(low, along[v])
        way_in[state] = way
        if t == end or onward:
            high = min(high, along[v])
        if abs(along[v]) <= REACH:
            x = along[v] + REACH
            ranges[0, x] = min(ranges[0, x], across[v])
            ranges[1, x] = max(ranges[1, x], across[v])
            if abs(across[v]) <= REACH:
                entered[x, across[v] + REACH] = way
                vertices[x, across[v] + REACH] = v
    return entered, vertices, ranges, low, high


@numba.njit(cache=True)
def _walked(path, step, along, across):  # type: ignore[no-untyped-def]
    """int32 [D, 2]: the least and the most `across` of a path where it is on time, by `along`."""
    walked = np.empty((2 * REACH + 1, 2), np.int32)
    walked[:, 0], walked[:, 1] = _FAR, _NOT
    for t in range(len(path)):
        v = path[t]
        if abs(along[v]) <= REACH and t - step == along[v] + across[v]:
            x = along[v] + REACH
            walked[x, 0] = min(walked[x, 0], across[v])
            walked[x, 1] = max(walked[x, 1], across[v])
    return walked


@numba.njit(cache=True)
def _best(  # type: ignore[no-untyped-def]
    a_in, a_least, a_most, a_low, a_high, a_walked, b_in, b_least, b_most, b_low, b_high, b_walked
):
    """(sides, x0, x1, y0, y1); sides is -1 where there is none."""
    best, best_area = (-1, 0, 0, 0, 0), 1
    for x0 in range(-REACH, 1):
        if a_least[x0 + REACH] == _FAR:
            continue
        for y0 in range(-REACH, min(0, a_least[x0 + REACH]) + 1):
            if b_least[y0 + REACH] == _FAR or b_least[y0 + REACH] < x0:
                continue
            for x1 in range(max(0, b_most[y0 + REACH]), REACH + 1):
                a_pays = a_low <= x0 and x1 <= a_high and a_least[x1 + REACH] >= y0
                for y1 in range(max(0, a_most[x0 + REACH]), REACH + 1):
                    area = (x1 - x0 + 1) * (y1 - y0 + 1)
                    sides = int(a_pays and a_most[x1 + REACH] <= y1)
                    if b_low <= y0 and y1 <= b_high:
                        sides += int(b_least[y1 + REACH] >= x0 and b_most[y1 + REACH] <= x1)
                    if area == 1 or sides < best[0] or (sides == best[0] and area <= best_area):
                        continue
                    if _stopped(a_in, a_walked, x0, x1, y0, y1) and _stopped(
                        b_in, b_walked, y0, y1, x0, x1
                    ):
                        best, best_area = (sides, x0, x1, y0, y1), area
    return best


@numba.njit(cache=True)
def _stopped(entered, walked, enter, leave, low, high):  # type: ignore[no-untyped-def]
    """Does the agent's own path take a place that would be forbidden?"""
    x = leave + REACH
    for w in range(max(low, walked[x, 0]), min(high, walked[x, 1]) + 1):
        if _NOT < entered[x, w + REACH] <= enter:
            return True
    return False
