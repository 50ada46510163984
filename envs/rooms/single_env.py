"""The rooms world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.rooms.film import film_frame
from pilotage.envs.rooms.tasks import make_tasks
from pilotage.envs.rooms.vector_env import RoomsVectorEnv


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
        return self._one(obs), self._one_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        obs, rewards, terminated, truncated, infos = self._vector.step(np.array([action]))
        self._raise_error(infos)
        info = self._one_info(infos)
        return self._one(obs), float(rewards[0]), bool(terminated[0]), bool(truncated[0]), info

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        return film_frame(self._vector.lanes[0])

    def close(self) -> None:
        self._vector.close()

    def _one(self, obs: dict[str, Any]) -> dict[str, Any]:
        one = {name: value[0] for name, value in obs.items()}
        if "expert_action" in one:
            one["expert_action"] = np.int64(one["expert_action"])
        return one

    def _one_info(self, infos: dict[str, Any]) -> dict[str, Any]:
        info = {k: v[0] for k, v in infos.items() if k != "trace"}
        info["success"] = bool(info["success"])
        info["trace"] = {k: v[0] for k, v in infos["trace"].items()}
        return info

    def _raise_error(self, infos: dict[str, Any]) -> None:
        if infos["env_error"][0]:
            raise RuntimeError(infos["env_error"][0])
