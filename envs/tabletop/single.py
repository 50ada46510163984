"""The tabletop as a plain Gymnasium environment: a vector environment of one slot."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.slots import first_info, first_observation, first_step
from pilotage.envs.tabletop.vector import TabletopVectorEnv
from pilotage.episodes.types import Task


class TabletopEnv(gym.Env):
    """`pilotage/Tabletop-v0`. Spaces, rewards and ends are those of `TabletopVectorEnv`.

    `reset(seed=..., options={"task": task})` plays a task; without one, the seed draws a training
    task. infos hold the one-slot values of the vector environment's infos.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012

    def __init__(self, *, render_mode: str | None = None, **kwargs: Any) -> None:
        """`kwargs` are those of `TabletopVectorEnv` besides `n_slots`."""
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r} is unknown; choose rgb_array or None")
        self._lanes = TabletopVectorEnv(1, render_mode="rgb_array", **kwargs)
        self.render_mode = render_mode
        self.observation_space = self._lanes.single_observation_space
        self.action_space = self._lanes.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Starts an episode; see the class."""
        super().reset(seed=seed)
        world_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        task: Task | None = (options or {}).get("task")
        inner: dict[str, Any] = {} if task is None else {"tasks": [task]}
        observations, infos = self._lanes.reset(seed=[world_seed], options=inner)
        return first_observation(observations), first_info(infos)

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        """One env step of 0.1 s.

        Raises:
            ValueError: the action is NaN or out of range.
            RuntimeError: the episode is over, or none was started.
        """
        if not self._lanes.is_live(0):
            raise RuntimeError("no episode is running; call reset before step")
        return first_step(*self._lanes.step(np.asarray(action)[None]))

    def render(self) -> np.ndarray | None:
        """A film frame uint8 [240, 320, 3], or None without a render mode."""
        return self._lanes.film(0) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Frees the physics client."""
        self._lanes.close()
