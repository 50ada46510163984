"""Paths of single agents for EECBS; lengths and diagrams are kept, as nodes share constraints."""

from __future__ import annotations

import numpy as np

from pilotage.planners.mapf.calm_path import CalmPathSearch
from pilotage.planners.mapf.constraints import Constraint, ConstraintTable, earliest_end
from pilotage.planners.mapf.results import Problem
from pilotage.planners.mapf.space_time import SpaceTimeSearch, earliest_rest
from pilotage.planners.mapf.symmetries import Diagram
from pilotage.planners.mapf.traffic import Traffic


class OutOfTime(Exception):
    """The deadline has passed inside an expansion."""


class LowLevel:
    """Paths of one agent under its constraints; lengths and diagrams are kept."""

    def __init__(self, problem: Problem, fields: np.ndarray) -> None:
        self.problem, self.fields = problem, fields
        self._shortest = SpaceTimeSearch(problem.graph)
        self._calm = CalmPathSearch(problem.graph)
        self.table = ConstraintTable(problem.graph)
        self._no_one = np.full((1, problem.graph.n_vertices), -1, np.int32)
        self._lengths: dict[tuple[int, tuple[Constraint, ...]], int | None] = {
            (i, ()): int(length) for i, length in enumerate(problem.shortest)
        }
        self._diagrams: dict[tuple[int, tuple[Constraint, ...]], Diagram] = {}

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
            with self.table.forbidding(constraints) as forbidden:
                path, decided = self._shortest.find(
                    self.fields[agent],
                    int(self.problem.starts[agent]),
                    int(self.problem.goals[agent]),
                    deadline=self.problem.deadline,
                    reserved=self.table.closed(constraints),
                    forbidden=forbidden,
                    hold=earliest_end(constraints),
                )
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
        longest = max(longest, shortest)
        with self.table.forbidding(constraints, longest) as forbidden:
            rest = earliest_rest(self._no_one, forbidden, goal)
            path = self._calm.find(
                self.fields[agent],
                int(self.problem.starts[agent]),
                goal,
                longest=longest,
                hold=max(rest, earliest_end(constraints)),
                forbidden=forbidden,
                traffic=traffic.table,
                deadline=self.problem.deadline,
            )
        if path is None:
            raise OutOfTime
        return path

    def diagram(self, agent: int, constraints: tuple[Constraint, ...]) -> Diagram:
        """All shortest paths of the agent.

        Raises:
            OutOfTime: the time was up first.
        """
        key = (agent, constraints)
        if key not in self._diagrams:
            if self.problem.deadline.passed:
                raise OutOfTime
            cost = self.known(agent, constraints)
            with self.table.forbidding(constraints, cost) as forbidden:
                states = self._calm.diagram(
                    self.fields[agent],
                    int(self.problem.starts[agent]),
                    int(self.problem.goals[agent]),
                    cost,
                    forbidden,
                )
            self._diagrams[key] = Diagram.of_states(states, self.problem.graph.n_vertices)
        return self._diagrams[key]
