"""Lifelong play by windows: plan some steps ahead for the whole team, walk a few, plan again.

`RhcrPolicy`: rolling-horizon collision resolution (Li et al. 2021, Lifelong Multi-Agent Path
Finding in Large-Scale Warehouses, arXiv:2005.07371), with windowed prioritised planning.
`WindowedPibtPolicy`: windowed PIBT, improved by large neighbourhood search (the idea of WPPL, Jiang
et al. 2024, Scaling Lifelong Multi-Agent Path Finding to More Realistic Settings,
arXiv:2404.16162). Both from the papers. No plan of either lets agents meet.
"""

from __future__ import annotations

import numpy as np

from pilotage.planners.mapf import window_search as search
from pilotage.planners.mapf.graph import (
    FAR,
    GridGraph,
    actions_between,
    standing_vertices,
    team_vertices,
)
from pilotage.planners.mapf.guidance import GuidedFields, no_guidance
from pilotage.planners.mapf.pibt_kernel import pibt_memory, run_pibt
from pilotage.planners.mapf.priority_inheritance import degrees, tie_breakers


class _Team:
    """What both policies keep: the map, the goals, how long each agent is on its way."""

    def __init__(
        self, free: np.ndarray, n_agents: int, window: int, seed: int, costs: np.ndarray | None
    ) -> None:
        if n_agents < 1:
            raise ValueError(f"n_agents must be >= 1, got {n_agents}")
        if not 1 <= window <= 100:
            raise ValueError(f"window must be between 1 and 100, got {window}")
        self.graph, self.window, self.seed = GridGraph(free), window, seed
        costs = no_guidance(self.graph) if costs is None else costs
        self.fields = GuidedFields(self.graph, costs)
        self.ties = tie_breakers(n_agents, seed)
        self.priority = self.ties.copy()
        self.goals = np.full((n_agents, 1), -1, np.int32)
        self._degree = degrees(self.graph)
        self._memory = pibt_memory(n_agents, self.graph.n_vertices, seed)
        self.plan = search.window_plan(n_agents, self.graph.n_vertices, window, 1, seed)

    def look(self, cells: np.ndarray, goals: np.ndarray) -> tuple[np.ndarray, search.Journeys]:
        """Where the agents stand, int32 [N], and their journeys."""
        n = len(self.ties)
        here = standing_vertices(self.graph, cells, n)
        goals = np.asarray(goals)
        goals = goals[:, None] if goals.ndim == 2 else goals
        if goals.ndim != 3 or goals.shape[0] != n or goals.shape[1] < 1:
            raise ValueError(
                f"goals have shape {list(goals.shape)}, expected [{n}, 2] or [{n}, K, 2]"
            )
        n_goals = goals.shape[1]
        flat = team_vertices(self.graph, goals.reshape(-1, 2), n * n_goals, "goals")
        targets = flat.reshape(n, n_goals)
        if targets.shape != self.goals.shape:
            self.goals = np.full(targets.shape, -1, np.int32)
            self.plan = search.window_plan(
                n, self.graph.n_vertices, self.window, n_goals, self.seed
            )
        rows = self.fields.rows(flat).reshape(n, n_goals)
        table = self.fields.table
        legs = np.zeros((n, n_goals), np.int64)  # from the goal before, or the start
        legs[:, 0] = table[rows[:, 0], here]
        legs[:, 1:] = table[rows[:, 1:], targets[:, :-1]]
        if (legs >= FAR).any():
            agent = int(np.argmax((legs >= FAR).any(axis=1)))
            raise ValueError(f"agent {agent} cannot reach its goal")
        later = legs[:, ::-1].cumsum(axis=1)[:, ::-1] - legs
        self.priority = np.where(targets[:, 0] != self.goals[:, 0], self.ties, self.priority + 1.0)
        self.goals = targets
        journeys = search.Journeys(
            self.graph.neighbours,
            self.fields.costs,
            table,
            rows,
            targets,
            later.astype(np.int32),
            legs.sum(axis=1).astype(np.int32),
        )
        return here, journeys

    def pibt(self, here: np.ndarray, journeys: search.Journeys, n_steps: int) -> np.ndarray:
        """int32 [n_steps, N]: PIBT from here on, to the first goals."""
        out = np.empty((n_steps, len(here)), np.int32)
        here = here.copy()
        made = run_pibt(
            self.graph.neighbours,
            self._degree,
            journeys.table,
            np.ascontiguousarray(journeys.rows[:, 0]),
            np.ascontiguousarray(journeys.goals[:, 0]),
            self.priority.copy(),
            self.ties,
            here,
            n_steps,
            out,
            self._memory,
        )
        out[made:] = here  # all rest at their goals
        return out


