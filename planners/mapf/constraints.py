"""Constraints of conflict-based search, and the tables in which the low levels read them.

A constraint is (agent, step, vertex, action). An action 0..4 forbids that move from the vertex
during the step that ends at `step`; the negative ones are named here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np

from pilotage.planners.mapf.graph import GridGraph

Constraint = tuple[int, int, int, int]
BE = -1  # not at the vertex at the step
UNTIL = -2  # not at the vertex up to the step, itself included
FROM = -3  # not at the vertex from the step on
REST = -4  # not at rest at the goal (the vertex) by the step: the path is longer than that

_BACK = (0, 2, 1, 4, 3)  # the action that undoes an action


class ConstraintTable:
    """One table, written for each question and cleaned after it."""

    def __init__(self, graph: GridGraph) -> None:
        self.graph = graph
        self._table = np.zeros((0, *graph.neighbours.shape), np.uint16)
        self._no_one = np.full((1, graph.n_vertices), -1, np.int32)

    @contextmanager
    def forbidding(
        self, constraints: Sequence[Constraint], n_steps: int = 0
    ) -> Iterator[np.ndarray]:
        """uint16 [T, V, 5], non-zero where action a from v at step t is forbidden.

        T is at least `n_steps`; what holds from a step on is only written below T, and REST is not
        in the table (see `earliest_end`). The table is another question's afterwards.
        """
        n_rows = max([n_steps, *(c[1] for c in constraints)])
        if n_rows > len(self._table):
            self._table = np.zeros((2 * n_rows, *self.graph.neighbours.shape), np.uint16)
        table = self._table[:n_rows]
        for value in (1, 0):
            if value == 0:
                yield table
            for constraint in constraints:
                self._write(table, constraint, value)

    def _write(self, table: np.ndarray, constraint: Constraint, value: int) -> None:
        _, step, v, action = constraint
        if action == REST:
            return
        if action >= 0:
            table[step - 1, v, action] = value
            return
        if action == BE:
            table = table[step - 1 : step]
        elif action == UNTIL:
            table = table[:step]
        else:
            table = table[max(step - 1, 0) :]
        for back, u in enumerate(self.graph.neighbours[v].tolist()):
            if u >= 0:
                table[:, u, _BACK[back]] = value

    def closed(self, constraints: Sequence[Constraint]) -> np.ndarray:
        """int32 [T, V]: what is closed from a step on, as `SpaceTimeSearch.find` reads it: -1 where
        nothing is, the last row for ever."""
        ever = [c for c in constraints if c[3] == FROM]
        if not ever:
            return self._no_one
        closed = np.full((max(c[1] for c in ever) + 1, self.graph.n_vertices), -1, np.int32)
        for _, step, v, _ in ever:
            closed[step:, v] = 0
        return closed


def earliest_end(constraints: Sequence[Constraint]) -> int:
    """The first step at which REST constraints let the path end."""
    return max((c[1] + 1 for c in constraints if c[3] == REST), default=0)
