"""The maze world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.maze.grid import draw
from pilotage.envs.maze.tasks import make_tasks
from pilotage.envs.maze.vector_env import MazeVectorEnv
from pilotage.envs.slots import first_info, first_observation, first_step


class MazeEnv(gym.Env):
    """`pilotage/Maze-v0`. Takes the arguments of `MazeVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one of the train
    split. `render()` with render_mode "ansi" gives a drawing: `#` wall, `S` the agent, `G` goal.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012 (gymnasium's form)

    def __init__(self, *, render_mode: str | None = None, **arguments: Any) -> None:
        if render_mode not in (None, "ansi"):
            raise ValueError(f"render_mode must be None or 'ansi', got {render_mode!r}")
        self.render_mode = render_mode
        self._vector = MazeVectorEnv(1, **arguments)
        self.observation_space = self._vector.single_observation_space
        self.action_space = self._vector.single_action_space

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        task = (options or {}).get("task")
        if task is None:
            drawn = seed if seed is not None else int(self.np_random.integers(2**31))
            size = (self._vector.rows, self._vector.cols)
            task = make_tasks("train", 1, seed=drawn, families=["dfs"], size=size)[0]
        obs, infos = self._vector.reset(options={"tasks": [task]})
        return first_observation(obs), first_info(infos)

    def step(self, action: int) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        return first_step(*self._vector.step(np.array([action])))

    def render(self) -> str | None:  # type: ignore[override]
        if self.render_mode is None:
            return None
        cells = self._vector.mazes.cells[0].cpu().numpy()
        width = self._vector.cols
        at, goal = int(self._vector.mazes.at[0]), int(self._vector.mazes.goal[0])
        return draw(cells, divmod(at, width), divmod(goal, width))

    def close(self) -> None:
        self._vector.close()
