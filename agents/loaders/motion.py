"""What the numbers of a published policy mean, in the units of the tabletop world.

Published policies give 7 numbers: a step of the hand (x, y, z), a turn of it (roll, pitch, yaw),
and the gripper. Their units are those of the data set that they were trained on.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.envs.tabletop.layout import ROTATION_SCALE, TRANSLATION_SCALE
from pilotage.episodes.names import unknown

N_NUMBERS = 7


@dataclass(frozen=True)
class Motion:
    """metres, radians: that a step of 1.0 stands for. closed, opened: gripper values."""

    name: str
    metres: float
    radians: float
    closed: float
    opened: float

    def to_world(self, action: np.ndarray) -> np.ndarray:
        """float32 `[7]` of the tabletop (-1..1; gripper -1 closes, 1 opens), cut to its range."""
        out = np.asarray(action, dtype=np.float64).copy()
        out[:3] *= self.metres / TRANSLATION_SCALE
        out[3:6] *= self.radians / ROTATION_SCALE
        middle = (self.closed + self.opened) / 2
        towards = 1.0 if self.opened > self.closed else -1.0
        out[6] = 1.0 if (out[6] - middle) * towards > 0 else -1.0
        return np.clip(out, -1.0, 1.0).astype(np.float32)


MOTIONS = {
    # BridgeData and most of Open X-Embodiment, standardised: metres, radians, 1 is open.
    "metric": Motion("metric", 1.0, 1.0, 0.0, 1.0),
    # LIBERO as OpenVLA was tuned on it: units of the robosuite controller, 1 is open.
    "libero": Motion("libero", 0.05, 0.5, 0.0, 1.0),
    # LIBERO as it is recorded: the same units, gripper from -1 (open) to 1 (closed).
    "robosuite": Motion("robosuite", 0.05, 0.5, 1.0, -1.0),
}


def motion_named(name: str) -> Motion:
    """KeyError listing what there is."""
    if name not in MOTIONS:
        raise unknown("motion", name, MOTIONS)
    return MOTIONS[name]


def check_numbers(n: int, where: str) -> None:
    """CheckpointError unless the policy gives the 7 numbers that a `Motion` explains."""
    if n != N_NUMBERS:
        raise CheckpointError(
            f"the actions of {where} have {n} numbers; only {N_NUMBERS} (a step of the hand, a "
            "turn of it, the gripper) can be carried out here, so joint angles cannot. Use a "
            "checkpoint tuned on end-effector actions, e.g. on LIBERO or BridgeData"
        )
