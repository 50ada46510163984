"""Demonstrations: an expert labels the states that a driver (expert, noise, policy) visits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.policy import VLAAgent, image_of, proprio_of
from pilotage.episodes.types import BASELINE, Seeds, Task

# (task, trace row as name -> [k] arrays) -> float32 [aux_dim]: what the network also predicts.
AuxTargets = Callable[[Task, dict[str, np.ndarray]], np.ndarray]
# (task, action) -> the action that is executed instead, so that slow episodes take fewer steps; the
# label stays the expert's.
Hasten = Callable[[Task, np.ndarray], np.ndarray]


@dataclass
class Demo:
    """One episode of labelled states; every array has T rows."""

    task: Task
    images: list[np.ndarray]  # per camera uint8 [T, H, W, C]
    proprio: np.ndarray  # float32 [T, P]
    actions: np.ndarray  # the expert's actions, float32 [T, 7] or int64 [T]
    narrations: list[str]
    aux: np.ndarray  # float32 [T, A]
    success: bool

    @property
    def n_steps(self) -> int:
        return len(self.proprio)


@dataclass(frozen=True)
class Driver:
    """Who moves while the expert labels.

    noise: standard deviation added to continuous expert actions (a fresh level per episode, uniform
    in [0, noise]), or the probability of a random discrete action. policy: an agent that drives a
    share `policy_share` of the episodes by itself (DAgger, Ross et al. 2011, arXiv:1011.0686).
    """

    noise: float = 0.0
    policy: VLAAgent | None = None
    policy_share: float = 0.0
    max_steps: int | None = None  # cut episodes here while collecting
    hasten: Hasten | None = None


def collect(
    envs: Any,
    tasks: Sequence[Task],
    *,
    config: VLAConfig,
    driver: Driver,
    aux_targets: AuxTargets,
    seed: int,
    progress: Callable[[int], None] | None = None,
) -> list[Demo]:
    """Play every task once in the slots of `envs` (made with `expert_actions=True`).

    Episodes that end in an environment error raise: demonstrations must not be silently fewer.
    """
    n = envs.num_envs
    rng = np.random.default_rng(seed)
    queue = list(tasks)[::-1]
    lanes: list[_Lane | None] = [None] * n
    demos: list[Demo] = []
    if driver.policy is not None:
        driver.policy.prepare([BASELINE], n)
    observations: Any = None
    infos: Any = None
    while queue or any(lanes):
        mask = _starts(lanes, len(queue))
        if mask.any():
            given: list[Task | None] = [queue.pop() if m else None for m in mask]
            seeds = [Seeds.of(t, run_seed=seed).world if t else 0 for t in given]
            observations, infos = envs.reset(
                seed=seeds, options={"reset_mask": mask, "tasks": given}
            )
            for i, task in enumerate(given):
                if task is not None:
                    lanes[i] = _Lane.start(task, driver, rng)
                    if driver.policy is not None:
                        driver.policy.reset_slot(i, task, BASELINE, Seeds(0, 0, 0))
        active = np.array([lane is not None for lane in lanes])
        actions = _drive(observations, lanes, active, driver, rng)
        for i, lane in enumerate(lanes):
            if lane is not None:
                lane.see(i, observations, infos, config, aux_targets)
        observations, _, terminated, truncated, infos = envs.step(actions)
        for i, lane in enumerate(lanes):
            if lane is None:
                continue
            if infos["env_error"][i]:
                raise RuntimeError(f"task {lane.task.task_id}: {infos['env_error'][i]}")
            too_long = driver.max_steps is not None and len(lane.proprio) >= driver.max_steps
            if terminated[i] or truncated[i] or too_long:
                demos.append(lane.finish(bool(infos["success"][i])))
                lanes[i] = None
                if progress is not None:
                    progress(len(demos))
    return demos


def _starts(lanes: Sequence[Any], n_left: int) -> np.ndarray:
    """Bool `[n]`: which free slots get one of the `n_left` tasks."""
    free = np.array([lane is None for lane in lanes])
    return free & (np.cumsum(free) <= n_left)


def _drive(
    observations: Any,
    lanes: Sequence[_Lane | None],
    active: np.ndarray,
    driver: Driver,
    rng: np.random.Generator,
) -> np.ndarray:
    actions = np.array(observations["expert_action"], copy=True)
    own = np.array([lane is not None and lane.by_policy for lane in lanes])
    if driver.policy is not None and own.any():
        chosen = driver.policy.act(observations, active)
        actions[own] = chosen[own]
    for i, lane in enumerate(lanes):
        if lane is None:
            actions[i] = 0
        elif not lane.by_policy and lane.noise > 0:
            actions[i] = _disturb(actions[i], lane.noise, rng)
        if lane is not None and driver.hasten is not None:
            actions[i] = driver.hasten(lane.task, actions[i])
    return actions


def _disturb(action: np.ndarray, noise: float, rng: np.random.Generator) -> np.ndarray:
    if action.ndim == 0:
        return np.asarray(rng.integers(1, 4)) if action != 0 and rng.random() < noise else action
    out = action.copy()
    out[:3] += rng.normal(0.0, noise, 3)
    if rng.random() < 0.02:
        out[6] = -out[6]
    return np.clip(out, -1.0, 1.0)


class _Lane:
    def __init__(self, task: Task, noise: float, by_policy: bool) -> None:
        self.task, self.noise, self.by_policy = task, noise, by_policy
        self.images: list[list[np.ndarray]] = []
        self.proprio: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []
        self.narrations: list[str] = []
        self.aux: list[np.ndarray] = []

    @classmethod
    def start(cls, task: Task, driver: Driver, rng: np.random.Generator) -> _Lane:
        by_policy = driver.policy is not None and rng.random() < driver.policy_share
        return cls(task, driver.noise * rng.random(), by_policy)

    def see(
        self,
        slot: int,
        observations: Any,
        infos: Any,
        config: VLAConfig,
        aux_targets: AuxTargets,
    ) -> None:
        self.images.append(
            [
                image_of(observations, key, config.with_depth)[slot].copy()
                for key in config.image_keys
            ]
        )
        self.proprio.append(proprio_of(observations, config.proprio_keys)[slot])
        self.actions.append(np.array(observations["expert_action"][slot]))
        self.narrations.append(infos["narration"][slot])
        row = {name: rows[slot] for name, rows in infos["trace"].items()}
        self.aux.append(np.asarray(aux_targets(self.task, row), dtype=np.float32))

    def finish(self, success: bool) -> Demo:
        return Demo(
            task=self.task,
            images=[np.stack(frames) for frames in zip(*self.images, strict=True)],
            proprio=np.stack(self.proprio),
            actions=np.stack(self.actions),
            narrations=self.narrations,
            aux=np.stack(self.aux),
            success=success,
        )
