"""Both worlds as plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.aliased.game_env import PlanningGameVectorEnv
from pilotage.envs.aliased.lanes import RoomLanes
from pilotage.envs.aliased.vector_env import AliasedRoomVectorEnv
from pilotage.envs.slots import first_info, first_observation, first_step


class _SingleRoom(gym.Env):
    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's form)
    world: type[RoomLanes]

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode is not None:
            raise ValueError(f"render_mode must be None, got {render_mode!r}")
        self.render_mode = render_mode
        self._vector = self.world(1, **arguments)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        task = (options or {}).get("task")
        drawn = seed if seed is not None else int(self.np_random.integers(2**31))
        obs, infos = self._vector.reset(
            seed=drawn, options=None if task is None else {"tasks": [task]}
        )
        return first_observation(obs), first_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return first_step(*self._vector.step(np.array([action])))

    def close(self) -> None:
        self._vector.close()


class AliasedRoomEnv(_SingleRoom):
    """`pilotage/AliasedRoom-v0`. Takes the arguments of `AliasedRoomVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws an aliased room of
    the train split.
    """

    world = AliasedRoomVectorEnv


class PlanningGameEnv(_SingleRoom):
    """`pilotage/PlanningGame-v0`. Takes the arguments of `PlanningGameVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws a torus of the train
    split.
    """

    world = PlanningGameVectorEnv
