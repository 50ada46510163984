"""Many teams on grids at once: a structure of arrays, stepped by compiled loops.

POGEMA 1.4.0 (Skrynnik et al. 2024, arXiv:2407.14931) is the model: actions, collision systems, the
order of a step (move, reward, next goal, observe), observations. Two things differ on purpose. The
channel of other agents is drawn from the positions every time (POGEMA loses agents that follow one
another from its own), and new goals come from a counter-based generator, so that an episode is the
same whatever the size of the batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import numba
import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.envs.mapf.moves import COLLISION_SYSTEMS, draw, move


class MapfSimulator:
    """`n_envs` teams of at most `n_agents` on maps of at most `max_height` x `max_width` cells.

    A team plays one-shot (its agents rest at their goals, and it is done when all are there) or
    lifelong: an agent that stands on its goal gets another one, the next of its list, or, where the
    instance has no lists, a cell drawn at random from those it can reach, never its own.

    Args:
        obs_radius: windows are 2 r + 1 cells wide.
        collision: "soft", "priority" or "block_both" (see `moves`).

    Raises:
        ValueError: a size or a word out of range.
    """

    def __init__(
        self,
        n_envs: int,
        *,
        n_agents: int,
        max_height: int,
        max_width: int,
        collision: str = "soft",
        obs_radius: int = 5,
    ) -> None:
        sizes = {"n_envs": n_envs, "n_agents": n_agents, "obs_radius": obs_radius}
        for name, size in (sizes | {"max_height": max_height, "max_width": max_width}).items():
            if size < 1:
                raise ValueError(f"{name} must be >= 1, got {size}")
        if collision not in COLLISION_SYSTEMS:
            known = ", ".join(COLLISION_SYSTEMS)
            raise ValueError(f"collision={collision!r} is unknown; choose {known}")
        self.n_envs, self.n_agents, self.obs_radius = n_envs, n_agents, obs_radius
        self.max_height, self.max_width = max_height, max_width
        self.lifelong = np.zeros(n_envs, bool)
        self._system = COLLISION_SYSTEMS[collision]
        height, self.stride = max_height + 2 * obs_radius, max_width + 2 * obs_radius
        n_cells = height * self.stride
        self.blocked = np.zeros((n_envs, n_cells), np.uint8)
        self.cells = np.full((n_envs, n_agents), -1, np.int32)  # index into the padded map
        self.goals = np.full((n_envs, n_agents), -1, np.int32)
        self.starts = np.full((n_envs, n_agents), -1, np.int32)
        self.team = np.zeros(n_envs, np.int64)  # agents of each team
        self.reached = np.zeros((n_envs, n_agents), np.int64)  # goals reached so far
        self.stopped = np.zeros(n_envs, np.int64)  # agents held up in the last step
        self._seeds = np.zeros(n_envs, np.uint64)
        self._draws = np.zeros((n_envs, n_agents), np.int64)
        self._lists = np.zeros((n_envs, n_agents, 1), np.int32)
        self._list_sizes = np.zeros((n_envs, n_agents), np.int64)
        self._part = np.zeros((n_envs, n_cells), np.int32)  # connected component of each cell
        self._members = np.zeros((n_envs, n_cells), np.int32)  # cells by component
        self._firsts = np.zeros((n_envs, n_cells + 1), np.int32)
        self._scratch = np.full((2, n_cells), -1, np.int32)
        self._agents = np.empty((2, n_agents), np.int32)

    def reset(
        self, env: int, instance: MapfInstance, *, seed: int = 0, lifelong: bool | None = None
    ) -> None:
        """Begin an episode of `instance` in one place of the batch.

        Args:
            env: which place.
            instance: map and team.
            seed: draws the later goals of a lifelong team without goal lists.
            lifelong: default, whether the instance has goal lists.

        Raises:
            ValueError: a map or team that is too large; goal lists with `lifelong=False`.
        """
        height, width = instance.free.shape
        if height > self.max_height or width > self.max_width:
            raise ValueError(
                f"{instance.name} is {height} x {width}, more than the {self.max_height} x "
                f"{self.max_width} that this simulator was made for"
            )
        if instance.n_agents > self.n_agents:
            raise ValueError(
                f"{instance.name} has {instance.n_agents} agents, more than the {self.n_agents} "
                "that this simulator was made for"
            )
        if instance.is_lifelong and lifelong is False:
            raise ValueError(f"{instance.name} has goal lists; it can only be played lifelong")
        self.lifelong[env] = instance.is_lifelong if lifelong is None else lifelong
        self._set_map(env, instance.free)
        n = instance.n_agents
        self.team[env] = n
        for rows, cells in ((self.cells, instance.starts), (self.goals, instance.goals)):
            rows[env] = -1
            rows[env, :n] = self._index(cells)
        self.starts[env] = self.cells[env]
        self.reached[env], self._draws[env], self.stopped[env] = 0, 0, 0
        self._seeds[env] = seed
        self._list_sizes[env] = 0
        for i, goals in enumerate(instance.goal_lists or ()):
            if len(goals) > self._lists.shape[2]:
                more = np.zeros((self.n_envs, self.n_agents, len(goals)), np.int32)
                more[:, :, : self._lists.shape[2]] = self._lists
                self._lists = more
            self._lists[env, i, : len(goals)] = self._index(goals)
            self._list_sizes[env, i] = len(goals)

    def _set_map(self, env: int, free: np.ndarray) -> None:
        """The map inside a ring of walls, and its parts."""
        from scipy.ndimage import label

        r, (height, width) = self.obs_radius, free.shape
        grid = np.zeros((len(self.blocked[env]) // self.stride, self.stride), np.uint8)
        grid[r - 1 : r + height + 1, r - 1 : r + width + 1] = 1
        grid[r : r + height, r : r + width] = ~free
        self.blocked[env] = grid.ravel()
        parts = np.zeros(grid.shape, np.int32)
        parts[r : r + height, r : r + width] = label(free)[0]
        flat = parts.ravel()
        self._part[env] = flat
        order = np.argsort(flat, kind="stable")
        self._members[env] = order
        self._firsts[env] = np.searchsorted(flat[order], np.arange(len(flat) + 1))

    def _index(self, cells: np.ndarray) -> np.ndarray:
        return (cells[:, 0] + self.obs_radius) * self.stride + cells[:, 1] + self.obs_radius

    def positions(self, which: str = "cells") -> np.ndarray:
        """int32 [n_envs, n_agents, 2], (row, col) of "cells", "goals" or "starts"; -1: no agent."""
        index = {"cells": self.cells, "goals": self.goals, "starts": self.starts}[which]
        both = np.stack([index // self.stride, index % self.stride], axis=2) - self.obs_radius
        return np.where(index[:, :, None] < 0, -1, both).astype(np.int32)

    def step(
        self, actions: np.ndarray, active: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """One step of the `active` teams (bool [n_envs], default all).

        Args:
            actions: int [n_envs, n_agents] in 0..4; those beyond a team are not looked at.

        Returns:
            (on_goal, done): bool [n_envs, n_agents], who stood on its goal after moving (and has
            the next one now, when lifelong); bool [n_envs], all did.

        Raises:
            ValueError: a wrong shape or an action out of range; nothing has moved then.
        """
        actions = np.asarray(actions)
        if actions.shape != (self.n_envs, self.n_agents) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"actions are {actions.dtype} {list(actions.shape)}, expected whole numbers "
                f"[{self.n_envs}, {self.n_agents}]"
            )
        active = np.ones(self.n_envs, bool) if active is None else np.asarray(active, bool)
        on_goal = np.zeros((self.n_envs, self.n_agents), bool)
        bad = _step_all(
            self._system,
            self.lifelong,
            self.stride,
            self.blocked,
            actions.astype(np.int64, copy=False),
            active,
            self.team,
            self.cells,
            self.goals,
            self.reached,
            self.stopped,
            self._seeds,
            self._draws,
            self._lists,
            self._list_sizes,
            self._part,
            self._members,
            self._firsts,
            self._scratch,
            self._agents,
            on_goal,
        )
        if bad >= 0:
            env, agent = divmod(int(bad), self.n_agents)
            raise ValueError(
                f"env {env}, agent {agent}: action {int(actions[env, agent])} is none of 0 stay, "
                "1 up, 2 down, 3 left, 4 right"
            )
        return on_goal, (on_goal.sum(axis=1) == self.team) & (self.team > 0)

    def observe(
        self, out: np.ndarray | None = None, envs: Sequence[int] | None = None
    ) -> np.ndarray:
        """Windows around the agents, float32 [n_envs, n_agents, 3, D, D] with D = 2 r + 1.

        Channels: walls (the ring around the map is wall, beyond it is free, as in POGEMA), agents
        (oneself is in the centre), and the goal, moved to the rim of the window where it is
        farther away. Absent agents see zeros. Only `envs` are written where they are given.
        """
        d = 2 * self.obs_radius + 1
        shape = (self.n_envs, self.n_agents, 3, d, d)
        if out is None:
            out = np.zeros(shape, np.float32)
        if out.shape != shape:
            raise ValueError(f"out has shape {list(out.shape)}, expected {list(shape)}")
        which = np.arange(self.n_envs) if envs is None else np.asarray(envs, np.int64)
        _observe_all(
            which,
            self.stride,
            self.obs_radius,
            self.blocked,
            self.team,
            self.cells,
            self.goals,
            self._scratch[0],
            out,
        )
        return out


@numba.njit(cache=True)
def _step_all(  # type: ignore[no-untyped-def]
    system,
    lifelong,
    stride,
    blocked,
    actions,
    active,
    team,
    cells,
    goals,
    reached,
    stopped,
    seeds,
    draws,
    lists,
    list_sizes,
    part,
    members,
    firsts,
    scratch,
    agents,
    on_goal,
):
    """Steps all teams; the place of the first bad action, or -1."""
    for b in range(len(team)):
        for i in range(team[b]):
            if active[b] and (actions[b, i] < 0 or actions[b, i] > 4):
                return b * cells.shape[1] + i
    for b in range(len(team)):
        n = team[b]
        if not active[b]:
            continue
        stopped[b] = move(
            system,
            blocked[b],
            stride,
            actions[b, :n],
            cells[b, :n],
            scratch,
            agents[0, :n],
            agents[1, :n],
        )
        for i in range(n):
            if cells[b, i] != goals[b, i]:
                continue
            on_goal[b, i] = True
            if not lifelong[b]:
                continue
            reached[b, i] += 1
            if list_sizes[b, i] > 0:
                goals[b, i] = lists[b, i, reached[b, i] % list_sizes[b, i]]
                continue
            first = firsts[b, part[b, cells[b, i]]]
            size = firsts[b, part[b, cells[b, i]] + 1] - first
            while size > 1 and goals[b, i] == cells[b, i]:
                goals[b, i] = members[b, first + draw(seeds[b], i, draws[b, i], size)]
                draws[b, i] += 1
    return -1


@numba.njit(cache=True)
def _observe_all(which, stride, r, blocked, team, cells, goals, holder, out):  # type: ignore[no-untyped-def]
    for b in which:
        for i in range(team[b]):
            holder[cells[b, i]] = i
        for i in range(len(cells[b])):
            if i >= team[b]:
                out[b, i] = 0
                continue
            walls, others, target = out[b, i, 0], out[b, i, 1], out[b, i, 2]
            target[:] = 0
            for y in range(2 * r + 1):
                first = cells[b, i] + (y - r) * stride - r
                walls[y] = blocked[b, first : first + 2 * r + 1]
                row = holder[first : first + 2 * r + 1]
                for x in range(2 * r + 1):
                    others[y, x] = row[x] >= 0
            dy = goals[b, i] // stride - cells[b, i] // stride
            dx = goals[b, i] % stride - cells[b, i] % stride
            target[r + min(max(dy, -r), r), r + min(max(dx, -r), r)] = 1
        for i in range(team[b]):
            holder[cells[b, i]] = -1
