"""How conflict-based search splits a conflict: one that would come back in many forms, all at once.

Three such symmetries are known for pairs of agents (Li et al. 2021, Pairwise Symmetry Reasoning for
Multi-Agent Path Finding Search, Artificial Intelligence 301); the conditions here are derived anew.

target     j passes the goal where i rests. Either i comes to rest later than that, or j is not
           there from that step on.
corridor   i and j meet in a passage of single cells between its ends b and e, i on the way to e.
           Going through, j can be at b only l steps after it let i out at e, and the other way
           round. So either i is not at e, or j not at b, before the other has been and come
           through, or the way around was taken.
rectangle  see `rectangles`.

Each gives two sets of constraints, one for each agent, of which every plan keeps at least one, and
of which the present paths keep none.
"""

from __future__ import annotations

from dataclasses import dataclass

import numba
import numpy as np

from pilotage.planners.mapf.constraints import BE, FROM, REST, UNTIL, Constraint, ConstraintTable
from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.rectangles import Crossing, OnTime, Rectangle, barred, best_rectangle
from pilotage.planners.mapf.results import Problem

Conflict = tuple[int, int, int, int, int]  # agents i, j; step; vertex of i; of j (same: vertex)
Branch = tuple[int, tuple[Constraint, ...]]  # agent, what it must keep


@dataclass(frozen=True)
class Diagram:
    """All shortest paths of an agent under its constraints (a multi-valued decision diagram)."""

    states: np.ndarray  # int32, step * V + vertex, by step
    only: np.ndarray  # int32 [cost + 1]: where all are at each step, -1 where they differ

    @classmethod
    def of_states(cls, states: np.ndarray, n_vertices: int) -> Diagram:
        steps = states // n_vertices
        only = np.full(int(steps[-1]) + 1, -1, np.int32)
        only[steps] = states % n_vertices
        only[np.bincount(steps) != 1] = -1
        return cls(states, only)


@dataclass(frozen=True)
class Side:
    """One of the two agents of a conflict."""

    path: np.ndarray  # int32 [length + 1]
    constraints: tuple[Constraint, ...]  # its own
    diagram: Diagram


class Symmetries:
    """Ranks and splits conflicts of one problem."""

    def __init__(self, problem: Problem, table: ConstraintTable) -> None:
        graph = problem.graph
        self._neighbours, self._table = graph.neighbours, table
        self._rows, self._cols = np.ascontiguousarray(graph.cells.T)
        self._starts, self._goals = problem.starts.tolist(), problem.goals.tolist()
        self._degree = (graph.neighbours[:, 1:] >= 0).sum(axis=1)
        self._chains: dict[int, tuple[int, ...]] = {}
        self._on_time = OnTime(graph.neighbours)

    def rank(self, conflict: Conflict, i: Side, j: Side) -> int:
        """On how many of the two sides the split is sure to raise the cost."""
        tight = tight_sides(conflict, i, j)
        if tight == 2:
            return 2
        found = self._rectangle(conflict, i, j)
        return tight if found is None else max(tight, found[0].sides)

    def split(self, conflict: Conflict, i: Side, j: Side) -> list[Branch]:
        """Two branches of which every plan without this conflict keeps at least one."""
        branches = self._target(conflict, i, j) or self._corridor(conflict, i, j)
        if branches:
            return branches
        tight = tight_sides(conflict, i, j)
        if tight < 2:
            found = self._rectangle(conflict, i, j)
            if found is not None and found[0].sides >= tight:
                return self._around(conflict, *found)
        return plain_split(conflict, self._neighbours)

    def _target(self, conflict: Conflict, i: Side, j: Side) -> list[Branch]:
        one, two, step, v, u = conflict
        if v != u:
            return []
        for at_goal, side, other in ((one, i, two), (two, j, one)):
            if v == self._goals[at_goal] and step >= len(side.path) - 1:
                return [
                    (at_goal, ((at_goal, step, v, REST),)),
                    (other, ((other, step, v, FROM),)),
                ]
        return []

    def _corridor(self, conflict: Conflict, i: Side, j: Side) -> list[Branch]:
        one, two, step, v, u = conflict
        chain = self._chain(v if self._degree[v] == 2 else u)
        if not chain or self._starts[one] in chain[1:-1] or self._starts[two] in chain[1:-1]:
            return []
        leaves = _leaves(i.path, step, chain)
        if leaves is None or leaves != _leaves(j.path, step, chain[::-1]):
            return []
        if not leaves:  # i goes from the last cell to the first
            chain = chain[::-1]
        through, b, e = len(chain) - 1, chain[0], chain[-1]
        first_i = int(np.argmax(i.path == e))
        first_j = int(np.argmax(j.path == b))
        soon_i = self._arrival(one, i, e, -1, first_i)
        soon_j = self._arrival(two, j, b, -1, first_j)
        around_i = self._arrival(one, i, e, chain[-2], soon_j + through + 1)
        around_j = self._arrival(two, j, b, chain[1], soon_i + through + 1)
        until_i = min(around_i - 1, soon_j + through)
        until_j = min(around_j - 1, soon_i + through)
        if first_i > until_i or first_j > until_j:
            return []  # a path would stay as it is
        return [(one, ((one, until_i, e, UNTIL),)), (two, ((two, until_j, b, UNTIL),))]

    def _arrival(self, agent: int, side: Side, vertex: int, barred_from: int, limit: int) -> int:
        """The first step at which the agent can be at a vertex, not coming from `barred_from` on
        its last move; FAR when that is after `limit`."""
        with self._table.forbidding(side.constraints, limit + 1) as forbidden:
            return int(
                _earliest(
                    self._neighbours, forbidden, self._starts[agent], vertex, barred_from, limit
                )
            )

    def _chain(self, v: int) -> tuple[int, ...]:
        """The passage that v lies in, from end to end; empty where v is in none, or in a ring."""
        if self._degree[v] != 2:
            return ()
        if v not in self._chains:
            first, second = (u for u in self._neighbours[v, 1:].tolist() if u >= 0)
            ahead = self._walk(v, first)
            chain = (*self._walk(v, second)[::-1], v, *ahead)
            if ahead[-1] == v or chain[0] == chain[-1]:
                chain = ()
            self._chains |= dict.fromkeys(chain[1:-1] or (v,), chain)
        return self._chains[v]

    def _walk(self, v: int, onward: int) -> list[int]:
        """From v on through cells with two neighbours, to one with fewer or more, or back to v."""
        walked, before = [onward], v
        while self._degree[walked[-1]] == 2 and walked[-1] != v:
            here = walked[-1]
            (ahead,) = (u for u in self._neighbours[here, 1:].tolist() if u >= 0 and u != before)
            before = here
            walked.append(ahead)
        return walked

    def _rectangle(
        self, conflict: Conflict, i: Side, j: Side
    ) -> tuple[Rectangle, Crossing, Crossing] | None:
        """With the crossings of i (which is agent a) and j; None where there is no rectangle."""
        _, _, step, v, u = conflict
        if v != u or step >= min(len(i.path), len(j.path)):
            return None
        axes = self._axes(i.path[step - 1], j.path[step - 1], v)
        if axes is None:
            return None
        along, across = axes
        a = self._on_time.crossing(i.diagram.states, i.path, step, along, across)
        b = self._on_time.crossing(j.diagram.states, j.path, step, across, along)
        found = best_rectangle(a, b)
        return None if found is None else (found, a, b)

    def _axes(self, from_i: int, from_j: int, v: int) -> tuple[np.ndarray, np.ndarray] | None:
        """int32 [V], [V]: every vertex in coordinates from v along the moves of i and j to it; None
        where they are not at a right angle."""
        offsets = []
        for before in (from_i, from_j):
            down = int(self._rows[v] - self._rows[before])
            right = int(self._cols[v] - self._cols[before])
            offsets.append((down, right))
        (down_i, right_i), (down_j, right_j) = offsets
        if down_i * down_j or right_i * right_j or (0, 0) in offsets:
            return None
        rows, cols = self._rows - self._rows[v], self._cols - self._cols[v]
        return down_i * rows + right_i * cols, down_j * rows + right_j * cols

    @staticmethod
    def _around(conflict: Conflict, found: Rectangle, a: Crossing, b: Crossing) -> list[Branch]:
        one, two, step, _, _ = conflict
        of_a = barred(a, found.x0, found.x1, found.y0, found.y1)
        of_b = barred(b, found.y0, found.y1, found.x0, found.x1)
        return [
            (agent, tuple((agent, step + late, v, BE) for v, late in places))
            for agent, places in ((one, of_a), (two, of_b))
        ]


