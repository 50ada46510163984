"""The low level of EECBS: a path of bounded length that meets as few other agents as possible.

The focal search of Barer et al. 2014 (Suboptimal Variants of the Conflict-Based Search Algorithm
for the Multi-Agent Pathfinding Problem, SoCS), which EECBS uses. The length of the shortest path is
found first (`space_time`), so the bound on the length is fixed and the focal list is the open list
of a best-first search by (conflicts, length); among all paths within the bound the one it finds
meets the fewest agents.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.planners.mapf.graph import GridGraph
from pilotage.planners.mapf.heap import pop, push
from pilotage.planners.mapf.results import Deadline
from pilotage.planners.mapf.space_time import CHUNK, FOUND, NO_PATH, RUNNING
from pilotage.planners.mapf.traffic import met_by_moving, met_by_resting

_MAX_STEP = (1 << 20) - 1


class CalmPathSearch:
    """Searches on one graph, with memory that is kept from one to the next."""

    def __init__(self, graph: GridGraph) -> None:
        self.graph = graph
        self._states = np.zeros((3, 0), np.int32)  # parent, conflicts, mark; [step * V + vertex]
        self._heap = np.empty((2, 8 * CHUNK), np.int64)
        self._epoch = 0

    def _begin(self, n_steps: int) -> int:
        """Room for that many steps; the mark of this search."""
        n_states = n_steps * self.graph.n_vertices
        if n_states > self._states.shape[1]:
            self._states = np.zeros((3, n_states), np.int32)
            self._epoch = 0
        self._epoch += 2
        if self._epoch > 2**31 - 4:
            self._states[2] = 0
            self._epoch = 2
        return self._epoch

    def find(
        self,
        field: np.ndarray,
        start: int,
        goal: int,
        *,
        longest: int,
        hold: int,
        forbidden: np.ndarray,
        traffic: np.ndarray,
        deadline: Deadline,
    ) -> np.ndarray | None:
        """int32 [length + 1] vertices with length <= longest; None when there is none, or no time.

        Args:
            field: int32 [V], distances to the goal.
            longest: the bound on the length.
            hold: the first step from which on the agent may rest at the goal.
            forbidden: uint16 [T', V, 5], non-zero where action a from v at step t is forbidden.
            traffic: the others, see `Traffic.table`.
        """
        epoch = self._begin(longest + 2)
        rest = met_by_resting(traffic, goal, longest + 1)
        size = 0
        while True:
            if size + 6 * CHUNK > self._heap.shape[1]:
                self._heap = np.concatenate([self._heap, np.empty_like(self._heap)], axis=1)
            status, size = _advance(
                self.graph.neighbours,
                field,
                start,
                goal,
                hold,
                longest,
                forbidden,
                traffic,
                rest,
                self._states,
                self._heap,
                size,
                epoch,
            )
            if status == FOUND:
                return _trace(self._states, (longest + 1) * len(field), len(field))
            if status == NO_PATH or deadline.passed:
                return None

    def diagram(
        self, field: np.ndarray, start: int, goal: int, cost: int, forbidden: np.ndarray
    ) -> np.ndarray:
        """int32: the states (step * V + vertex) of all paths of the least cost, by step: the
        multi-valued decision diagram."""
        epoch = self._begin(cost + 1)
        return _diagram(
            self.graph.neighbours, field, start, goal, cost, forbidden, self._states[2], epoch
        )


@numba.njit(cache=True)
def _advance(  # type: ignore[no-untyped-def]
    neighbours,
    field,
    start,
    goal,
    hold,
    longest,
    forbidden,
    traffic,
    rest,
    states,
    heap,
    size,
    epoch,
):
    """Up to CHUNK expansions. Returns (status, heap size). The state after the last step stands for
    "rests at the goal for ever"."""
    n = len(field)
    parent, conflicts, mark = states[0], states[1], states[2]
    finish = (longest + 1) * n
    if mark[start] < epoch:
        parent[start], conflicts[start], mark[start] = -1, 0, epoch
        size = push(heap, size, _key(0, field[start], 0), start)
    for _ in range(CHUNK):
        if size == 0:
            return NO_PATH, 0
        state, size = pop(heap, size)
        if mark[state] == epoch + 1:
            continue
        mark[state] = epoch + 1
        if state == finish:
            return FOUND, size
        v, step = state % n, state // n
        if v == goal and step >= hold:
            met = conflicts[state] + rest[step]
            if mark[finish] < epoch or met < conflicts[finish]:
                parent[finish], conflicts[finish], mark[finish] = state, met, epoch
                size = push(heap, size, _key(met, step, _MAX_STEP), finish)
        if step == longest:
            continue
        for action in range(5):
            u = neighbours[v, action]
            if u < 0 or field[u] > longest - step - 1:
                continue
            if step < len(forbidden) and forbidden[step, v, action] > 0:
                continue
            following = (step + 1) * n + u
            if mark[following] == epoch + 1:
                continue
            met = conflicts[state] + met_by_moving(traffic, step, v, u, action)
            if mark[following] == epoch and conflicts[following] <= met:
                continue
            parent[following], conflicts[following], mark[following] = state, met, epoch
            f = max(step + 1 + field[u], hold)
            size = push(heap, size, _key(met, f, step + 1), following)
    return RUNNING, size


@numba.njit(cache=True)
def _key(met, f, step):  # type: ignore[no-untyped-def]
    """The fewest conflicts first, then the shortest, then the farthest along."""
    return (np.int64(met) << 40) | (np.int64(f) << 20) | (_MAX_STEP - min(step, _MAX_STEP))


@numba.njit(cache=True)
def _trace(states, finish, n):  # type: ignore[no-untyped-def]
    state = states[0, finish]
    path = np.empty(state // n + 1, np.int32)
    for k in range(len(path) - 1, -1, -1):
        path[k] = state % n
        state = states[0, state]
    return path


@numba.njit(cache=True)
def _diagram(  # type: ignore[no-untyped-def]
    neighbours, field, start, goal, cost, forbidden, mark, epoch
):
    n = len(field)
    queue = [start]  # states that can be reached in time, by step
    mark[start] = epoch
    at = 0
    while at < len(queue):
        state = queue[at]
        at += 1
        v, step = state % n, state // n
        if step == cost:
            continue
        for action in range(5):
            u = neighbours[v, action]
            if u < 0 or field[u] > cost - step - 1:
                continue
            if step < len(forbidden) and forbidden[step, v, action] > 0:
                continue
            following = (step + 1) * n + u
            if mark[following] < epoch:
                mark[following] = epoch
                queue.append(following)
    n_kept = 0
    for at in range(len(queue) - 1, -1, -1):  # and from which the goal is reached
        state = queue[at]
        v, step = state % n, state // n
        onward = step == cost and v == goal
        if step < cost:
            for action in range(5):
                u = neighbours[v, action]
                if u < 0 or mark[(step + 1) * n + u] != epoch + 1:
                    continue
                if step >= len(forbidden) or forbidden[step, v, action] == 0:
                    onward = True
        if onward:
            mark[state] = epoch + 1
            n_kept += 1
    kept = np.empty(n_kept, np.int32)
    for at in range(len(queue) - 1, -1, -1):
        if mark[queue[at]] == epoch + 1:
            n_kept -= 1
            kept[n_kept] = queue[at]
    return kept
