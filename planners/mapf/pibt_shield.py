"""A PIBT shield: any policy's preferences, without conflicts (CS-PIBT).

Veerapaneni et al. 2024 (arXiv:2403.20300): instead of its distance to the goal, an agent's order of
actions comes from a policy. One step of priority inheritance (Okumura et al. 2022,
arXiv:1901.11282) then gives every agent the first of them that it can take. Without the swap of
`pibt_kernel`: what an agent prefers need not be the way to its goal.
"""

from __future__ import annotations

from typing import Protocol

import numba
import numpy as np

from pilotage.planners.mapf.graph import (
    GridGraph,
    actions_between,
    standing_vertices,
    team_vertices,
)
from pilotage.planners.mapf.priority_inheritance import tie_breakers


class PreferringPolicy(Protocol):
    """What can be shielded."""

    def preferences(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Float [N, 5] from cells and goals int [N, 2]: the largest action is tried first."""
        ...


class PibtShield:
    """A policy for lifelong play whose actions never conflict.

    The agent that has been on the way for longest moves as it likes; one that gets a new goal
    starts again at the end of the order.

    Args:
        policy: whose preferences are kept to.
        free: bool [H, W], True = may stand.
        n_agents: size of the team.
        seed: of the tie-breakers.
    """

    def __init__(
        self, policy: PreferringPolicy, free: np.ndarray, n_agents: int, *, seed: int = 0
    ) -> None:
        if n_agents < 1:
            raise ValueError(f"n_agents must be >= 1, got {n_agents}")
        self.policy = policy
        self.graph = GridGraph(free)
        self._ties = tie_breakers(n_agents, seed)
        self._priority = self._ties.copy()
        self._goals = np.full(n_agents, -1, np.int32)

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Actions int64 [N] (0 stay, 1 up, 2 down, 3 left, 4 right) from cells, goals int [N, 2].

        Raises:
            ValueError: wrong shapes, two agents on one cell, a cell or goal that is not free, or
                preferences that are no numbers [N, 5].
        """
        n = len(self._ties)
        here = standing_vertices(self.graph, cells, n)
        targets = team_vertices(self.graph, goals, n, "goals")
        wishes = np.asarray(self.policy.preferences(cells, goals))
        if wishes.shape != (n, 5) or np.isnan(wishes).any():
            raise ValueError(
                f"preferences are {list(wishes.shape)}, expected numbers [{n}, 5] without NaN"
            )
        on_the_way = (targets == self._goals) & (here != targets)
        self._priority = np.where(on_the_way, self._priority + 1, self._ties)
        self._goals = targets
        best_first = np.argsort(-wishes, axis=1, kind="stable")
        choices = np.take_along_axis(self.graph.neighbours[here], best_first, axis=1)
        after = resolve(np.argsort(-self._priority), choices, here, self.graph.n_vertices)
        return actions_between(self.graph, here, after)


@numba.njit(cache=True)
def resolve(order, choices, here, n_vertices):  # type: ignore[no-untyped-def]
    """Next vertices int32 [N], without conflicts.

    `order` [N] has the agents by priority, `choices` [N, 5] the vertices that each can go to, the
    best first, its own `here` [N] among them; -1 is a wall.
    """
    n = len(here)
    now, then = np.full(n_vertices, -1, np.int32), np.full(n_vertices, -1, np.int32)
    planned, stack = np.full(n, -1, np.int32), np.empty(n, np.int32)
    tried = np.zeros(n, np.int32)
    for i in range(n):
        now[here[i]] = i
    for i in order:
        if planned[i] < 0:
            _inherit(i, choices, here, now, then, planned, tried, stack)
    return planned


@numba.njit(cache=True)
def _inherit(first, choices, here, now, then, planned, tried, stack):  # type: ignore[no-untyped-def]
    """Plans `first` and whom it pushes; recursion written as a stack."""
    stack[0], size = first, 1
    moved = False  # whether the agent that was pushed last found a cell
    while size > 0:
        i = stack[size - 1]
        if moved:
            size -= 1
            continue
        pushed = _claim(i, choices, here, now, then, planned, tried)
        if pushed >= 0:
            stack[size] = pushed
            size += 1
        elif planned[i] >= 0:
            moved = True
            size -= 1
        else:
            then[here[i]], planned[i] = i, here[i]  # who pushed us held our cell, and looks on
            size -= 1


@numba.njit(cache=True)
def _claim(i, choices, here, now, then, planned, tried):  # type: ignore[no-untyped-def]
    """Gives i the next cell of its choices that is not taken; who has to leave it, or -1.

    With all choices tried `planned[i]` is -1.
    """
    while tried[i] < 5:
        u = choices[i, tried[i]]
        tried[i] += 1
        if u < 0 or then[u] >= 0:
            continue
        j = now[u]
        if j >= 0 and j != i and planned[j] == here[i]:
            continue
        then[u], planned[i] = i, u
        return j if j >= 0 and j != i and planned[j] < 0 else -1
    planned[i] = -1
    return -1
