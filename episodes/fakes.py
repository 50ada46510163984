"""A tiny world and agent that obey the contracts, in plain numpy: for tests and benchmarks.

The world is a plane: the agent moves a point towards a goal, 0.25 m per step at most, and the world
adds seeded wind. `task.info` can ask for trouble: `{"reset_error": true}` or `{"error_at": k}` is
reported in `infos["env_error"]`, `{"raise_at": k}` is raised from `step`, at the k-th step.
`Condition.spec` can ask the agent for `{"gain": g}`, and for trouble too (see `FakeAgent`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector.utils import batch_space

from .types import Condition, EndReason, Json, Observations, Seeds, SlotError, Task

PRINTABLE = "".join(map(chr, range(32, 127)))
STEP_M = 0.25  # m, at full action
GOAL_RADIUS_M = 0.2
WALL_M = 2.6  # the plane is a square from -WALL_M to WALL_M


def make_fake_tasks(n: int, *, seed: int = 0, max_steps: int = 30) -> list[Task]:
    """Tasks with goals 1 to 2 m from the start; every third one has a budget of 5 steps only."""
    rng = np.random.default_rng(seed)
    tasks = []
    for i in range(n):
        angle, length = rng.uniform(-np.pi, np.pi), rng.uniform(1.0, 2.0)
        start = np.round(rng.uniform(-0.5, 0.5, 2), 3).tolist()
        goal = np.round(start + length * np.array([np.cos(angle), np.sin(angle)]), 3).tolist()
        distance = float(np.hypot(goal[0] - start[0], goal[1] - start[1]))
        tasks.append(
            Task(
                task_id=f"fake-{seed}-{i:04d}",
                env="fake",
                split="test",
                family="reach",
                instruction=f"go to {goal[0]:.2f} {goal[1]:.2f}",
                max_steps=max_steps if i % 3 else 5,
                scene={},
                start=start,
                goal=goal,
                shortest_path_length=distance,
                reference_path=((*start, 0.0), (*goal, 0.0)),
            )
        )
    return tasks


class FakeVectorEnv(gym.vector.VectorEnv[Any, Any, Any]):
    """`n_slots` planes. Observations: rgb, proprio `[x, y, goal x, goal y]`, instruction."""

    metadata: dict[str, Any] = {"autoreset_mode": gym.vector.AutoresetMode.DISABLED}  # noqa: RUF012

    def __init__(
        self, n_slots: int, *, expert_actions: bool = False, image_size: int = 8, work: int = 0
    ) -> None:
        """`work` adds that many rounds of hashing per slot and step: a compute cost to measure."""
        self.num_envs = n_slots
        self.image_size = image_size
        self.work = work
        self.expert_actions = expert_actions
        spaces: dict[str, gym.Space[Any]] = {
            "rgb": gym.spaces.Box(0, 255, (image_size, image_size, 3), np.uint8),
            "proprio": gym.spaces.Box(-np.inf, np.inf, (4,), np.float32),
            "instruction": gym.spaces.Text(64, charset=PRINTABLE),
        }
        if expert_actions:
            spaces["expert_action"] = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.single_observation_space = gym.spaces.Dict(spaces)
        self.single_action_space = gym.spaces.Box(-1, 1, (2,), np.float32)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._tasks: list[Task | None] = [None] * n_slots
        self._live = np.zeros(n_slots, bool)
        self._steps = np.zeros(n_slots, np.int64)
        self._rngs: list[np.random.Generator] = [np.random.default_rng(0) for _ in range(n_slots)]
        self._position = np.zeros((n_slots, 2))
        self._goal = np.zeros((n_slots, 2))
        self._collided = np.zeros(n_slots)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: Mapping[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        n = self.num_envs
        options = options or {}
        mask = np.asarray(options.get("reset_mask", np.ones(n, bool)))
        first = 0 if seed is None else seed
        seeds = [first + i for i in range(n)] if isinstance(first, int) else list(first)
        tasks = options.get("tasks") or make_fake_tasks(n, seed=seeds[0])
        errors: list[str | None] = [None] * n
        for slot in np.flatnonzero(mask):
            task = tasks[slot]
            self._tasks[slot] = task
            self._rngs[slot] = np.random.default_rng(seeds[slot])
            self._position[slot], self._goal[slot] = task.start, task.goal
            self._steps[slot] = self._collided[slot] = 0
            self._live[slot] = True
            if task.info.get("reset_error"):
                errors[slot] = "RuntimeError: no scene"
                self._live[slot] = False
        return self._observe(), self._infos(errors, [""] * n, np.zeros(n, bool))

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        n = self.num_envs
        rewards, flags = np.zeros(n), np.zeros((2, n), bool)
        errors: list[str | None] = [None] * n
        reasons, success = [""] * n, np.zeros(n, bool)
        for slot in np.flatnonzero(self._live).tolist():
            if not self.single_action_space.contains(np.asarray(actions[slot], np.float32)):
                raise ValueError(f"slot {slot}: action {actions[slot]} is outside [-1, 1]")
        for slot in np.flatnonzero(self._live).tolist():
            action = np.asarray(actions[slot], np.float64)
            task = self._task(slot)
            self._steps[slot] += 1
            if self._steps[slot] == task.info.get("raise_at"):
                raise RuntimeError("the simulator fell over")
            if self._steps[slot] == task.info.get("error_at"):
                errors[slot], reasons[slot] = "RuntimeError: broken", EndReason.ENV_ERROR.value
                flags[1, slot], self._live[slot] = True, False
                continue
            before = self._distance(slot)
            self._move(slot, action)
            rewards[slot] = before - self._distance(slot)
            if self._distance(slot) < GOAL_RADIUS_M:
                flags[0, slot], success[slot] = True, True
                reasons[slot] = EndReason.GOAL_REACHED.value
            elif self._steps[slot] >= task.max_steps:
                flags[1, slot], reasons[slot] = True, EndReason.STEP_LIMIT.value
            self._live[slot] = not flags[:, slot].any()
        infos = self._infos(errors, reasons, success)
        return self._observe(), rewards, flags[0], flags[1], infos

    def _move(self, slot: int, action: np.ndarray) -> None:
        for round_ in range(self.work):
            hashlib.sha256(bytes(512) + round_.to_bytes(4, "little")).digest()
        wind = self._rngs[slot].normal(0.0, 0.02, 2)
        wanted = self._position[slot] + STEP_M * action + wind
        self._position[slot] = np.clip(wanted, -WALL_M, WALL_M)
        self._collided[slot] = float((self._position[slot] != wanted).any())

    def _task(self, slot: int) -> Task:
        task = self._tasks[slot]
        if task is None:
            raise RuntimeError(f"slot {slot} was never reset")
        return task

    def _distance(self, slot: int) -> float:
        return float(np.hypot(*(self._goal[slot] - self._position[slot])))

    def _observe(self) -> dict[str, Any]:
        n, size = self.num_envs, self.image_size
        rgb = np.zeros((n, size, size, 3), np.uint8)
        for slot, task in enumerate(self._tasks):
            if task is None:
                continue
            rgb[slot, :, :, 0] = self._steps[slot] % 256
            for channel, point in ((1, self._position[slot]), (2, self._goal[slot])):
                row, column = ((point + WALL_M) / (2.001 * WALL_M) * size).astype(int)
                rgb[slot, row, column, channel] = 255
        observations: dict[str, Any] = {
            "rgb": rgb,
            "proprio": np.concatenate([self._position, self._goal], axis=1).astype(np.float32),
            "instruction": tuple(task.instruction if task else "" for task in self._tasks),
        }
        if self.expert_actions:
            wanted = (self._goal - self._position) / STEP_M
            observations["expert_action"] = np.clip(wanted, -1, 1).astype(np.float32)
        return observations

    def _infos(
        self, errors: list[str | None], reasons: list[str], success: np.ndarray
    ) -> dict[str, Any]:
        position = np.concatenate([self._position, np.zeros((self.num_envs, 1))], axis=1)
        distance = [[self._distance(slot)] for slot in range(self.num_envs)]
        trace = {
            "position": position,
            "ee_position": position + 0.0,
            "distance_to_goal": np.array(distance),
            "collision": self._collided[:, None].copy(),
        }
        return {"trace": trace, "end_reason": reasons, "success": success, "env_error": errors}


class FakeAgent:
    """Walks towards the goal with seeded noise; `spec["gain"]` scales its actions.

    For tests of the loop, `spec["fail"]` at act number `spec["at"]` (from 0): `"raise"`,
    `"slot_error"`, `"nan"`, `"range"`, `"shape"`, or `"receipt"` when the episode is over.
    """

    observation_needs: frozenset[str] = frozenset()

    def __init__(self, *, name: str = "fake") -> None:
        self.name = name
        self._rngs: list[np.random.Generator] = []
        self._specs: list[Mapping[str, Json]] = []
        self._acts = np.zeros(0, np.int64)
        self._speed = np.zeros((0, 1), np.float32)

    @property
    def agent_id(self) -> str:
        return f"{self.name}@0"

    def manifest(self) -> dict[str, Json]:
        return {"kind": "fake"}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        for condition in conditions:
            unknown = set(condition.spec) - {"gain", "fail", "at"}
            if unknown:
                raise ValueError(f"condition {condition.name!r} has unknown parts {unknown}")
        self._rngs = [np.random.default_rng(0) for _ in range(n_slots)]
        self._specs = [{} for _ in range(n_slots)]
        self._acts = np.zeros(n_slots, np.int64)
        self._speed = np.zeros((n_slots, 1), np.float32)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._rngs[slot] = np.random.default_rng(seeds.agent)
        self._specs[slot] = condition.spec
        self._acts[slot] = 0

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        troubles = {slot: self._trouble(slot) for slot in np.flatnonzero(active).tolist()}
        if "raise" in troubles.values():
            raise RuntimeError("the policy fell over")
        blamed = {slot: "lost" for slot, kind in troubles.items() if kind == "slot_error"}
        if blamed:
            raise SlotError(blamed)
        actions = np.full((len(active), 2), np.nan, np.float32)
        for slot, trouble in troubles.items():
            position, goal = np.split(observations["proprio"][slot].astype(np.float64), 2)
            wanted = (goal - position) / STEP_M + self._rngs[slot].normal(0.0, 0.1, 2)
            gain = self._specs[slot].get("gain", 1.0)
            actions[slot] = gain * np.clip(wanted, -1.0, 1.0)
            self._speed[slot] = np.abs(actions[slot]).max()
            self._acts[slot] += 1
            if trouble in ("nan", "range"):
                actions[slot, 1] = np.nan if trouble == "nan" else 1.5
        return actions[:, :1] if "shape" in troubles.values() else actions

    def _trouble(self, slot: int) -> Json:
        spec = self._specs[slot]
        return spec.get("fail") if self._acts[slot] == spec.get("at", 0) else None

    def step_trace(self) -> dict[str, np.ndarray]:
        return {"speed": self._speed}

    def finish_slot(self, slot: int) -> dict[str, Json]:
        if self._specs[slot].get("fail") == "receipt":
            raise RuntimeError("planned 3 edits, made 2")
        return {"acts": int(self._acts[slot])}
