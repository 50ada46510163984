"""The maze world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from pilotage.envs.maze.grid import draw
from pilotage.envs.maze.vector_env import MazeVectorEnv
from pilotage.envs.single import SingleEnv


class MazeEnv(SingleEnv):
    """`pilotage/Maze-v0`. Takes the arguments of `MazeVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one of the train
    split. `render()` with render_mode "ansi" gives a drawing: `#` wall, `S` the agent, `G` goal.
    """

    metadata = {"render_modes": ["ansi"], "render_fps": 10}  # noqa: RUF012 (gymnasium's form)
    world = MazeVectorEnv

    def render(self) -> str | None:  # type: ignore[override]
        if self.render_mode is None:
            return None
        cells = self._vector.mazes.cells[0].cpu().numpy()
        width = self._vector.cols
        at, goal = int(self._vector.mazes.at[0]), int(self._vector.mazes.goal[0])
        return draw(cells, divmod(at, width), divmod(goal, width))
