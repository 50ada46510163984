"""One team as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.mapf.vector_env import MapfVectorEnv
from pilotage.envs.slots import first_info, first_observation, first_step


class MapfEnv(gym.Env):
    """`pilotage/Mapf-v0`. Takes the arguments of `MapfVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one of the train
    split. An action is a joint action, int [N].
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's form)

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode must be None, got {render_mode!r}")
        self.render_mode = None
        self._vector = MapfVectorEnv(1, **arguments)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        draw = seed if seed is not None else int(self.np_random.integers(2**31))
        task = (options or {}).get("task")
        chosen = None if task is None else {"tasks": [task]}
        observations, infos = self._vector.reset(seed=draw, options=chosen)
        if infos["env_error"][0]:
            raise ValueError(infos["env_error"][0])
        return first_observation(observations), first_info(infos)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return first_step(*self._vector.step(np.asarray(action)[None]))

    def close(self) -> None:
        self._vector.close()
