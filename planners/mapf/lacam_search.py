"""LaCAM: a complete search over configurations that scales to thousands of agents, and LaCAM*.

Okumura 2023, "LaCAM" (arXiv:2211.13432) and "Improving LaCAM for Scalable Eventually Optimal
Multi-Agent Pathfinding" (arXiv:2305.03632). `lacam` stops at the first plan. `lacam_star` goes on
until its time is up: first by the search itself, which ends with the least sum of loss where the
instance is small enough, then by large neighbourhood search (see `refine`).
"""

from __future__ import annotations

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf import lacam_kernel as kernel
from pilotage.planners.mapf.pibt_kernel import PibtMemory, pibt_memory
from pilotage.planners.mapf.priority_inheritance import degrees
from pilotage.planners.mapf.refine import compile_refine, refine
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    arrival_steps,
    compiled_before_the_clock,
)
from pilotage.planners.mapf.safe_intervals import SafeIntervalSearch

CHUNK_S = 0.01  # what one call into the compiled search should take
MAX_CELLS = 40_000_000  # numbers kept for all configurations: 12 bytes each


@compiled_before_the_clock
def lacam(
    instance: MapfInstance, *, time_limit_s: float, seed: int = 0, max_cells: int = MAX_CELLS
) -> PlanResult:
    """The first plan that is found, or the proof that there is none.

    Args:
        instance: one goal per agent.
        time_limit_s: for all of it, in seconds.
        seed: of the tie-breakers.
        max_cells: end by TIMED_OUT when this many configurations times agents are kept.

    Raises:
        ValueError: a lifelong instance, a time limit out of range.
    """
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    search = _Search(problem, seed, max_cells)
    status = search.run(problem.deadline.limit_s, until_first=True)
    if status != kernel.FOUND:
        return search.failed(status)
    return problem.solved(
        search.plan(), first_solution_s=problem.deadline.elapsed, n_expanded=search.n_visits
    )


@compiled_before_the_clock
def lacam_star(
    instance: MapfInstance,
    *,
    time_limit_s: float,
    seed: int = 0,
    search_share: float = 0.1,
    max_cells: int = MAX_CELLS,
) -> PlanResult:
    """A plan that is improved until the time is up, or the proof that there is none.

    `optimal` is True when the search has seen everything: no plan has a smaller sum of loss (see
    `pilotage.envs.mapf.validation` for the two conventions).

    Args:
        instance: one goal per agent.
        time_limit_s: for all of it, in seconds; it is used up unless the plan is proved optimal.
        seed: of the tie-breakers and neighbourhoods.
        search_share: part of the time, counted from the first plan, that the search goes on before
            large neighbourhood search takes over; 1.0 is LaCAM* as in the paper.
        max_cells: as in `lacam`; the search then stops early.

    Raises:
        ValueError: a lifelong instance, a time limit or share out of range.
    """
    if not 0.0 <= search_share <= 1.0:
        raise ValueError(f"search_share must be between 0 and 1, got {search_share}")
    compile_refine()
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    search = _Search(problem, seed, max_cells)
    deadline = problem.deadline
    status = search.run(deadline.limit_s, until_first=True)
    if status != kernel.FOUND:
        return search.failed(status)
    first = deadline.elapsed
    search_paths = SafeIntervalSearch(problem.graph)
    until = first + search_share * (deadline.limit_s - first)
    optimal = search.run(until, until_first=False) == kernel.EXHAUSTED
    plan = search.plan()
    if not optimal:
        plan = refine(problem, search_paths, plan, seed=seed)
    arrivals = int(arrival_steps(plan, problem.goals).sum())
    optimal = optimal or arrivals == problem.lower_bound
    return problem.solved(plan, first_solution_s=first, n_expanded=search.n_visits, optimal=optimal)