def tight_sides(conflict: Conflict, i: Side, j: Side) -> int:
    """How many of the agents meet the other here on every shortest path."""
    _, _, step, v, u = conflict
    before_i, before_j = (u, v) if v != u else (-1, -1)
    return _is_tight(i.diagram.only, step, v, before_i) + _is_tight(
        j.diagram.only, step, u, before_j
    )


def _is_tight(only: np.ndarray, step: int, v: int, before: int) -> bool:
    """Is every shortest path of the agent at v at this step (coming from `before`, unless -1)?"""
    if step >= len(only):
        return before < 0 and int(only[-1]) == v  # it rests at its goal
    return int(only[step]) == v and (before < 0 or int(only[step - 1]) == before)


def plain_split(conflict: Conflict, neighbours: np.ndarray) -> list[Branch]:
    """One of the agents is elsewhere at this step, or goes elsewhere."""
    i, j, step, v, u = conflict
    if v == u:
        return [(i, ((i, step, v, BE),)), (j, ((j, step, v, BE),))]
    there = int(np.flatnonzero(neighbours[u] == v)[0])  # i moved from u to v, j from v to u
    back = int(np.flatnonzero(neighbours[v] == u)[0])
    return [(i, ((i, step, u, there),)), (j, ((j, step, v, back),))]


def _leaves(path: np.ndarray, step: int, chain: tuple[int, ...]) -> bool | None:
    """Does a path that is in the passage around `step` go from its first cell to its last (True),
    or back (False)? None: it turns, or begins or ends inside."""
    ends = (path == chain[0]) | (path == chain[-1])
    before, after = np.flatnonzero(ends[:step]), np.flatnonzero(ends[step:])
    if len(before) == 0 or len(after) == 0:
        return None
    came, goes = int(path[before[-1]]), int(path[step + after[0]])
    return None if came == goes else goes == chain[-1]


@numba.njit(cache=True)
def _earliest(neighbours, forbidden, start, vertex, barred_from, limit):  # type: ignore[no-untyped-def]
    """See `Symmetries._arrival`; forbidden has more than `limit` rows."""
    if start == vertex:
        return 0
    seen = np.full(len(neighbours), -1, np.int32)  # the last step at which a vertex was reached
    here = [start]
    for t in range(limit):
        after = [0 for _ in range(0)]
        for v in here:
            for action in range(5):
                u = neighbours[v, action]
                if u < 0 or seen[u] == t + 1 or forbidden[t, v, action] > 0:
                    continue
                if u == vertex:
                    if v != barred_from:
                        return t + 1
                    continue
                seen[u] = t + 1
                after.append(u)
        here = after
    return FAR
