"""Paths of single agents for EECBS; lengths and diagrams are kept, as nodes share constraints."""

from __future__ import annotations

import numpy as np

from pilotage.planners.mapf.calm_path import CalmPathSearch
from pilotage.planners.mapf.explicit_estimation import Constraint
from pilotage.planners.mapf.results import Problem
from pilotage.planners.mapf.space_time import SpaceTimeSearch, earliest_rest
from pilotage.planners.mapf.traffic import Traffic

_BACK = (0, 2, 1, 4, 3)  # the action that undoes an action


class OutOfTime(Exception):
    """The deadline has passed inside an expansion."""


class LowLevel:
    """Paths of one agent under its constraints; lengths and diagrams are kept."""

    def __init__(self, problem: Problem, fields: np.ndarray) -> None:
        self.problem, self.fields = problem, fields
        self._shortest = SpaceTimeSearch(problem.graph)
        self._calm = CalmPathSearch(problem.graph)
        self._table = np.zeros((0, problem.graph.n_vertices, 5), np.uint16)
        self._no_one = np.full((1, problem.graph.n_vertices), -1, np.int32)
        self._lengths: dict[tuple[int, tuple[Constraint, ...]], int | None] = {
            (i, ()): int(length) for i, length in enumerate(problem.shortest)
        }
        self._places: dict[tuple[int, tuple[Constraint, ...]], np.ndarray] = {}

    def known(self, agent: int, constraints: tuple[Constraint, ...]) -> int:
        """The length of the shortest path, found before."""
        length = self._lengths[agent, constraints]
        if length is None:
            raise RuntimeError(f"agent {agent} has no path under {constraints}")
        return length

    def shortest(self, agent: int, constraints: tuple[Constraint, ...]) -> int | None:
        """The length of the shortest path; None when there is no path."""
        key = (agent, constraints)
        if key not in self._lengths:
            path, decided = self._shortest.find(
                self.fields[agent],
                int(self.problem.starts[agent]),
                int(self.problem.goals[agent]),
                deadline=self.problem.deadline,
                forbidden=self._forbid(constraints, 1),
            )
            self._forbid(constraints, 0)
            if not decided:
                raise OutOfTime
            self._lengths[key] = None if path is None else len(path) - 1
        return self._lengths[key]

    def path(
        self,
        agent: int,
        constraints: tuple[Constraint, ...],
        shortest: int,
        longest: int,
        traffic: Traffic,
    ) -> np.ndarray:
        """A path within the bound that meets few of the traffic.

        Raises:
            OutOfTime: the time was up first.
        """
        goal = int(self.problem.goals[agent])
        forbidden = self._forbid(constraints, 1)
        path = self._calm.find(
            self.fields[agent],
            int(self.problem.starts[agent]),
            goal,
            longest=max(longest, shortest),
            hold=earliest_rest(self._no_one, forbidden, goal),
            forbidden=forbidden,
            traffic=traffic.table,
            deadline=self.problem.deadline,
        )
        self._forbid(constraints, 0)
        if path is None:
            raise OutOfTime
        return path

    def only_places(self, agent: int, constraints: tuple[Constraint, ...]) -> np.ndarray:
        """See `CalmPathSearch.only_places`."""
        key = (agent, constraints)
        if key not in self._places:
            if self.problem.deadline.passed:
                raise OutOfTime
            self._places[key] = self._calm.only_places(
                self.fields[agent],
                int(self.problem.starts[agent]),
                int(self.problem.goals[agent]),
                self.known(agent, constraints),
                self._forbid(constraints, 1),
            )
            self._forbid(constraints, 0)
        return self._places[key]

    def _forbid(self, constraints: tuple[Constraint, ...], value: int) -> np.ndarray:
        """uint16 [last step, V, 5], a part of one table: what the constraints forbid (1), and clean
        again (0)."""
        neighbours = self.problem.graph.neighbours
        n_steps = max((c[1] for c in constraints), default=0)
        if n_steps > len(self._table):
            self._table = np.zeros((2 * n_steps, *neighbours.shape), np.uint16)
        for _, step, v, action in constraints:
            if action >= 0:
                self._table[step - 1, v, action] = value
                continue
            for back in range(5):
                u = int(neighbours[v, back])
                if u >= 0:
                    self._table[step - 1, u, _BACK[back]] = value
        return self._table[:n_steps]
