"""What it costs Follower to enter a cell, and the cost to go: from the whole map, before it acts.

Skrynnik et al. 2024 (arXiv:2310.01207). Central cells lie on many shortest paths and are made
expensive, so that agents spread: s(c) = max over all c' of d(c') / d(c), with d(c) the mean
distance from c to the other cells that can be reached.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR, GoalFields, GridGraph, breadth_first


class FollowerCosts(GoalFields):
    """Static costs of a map, and the cost to go from every vertex to a goal, float64, inf: no way.

    A field charges every cell of the way but the goal: the cell that an agent stands on too,
    although it has been paid for. The heuristic of the published planner does the same.

    Args:
        graph: the map.
        static: False makes every cell cost 1.
    """

    def __init__(self, graph: GridGraph, *, static: bool = True) -> None:
        super().__init__(graph, np.float64)
        n = graph.n_vertices
        self.enter = static_costs(graph.neighbours) if static else np.ones(n)  # float64 [V], >= 1

    def _write(self, goal: int, out: np.ndarray) -> None:
        cost_to_go(self.graph.neighbours, self.enter, goal, out)


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
