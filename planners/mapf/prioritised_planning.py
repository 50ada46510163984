"""Prioritised planning with restarts: agents plan one after another around those before them.

Silver 2005; Erdmann and Lozano-Perez 1987. Incomplete: an order can leave an agent without a path,
and some instances have no good order. An agent that found no path goes to the front of the next
order; every fourth order is drawn anew.
"""

from __future__ import annotations

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    compiled_before_the_clock,
    stack_paths,
)
from pilotage.planners.mapf.space_time import Reservations, SpaceTimeSearch


@compiled_before_the_clock
def prioritised(
    instance: MapfInstance, *, time_limit_s: float, seed: int = 0, max_restarts: int = 1000
) -> PlanResult:
    """The first plan that an order gives; the first order is by distance, the longest first.

    INFEASIBLE only when an agent cannot reach its goal on the empty map; TIMED_OUT when time or
    orders are used up.

    Raises:
        ValueError: a lifelong instance, a time limit or `max_restarts` out of range.
    """
    if max_restarts < 0:
        raise ValueError(f"max_restarts must be >= 0, got {max_restarts}")
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    rng = np.random.default_rng(seed)
    search = SpaceTimeSearch(problem.graph)
    order = np.argsort(-problem.shortest, kind="stable").tolist()
    for attempt in range(max_restarts + 1):
        paths, stuck = plan_in_order(problem, search, order)
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
    problem: Problem, search: SpaceTimeSearch, order: list[int]
) -> tuple[dict[int, np.ndarray], int | None]:
    """Paths by agent, and the agent that found none (or for which there was no time)."""
    reserved = Reservations(problem.graph.n_vertices, 2 * int(problem.shortest.max()) + 2)
    paths: dict[int, np.ndarray] = {}
    for agent in order:
        path, _ = search.find(
            problem.fields.table[problem.rows[agent]],
            int(problem.starts[agent]),
            int(problem.goals[agent]),
            deadline=problem.deadline,
            reserved=reserved.table,
        )
        if path is None or problem.deadline.passed:
            return paths, agent
        reserved.add(agent, path)
        paths[agent] = path
    return paths, None
