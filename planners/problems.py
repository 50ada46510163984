"""Planning problems as data, exact planners for lists of them, and checks that know no planner."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import networkx as nx
import numpy as np

from pilotage.envs.maze.grid import to_graph
from pilotage.planners import exact
from pilotage.planners.grids import solve_grids
from pilotage.planners.plan import Node, Plan, PlanStatus
from pilotage.planners.validate import check_path


@dataclass(frozen=True, eq=False)
class GridProblem:
    """From `start` to `goal`, (row, col), in a maze uint8 [H, W] of `envs.maze.grid`."""

    cells: np.ndarray
    start: tuple[int, int]
    goal: tuple[int, int]


@dataclass(frozen=True, eq=False)
class GraphProblem:
    """From `start` to `goal` in a networkx graph; without `weight` every edge costs 1."""

    graph: Any
    start: Hashable
    goal: Hashable
    weight: str | None = None


# (problems, number of the attempt) -> an answer each. An answer depends on its problem and the
# attempt alone, else an episode would depend on its neighbours.
GridPlanner = Callable[[Sequence[GridProblem], int], list[Plan]]
GraphPlanner = Callable[[Sequence[GraphProblem], int], list[Plan]]


def exact_grid_planner(
    *, algorithm: str = "bfs", tie_break: str = "first", max_expanded: int | None = None
) -> GridPlanner:
    """`grids.solve_grids` for a list of problems: one call for each shape among them."""

    def solve(cells: np.ndarray, starts: np.ndarray, goals: np.ndarray, attempt: int) -> list[Plan]:
        solved = solve_grids(
            cells,
            starts,
            goals,
            algorithm=algorithm,
            tie_break=tie_break,
            max_expanded=max_expanded,
        )
        return [solved.plan(k) for k in range(len(cells))]

    return batched_by_shape(solve)


# (cells uint8 [B, H, W], starts [B, 2], goals [B, 2], number of the attempt) -> a plan each
GridSolver = Callable[[np.ndarray, np.ndarray, np.ndarray, int], list[Plan]]


def batched_by_shape(solve: GridSolver) -> GridPlanner:
    """A planner for problems of any shapes from a solver of one shape: a call for each of them."""

    def plan(problems: Sequence[GridProblem], attempt: int) -> list[Plan]:
        by_shape: dict[tuple[int, ...], list[int]] = {}
        for i, problem in enumerate(problems):
            by_shape.setdefault(problem.cells.shape, []).append(i)
        answers: dict[int, Plan] = {}
        for members in by_shape.values():
            chosen = [problems[i] for i in members]
            cells = np.stack([p.cells for p in chosen])
            starts, goals = (np.array(p) for p in zip(*((p.start, p.goal) for p in chosen)))
            answers |= dict(zip(members, solve(cells, starts, goals, attempt), strict=True))
        return [answers[i] for i in range(len(problems))]

    return plan


def exact_graph_planner(
    *, tie_break: Callable[[Node], Any] | None = None, max_expanded: int | None = None
) -> GraphPlanner:
    """Dijkstra's search (breadth-first without weights) for a list of problems."""

    def plan(problems: Sequence[GraphProblem], attempt: int) -> list[Plan]:
        options: dict[str, Any] = {"tie_break": tie_break, "max_expanded": max_expanded}
        return [
            exact.bfs(p.graph, p.start, p.goal, **options)
            if p.weight is None
            else exact.dijkstra(p.graph, p.start, p.goal, weight=p.weight, **options)
            for p in problems
        ]

    return plan


def graph_fault(problem: GraphProblem, plan: Plan) -> str | None:
    """None when the plan stands: a valid path of the claimed cost, or no path where there is none.

    Else a word for what is wrong: a `validate.Fault`, "timed_out", or "not_infeasible".
    """
    if plan.status == PlanStatus.TIMED_OUT:
        return "timed_out"
    if plan.status == PlanStatus.INFEASIBLE:
        reachable = nx.has_path(problem.graph, problem.start, problem.goal)
        return "not_infeasible" if reachable else None
    verdict = check_path(
        problem.graph,
        plan.path,
        problem.start,
        problem.goal,
        weight=problem.weight,
        claimed_cost=plan.cost,
    )
    return None if verdict.fault is None else verdict.fault.value


def grid_fault(problem: GridProblem, plan: Plan) -> str | None:
    """As `graph_fault`, for a grid; the graph is built from the cells, by no planner's code."""
    graph = to_graph(problem.cells)
    return graph_fault(GraphProblem(graph, problem.start, problem.goal), plan)
