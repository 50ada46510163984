"""What a policy may see: spaces, and the proprioception vector."""

from __future__ import annotations

import string

import numpy as np
from gymnasium import spaces

from pilotage.envs.tabletop.layout import EE_CENTRE, EE_RANGE
from pilotage.envs.tabletop.physics import TabletopState

PROPRIO_SIZE = 7
ACTION_SIZE = 7
MAX_INSTRUCTION = 200
_CENTRE, _RANGE = np.array(EE_CENTRE), np.array(EE_RANGE)
MAX_WIDTH = 0.08


def proprio(state: TabletopState) -> np.ndarray:
    """float32 [7], each about in [-1, 1].

    0..2 end effector position, (p - EE_CENTRE) / EE_RANGE; 3, 4 sine and cosine of the hand's yaw;
    5 gripper width, -1 closed and +1 wide open (8 cm); 6 last gripper command, +1 open, -1 close.
    """
    place = (state.ee_position - _CENTRE) / _RANGE
    width = 2.0 * state.gripper_width / MAX_WIDTH - 1.0
    turn = (np.sin(state.ee_yaw), np.cos(state.ee_yaw))
    return np.array([*place, *turn, width, state.gripper_command], dtype=np.float32)


def observation_space(
    image_size: int, *, wrist: bool = False, expert_actions: bool = False
) -> spaces.Dict:
    """The space of one slot's observation."""
    picture = spaces.Box(0, 255, (image_size, image_size, 3), np.uint8)
    parts: dict[str, spaces.Space] = {
        "rgb": picture,
        "proprio": spaces.Box(-4.0, 4.0, (PROPRIO_SIZE,), np.float32),
        "instruction": spaces.Text(
            max_length=MAX_INSTRUCTION, min_length=0, charset=string.ascii_lowercase + " "
        ),
    }
    if wrist:
        parts["wrist_rgb"] = spaces.Box(0, 255, picture.shape, np.uint8)
    if expert_actions:
        parts["expert_action"] = action_space()
    return spaces.Dict(parts)


def action_space() -> spaces.Box:
    """dx, dy, dz, then roll, pitch, yaw, then the gripper (> 0 open, < 0 close, 0 as before).

    1.0 is 5 cm or 0.25 rad per step of 0.1 s.
    """
    return spaces.Box(-1.0, 1.0, (ACTION_SIZE,), np.float32)


def check_actions(actions: np.ndarray, live: np.ndarray) -> np.ndarray:
    """Actions [n, 7] as float64; only rows of live slots are judged.

    Raises:
        ValueError: a wrong shape, or a NaN or a value outside [-1, 1] (names the slot).
    """
    array = np.asarray(actions, dtype=np.float64)
    if array.shape != (len(live), ACTION_SIZE):
        raise ValueError(
            f"actions have shape {array.shape}, expected ({len(live)}, {ACTION_SIZE}): "
            "give one row per slot"
        )
    for slot in np.flatnonzero(live):
        bad = np.flatnonzero(~(np.abs(array[slot]) <= 1.0))
        if bad.size:
            raise ValueError(
                f"the action of slot {slot} has {array[slot, bad[0]]} at index {bad[0]}; "
                "values must be numbers in [-1, 1], so clip them first"
            )
    return array
