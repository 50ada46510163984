"""The rooms world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.rooms.film import film_frame
from pilotage.envs.rooms.tasks import make_tasks
from pilotage.envs.rooms.vector_env import RoomsVectorEnv
from pilotage.envs.slots import first_info, first_observation, first_step


class RoomsEnv(gym.Env):
    """`pilotage/Rooms-v0`. Takes the arguments of `RoomsVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one of the train
    split. `render()` with render_mode "rgb_array" gives a film frame: the view, and the house from
    above with the agent in it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's form)

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        self.render_mode = render_mode
        self._vector = RoomsVectorEnv(1, **arguments)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is None:
            draw = seed if seed is not None else int(self.np_random.integers(2**31))
            task = make_tasks("train", 1, seed=draw)[0]
        obs, infos = self._vector.reset(
            options={"reset_mask": np.ones(1, dtype=bool), "tasks": [task]}
        )
        self._raise_error(infos)
        return first_observation(obs), first_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        done = self._vector.step(np.array([action]))
        self._raise_error(done[-1])
        return first_step(*done)

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        return film_frame(self._vector.lanes[0])

    def close(self) -> None:
        self._vector.close()

    def _raise_error(self, infos: dict[str, Any]) -> None:
        if infos["env_error"][0]:
            raise RuntimeError(infos["env_error"][0])
