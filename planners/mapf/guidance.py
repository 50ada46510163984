"""Guidance: what it costs to go from a cell to the next, so that a crowd keeps to lanes.

Zhang et al. 2024 (Guidance Graph Optimization for Lifelong Multi-Agent Path Finding,
arXiv:2402.01446) and Chen et al. 2024 (Traffic Flow Optimisation for Lifelong Multi-Agent Path
Finding, arXiv:2308.11234): a search that pays more for some moves spreads a crowd and keeps it from
meeting head on. Costs are whole numbers; a move costs `STEP` without guidance.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR, GoalFields, GridGraph
from pilotage.planners.mapf.heap import pop, push

STEP = 8


def no_guidance(graph: GridGraph) -> np.ndarray:
    """int32 [V, 5]: the cost of each action at each vertex, the same for all."""
    return np.full((graph.n_vertices, 5), STEP, np.int32)


def crossing_lanes(graph: GridGraph, *, penalty: float = 1.0) -> np.ndarray:
    """int32 [V, 5]: even rows lead right and odd ones left, even columns up and odd ones down; a
    move against its lane costs `penalty` steps more (Cohen's crisscross highways, 2016).

    Raises:
        ValueError: a negative penalty.
    """
    if not penalty >= 0:
        raise ValueError(f"penalty must be >= 0, got {penalty}")
    costs = no_guidance(graph)
    odd_row, odd_col = graph.cells[:, 0] % 2 == 1, graph.cells[:, 1] % 2 == 1
    against = np.stack([odd_col, ~odd_col, ~odd_row, odd_row], axis=1)  # up, down, left, right
    costs[:, 1:] += np.round(STEP * penalty * against).astype(np.int32)
    return costs


class GuidedFields(GoalFields):
    """Cheapest cost from every vertex to a goal, int32, FAR where there is no way.

    Args:
        graph: the map.
        costs: int32 [V, 5], positive, what each action costs at each vertex.
    """

    def __init__(self, graph: GridGraph, costs: np.ndarray) -> None:
        super().__init__(graph, np.int32)
        if costs.shape != graph.neighbours.shape or (costs <= 0).any():
            raise ValueError(
                f"costs {list(costs.shape)} must be positive and of shape "
                f"{list(graph.neighbours.shape)}"
            )
        self.costs = np.ascontiguousarray(costs, np.int32)

    def _write(self, goal: int, out: np.ndarray) -> None:
        cheapest(self.graph.neighbours, self.costs, goal, out)


_BACK = np.array([0, 2, 1, 4, 3])  # the action that undoes an action


@numba.njit(cache=True)
def cheapest(neighbours, costs, goal, out):  # type: ignore[no-untyped-def]
    """Writes into `out` int32 [V] what the cheapest way from each vertex to `goal` costs."""
    heap = np.empty((2, 4 * len(out) + 2), np.int64)
    out[:] = FAR
    out[goal] = 0
    size = push(heap, 0, 0, goal)
    while size > 0:
        paid = heap[0, 0]
        v, size = pop(heap, size)
        if paid > out[v]:
            continue
        for action in range(1, 5):
            u = neighbours[v, action]
            if u < 0:
                continue
            cost = paid + costs[u, _BACK[action]]
            if cost < out[u]:
                out[u] = cost
                size = push(heap, size, cost, u)
