"""The judge of a plan: which rules it breaks, and what it costs. Knows no solver.

Rules and costs of Stern et al. 2019 (arXiv:1906.08291): no vertex conflict (two agents on one
cell), no swapping conflict (two agents exchange cells in one step), moves to a neighbouring cell or
none, never a wall or the outside, the right start and the right end. Following and turning in a
circle are allowed.

Conventions. `sum_of_costs` counts for each agent the steps until it is at its goal *for good* (also
called flowtime); waiting elsewhere, or leaving the goal again, costs. `sum_of_loss` counts the
steps that do not begin and end at the goal, so a rest at the goal is free even when the agent
leaves later (Okumura 2023, arXiv:2305.03632); it is never above `sum_of_costs`. `makespan` is the
last arrival for good. POGEMA's SoC is `sum_of_costs` of a solved episode, where an agent that
begins at its goal counts one step.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance

MAX_VIOLATIONS = 1000


class Rule(StrEnum):
    """What a plan can break."""

    START = "start"
    BOUNDS = "bounds"
    OBSTACLE = "obstacle"
    JUMP = "jump"
    VERTEX = "vertex"
    SWAPPING = "swapping"
    GOAL = "goal"


@dataclass(frozen=True)
class Violation:
    """One broken rule: by whom, and at the end of which step (0 is the start)."""

    rule: Rule
    step: int
    agents: tuple[int, ...]
    cell: tuple[int, int]

    def __str__(self) -> str:
        who = " and ".join(str(a) for a in self.agents)
        return f"{self.rule.value}: agent {who} at step {self.step}, cell {self.cell}"


@dataclass(frozen=True)
class PathReport:
    """The verdict on a plan; costs are None unless every agent ends at its goal."""

    violations: tuple[Violation, ...]
    sum_of_costs: int | None
    sum_of_loss: int | None
    makespan: int | None
    n_at_goal: int  # agents that end at their goal
    n_agents: int

    @property
    def success(self) -> bool:
        """No rule is broken (the goal rule included)."""
        return not self.violations

    @property
    def broken_rules(self) -> frozenset[Rule]:
        return frozenset(v.rule for v in self.violations)


def validate_paths(instance: MapfInstance, paths: np.ndarray) -> PathReport:
    """Judge a one-shot plan, int [N, T + 1, 2] of (row, col) from step 0 on.

    At most 1,000 violations are listed, in the order of `Rule`.

    Raises:
        ValueError: a wrong shape; a lifelong instance (see `goals_reached`).
        TypeError: cells that are not whole numbers.
    """
    if instance.is_lifelong:
        raise ValueError(f"{instance.name} is lifelong; use lifelong_report")
    paths = _check_shape(instance, paths)
    violations = _movement_violations(instance, paths)
    at_goal = (paths == instance.goals[:, None]).all(axis=2)  # bool [N, T + 1]
    last = paths.shape[1] - 1
    for i in np.flatnonzero(~at_goal[:, -1]).tolist():
        violations.append(Violation(Rule.GOAL, last, (i,), _cell(paths[i, -1])))
    costs = [_arrival(row) for row in at_goal] if at_goal[:, -1].all() else None
    return PathReport(
        violations=tuple(violations[:MAX_VIOLATIONS]),
        sum_of_costs=None if costs is None else sum(costs),
        sum_of_loss=None if costs is None else int((~(at_goal[:, 1:] & at_goal[:, :-1])).sum()),
        makespan=None if costs is None else max(costs),
        n_at_goal=int(at_goal[:, -1].sum()),
        n_agents=instance.n_agents,
    )


@dataclass(frozen=True)
class LifelongReport:
    """The verdict on a lifelong walk."""

    violations: tuple[Violation, ...]
    goals_reached: np.ndarray  # int64 [N]
    throughput: float  # goals reached by all agents per step


def lifelong_report(instance: MapfInstance, paths: np.ndarray) -> LifelongReport:
    """Judge a lifelong walk, int [N, T + 1, 2], T >= 1; a goal counts at the end of a step.

    One goal at most is reached in a step; a next goal that is the cell itself counts a step later.

    Raises:
        ValueError: a wrong shape; a one-shot instance; no step.
    """
    if instance.goal_lists is None:
        raise ValueError(f"{instance.name} is one-shot; use validate_paths")
    paths = _check_shape(instance, paths)
    n_steps = paths.shape[1] - 1
    if n_steps < 1:
        raise ValueError("the walk has no step; throughput is goals per step")
    reached = np.zeros(instance.n_agents, np.int64)
    for i, goals in enumerate(instance.goal_lists):
        for cell in paths[i, 1:].tolist():
            reached[i] += cell == goals[reached[i] % len(goals)].tolist()
    violations = _movement_violations(instance, paths)
    return LifelongReport(tuple(violations[:MAX_VIOLATIONS]), reached, reached.sum() / n_steps)


def _check_shape(instance: MapfInstance, paths: np.ndarray) -> np.ndarray:
    paths = np.asarray(paths)
    n = instance.n_agents
    if paths.ndim != 3 or paths.shape[0] != n or paths.shape[1] < 1 or paths.shape[2] != 2:
        raise ValueError(f"paths have shape {list(paths.shape)}, expected [{n}, T + 1, 2]")
    if paths.dtype.kind not in "iu":
        raise TypeError(f"paths are {paths.dtype}; give whole numbers (row, col)")
    return paths.astype(np.int64)


def _movement_violations(instance: MapfInstance, paths: np.ndarray) -> list[Violation]:
    """Everything but the goals."""
    found = []
    for i in np.flatnonzero((paths[:, 0] != instance.starts).any(axis=1)).tolist():
        found.append(Violation(Rule.START, 0, (i,), _cell(paths[i, 0])))
    shape = np.array(instance.free.shape)
    inside = ((paths >= 0) & (paths < shape)).all(axis=2)
    for i, t in np.argwhere(~inside).tolist():
        found.append(Violation(Rule.BOUNDS, t, (i,), _cell(paths[i, t])))
    held = np.clip(paths, 0, shape - 1)
    blocked = inside & ~instance.free[held[..., 0], held[..., 1]]
    for i, t in np.argwhere(blocked).tolist():
        found.append(Violation(Rule.OBSTACLE, t, (i,), _cell(paths[i, t])))
    far = np.abs(np.diff(paths, axis=1)).sum(axis=2) > 1
    for i, t in np.argwhere(far).tolist():
        found.append(Violation(Rule.JUMP, t + 1, (i,), _cell(paths[i, t + 1])))
    return found + _vertex_conflicts(paths) + _swapping_conflicts(paths)


def _vertex_conflicts(paths: np.ndarray) -> list[Violation]:
    found = []
    for t in range(paths.shape[1]):
        holders: dict[tuple[int, int], int] = {}
        for i, cell in enumerate(map(tuple, paths[:, t].tolist())):
            if cell in holders:
                found.append(Violation(Rule.VERTEX, t, (holders[cell], i), _cell(paths[i, t])))
            else:
                holders[cell] = i
    return found


def _swapping_conflicts(paths: np.ndarray) -> list[Violation]:
    found = []
    for t in range(1, paths.shape[1]):
        moves: dict[tuple[int, ...], int] = {}
        for i, (before, after) in enumerate(zip(paths[:, t - 1].tolist(), paths[:, t].tolist())):
            if before == after:
                continue
            other = moves.get((*after, *before))
            if other is not None:
                found.append(Violation(Rule.SWAPPING, t, (other, i), _cell(paths[i, t])))
            moves[(*before, *after)] = i
    return found


def _arrival(at_goal: np.ndarray) -> int:
    """The step after which the agent stays at its goal."""
    away = np.flatnonzero(~at_goal)
    return int(away[-1]) + 1 if len(away) else 0


def _cell(cell: np.ndarray) -> tuple[int, int]:
    return int(cell[0]), int(cell[1])
