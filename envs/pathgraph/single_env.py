"""The path-graph world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.pathgraph.tasks import make_tasks
from pilotage.envs.pathgraph.vector_env import PathGraphVectorEnv


class PathGraphEnv(gym.Env):
    """`pilotage/PathGraph-v0`. Takes the arguments of `PathGraphVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws a star graph of the
    train split.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's form)

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode must be None, got {render_mode!r}")
        self.render_mode = render_mode
        self._vector = PathGraphVectorEnv(1, **arguments)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is None:
            drawn = seed if seed is not None else int(self.np_random.integers(2**31))
            task = make_tasks("train", 1, seed=drawn, families=["star"])[0]
        obs, infos = self._vector.reset(options={"tasks": [task]})
        return self._one(obs), self._one_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        obs, rewards, terminated, truncated, infos = self._vector.step(np.array([action]))
        info = self._one_info(infos)
        return self._one(obs), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def close(self) -> None:
        self._vector.close()

    def _one(self, obs: dict[str, Any]) -> dict[str, Any]:
        return {name: value[0] for name, value in obs.items()}

    def _one_info(self, infos: dict[str, Any]) -> dict[str, Any]:
        info = {k: v[0] for k, v in infos.items() if k != "trace"}
        info["success"] = bool(info["success"])
        info["trace"] = {k: v[0] for k, v in infos["trace"].items()}
        return info
