"""What a solver answers: a status with a name, the plan, and what it knows about its cost."""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Concatenate, ParamSpec

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.graph import FAR, DistanceFields, GridGraph

P = ParamSpec("P")
Solver = Callable[Concatenate[MapfInstance, P], "PlanResult"]
_compiled: set[tuple[object, ...]] = set()


class PlanStatus(StrEnum):
    """How a search ended."""

    SOLVED = "solved"
    INFEASIBLE = "infeasible"  # proved: no plan exists
    TIMED_OUT = "timed_out"  # time, memory or attempts are used up; nothing is proved


@dataclass(frozen=True)
class PlanResult:
    """The answer of a solver; `paths` is present if and only if the status is SOLVED."""

    status: PlanStatus
    paths: np.ndarray | None  # int32 [N, T + 1, 2], (row, col)
    sum_of_costs: int | None  # steps until each agent rests at its goal for good, added up
    makespan: int | None  # the last of these steps
    lower_bound: int  # no plan has a smaller sum of costs; shortest paths, or better
    optimal: bool  # in the cost that the solver minimises
    elapsed_s: float
    first_solution_s: float | None  # when the first plan was there
    n_expanded: int  # nodes of the high-level search
    message: str = ""

    def __post_init__(self) -> None:
        if (self.paths is not None) != (self.status is PlanStatus.SOLVED):
            raise ValueError(f"status {self.status} and paths disagree")


class Deadline:
    """A point in time; `left` is in seconds."""

    def __init__(self, time_limit_s: float) -> None:
        if not (math.isfinite(time_limit_s) and time_limit_s > 0):
            raise ValueError(f"time_limit_s must be finite and > 0, got {time_limit_s}")
        self.start = time.perf_counter()
        self.limit_s = time_limit_s

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.start

    @property
    def left(self) -> float:
        return self.limit_s - self.elapsed

    @property
    def passed(self) -> bool:
        return self.left <= 0


class Problem:
    """An instance as the solvers see it: vertices, distances, and the clock that has started."""

    def __init__(self, instance: MapfInstance, time_limit_s: float) -> None:
        if instance.is_lifelong:
            raise ValueError(
                f"{instance.name} is lifelong; one-shot solvers need one goal per agent. Use "
                "PibtPolicy, or an instance without goal_lists"
            )
        self.deadline = Deadline(time_limit_s)
        self.graph = GridGraph(instance.free)
        self.starts = self.graph.vertices(instance.starts)  # int32 [N]
        self.goals = self.graph.vertices(instance.goals)  # int32 [N]
        self.fields = DistanceFields(self.graph)
        self.rows = np.empty(0, np.int32)

    @property
    def n_agents(self) -> int:
        return len(self.starts)

    def measure_fields(self) -> PlanResult | None:
        """Compute the distances to all goals; the answer when there is no time for it."""
        for first in range(0, self.n_agents, 16):
            self.fields.rows(self.goals[first : first + 16])
            if self.deadline.passed:
                return self.failed(PlanStatus.TIMED_OUT, message="no time to measure distances")
        self.rows = self.fields.rows(self.goals)
        return None

    def measure(self) -> PlanResult | None:
        """Compute the distances; the answer when that already decides, else None."""
        out_of_time = self.measure_fields()
        if out_of_time is not None:
            return out_of_time
        self.shortest = self.fields.table[self.rows, self.starts]  # int32 [N]
        if (self.shortest >= FAR).any():
            agent = int(np.argmax(self.shortest))
            return self.failed(
                PlanStatus.INFEASIBLE, message=f"agent {agent} cannot reach its goal on this map"
            )
        self.lower_bound = int(self.shortest.sum())
        return None

    def failed(
        self, status: PlanStatus, *, n_expanded: int = 0, lower_bound: int = 0, message: str = ""
    ) -> PlanResult:
        bound = max(lower_bound, getattr(self, "lower_bound", 0))
        elapsed = self.deadline.elapsed
        return PlanResult(
            status, None, None, None, bound, False, elapsed, None, n_expanded, message
        )

    def solved(
        self,
        configurations: np.ndarray,
        *,
        first_solution_s: float,
        n_expanded: int,
        optimal: bool = False,
        lower_bound: int = 0,
    ) -> PlanResult:
        """The result for vertices int32 [T + 1, N]; waiting at the end is cut off."""
        arrivals = arrival_steps(configurations, self.goals)
        makespan = int(arrivals.max())
        paths = self.graph.cells[configurations[: makespan + 1]].transpose(1, 0, 2)
        return PlanResult(
            status=PlanStatus.SOLVED,
            paths=np.ascontiguousarray(paths),
            sum_of_costs=int(arrivals.sum()),
            makespan=makespan,
            lower_bound=max(self.lower_bound, lower_bound),
            optimal=optimal,
            elapsed_s=self.deadline.elapsed,
            first_solution_s=first_solution_s,
            n_expanded=n_expanded,
        )


def arrival_steps(configurations: np.ndarray, goals: np.ndarray) -> np.ndarray:
    """int64 [N]: the step from which on each agent rests at its goal; vertices are [T + 1, N]."""
    away = configurations != goals
    last = len(configurations) - np.argmax(away[::-1], axis=0)
    return np.where(away.any(axis=0), last, 0)


def stack_paths(paths: list[np.ndarray]) -> np.ndarray:
    """Vertex paths of different lengths as configurations int32 [T + 1, N]; the ends are held."""
    length = max(len(p) for p in paths)
    stacked = np.empty((length, len(paths)), np.int32)
    for i, path in enumerate(paths):
        stacked[: len(path), i] = path
        stacked[len(path) :, i] = path[-1]
    return stacked


def compiled_before_the_clock(solver: Solver[P]) -> Solver[P]:
    """On its first call in a process a solver first solves a toy: compiling is not planning, and
    must not be taken from the time limit. So does each choice by name (of a low level, say)."""

    @functools.wraps(solver)
    def timed(instance: MapfInstance, *args: P.args, **kwargs: P.kwargs) -> PlanResult:
        choices = {name: value for name, value in kwargs.items() if isinstance(value, str)}
        variant = (solver.__name__, *choices.values())
        if variant not in _compiled:
            toy: Callable[..., PlanResult] = solver
            toy(toy_instance(), time_limit_s=600.0, **choices)
            _compiled.add(variant)
        return solver(instance, *args, **kwargs)

    return timed


def toy_instance() -> MapfInstance:
    """Two agents that meet in a small room."""
    free = np.ones((2, 3), bool)
    return MapfInstance.one_shot(free, [[0, 0], [0, 2]], [[0, 2], [0, 0]], name="toy")
