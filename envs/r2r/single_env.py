"""The graph world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

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
        return self._one(obs), self._one_info(infos)

    def step(self, action: Any) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        obs, rewards, terminated, truncated, infos = self._vector.step(np.array([action]))
        info = self._one_info(infos)
        return self._one(obs), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def close(self) -> None:
        self._vector.close()

    def _one(self, obs: dict[str, Any]) -> dict[str, Any]:
        one = {name: value[0] for name, value in obs.items()}
        if "expert_action" in one:
            one["expert_action"] = np.int64(one["expert_action"])
        return one

    def _one_info(self, infos: dict[str, Any]) -> dict[str, Any]:
        if infos["env_error"][0]:
            raise RuntimeError(infos["env_error"][0])
        info = {k: v[0] for k, v in infos.items() if k != "trace"}
        info["success"] = bool(info["success"])
        info["trace"] = {k: v[0] for k, v in infos["trace"].items()}
        return info
