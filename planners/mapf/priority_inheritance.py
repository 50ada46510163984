"""PIBT: plan one step for all agents at a time (Okumura et al. 2022, arXiv:1901.11282).

Near-linear in the number of agents. Where every edge is on a simple cycle, every agent gets to its
goal some time, though not all at once: one-shot instances can go on for ever. With swap
(arXiv:2305.03632), see `pibt_kernel`.
"""

from __future__ import annotations

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.graph import (
    FAR,
    DistanceFields,
    GridGraph,
    actions_between,
    standing_vertices,
    team_vertices,
)
from pilotage.planners.mapf.pibt_kernel import PibtMemory, pibt_memory, run_pibt
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    compiled_before_the_clock,
)

CHUNK = 4096  # agent-steps between two looks at the clock


@compiled_before_the_clock
def pibt(
    instance: MapfInstance, *, time_limit_s: float, seed: int = 0, max_steps: int = 10_000
) -> PlanResult:
    """Walk until all agents are at their goals, or time or steps are used up (TIMED_OUT).

    Raises:
        ValueError: a lifelong instance, a time limit or `max_steps` out of range.
    """
    if max_steps < 1:
        raise ValueError(f"max_steps must be >= 1, got {max_steps}")
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    n, graph = problem.n_agents, problem.graph
    memory = pibt_memory(n, graph.n_vertices, seed)
    ties = tie_breakers(n, seed)
    priority, here = ties.copy(), problem.starts.copy()
    walked = [problem.starts[None].copy()]
    made, chunk = 0, max(1, CHUNK // n)
    while made < max_steps and not problem.deadline.passed:
        steps = min(chunk, max_steps - made)
        out = np.empty((steps, n), np.int32)
        done = run_pibt(
            graph.neighbours,
            degrees(graph),
            problem.fields.table,
            problem.rows,
            problem.goals,
            priority,
            ties,
            here,
            steps,
            out,
            memory,
        )
        made += done
        walked.append(out[:done])
        if (here == problem.goals).all():
            configurations = np.concatenate(walked)
            elapsed = problem.deadline.elapsed
            return problem.solved(configurations, first_solution_s=elapsed, n_expanded=made)
    return problem.failed(
        PlanStatus.TIMED_OUT,
        n_expanded=made,
        message=f"not all at their goals after {made} steps; a complete solver is lacam",
    )


class PibtPolicy:
    """PIBT for lifelong play: give positions and goals, get the next positions.

    Priorities are kept from step to step; an agent that reached its goal starts again at the end.

    Args:
        free: bool [H, W], True = may stand.
        n_agents: size of the team.
        seed: of the tie-breakers.
    """

    def __init__(self, free: np.ndarray, n_agents: int, *, seed: int = 0) -> None:
        if n_agents < 1:
            raise ValueError(f"n_agents must be >= 1, got {n_agents}")
        self.graph = GridGraph(free)
        self._degree = degrees(self.graph)
        self._fields = DistanceFields(self.graph)
        self._ties = tie_breakers(n_agents, seed)
        self._priority = self._ties.copy()
        self._goals = np.full(n_agents, -1, np.int32)
        self._memory: PibtMemory = pibt_memory(n_agents, self.graph.n_vertices, seed)

    def next_cells(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """The next cells int32 [N, 2], without conflicts, from cells and goals int [N, 2].

        Raises:
            ValueError: wrong shapes, two agents on one cell, a cell or goal that is not free, or a
                goal that cannot be reached.
        """
        return self.graph.cells[self._next(self._standing(cells), goals)]

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """The same step as actions int64 [N]: 0 stay, 1 up, 2 down, 3 left, 4 right."""
        here = self._standing(cells)
        return actions_between(self.graph, here, self._next(here, goals))

    def _standing(self, cells: np.ndarray) -> np.ndarray:
        return standing_vertices(self.graph, cells, len(self._ties))

    def _next(self, here: np.ndarray, goals: np.ndarray) -> np.ndarray:
        targets = team_vertices(self.graph, goals, len(self._ties), "goals")
        rows = self._fields.rows(targets)
        unreachable = self._fields.table[rows, here] >= FAR
        if unreachable.any():
            raise ValueError(f"agent {int(np.argmax(unreachable))} cannot reach its goal")
        self._priority = np.where(targets != self._goals, self._ties, self._priority)
        self._goals = targets
        out = np.empty((1, len(here)), np.int32)
        made = run_pibt(
            self.graph.neighbours,
            self._degree,
            self._fields.table,
            rows,
            targets,
            self._priority,
            self._ties,
            here.copy(),
            1,
            out,
            self._memory,
        )
        return out[0] if made else here


def degrees(graph: GridGraph) -> np.ndarray:
    """int32 [V]: how many neighbours each vertex has."""
    return (graph.neighbours[:, 1:] >= 0).sum(axis=1).astype(np.int32)


def tie_breakers(n_agents: int, seed: int) -> np.ndarray:
    """float64 [N]: distinct numbers in [0, 1)."""
    return np.random.default_rng(seed).permutation(n_agents) / n_agents
