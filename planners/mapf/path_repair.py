"""LNS2: let paths meet, repair them neighbourhood by neighbourhood, then shorten them.

After Li et al. 2022, MAPF-LNS2: Fast Repairing for Multi-Agent Path Finding via Large Neighborhood
Search (AAAI-22), from the paper: first paths by `soft_intervals` one after another, meetings
allowed at a price (here; the paper: as few as possible, which takes longer and is repaired no
sooner); then groups are planned again while not more pairs meet, until none does; what time is left
shortens the plan (`refine`). Incomplete: an instance without a plan is not recognised, apart from
goals out of reach.
"""

from __future__ import annotations

import functools

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.neighbourhood_search import (
    DONE,
    RUNNING,
    Groups,
    new_groups,
    plan_first,
    repair,
)
from pilotage.planners.mapf.neighbourhoods import new_group
from pilotage.planners.mapf.refine import Listener, compile_refine, refine
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    arrival_steps,
    stack_paths,
    toy_instance,
)
from pilotage.planners.mapf.safe_intervals import SafeIntervalSearch
from pilotage.planners.mapf.soft_intervals import FEWEST, NO_BUDGET, NO_ROOM, Ways, labels_for
from pilotage.planners.mapf.team_table import PAIRS, USED, WORK, place, team_table

CHUNK_S = 0.01  # what one call into the compiled search should take
GROUP_SIZES = (2, 4, 8, 16)
FIRST_PRICE = 15  # steps that a first path goes out of its way to meet one agent less


def lns2(
    instance: MapfInstance,
    *,
    time_limit_s: float,
    seed: int = 0,
    first_only: bool = False,
    on_better: Listener | None = None,
) -> PlanResult:
    """A plan that is repaired, then improved until the time is up.

    INFEASIBLE only when an agent cannot reach its goal on the empty map; `optimal` only when every
    agent takes a shortest path.

    Args:
        instance: one goal per agent.
        time_limit_s: for all of it, in seconds; it is used up unless the plan is optimal.
        seed: of the order of the first paths and of the neighbourhoods.
        first_only: stop at the first plan.
        on_better: called with (seconds since the start, sum of costs) at the first plan and at
            each better one.

    Raises:
        ValueError: a lifelong instance, a time limit out of range.
    """
    compile_repair()
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    search = RepairSearch(problem, seed)
    if not search.run(np.random.default_rng(seed).permutation(problem.n_agents).astype(np.int32)):
        return problem.failed(
            PlanStatus.TIMED_OUT,
            n_expanded=search.n_tries,
            message=f"{search.n_pairs} pairs of paths still meet; a complete solver is lacam",
        )
    plan, first = search.plan(), problem.deadline.elapsed
    if on_better is not None:
        on_better(first, int(arrival_steps(plan, problem.goals).sum()))
    if not first_only:
        improver = SafeIntervalSearch(problem.graph)
        plan = refine(problem, improver, plan, seed=seed, on_better=on_better)
    cost = int(arrival_steps(plan, problem.goals).sum())
    return problem.solved(
        plan,
        first_solution_s=first,
        n_expanded=search.n_tries,
        optimal=cost == problem.lower_bound,
    )


class RepairSearch:
    """The compiled search with its memory, run in chunks of about `CHUNK_S` seconds.

    Args:
        problem: measured.
        seed: of the neighbourhoods.
    """

    def __init__(self, problem: Problem, seed: int) -> None:
        self._problem = problem
        self._ways = Ways(
            problem.graph.neighbours, problem.fields.table, problem.rows, problem.starts
        )
        n_steps = 64 + 5 * int(problem.shortest.max()) // 4  # longer paths make room when they come
        self._team = team_table(problem, n_steps)
        self._labels = labels_for(self._team, 4 * len(self._team.spans))
        self._group = new_group(problem, seed)
        self._groups: Groups = new_groups(GROUP_SIZES, n_steps)
        self._pace = 1e5  # expansions a second, as measured last

    @property
    def n_pairs(self) -> int:
        """Pairs of agents that meet."""
        return int(self._team.counts[PAIRS])

    @property
    def n_tries(self) -> int:
        return int(self._groups.tries[0])

    def run(self, order: np.ndarray) -> bool:
        """First paths, in this order of the agents int32 [N], then repair; False: no time left."""
        at, clock = 0, self._problem.deadline
        while not clock.passed:
            started, work = clock.elapsed, int(self._team.counts[WORK])
            left = work + 1 + int(0.7 * self._pace * max(0.0, clock.left))  # rather early than late
            memory = self._ways, self._team, self._labels, self._group
            if at < len(order):
                status, at = plan_first(order, at, FIRST_PRICE, left, *memory)
            else:
                until = work + 1 + int(self._pace * min(CHUNK_S, max(0.0, clock.left)))
                status = repair(until, FEWEST, max(until, left), *memory, self._groups)
                if status == DONE:
                    return True
            took, done = clock.elapsed - started, int(self._team.counts[WORK]) - work
            self._pace += 0.3 * (max(done, 1) / max(took, 1e-6) - self._pace)
            if status == NO_ROOM:
                self._make_room()
            elif status not in (DONE, RUNNING, NO_BUDGET):
                raise RuntimeError(f"the search answered {status}, though goals can be reached")
        return False

    def plan(self) -> np.ndarray:
        """Vertices int32 [T + 1, N]."""
        team = self._team
        return stack_paths(
            [
                np.array([place(i, t, team) for t in range(length + 1)], np.int32)
                for i, length in enumerate(team.arrive.tolist())
            ]
        )

    def _make_room(self) -> None:
        """Double what was full: the labels, the pool of spans, or the steps."""
        team, labels = self._team, self._labels
        if labels.size[0] >= len(labels.labels):
            self._labels = labels_for(team, 2 * len(labels.labels))
            return
        n_steps = team.head.shape[1]
        if team.counts[USED] + 2 * (n_steps + 2) <= len(team.spans):
            n_steps *= 2
            saved = np.zeros((len(self._groups.lengths), n_steps), np.int32)
            self._groups = self._groups._replace(saved=saved)
        self._team = team_table(self._problem, n_steps, old=team)
        self._labels = labels_for(self._team, len(labels.labels))


@functools.cache
def compile_repair() -> None:
    """Compile all of it by a toy: to be called before a clock."""
    compile_refine()
    problem = Problem(toy_instance(), 600.0)
    problem.measure()
    search = RepairSearch(problem, 0)
    search.run(np.arange(2, dtype=np.int32))
    search.plan()
