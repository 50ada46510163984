"""The graph world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.slots import first_info, first_observation, first_step
from pilotage.episodes.types import Task

from .vector_env import R2RVectorEnv


class R2REnv(gym.Env):
    """`pilotage/R2R-v0`. Takes the arguments of `R2RVectorEnv` but `n_slots`.

    `reset(seed=s)` draws a task of the train split, `reset(options={"task": task})` takes a given
    one. A broken task raises RuntimeError.
    """

    metadata = {"render_modes": []}  # noqa: RUF012

    def __init__(self, **options: Any) -> None:
        self._vector = R2RVectorEnv(1, **options)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space
        self.render_mode = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        task: Task | None = (options or {}).get("task")
        given = None if task is None else {"tasks": [task]}
        number = int(self.np_random.integers(2**31))
        obs, infos = self._vector.reset(seed=[number], options=given)
        _raise_error(infos)
        return first_observation(obs), first_info(infos)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        done = self._vector.step(np.array([action]))
        _raise_error(done[-1])
        return first_step(*done)

    def close(self) -> None:
        self._vector.close()


def _raise_error(infos: dict[str, Any]) -> None:
    if infos["env_error"][0]:
        raise RuntimeError(infos["env_error"][0])
