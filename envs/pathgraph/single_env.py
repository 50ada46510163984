"""The path-graph world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.pathgraph.tasks import make_tasks
from pilotage.envs.pathgraph.vector_env import PathGraphVectorEnv
from pilotage.envs.slots import first_info, first_observation, first_step


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
        return first_observation(obs), first_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return first_step(*self._vector.step(np.array([action])))

    def close(self) -> None:
        self._vector.close()
