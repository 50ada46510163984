"""TSWAP: unlabelled MAPF, where every goal needs an agent and it does not matter which.

Okumura and Defago 2022, Solving Simultaneous Target Assignment and Path Planning Efficiently with
Time-Independent Execution (ICAPS; arXiv:2109.04264). Goals are assigned first; then the agents walk
along shortest paths, one after another in each step. An agent that stands in the way at its own
goal exchanges goals with the one who comes; agents that wait for each other in a circle hand their
goals on, each to the one before it.

It ends: whatever happens, the sum of squared distances to the goals falls (an exchange makes d and
0 to d - 1 and 1, where d >= 2), and as long as not all are at their goals something happens in
every step. So there is a plan of at most that many steps wherever goals can be assigned at all.
"""

from __future__ import annotations

import numba
import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    arrival_steps,
    compiled_before_the_clock,
)
from pilotage.planners.mapf.target_assignment import bottleneck_assignment, linear_assignment

CHUNK = 4096  # agent-steps between two looks at the clock
ASSIGNMENTS = {"bottleneck": bottleneck_assignment, "linear": linear_assignment}


@compiled_before_the_clock
def tswap(
    instance: MapfInstance, *, time_limit_s: float, assignment: str = "bottleneck"
) -> PlanResult:
    """A plan after which every goal of the instance is held by some agent.

    The costs are those of the goals that the agents end at, and `lower_bound` is the least sum of
    distances over all assignments. INFEASIBLE when goals cannot be assigned (parts of the map with
    more agents than goals). Judge the plan as one for `relabelled(instance, result.paths)`.

    The first assignment is not interrupted: thousands of agents take seconds for it.

    Args:
        instance: which goal belongs to which agent is not looked at.
        time_limit_s: for all of it, in seconds.
        assignment: of the first goals: `bottleneck`, the least largest distance (for the makespan),
            or `linear`, the least sum (for the sum of costs).

    Raises:
        ValueError: a lifelong instance, a time limit out of range, an unknown `assignment`.
    """
    if assignment not in ASSIGNMENTS:
        raise ValueError(f"assignment must be one of {', '.join(ASSIGNMENTS)}, got {assignment!r}")
    problem = Problem(instance, time_limit_s)
    out_of_time = problem.measure_fields()
    if out_of_time is not None:
        return out_of_time
    distances = problem.fields.table[problem.rows][:, problem.starts].T
    least = linear_assignment(distances)
    if least is None:
        return problem.failed(
            PlanStatus.INFEASIBLE, message="a part of the map has more agents than goals"
        )
    problem.lower_bound = int(distances[np.arange(problem.n_agents), least].sum())
    goal_of = least if assignment == "linear" else bottleneck_assignment(distances)
    return _walk(problem, np.asarray(goal_of, np.int32))


def _walk(problem: Problem, goal_of: np.ndarray) -> PlanResult:
    """Walk until all agents are at goals, or the time is up."""
    n, graph, here = problem.n_agents, problem.graph, problem.starts.copy()
    who = np.full(graph.n_vertices, -1, np.int32)
    who[here] = np.arange(n)
    walked = [here[None].copy()]
    steps = max(1, CHUNK // n)
    made = 0
    while True:
        out = np.empty((steps, n), np.int32)
        done = swap_and_go(
            graph.neighbours,
            problem.fields.table,
            problem.rows,
            problem.goals,
            goal_of,
            here,
            who,
            out,
        )
        made += done
        walked.append(out[:done])
        if (here == problem.goals[goal_of]).all():
            problem.goals = here
            plan = np.concatenate(walked)
            return problem.solved(
                plan,
                first_solution_s=problem.deadline.elapsed,
                n_expanded=made,
                optimal=int(arrival_steps(plan, here).sum()) == problem.lower_bound,
            )
        if problem.deadline.passed:
            return problem.failed(
                PlanStatus.TIMED_OUT, n_expanded=made, message=f"time is up after {made} steps"
            )


def relabelled(instance: MapfInstance, paths: np.ndarray) -> MapfInstance:
    """The instance in which each agent is asked to go where its path, int [N, T + 1, 2], ends.

    Raises:
        ValueError: the paths do not end at the goals of the instance, each held by one agent.
    """
    ends = np.asarray(paths)[:, -1]
    if sorted(map(tuple, ends.tolist())) != sorted(map(tuple, instance.goals.tolist())):
        raise ValueError(f"{instance.name}: the paths do not end at its goals, one agent at each")
    return MapfInstance.one_shot(instance.free, instance.starts, ends, name=instance.name)


@numba.njit(cache=True)
def swap_and_go(neighbours, table, rows, goals, goal_of, here, who, out):  # type: ignore[no-untyped-def]
    """Up to len(out) steps; writes the vertices into `out` int32 [steps, N] and changes `goal_of`,
    `here` int32 [N] and `who` int32 [V] (-1: no one). Returns the number of steps made."""
    n = len(here)
    for step in range(len(out)):
        waiting = 0
        for i in range(n):
            waiting += here[i] != goals[goal_of[i]]
        if waiting == 0:
            return step
        for i in range(n):
            if here[i] == goals[goal_of[i]]:
                continue
            u = _next(neighbours, table[rows[goal_of[i]]], here[i])
            j = who[u]
            if j < 0:
                who[here[i]], who[u], here[i] = -1, i, u
            elif here[j] == goals[goal_of[j]]:
                goal_of[i], goal_of[j] = goal_of[j], goal_of[i]
            elif _in_circle(neighbours, table, rows, goals, goal_of, here, who, i):
                _hand_on(neighbours, table, rows, goal_of, here, who, i)
        out[step] = here
    return len(out)


@numba.njit(cache=True)
def _next(neighbours, field, v):  # type: ignore[no-untyped-def]
    """The first neighbour that is nearer to the goal of the field."""
    for action in range(1, 5):
        u = neighbours[v, action]
        if u >= 0 and field[u] < field[v]:
            return u
    return v


@numba.njit(cache=True)
def _in_circle(neighbours, table, rows, goals, goal_of, here, who, i):  # type: ignore[no-untyped-def]
    """Does the agent wait for one that waits for ... itself?"""
    j = i
    for _ in range(len(here)):
        if here[j] == goals[goal_of[j]]:
            return False
        j = who[_next(neighbours, table[rows[goal_of[j]]], here[j])]
        if j < 0:
            return False
        if j == i:
            return True
    return False  # the circle is further ahead


@numba.njit(cache=True)
def _hand_on(neighbours, table, rows, goal_of, here, who, i):  # type: ignore[no-untyped-def]
    """Each agent of the circle gives its goal to the one it waits for."""
    j, goal = i, goal_of[i]
    while True:
        j = who[_next(neighbours, table[rows[goal]], here[j])]  # by the goal it had
        goal, goal_of[j] = goal_of[j], goal
        if j == i:
            return
