"""What Follower does for every agent in every step, compiled: remember, plan, draw the window.

Skrynnik et al. 2024 (arXiv:2310.01207). To enter a cell costs its static cost plus how often
another agent was seen there since the agent got its goal, so that paths lead round a crowd.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

TIE = 1e-5  # sums f that are as close as this are equal: the smaller g goes first


class SearchMemory(NamedTuple):
    """Scratch arrays of one A* search on V vertices."""

    g: np.ndarray  # float64 [V], cost from the start
    f: np.ndarray  # float64 [V], with the cost to go
    parent: np.ndarray  # int32 [V]
    heap: np.ndarray  # int32 [V], open vertices
    place: np.ndarray  # int32 [V], where in the heap; -1: not there
    path: np.ndarray  # int32 [V]


def search_memory(n_vertices: int) -> SearchMemory:
    floats = (np.empty(n_vertices) for _ in range(2))
    return SearchMemory(*floats, *(np.empty(n_vertices, np.int32) for _ in range(4)))


@numba.njit(cache=True)
def remember(index, cells, here, holder, radius, sightings):  # type: ignore[no-untyped-def]
    """Adds 1 to `sightings` [N, V] where agent i sees another one.

    `index` [H, W] has the vertices of the map and `cells` [V, 2] their cells; `holder` [V] says who
    is where, -1 for nobody.
    """
    height, width = index.shape
    for i in range(len(here)):
        row, col = cells[here[i]]
        for y in range(max(0, row - radius), min(height, row + radius + 1)):
            for x in range(max(0, col - radius), min(width, col + radius + 1)):
                v = index[y, x]
                if v >= 0 and v != here[i] and holder[v] >= 0:
                    sightings[i, v] += 1


@numba.njit(cache=True)
def draw_windows(  # type: ignore[no-untyped-def]
    neighbours, index, cells, here, goals, holder, enter, fields, rows, extra, radius, m, out
):
    """Plans for every agent and writes its window into out float32 [N, 2, 2 r + 1, 2 r + 1]."""
    for i in range(len(here)):
        row, col = cells[here[i]]
        _draw_surroundings(index, row, col, holder, radius, out[i])
        n = plan(neighbours, enter, extra[i], fields[rows[i]], here[i], goals[i], m)
        for k in range(n - 1, -1, -1):
            y, x = cells[m.path[k]] - cells[here[i]]
            if abs(y) > radius or abs(x) > radius:
                break
            out[i, 0, y + radius, x + radius] = 1.0


@numba.njit(cache=True)
def _draw_surroundings(index, row, col, holder, radius, window):  # type: ignore[no-untyped-def]
    """Walls, and agents; the ring around the map is wall, beyond it is free, as in POGEMA."""
    height, width = index.shape
    for y in range(2 * radius + 1):
        for x in range(2 * radius + 1):
            r, c = row + y - radius, col + x - radius
            window[0, y, x], window[1, y, x] = 0.0, 0.0
            if r < -1 or r > height or c < -1 or c > width:
                continue
            v = index[r, c] if 0 <= r < height and 0 <= c < width else -1
            if v < 0:
                window[0, y, x] = -1.0
            elif holder[v] >= 0:
                window[1, y, x] = 1.0


@numba.njit(cache=True)
def plan(neighbours, enter, extra, to_go, start, goal, m):  # type: ignore[no-untyped-def]
    """A*: writes the path into `m.path`, the goal first, the start last; returns how many cells.

    To enter v costs enter[v] + extra[v]. 0 when start is goal, or there is no way. Vertices are
    opened again when a cheaper way to them is found: `to_go` is not quite consistent.
    """
    if start == goal or to_go[start] == np.inf:
        return 0
    m.g[:] = np.inf
    m.place[:] = -1
    m.g[start], m.f[start] = 0.0, to_go[start]
    m.heap[0], m.place[start] = start, 0
    size = 1
    while size > 0:
        v = m.heap[0]
        if v == goal:
            break
        size -= 1
        m.place[v] = -1
        if size > 0:
            m.heap[0] = m.heap[size]
            m.place[m.heap[0]] = 0
            _sink(size, m)
        for action in (4, 2, 1, 3):
            u = neighbours[v, action]
            if u < 0:
                continue
            cost = m.g[v] + enter[u] + extra[u]
            if cost < m.g[u]:
                m.g[u], m.f[u], m.parent[u] = cost, cost + to_go[u], v
                if m.place[u] < 0:
                    m.heap[size], m.place[u] = u, size
                    size += 1
                _rise(m.place[u], m)
    n, v = 0, goal
    while v != start:
        m.path[n] = v
        n, v = n + 1, m.parent[v]
    m.path[n] = start
    return n + 1


@numba.njit(cache=True)
def _before(u, v, m):  # type: ignore[no-untyped-def]
    if abs(m.f[u] - m.f[v]) < TIE:
        return m.g[u] < m.g[v]
    return m.f[u] < m.f[v]


@numba.njit(cache=True)
def _rise(at, m):  # type: ignore[no-untyped-def]
    while at > 0 and _before(m.heap[at], m.heap[(at - 1) // 2], m):
        _swap(at, (at - 1) // 2, m)
        at = (at - 1) // 2


@numba.njit(cache=True)
def _sink(size, m):  # type: ignore[no-untyped-def]
    at = 0
    while True:
        first = at
        for child in (2 * at + 1, 2 * at + 2):
            if child < size and _before(m.heap[child], m.heap[first], m):
                first = child
        if first == at:
            return
        _swap(at, first, m)
        at = first


@numba.njit(cache=True)
def _swap(a, b, m):  # type: ignore[no-untyped-def]
    m.heap[a], m.heap[b] = m.heap[b], m.heap[a]
    m.place[m.heap[a]], m.place[m.heap[b]] = a, b