class _Search:
    """The compiled search with its memory, run in chunks of about `CHUNK_S` seconds."""

    def __init__(self, problem: Problem, seed: int, max_cells: int) -> None:
        n, graph = problem.n_agents, problem.graph
        self._problem = problem
        self._max_nodes = max(2, max_cells // n)
        self._world = kernel.World(
            graph.neighbours, degrees(graph), problem.fields.table, problem.rows, problem.goals
        )
        self._memory: PibtMemory = pibt_memory(n, graph.n_vertices, seed)
        self._tree = _tree(n, min(256, self._max_nodes))
        rest = (problem.shortest / (2.0 * graph.n_vertices)).astype(np.float32)
        kernel.begin(problem.starts, rest, self._world, self._tree)
        self._chunk = 1
        self._full = False

    @property
    def n_visits(self) -> int:
        return int(self._tree.counts[kernel.ITERATIONS])

    def run(self, until_s: float, *, until_first: bool) -> int:
        """Search until the clock of the problem shows `until_s`; the kernel's last answer."""
        clock = self._problem.deadline
        while clock.elapsed < until_s:
            before = clock.elapsed
            status = kernel.advance(self._world, self._tree, self._memory, self._chunk, until_first)
            if status in (kernel.FOUND, kernel.EXHAUSTED):
                return status
            if status == kernel.ROOM and not self._make_room():
                return kernel.ROOM
            took = max(clock.elapsed - before, 1e-6)
            self._chunk = int(np.clip(self._chunk * CHUNK_S / took, 1, 2 * self._chunk))
        return kernel.RUNNING

    def _make_room(self) -> bool:
        """Double what may be full; False when that is not allowed."""
        n_nodes = min(2 * len(self._tree.parent), self._max_nodes)
        if n_nodes == len(self._tree.parent) and self._tree.counts[kernel.NODES] + 1 >= n_nodes:
            return False
        larger = _tree(self._problem.n_agents, n_nodes, old=self._tree)
        kernel.rehash(larger)
        self._tree = larger
        return True

    def plan(self) -> np.ndarray:
        """Vertices int32 [T + 1, N] on the way to the goal configuration."""
        node = int(self._tree.counts[kernel.GOAL])
        way = []
        while node >= 0:
            way.append(self._tree.where[node])
            node = int(self._tree.parent[node])
        return np.array(way[::-1])

    def failed(self, status: int) -> PlanResult:
        if status == kernel.EXHAUSTED:
            return self._problem.failed(
                PlanStatus.INFEASIBLE,
                n_expanded=self.n_visits,
                message="every configuration that can be reached was seen",
            )
        memory = "max_cells configurations are kept; raise it" if status == kernel.ROOM else ""
        return self._problem.failed(
            PlanStatus.TIMED_OUT, n_expanded=self.n_visits, message=memory or "no time left"
        )


def _tree(n_agents: int, n_nodes: int, *, old: kernel.Tree | None = None) -> kernel.Tree:
    """Empty arrays for that many nodes, or a larger copy of `old`."""
    n_constraints, n_edges, n_stack = (
        _size(name, old, 8 * n_nodes) for name in ("above", "edge_to", "stack")
    )
    n_buckets = 1 << int(np.ceil(np.log2(2 * n_nodes)))
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "where": ((n_nodes, n_agents), np.int32),
        "order": ((n_nodes, n_agents), np.int32),
        "priority": ((n_nodes, n_agents), np.float32),
        "parent": ((n_nodes,), np.int32),
        "cost": ((n_nodes,), np.int64),
        "bound": ((n_nodes,), np.int64),
        "flag": ((n_nodes,), np.int8),
        "buckets": ((n_buckets,), np.int32),
        "stack": ((n_stack,), np.int32),
        "counts": ((6,), np.int64),
    }
    for name in ("first", "last", "edges", "chain", "queue"):
        shapes[name] = ((n_nodes,), np.int32)
    for name in ("above", "who", "to", "depth", "following"):
        shapes[name] = ((n_constraints,), np.int32)
    for name in ("edge_to", "edge_cost", "edge_next"):
        shapes[name] = ((n_edges,), np.int32)
    arrays: dict[str, np.ndarray] = {
        name: np.zeros(shape, dtype) for name, (shape, dtype) in shapes.items()
    }
    if old is not None:
        for name in shapes:
            values = getattr(old, name)
            if name != "buckets":
                arrays[name][: len(values)] = values
    return kernel.Tree(**arrays)


def _size(name: str, old: kernel.Tree | None, wanted: int) -> int:
    """Pools are doubled by themselves: how many entries a node needs is not known before."""
    return wanted if old is None else max(wanted, 2 * len(getattr(old, name)))
