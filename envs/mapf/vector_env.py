"""Teams on grids as a Gymnasium vector environment: a joint action is one action."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pilotage.envs.mapf.simulator import MapfSimulator
from pilotage.envs.mapf.tasks import instance_of, make_tasks
from pilotage.episodes.types import EndReason, Task

_CHARSET = "abcdefghijklmnopqrstuvwxyz0123456789, "
_FAR = 4096  # no map is as large


class MapfVectorEnv(gym.vector.VectorEnv):
    """n slots, in each a team of at most N agents on its own map.

    Action space: MultiDiscrete([5] * N) per slot: 0 stay, 1 up, 2 down, 3 left, 4 right for each
        agent; the numbers of agents that a team does not have are not looked at beyond the range.
    Observation space: "windows" float32 [n, N, 3, D, D] (see `MapfSimulator.observe`), "xy" and
        "target_xy" int32 [n, N, 2], place and goal from where the agent started (POGEMA's names),
        and for planners that see all: "walls" uint8 [n, H, W] (1 also outside the map), "cells" and
        "goals" int32 [n, N, 2], (row, col), -1 for agents that are not there; "instruction".
    Starting state: that of the task.
    Rewards: one-shot, 1 when all are at their goals; lifelong, goals reached in the step.
    Episode end: one-shot teams are done when all are at their goals at once (GOAL_REACHED), all
        others after `task.max_steps`. A lifelong episode is a success when every agent has reached
        a goal. Ended slots stand still until they are reset.
    Information: "trace" with "cells" and "goals" [n, N, 2], "goals_reached" [n, N] and "stopped"
        [n, 1] (agents held up in the step), "end_reason", "success", "env_error".
    Determinism: a slot depends on its task, world seed and actions alone.

    Raises:
        ValueError: an argument out of range, or an action (named with slot and agent).
    """

    def __init__(
        self,
        n_slots: int,
        *,
        n_agents: int = 8,
        max_height: int = 12,
        max_width: int = 12,
        collision: str = "soft",
        obs_radius: int = 5,
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots must be >= 1, got {n_slots}")
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs = n_slots
        self.simulator = MapfSimulator(
            n_slots,
            n_agents=n_agents,
            max_height=max_height,
            max_width=max_width,
            collision=collision,
            obs_radius=obs_radius,
        )
        d = 2 * obs_radius + 1
        cells = gym.spaces.Box(-1, _FAR, (n_agents, 2), np.int32)
        offset = gym.spaces.Box(-_FAR, _FAR, (n_agents, 2), np.int32)
        self.single_observation_space = gym.spaces.Dict(
            {
                "windows": gym.spaces.Box(0.0, 1.0, (n_agents, 3, d, d), np.float32),
                "xy": offset,
                "target_xy": offset,
                "walls": gym.spaces.Box(0, 1, (max_height, max_width), np.uint8),
                "cells": cells,
                "goals": cells,
                "instruction": gym.spaces.Text(min_length=0, max_length=200, charset=_CHARSET),
            }
        )
        self.single_action_space = gym.spaces.MultiDiscrete([5] * n_agents)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._tasks: list[Task | None] = [None] * n_slots
        self._steps = np.zeros(n_slots, np.int64)
        self._live = np.zeros(n_slots, bool)
        self._ends, self._success = [""] * n_slots, np.zeros(n_slots, bool)
        self._errors: list[str | None] = [None] * n_slots
        self._windows = np.zeros((n_slots, n_agents, 3, d, d), np.float32)
        self._walls = np.ones((n_slots, max_height, max_width), np.uint8)

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self._live.copy()

    def reset(
        self,
        *,
        seed: int | Sequence[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot draws one of the train split by its seed (`seed`, `seed + 1`, ...
        for an int).

        Raises:
            ValueError: wrong lengths, or a masked slot without a task.
        """
        mask, tasks, seeds = self._read_reset(seed, options or {})
        for slot in np.flatnonzero(mask).tolist():
            self._begin(slot, tasks[slot], seeds[slot])
        self._observe(np.flatnonzero(mask & self._live))
        return self._observations(), self._infos()

    def _read_reset(
        self, seed: int | Sequence[int | None] | None, options: dict[str, Any]
    ) -> tuple[np.ndarray, list[Task | None], list[int]]:
        n = self.num_envs
        mask = np.asarray(options.get("reset_mask", np.ones(n, bool)))
        if mask.shape != (n,) or mask.dtype != bool:
            raise ValueError(f"reset_mask must be bool [{n}], got {mask.dtype} {mask.shape}")
        if seed is None:
            seeds = [int(s) for s in self.np_random.integers(2**31, size=n)]
        elif isinstance(seed, (int, np.integer)):
            self._np_random = np.random.default_rng(int(seed))
            seeds = [int(seed) + i for i in range(n)]
        else:
            seeds = [0 if s is None else int(s) for s in seed]
        tasks = options.get("tasks")
        if tasks is None:
            tasks = [self._draw(s) for s in seeds]
        for name, given in (("seed", seeds), ("tasks", tasks)):
            if len(given) != n:
                raise ValueError(f"{name} has {len(given)} entries for {n} slots; give one each")
        for slot in np.flatnonzero(mask).tolist():
            if tasks[slot] is None:
                raise ValueError(f"slot {slot} is to be reset but options['tasks'] has None for it")
        return mask, list(tasks), seeds

    def _draw(self, seed: int) -> Task:
        size = min(12, self.simulator.max_height, self.simulator.max_width)
        n_agents = min(self.simulator.n_agents, max(1, size * size // 12))
        return make_tasks("train", 2, seed=seed, n_agents=n_agents, size=size)[seed % 2]

    def _begin(self, slot: int, task: Task | None, seed: int) -> None:
        self._tasks[slot], self._steps[slot] = task, 0
        self._ends[slot], self._success[slot], self._errors[slot] = "", False, None
        try:
            if task is None:
                raise ValueError("there is no task")
            instance = instance_of(task)
            lifelong = bool(task.scene["lifelong"])
            self.simulator.reset(slot, instance, seed=seed, lifelong=lifelong)
        except (KeyError, TypeError, ValueError) as error:
            self._errors[slot] = f"{type(error).__name__}: {error}"
            self._ends[slot] = EndReason.ENV_ERROR.value
            self._live[slot] = False
            return
        height, width = instance.free.shape
        self._walls[slot] = 1
        self._walls[slot, :height, :width] = ~instance.free
        self._live[slot] = True

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One joint action in every live slot; the others are frozen (reward 0, flags False)."""
        checked = self._check_actions(actions)
        stepped = self._live.copy()
        on_goal, done = self.simulator.step(checked, stepped)
        lifelong = self.simulator.lifelong
        self._steps[stepped] += 1
        gained = np.where(lifelong, on_goal.sum(axis=1), done)
        rewards = np.where(stepped, gained, 0).astype(np.float64)
        terminated = stepped & done & ~lifelong
        limits = np.array([0 if t is None else t.max_steps for t in self._tasks])
        truncated = stepped & ~terminated & (self._steps >= limits)
        for slot in np.flatnonzero(terminated | truncated).tolist():
            end = EndReason.GOAL_REACHED if terminated[slot] else EndReason.STEP_LIMIT
            n = self.simulator.team[slot]
            everyone = bool((self.simulator.reached[slot, :n] > 0).all())
            self._success[slot] = everyone if lifelong[slot] else terminated[slot]
            self._ends[slot], self._live[slot] = end.value, False
        self._observe(np.flatnonzero(stepped))
        return self._observations(), rewards, terminated, truncated, self._infos()

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        values = np.asarray(actions)
        shape = (self.num_envs, self.simulator.n_agents)
        if values.shape != shape or values.dtype.kind not in "iu":
            raise ValueError(
                f"actions are {values.dtype} {list(values.shape)}, expected whole numbers "
                f"{list(shape)}"
            )
        bad = ((values < 0) | (values > 4)) & self._live[:, None]
        if bad.any():
            slot, agent = (int(k) for k in np.argwhere(bad)[0])
            raise ValueError(
                f"slot {slot}, agent {agent}: action {int(values[slot, agent])} is none of 0 stay, "
                "1 up, 2 down, 3 left, 4 right"
            )
        return values

    def _observe(self, slots: np.ndarray) -> None:
        self.simulator.observe(self._windows, slots.tolist())

    def _observations(self) -> dict[str, Any]:
        cells, goals, starts = (self._places(k) for k in ("cells", "goals", "starts"))
        absent = cells < 0
        return {
            "windows": self._windows.copy(),
            "xy": np.where(absent, 0, cells - starts),
            "target_xy": np.where(absent, 0, goals - starts),
            "walls": self._walls.copy(),
            "cells": cells,
            "goals": goals,
            "instruction": tuple(t.instruction if t else "" for t in self._tasks),
        }

    def _places(self, which: str) -> np.ndarray:
        return self.simulator.positions(which)

    def _infos(self) -> dict[str, Any]:
        sim = self.simulator
        return {
            "trace": {
                "cells": self._places("cells").astype(np.float64),
                "goals": self._places("goals").astype(np.float64),
                "goals_reached": sim.reached.astype(np.float64),
                "stopped": sim.stopped[:, None].astype(np.float64),
            },
            "end_reason": list(self._ends),
            "success": self._success.copy(),
            "env_error": list(self._errors),
        }
