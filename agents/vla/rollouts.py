"""Playing each task several times under sampled actions: what quick and slow successes had inside.

All rollouts of a task begin in one state (they share the world's and the noise's seeds) and differ
by the tokens that were drawn. Of every episode the mean of the residual stream over its env steps
and the tokens that act is kept, so that a long one weighs no more than a short one.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.activations import single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.observed import image_of, proprio_of
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task
from pilotage.steering.captures import capture
from pilotage.steering.tokens import group_id

CHUNK = 64  # env steps of one forward
TOKEN_GROUPS = ("proprio", "action")


@dataclass(frozen=True, eq=False)
class Rollouts:
    """N episodes. activations: per site float32 `[N, d]`; tasks: the id of each one's task; steps:
    env steps that it took."""

    activations: dict[str, torch.Tensor]
    tasks: list[str]
    steps: list[int]
    successes: list[bool]


def roll_out(
    vla: VLAAgent,
    envs: Any,
    tasks: Sequence[Task],
    *,
    n: int,
    temperature: float,
    sites: Sequence[str],
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Rollouts:
    """Play every task `n` times at a temperature.

    Raises ValueError for fewer than 2 rollouts and a temperature of 0, which would all be the same,
    and the error of an episode that had one.
    """
    if n < 2 or not temperature > 0:
        raise ValueError(
            f"{n} rollouts at temperature {temperature}: at least 2 at a temperature > 0 are "
            "needed, or all episodes of a task are the same"
        )
    player = _Recorder(vla, temperature, sites)
    try:
        records = run_episodes(
            envs,
            player,
            tasks,
            [Condition(f"rollout-{k}") for k in range(n)],
            seed=seed,
            frames="none",
            keep_frames=False,
            progress=None if progress is None else lambda p: progress(p.n_played),
            on_error="raise",
        )
    finally:
        player.close()
    found = [player.episodes[r.task.task_id, r.condition] for r in records]
    return Rollouts(
        {site: torch.stack([episode[site] for episode in found]) for site in sites},
        [r.task.task_id for r in records],
        [r.n_steps for r in records],
        [bool(r.success) for r in records],
    )


class _Recorder:
    """The agent at a temperature; looks at every episode again when it is over."""

    def __init__(self, vla: VLAAgent, temperature: float, sites: Sequence[str]) -> None:
        self._inner = copy.copy(vla)
        self._inner.config = replace(vla.config, temperature=temperature)
        self._sites = list(sites)
        self._lanes: list[_Lane | None] = []
        self.episodes: dict[tuple[str, str], dict[str, torch.Tensor]] = {}

    @property
    def agent_id(self) -> str:
        return self._inner.agent_id

    @property
    def observation_needs(self) -> frozenset[str]:
        return self._inner.observation_needs

    def manifest(self) -> dict[str, Json]:
        return self._inner.manifest()

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        self._inner.prepare(conditions, n_slots)
        self._lanes = [None] * n_slots

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        number = int(condition.name.rpartition("-")[2])
        words = np.random.SeedSequence([seeds.agent, number]).generate_state(1)
        self._inner.reset_slot(slot, task, condition, replace(seeds, agent=int(words[0])))
        self._lanes[slot] = _Lane((task.task_id, condition.name), task)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        actions = self._inner.act(observations, active)
        config = self._inner.config
        images = [image_of(observations, key, config.with_depth) for key in config.image_keys]
        proprio = proprio_of(observations, config.proprio_keys)
        for slot in np.flatnonzero(active):
            lane = self._lanes[slot]
            if lane is not None:
                lane.images.append([image[slot].copy() for image in images])
                lane.proprio.append(proprio[slot].copy())
                lane.actions.append(np.array(actions[slot]))
        return actions

    def step_trace(self) -> dict[str, np.ndarray]:
        return self._inner.step_trace()

    def finish_slot(self, slot: int) -> dict[str, Json]:
        lane = self._lanes[slot]
        self._lanes[slot] = None
        if lane is not None:
            self.episodes[lane.key] = self._look_again(lane.demo())
        return self._inner.finish_slot(slot)

    def close(self) -> None:
        self._inner.close()

    @torch.inference_mode()
    def _look_again(self, demo: Demo) -> dict[str, torch.Tensor]:
        """The mean activations `[d]` of an episode."""
        model, n = self._inner.model, demo.n_steps
        kinds = torch.tensor([group_id(name) for name in TOKEN_GROUPS], dtype=torch.int8)
        with capture(model.decoder, self._sites, reduce="mean") as seen:
            for first in range(0, n, CHUNK):
                steps = range(first, min(first + CHUNK, n))
                window = single_step_window(model, [demo] * len(steps), steps, "")
                seen.select(torch.isin(model.token_groups(window), kinds))
                model(window)
        return {site: seen.activations(site).mean(0) for site in self._sites}


class _Lane:
    """What was seen and done in an episode so far."""

    def __init__(self, key: tuple[str, str], task: Task) -> None:
        self.key, self.task = key, task
        self.images: list[list[np.ndarray]] = []
        self.proprio: list[np.ndarray] = []
        self.actions: list[np.ndarray] = []

    def demo(self) -> Demo:
        return Demo(
            task=self.task,
            images=[np.stack(frames) for frames in zip(*self.images, strict=True)],
            proprio=np.stack(self.proprio),
            actions=np.stack(self.actions),
            narrations=[""] * len(self.proprio),
            aux=np.zeros((len(self.proprio), 0), np.float32),
            success=False,  # known to the record only
        )