class RhcrPolicy:
    """Rolling-horizon collision resolution for lifelong play.

    Every `every` steps the paths of the next `window` steps are planned one agent after another,
    those that are on their way for longest first; one that finds no path goes to the front, and
    after `max_restarts` of that the window is PIBT's.

    Args:
        free: bool [H, W], True = may stand.
        n_agents: size of the team.
        window: steps in which nobody may meet.
        every: steps that are walked before the next plan, at most `window`.
        seed: of the tie-breakers.
        max_restarts: orders after the first.
        costs: int32 [V, 5], see `guidance`; None: every action costs the same.
    """

    def __init__(
        self,
        free: np.ndarray,
        n_agents: int,
        *,
        window: int = 10,
        every: int = 5,
        seed: int = 0,
        max_restarts: int = 10,
        costs: np.ndarray | None = None,
    ) -> None:
        self._team = _Team(free, n_agents, window, seed, costs)
        if not 1 <= every <= window:
            raise ValueError(f"every must be between 1 and the window {window}, got {every}")
        if max_restarts < 0:
            raise ValueError(f"max_restarts must be >= 0, got {max_restarts}")
        self._every, self._max_restarts, self._at = every, max_restarts, every
        self.n_windows = self.n_fallbacks = 0  # windows planned, and those that are PIBT's

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Actions int64 [N] (0 stay, 1 up, 2 down, 3 left, 4 right).

        Args:
            cells: int [N, 2].
            goals: int [N, 2], or [N, K, 2] where K goals ahead are known.

        Raises:
            ValueError: wrong shapes, two agents on one cell, a cell or goal that is not free, or a
                goal that cannot be reached.
        """
        team = self._team
        here, journeys = team.look(cells, goals)
        if self._at >= self._every or not np.array_equal(team.plan.where[self._at], here):
            self._plan(here, journeys)
            self._at = 0
        self._at += 1
        return actions_between(team.graph, here, team.plan.where[self._at])

    def _plan(self, here: np.ndarray, journeys: search.Journeys) -> None:
        plan, priority = self._team.plan, self._team.priority
        self.n_windows += 1
        order = np.argsort(-priority, kind="stable").tolist()
        for _ in range(self._max_restarts + 1):
            plan.where[0] = here
            stuck = search.plan_in_order(np.array(order), journeys, plan)
            if stuck == len(order):
                return
            order.insert(0, order.pop(stuck))
        self.n_fallbacks += 1
        plan.where[0], plan.where[1:] = here, self._team.pibt(here, journeys, self._team.window)


class WindowedPibtPolicy:
    """Windowed PIBT with large neighbourhood search, planned anew in every step.

    The plan to improve is the cheaper of PIBT's window and the last plan, which is one step on and
    one step of PIBT longer. How long it is improved is counted in expansions of the search, not in
    seconds, so that runs can be repeated.

    Args:
        free: bool [H, W], True = may stand.
        n_agents: size of the team.
        window: steps that are planned.
        work: expansions for each step; 0 leaves the plan as it is.
        seed: of the tie-breakers and neighbourhoods.
        costs: int32 [V, 5], see `guidance`; None: every action costs the same.
    """

    def __init__(
        self,
        free: np.ndarray,
        n_agents: int,
        *,
        window: int = 12,
        work: int = 20_000,
        seed: int = 0,
        costs: np.ndarray | None = None,
    ) -> None:
        self._team = _Team(free, n_agents, window, seed, costs)
        if work < 0:
            raise ValueError(f"work must be >= 0, got {work}")
        self._work = work
        self._has_plan = False

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """See `RhcrPolicy.act`."""
        team = self._team
        here, journeys = team.look(cells, goals)
        plan = team.plan
        before = plan.where[1:].copy() if self._has_plan else None
        plan.where[0], plan.where[1:] = here, team.pibt(here, journeys, team.window)
        search.take_plan(journeys, plan)
        if before is not None and np.array_equal(before[0], here):
            fresh, cost = plan.where.copy(), int(plan.cost.sum())
            plan.where[:-1], plan.where[-1:] = before, team.pibt(before[-1], journeys, 1)
            search.take_plan(journeys, plan)
            if plan.cost.sum() > cost:
                plan.where[:] = fresh
                search.take_plan(journeys, plan)
        search.improve(self._work, journeys, plan)
        self._has_plan = True
        return actions_between(team.graph, here, plan.where[1])
