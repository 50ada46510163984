"""A grid map as a graph of its free cells, and distances to goals, computed when first asked for.

Vertices are the free cells in reading order, 0 to V - 1.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numba
import numpy as np

from pilotage.envs.mapf.instance import MOVES, check_map

FAR = 1 << 29  # the distance of what cannot be reached


class GridGraph:
    """Free cells as vertices. Arrays are shared: do not write to them.

    Raises:
        ValueError, TypeError: what is no map (see `pilotage.envs.mapf.instance.check_map`).
    """

    def __init__(self, free: np.ndarray) -> None:
        free = check_map(free, "graph")
        self.cells = np.argwhere(free).astype(np.int32)  # int32 [V, 2], (row, col)
        self.index = np.full(free.shape, -1, np.int32)  # int32 [H, W], -1 for walls
        self.index[free] = np.arange(len(self.cells))
        padded = np.pad(self.index, 1, constant_values=-1)
        around = self.cells[:, None] + 1 + MOVES[None]
        self.neighbours = np.ascontiguousarray(padded[around[..., 0], around[..., 1]])
        # int32 [V, 5]: the vertex that each action leads to, itself for action 0, -1 for a wall

    @property
    def n_vertices(self) -> int:
        return len(self.cells)

    def vertices(self, cells: np.ndarray) -> np.ndarray:
        """int32 [...]: the vertices of cells [..., 2]."""
        return self.index[cells[..., 0], cells[..., 1]]


def team_vertices(graph: GridGraph, cells: np.ndarray, n_agents: int, what: str) -> np.ndarray:
    """int32 [N]: the vertices of a team's cells int [N, 2], after checking them.

    Raises:
        ValueError: a wrong shape, or a cell that is not free.
    """
    cells = np.asarray(cells)
    if cells.shape != (n_agents, 2):
        raise ValueError(f"{what} have shape {list(cells.shape)}, expected [{n_agents}, 2]")
    inside = ((cells >= 0) & (cells < graph.index.shape)).all(axis=1)
    vertices = np.full(n_agents, -1, np.int32)
    vertices[inside] = graph.vertices(cells[inside])
    if (vertices < 0).any():
        i = int(np.argmin(vertices))
        raise ValueError(f"{what}[{i}] is {cells[i].tolist()}, which is not a free cell")
    return vertices


def standing_vertices(graph: GridGraph, cells: np.ndarray, n_agents: int) -> np.ndarray:
    """int32 [N]: where a team stands, no two on one cell.

    Raises:
        ValueError: as `team_vertices`, and two agents on one cell.
    """
    here = team_vertices(graph, cells, n_agents, "cells")
    if len(np.unique(here)) < len(here):
        raise ValueError("two agents stand on one cell; each needs its own")
    return here


def actions_between(graph: GridGraph, here: np.ndarray, after: np.ndarray) -> np.ndarray:
    """int64 [N]: the actions that lead from vertices `here` [N] to their neighbours `after` [N]."""
    return np.argmax(graph.neighbours[here] == after[:, None], axis=1)


class GoalFields(ABC):
    """A number at every vertex for each goal that is asked for, computed once.

    Args:
        graph: the map.
        dtype: of `table`.
    """

    def __init__(self, graph: GridGraph, dtype: type[np.generic]) -> None:
        self.graph = graph
        self.table = np.empty((0, graph.n_vertices), dtype)  # [n_rows, V]
        self._row_of = np.full(graph.n_vertices, -1, np.int32)
        self._n = 0

    @abstractmethod
    def _write(self, goal: int, out: np.ndarray) -> None:
        """Write the numbers of one goal into `out` [V]."""

    def rows(self, goals: np.ndarray) -> np.ndarray:
        """int32 [n]: the rows of `table` for vertices [n]; missing ones are computed first.

        `table` may be another array afterwards: read it anew.
        """
        goals = np.asarray(goals)
        missing = np.unique(goals[self._row_of[goals] < 0])
        self._reserve(self._n + len(missing))
        for goal in missing.tolist():
            self._write(goal, self.table[self._n])
            self._row_of[goal] = self._n
            self._n += 1
        return self._row_of[goals]

    def field(self, goal: int) -> np.ndarray:
        """[V]: the numbers of one goal."""
        row = self.rows(np.array([goal]))[0]
        return self.table[row]

    def _reserve(self, n_rows: int) -> None:
        if n_rows > len(self.table):
            size = max(n_rows, 2 * len(self.table))
            larger = np.empty((size, self.graph.n_vertices), self.table.dtype)
            larger[: self._n] = self.table[: self._n]
            self.table = larger


class DistanceFields(GoalFields):
    """Steps from every vertex to a goal, int32, FAR where there is no way."""

    def __init__(self, graph: GridGraph) -> None:
        super().__init__(graph, np.int32)

    def _write(self, goal: int, out: np.ndarray) -> None:
        breadth_first(self.graph.neighbours, goal, out)


@numba.njit(cache=True)
def breadth_first(neighbours, goal, out):  # type: ignore[no-untyped-def]
    """Writes into `out` int32 [V] the number of steps from every vertex to `goal`."""
    queue = np.empty(len(out), np.int32)
    out[:] = FAR
    out[goal] = 0
    queue[0] = goal
    head, tail = 0, 1
    while head < tail:
        v = queue[head]
        head += 1
        for action in range(1, 5):
            u = neighbours[v, action]
            if u >= 0 and out[u] == FAR:
                out[u] = out[v] + 1
                queue[tail] = u
                tail += 1
