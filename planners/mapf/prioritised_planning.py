"""Prioritised planning with restarts: agents plan one after another around those before them.

Silver 2005; Erdmann and Lozano-Perez 1987. Incomplete: an order can leave an agent without a path,
and some instances have no good order. An agent that found no path goes to the front of the next
order; every fourth order is drawn anew.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    compiled_before_the_clock,
    stack_paths,
)
from pilotage.planners.mapf.safe_intervals import SafeIntervals, SafeIntervalSearch
from pilotage.planners.mapf.space_time import Reservations, SpaceTimeSearch


class LowLevel(Protocol):
    """Finds the shortest path of one agent around those that are kept."""

    def clear(self) -> None:
        """Keep no path."""

    def find(self, agent: int) -> np.ndarray | None:
        """int32 [length + 1] vertices; None when there is no path, or no time."""

    def keep(self, agent: int, path: np.ndarray) -> None:
        """From now on plan around this path."""


def _journey(problem: Problem, agent: int) -> tuple[np.ndarray, int, int]:
    """Distances to an agent's goal, its start, and its goal, as the searches ask for them."""
    field = problem.fields.table[problem.rows[agent]]
    return field, int(problem.starts[agent]), int(problem.goals[agent])


class SpaceTimeLevel:
    """By space-time A* on a table of reservations."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._search = SpaceTimeSearch(problem.graph)
        self.clear()

    def clear(self) -> None:
        n_steps = 2 * int(self.problem.shortest.max()) + 2
        self._reserved = Reservations(self.problem.graph.n_vertices, n_steps)

    def find(self, agent: int) -> np.ndarray | None:
        path, _ = self._search.find(
            *_journey(self.problem, agent),
            deadline=self.problem.deadline,
            reserved=self._reserved.table,
        )
        return path

    def keep(self, agent: int, path: np.ndarray) -> None:
        self._reserved.add(agent, path)


class SafeIntervalLevel:
    """By SIPP on safe intervals."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._search = SafeIntervalSearch(problem.graph)
        self.clear()

    def clear(self) -> None:
        self._safe = SafeIntervals(self.problem.graph.n_vertices)

    def find(self, agent: int) -> np.ndarray | None:
        path, _ = self._search.find(
            *_journey(self.problem, agent),
            deadline=self.problem.deadline,
            safe=self._safe,
        )
        return path

    def keep(self, agent: int, path: np.ndarray) -> None:
        self._safe.add(path, self.problem.graph.neighbours)


LOW_LEVELS: dict[str, type[SpaceTimeLevel] | type[SafeIntervalLevel]] = {
    "space_time": SpaceTimeLevel,
    "sipp": SafeIntervalLevel,
}


@compiled_before_the_clock
def prioritised(
    instance: MapfInstance,
    *,
    time_limit_s: float,
    seed: int = 0,
    max_restarts: int = 1000,
    low_level: str = "space_time",
) -> PlanResult:
    """The first plan that an order gives; the first order is by distance, the longest first.

    INFEASIBLE only when an agent cannot reach its goal on the empty map; TIMED_OUT when time or
    orders are used up.

    Args:
        instance: one goal per agent.
        time_limit_s: for all of it, in seconds.
        seed: of the orders.
        max_restarts: give up after this many orders more.
        low_level: how one agent is planned, `space_time` or `sipp` (faster the longer the paths
            are); both find shortest paths, though not the same ones.

    Raises:
        ValueError: a lifelong instance, a time limit or `max_restarts` out of range, an unknown
            `low_level`.
    """
    if max_restarts < 0:
        raise ValueError(f"max_restarts must be >= 0, got {max_restarts}")
    if low_level not in LOW_LEVELS:
        raise ValueError(f"low_level must be one of {', '.join(LOW_LEVELS)}, got {low_level!r}")
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    rng = np.random.default_rng(seed)
    low = LOW_LEVELS[low_level](problem)
    order = np.argsort(-problem.shortest, kind="stable").tolist()
    for attempt in range(max_restarts + 1):
        paths, stuck = plan_in_order(problem, low, order)
        if stuck is None:
            return problem.solved(
                stack_paths([paths[i] for i in range(problem.n_agents)]),
                first_solution_s=problem.deadline.elapsed,
                n_expanded=attempt + 1,
            )
        if problem.deadline.passed:
            break
        if attempt % 4 == 3:
            order = rng.permutation(problem.n_agents).tolist()
        order.remove(stuck)
        order.insert(0, stuck)
    return problem.failed(
        PlanStatus.TIMED_OUT,
        n_expanded=attempt + 1,
        message=f"no plan in {attempt + 1} orders; a complete solver is lacam",
    )


def plan_in_order(
    problem: Problem, low: LowLevel, order: list[int]
) -> tuple[dict[int, np.ndarray], int | None]:
    """Paths by agent, and the agent that found none (or for which there was no time)."""
    low.clear()
    paths: dict[int, np.ndarray] = {}
    for agent in order:
        path = low.find(agent)
        if path is None or problem.deadline.passed:
            return paths, agent
        low.keep(agent, path)
        paths[agent] = path
    return paths, None
