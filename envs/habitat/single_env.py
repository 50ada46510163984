"""The habitat world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

import numpy as np

from pilotage.envs.habitat.vector_env import HabitatVectorEnv
from pilotage.envs.single import SingleEnv


class HabitatEnv(SingleEnv):
    """`pilotage/Habitat-v0`. Takes the arguments of `HabitatVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws one in a generated
    house. `render()` with render_mode "rgb_array" gives what the agent sees, uint8 [H, W, 3].
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012 (gymnasium's form)
    world = HabitatVectorEnv

    def render(self) -> np.ndarray | None:
        if self.render_mode is None:
            return None
        return self._vector.frame(0)
