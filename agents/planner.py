"""Planners as agents of the episode loop: read a problem, plan once, walk the plan.

All slots that need a plan are planned for in one call. A plan that did not pass its check is not
walked: the agent abstains by the action stop, and the receipt says why.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np

from pilotage.envs.maze.grid import AGENT, GOAL, MOVES
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task
from pilotage.planners.problems import (
    GraphProblem,
    GridProblem,
    exact_graph_planner,
    exact_grid_planner,
    graph_fault,
    grid_fault,
)
from pilotage.planners.verified import VerifiedPlan, VerifiedPlanner

STOP = 0


@dataclass
class _Walk:
    """The plan of one slot: actions to come, and where each is to be taken."""

    todo: deque[tuple[Any, int]] = field(default_factory=deque)
    answers: list[VerifiedPlan] = field(default_factory=list)


class PlannerAgent:
    """Walks what a verified planner finds; plans anew when it is not where the plan says.

    Args:
        planner: answers problems of the kind that `read` makes.
        read: (observations, slot) -> problem.
        here: (observations, slot) -> where the agent is, as a node of a plan.
        action: (node, next node) -> the world's action.
        name: short, for tables.
    """

    observation_needs: frozenset[str] = frozenset()

    def __init__(
        self,
        planner: VerifiedPlanner[Any],
        read: Callable[[Observations, int], Any],
        here: Callable[[Observations, int], Any],
        action: Callable[[Any, Any], int],
        *,
        name: str = "planner",
    ) -> None:
        self.planner, self._read, self._here, self._action = planner, read, here, action
        self.agent_id = name
        self._walks: list[_Walk] = []

    def manifest(self) -> dict[str, Json]:
        return {
            "agent": self.agent_id,
            "retries": self.planner.retries,
            "fallback": self.planner.fallback is not None,
        }

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        refused = [c.name for c in conditions if c.spec]
        if refused:
            raise ValueError(
                f"agent {self.agent_id!r} has no network to steer; leave conditions {refused} out"
            )
        self._walks = [_Walk() for _ in range(n_slots)]

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._walks[slot] = _Walk()

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions int64 [n]; inactive slots stop."""
        slots = np.flatnonzero(active).tolist()
        lost = [slot for slot in slots if not self._on_track(observations, slot)]
        if lost:
            answers = self.planner.solve([self._read(observations, slot) for slot in lost])
            for slot, answer in zip(lost, answers):
                self._take(slot, answer)
        actions = np.full(len(active), STOP, np.int64)
        for slot in slots:
            walk = self._walks[slot]
            if walk.todo:
                actions[slot] = walk.todo.popleft()[1]
        return actions

    def _on_track(self, observations: Observations, slot: int) -> bool:
        todo = self._walks[slot].todo
        return bool(todo) and todo[0][0] == self._here(observations, slot)

    def _take(self, slot: int, answer: VerifiedPlan) -> None:
        walk = self._walks[slot]
        walk.answers.append(answer)
        path = (answer.plan.path if answer.plan is not None else None) or ()
        walk.todo = deque((a, self._action(a, b)) for a, b in itertools.pairwise(path))

    def step_trace(self) -> dict[str, np.ndarray]:
        return {}

    def finish_slot(self, slot: int) -> dict[str, Json]:
        """Where the plans of the episode came from, and what was wrong with rejected answers."""
        answers = self._walks[slot].answers
        return {
            "sources": [answer.source.value for answer in answers],
            "statuses": [
                answer.plan.status.name.lower() if answer.plan is not None else None
                for answer in answers
            ],
            "n_expanded": [answer.plan.n_expanded if answer.plan else 0 for answer in answers],
            "faults": [list(answer.faults) for answer in answers],
        }


def maze_planner_agent(
    planner: VerifiedPlanner[GridProblem] | None = None, *, name: str = "planner-bfs"
) -> PlannerAgent:
    """For `pilotage/Maze-v0` with the full view; by default exact breadth-first search, checked."""
    if planner is None:
        planner = VerifiedPlanner(exact_grid_planner(), grid_fault)
    return PlannerAgent(planner, _read_maze, _maze_cell, _maze_action, name=name)


def _read_maze(observations: Observations, slot: int) -> GridProblem:
    if "cells" not in observations:
        raise ValueError(f"no observation 'cells' among {sorted(observations)}; use view='full'")
    seen, start = observations["cells"][slot], _maze_cell(observations, slot)
    inside = start[0] < seen.shape[0] and start[1] < seen.shape[1]
    if not inside or not seen[start] & AGENT:
        raise ValueError(f"the agent is not at {start} of 'cells'; use view='full'")
    goal = tuple(observations["goal"][slot].tolist())
    return GridProblem(seen & np.uint8(255 - AGENT - GOAL), start, goal)


def _maze_cell(observations: Observations, slot: int) -> tuple[int, int]:
    row, col = observations["position"][slot].tolist()
    return row, col


def _maze_action(cell: tuple[int, int], there: tuple[int, int]) -> int:
    return 1 + MOVES.index((there[0] - cell[0], there[1] - cell[1]))


def graph_planner_agent(
    planner: VerifiedPlanner[GraphProblem] | None = None, *, name: str = "planner-bfs"
) -> PlannerAgent:
    """For `pilotage/PathGraph-v0`; by default exact breadth-first search, checked."""
    if planner is None:
        planner = VerifiedPlanner(exact_graph_planner(), graph_fault)
    return PlannerAgent(planner, _read_graph, _graph_node, _graph_action, name=name)


def _read_graph(observations: Observations, slot: int) -> GraphProblem:
    graph = nx.from_numpy_array(observations["adjacency"][slot], create_using=nx.DiGraph)
    return GraphProblem(graph, _graph_node(observations, slot), int(observations["goal"][slot]))


def _graph_node(observations: Observations, slot: int) -> int:
    return int(observations["node"][slot])


def _graph_action(node: int, there: int) -> int:
    return 1 + there
