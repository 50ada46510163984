"""What it costs Follower to enter a cell, and the cost to go: from the whole map, before it acts.

Skrynnik et al. 2024 (arXiv:2310.01207). Central cells lie on many shortest paths and are made
expensive, so that agents spread: s(c) = max over all c' of d(c') / d(c), with d(c) the mean
distance from c to the other cells that can be reached.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR, GridGraph, breadth_first


class FollowerCosts:
    """Static costs of a map, and a cost-to-go field per goal that is asked for.

    Args:
        graph: the map.
        static: False makes every cell cost 1.
    """

    def __init__(self, graph: GridGraph, *, static: bool = True) -> None:
        self.graph = graph
        n = graph.n_vertices
        self.enter = static_costs(graph.neighbours) if static else np.ones(n)  # float64 [V], >= 1
        self.fields = np.empty((0, n))  # float64 [n_rows, V], inf: no way
        self._row_of = np.full(n, -1, np.int32)
        self._n = 0

    def rows(self, goals: np.ndarray) -> np.ndarray:
        """int32 [n]: the rows of `fields` for vertices [n]; missing ones are computed first.

        A field charges every cell of the way but the goal: the cell that an agent stands on too,
        although it has been paid for. The heuristic of the published planner does the same.
        `fields` may be another array afterwards: read it anew.
        """
        missing = np.unique(goals[self._row_of[goals] < 0])
        if self._n + len(missing) > len(self.fields):
            size = max(self._n + len(missing), 2 * len(self.fields))
            larger = np.empty((size, self.graph.n_vertices))
            larger[: self._n] = self.fields[: self._n]
            self.fields = larger
        for goal in missing.tolist():
            cost_to_go(self.graph.neighbours, self.enter, goal, self.fields[self._n])
            self._row_of[goal] = self._n
            self._n += 1
        return self._row_of[goals]

    def field(self, goal: int) -> np.ndarray:
        """float64 [V]: the cost to go from every vertex to one goal."""
        row = self.rows(np.array([goal]))[0]
        return self.fields[row]


@numba.njit(cache=True)
def static_costs(neighbours):  # type: ignore[no-untyped-def]
    """float64 [V]: s(c) of every vertex; 1 for one from which no other can be reached."""
    n = len(neighbours)
    steps = np.empty(n, np.int32)
    mean = np.zeros(n)
    for v in range(n):
        breadth_first(neighbours, v, steps)
        total, others = 0, 0
        for u in range(n):
            if 0 < steps[u] < FAR:
                total += steps[u]
                others += 1
        if others > 0:
            mean[v] = total / others
    largest = mean.max()
    for v in range(n):
        mean[v] = largest / mean[v] if mean[v] > 0 else 1.0
    return mean


@numba.njit(cache=True)
def cost_to_go(neighbours, enter, goal, out):  # type: ignore[no-untyped-def]
    """Writes into `out` float64 [V] the sum of `enter` on the cheapest way to `goal`, without it.

    Label-correcting search with a first-in first-out queue: costs differ little from cell to cell,
    so that few labels are corrected.
    """
    n = len(out)
    queue = np.empty(n, np.int32)
    waiting = np.zeros(n, np.bool_)
    out[:] = np.inf
    out[goal] = 0.0
    queue[0], waiting[goal] = goal, True
    head, size = 0, 1
    while size > 0:
        v = queue[head]
        head, size = (head + 1) % n, size - 1
        waiting[v] = False
        for action in range(1, 5):
            u = neighbours[v, action]
            if u >= 0 and out[v] + enter[u] < out[u]:
                out[u] = out[v] + enter[u]
                if not waiting[u]:
                    queue[(head + size) % n] = u
                    size += 1
                    waiting[u] = True
