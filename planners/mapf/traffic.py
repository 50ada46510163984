"""Where a whole team is at each step, kept up to date path by path: what a new path would meet."""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import GridGraph

_BACK = np.array([0, 2, 1, 4, 3])  # the action that undoes an action


class Traffic:
    """The paths of a team, of which some may be taken out for a while.

    Attributes:
        table: uint16 [T, V, 5]: at step t, how many agents are at v (entry 0), and how many leave
            v by action a = 1..4 during the step after it. The last row holds for ever.
        where: int32 [T, N], vertices, -1 for agents that are taken out; the last row likewise.
    """

    def __init__(self, graph: GridGraph, n_agents: int, n_steps: int) -> None:
        self.graph = graph
        self.paths: list[np.ndarray | None] = [None] * n_agents
        self._allocate(n_steps)

    def _allocate(self, n_steps: int) -> None:
        self.table = np.zeros((n_steps, self.graph.n_vertices, 5), np.uint16)
        self.where = np.full((n_steps, len(self.paths)), -1, np.int32)

    def put(self, agent: int, path: np.ndarray) -> None:
        """Let the agent go along a path, int32 [length]; its last vertex is kept for ever."""
        self.take(agent)
        if len(path) >= len(self.table):
            self._allocate(2 * len(path))
            for other, its in enumerate(self.paths):
                if its is not None:
                    self._write(other, its, 1)
        self.paths[agent] = path
        self._write(agent, path, 1)

    def take(self, agent: int) -> None:
        """Take the agent's path out, if it has one."""
        path = self.paths[agent]
        if path is not None:
            self._write(agent, path, -1)
            self.paths[agent] = None

    def follow(self, paths: tuple[np.ndarray, ...]) -> None:
        """Let the team go along these; only what differs is written."""
        for agent, path in enumerate(paths):
            if self.paths[agent] is not path:
                self.put(agent, path)

    def conflicts_of(self, agent: int, path: np.ndarray) -> np.ndarray:
        """int64 [n, 5]: what this path of the agent meets, as `symmetries.Conflict`."""
        return _conflicts_of(self.where, agent, path)

    def _write(self, agent: int, path: np.ndarray, sign: int) -> None:
        _write(self.table, self.where, agent, path, sign, self.graph.neighbours)


@numba.njit(cache=True)
def _write(table, where, agent, path, sign, neighbours):  # type: ignore[no-untyped-def]
    last = len(path) - 1
    for t in range(len(table)):
        v = path[min(t, last)]
        table[t, v, 0] += sign
        where[t, agent] = v if sign > 0 else -1
        if t < last and path[t + 1] != v:
            for action in range(1, 5):
                if neighbours[v, action] == path[t + 1]:
                    table[t, v, action] += sign


@numba.njit(cache=True)
def _conflicts_of(where, agent, path):  # type: ignore[no-untyped-def]
    found = []
    last_row, n = len(where) - 1, where.shape[1]
    for t in range(1, max(len(path), len(where))):
        now, then = min(t - 1, last_row), min(t, last_row)
        before, after = path[min(t - 1, len(path) - 1)], path[min(t, len(path) - 1)]
        for j in range(n):
            if j == agent or where[then, j] < 0:
                continue
            swapped = where[now, j] == after and where[then, j] == before
            if where[then, j] != after and not (swapped and before != after):
                continue
            if agent < j:
                found.append((agent, j, t, after, where[then, j]))
            else:
                found.append((j, agent, t, where[then, j], after))
    out = np.empty((len(found), 5), np.int64)
    for k in range(len(found)):
        out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = found[k]
    return out


@numba.njit(cache=True)
def met_by_moving(table, step, v, u, action):  # type: ignore[no-untyped-def]
    """How many agents of `Traffic.table` are met by going from v to u by `action` after `step`."""
    last = len(table) - 1
    met = np.int64(table[min(step + 1, last), u, 0])
    if action > 0 and step < last:
        met += np.int64(table[step, u, _BACK[action]])
    return met


@numba.njit(cache=True)
def met_by_resting(table, goal, n_steps):  # type: ignore[no-untyped-def]
    """int64 [n_steps]: how many agents pass `goal` after each step (who rests there, once)."""
    met = np.zeros(n_steps, np.int64)
    total = np.int64(0)
    for t in range(len(table) - 1, -1, -1):
        if t < n_steps:
            met[t] = total
        total += np.int64(table[t, goal, 0])
    return met
