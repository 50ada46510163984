"""Demonstrations: an expert labels the states that a driver (expert, noise, policy) visits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.observed import image_of, proprio_of
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import BASELINE, Seeds, Task

# (task, trace row as name -> [k] arrays) -> float32 [aux_dim]: what the network also predicts.
AuxTargets = Callable[[Task, dict[str, np.ndarray]], np.ndarray]
# (envs, slot, task, config) -> bool [n_image_tokens, n_pointed]: which patches of the picture show
# what the instruction means there.
Pointing = Callable[[Any, int, Task, VLAConfig], np.ndarray]
# (envs, slot, task, config) -> bool [max_instruction]: which tokens of the instruction are being
# carried out there; none where that is not known.
ClauseOf = Callable[[Any, int, Task, VLAConfig], np.ndarray]
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
    # bool [T, n_image_tokens, n_pointed]: which patches show what the instruction names, if known
    pointed: np.ndarray | None = None
    clause: np.ndarray | None = None  # bool [T, max_instruction], the words being carried out

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
    # After so many steps in a row at which a driving policy did not do what the expert would, the
    # expert drives until the two agree as often again: states far off every route teach little.
    patience: int | None = None
    hasten: Hasten | None = None


@dataclass(frozen=True)
class Siblings:
    """Other tasks of the same scene, labelled at the states that an episode visits.

    draw: another task of the scene, or None; label: (envs, slot, task) -> the expert's action and
    narration there, were that the task. n: how many are drawn an episode (so many or fewer come).
    """

    n: int
    draw: Callable[[Task, np.random.Generator], Task | None]
    label: Callable[[Any, int, Task], tuple[np.ndarray, str]]


def collect(
    envs: Any,
    tasks: Sequence[Task],
    *,
    config: VLAConfig,
    driver: Driver,
    aux_targets: AuxTargets,
    seed: int,
    siblings: Siblings | None = None,
    pointing: Pointing | None = None,
    clause_of: ClauseOf | None = None,
    progress: Callable[[int], None] | None = None,
) -> list[Demo]:
    """Play every task once in the slots of `envs` (made with `expert_actions=True`).

    The demos of an episode's siblings follow it and share its pictures in memory.
    Episodes that end in an environment error raise: demonstrations must not be silently fewer.
    """
    n = envs.num_envs
    rng = np.random.default_rng(seed)
    queue = list(tasks)[::-1]
    lanes: list[_Lane | None] = [None] * n
    demos: list[Demo] = []
    n_played = 0
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
                    lanes[i] = _Lane.start(task, driver, rng, siblings)
                    if driver.policy is not None:
                        driver.policy.reset_slot(i, task, BASELINE, Seeds(0, 0, 0))
        active = np.array([lane is not None for lane in lanes])
        actions = _drive(observations, lanes, active, driver, rng)
        for i, lane in enumerate(lanes):
            if lane is None:
                continue
            lane.see(i, envs, observations, infos, config, aux_targets, siblings)
            for labels in (lane.labels, *lane.siblings):
                if pointing is not None:
                    labels.pointed.append(pointing(envs, i, labels.task, config))
                if clause_of is not None:
                    labels.clause.append(clause_of(envs, i, labels.task, config))
        observations, _, terminated, truncated, infos = envs.step(actions)
        for i, lane in enumerate(lanes):
            if lane is None:
                continue
            if infos["env_error"][i]:
                raise RuntimeError(f"task {lane.task.task_id}: {infos['env_error'][i]}")
            too_long = driver.max_steps is not None and len(lane.proprio) >= driver.max_steps
            if terminated[i] or truncated[i] or too_long:
                demos += lane.finish(bool(infos["success"][i]))
                lanes[i] = None
                n_played += 1
                if progress is not None:
                    progress(n_played)
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
    own = [(i, lane) for i, lane in enumerate(lanes) if lane is not None and lane.by_policy]
    if driver.policy is not None and own:
        chosen = driver.policy.act(observations, active)
        for i, led in own:
            actions[i] = led.driven(chosen[i], actions[i], driver.patience)
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


@dataclass
class Labels:
    """What the expert says, state by state, for one task."""

    task: Task
    actions: list[np.ndarray] = field(default_factory=list)
    narrations: list[str] = field(default_factory=list)
    aux: list[np.ndarray] = field(default_factory=list)
    pointed: list[np.ndarray] = field(default_factory=list)  # may stay empty
    clause: list[np.ndarray] = field(default_factory=list)  # may stay empty

    def add(
        self, action: Any, words: str, row: dict[str, np.ndarray], aux_targets: AuxTargets
    ) -> None:
        self.actions.append(np.array(action))
        self.narrations.append(words)
        self.aux.append(np.asarray(aux_targets(self.task, row), dtype=np.float32))

    def demo(self, images: list[np.ndarray], proprio: np.ndarray, success: bool = False) -> Demo:
        """The demonstration of these labels on the pictures that they were given for."""
        return Demo(
            task=self.task,
            images=images,
            proprio=proprio,
            actions=np.stack(self.actions),
            narrations=self.narrations,
            aux=np.stack(self.aux),
            success=success,
            pointed=np.stack(self.pointed) if self.pointed else None,
            clause=np.stack(self.clause) if self.clause else None,
        )


class _Lane:
    def __init__(self, task: Task, noise: float, by_policy: bool, siblings: list[Task]) -> None:
        self.task, self.noise, self.by_policy = task, noise, by_policy
        self.images: list[list[np.ndarray]] = []
        self.proprio: list[np.ndarray] = []
        self.labels = Labels(task)
        self.siblings = [Labels(sibling) for sibling in siblings]
        self.rescued = False  # the expert drives in the policy's place, for now
        self.in_a_row = 0  # steps at which the two disagreed (while rescued: agreed)

    def driven(self, chosen: np.ndarray, expert: np.ndarray, patience: int | None) -> np.ndarray:
        """The action to execute in an episode that the policy drives, under a `patience`."""
        if patience is None:
            return chosen
        agree = bool(np.allclose(chosen, expert, atol=0.1))
        self.in_a_row = self.in_a_row + 1 if agree == self.rescued else 0
        if self.in_a_row >= patience:
            self.rescued, self.in_a_row = not self.rescued, 0
        return expert if self.rescued else chosen

    @classmethod
    def start(
        cls, task: Task, driver: Driver, rng: np.random.Generator, siblings: Siblings | None
    ) -> _Lane:
        by_policy = driver.policy is not None and rng.random() < driver.policy_share
        drawn = [] if siblings is None else [siblings.draw(task, rng) for _ in range(siblings.n)]
        others = [sibling for sibling in drawn if sibling is not None]
        return cls(task, driver.noise * rng.random(), by_policy, others)

    def see(
        self,
        slot: int,
        envs: Any,
        observations: Any,
        infos: Any,
        config: VLAConfig,
        aux_targets: AuxTargets,
        siblings: Siblings | None,
    ) -> None:
        self.images.append(
            [
                image_of(observations, key, config.with_depth)[slot].copy()
                for key in config.image_keys
            ]
        )
        self.proprio.append(proprio_of(observations, config.proprio_keys)[slot])
        row = trace_row(infos, slot)
        action, words = observations["expert_action"][slot], infos["narration"][slot]
        self.labels.add(action, words, row, aux_targets)
        if siblings is not None:
            for labels in self.siblings:
                labels.add(*siblings.label(envs, slot, labels.task), row, aux_targets)

    def finish(self, success: bool) -> list[Demo]:
        """The episode's demo, then those of its siblings (never a success of their own)."""
        images = [np.stack(frames) for frames in zip(*self.images, strict=True)]
        proprio = np.stack(self.proprio)
        siblings = [labels.demo(images, proprio) for labels in self.siblings]
        return [self.labels.demo(images, proprio, success), *siblings]


def trace_row(infos: Any, slot: int) -> dict[str, np.ndarray]:
    """The trace of one slot, by name."""
    return {name: rows[slot] for name, rows in infos["trace"].items()}
