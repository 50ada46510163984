"""The rooms world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

import numpy as np

from pilotage.envs.rooms.film import film_frame
from pilotage.envs.rooms.vector_env import RoomsVectorEnv
from pilotage.envs.single import SingleEnv


class RoomsEnv(SingleEnv):
    """`pilotage/Rooms-v0`. Takes the arguments of `RoomsVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one of the train
    split. `render()` with render_mode "rgb_array" gives a film frame: the view, and the house from
    above with the agent in it.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's form)
    world = RoomsVectorEnv

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        return film_frame(self._vector.lanes[0])
