"""A vector world of one slot as a plain `gymnasium.Env`, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.slots import first_info, first_observation, first_step


class SingleEnv(gym.Env):
    """Takes the arguments of `world` but `n_slots`, and one of `metadata["render_modes"]`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one, as the vector
    world does. An error of the world raises RuntimeError.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (gymnasium's form)
    world: type[gym.vector.VectorEnv[Any, Any, Any]]

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        modes = [None, *self.metadata["render_modes"]]
        if render_mode not in modes:
            raise ValueError(
                f"render_mode must be {' or '.join(map(repr, modes))}, got {render_mode!r}"
            )
        self.render_mode = render_mode
        self._vector: Any = self.world(1, **arguments)  # type: ignore[call-arg]
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is not None:
            obs, infos = self._vector.reset(options={"tasks": [task]})
        else:
            drawn = seed if seed is not None else int(self.np_random.integers(2**31))
            obs, infos = self._vector.reset(seed=drawn)
        _raise_error(infos)
        return first_observation(obs), first_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        done = self._vector.step(np.array([action]))
        _raise_error(done[-1])
        return first_step(*done)

    def close(self) -> None:
        self._vector.close()


def _raise_error(infos: dict[str, Any]) -> None:
    if infos["env_error"][0]:
        raise RuntimeError(infos["env_error"][0])
