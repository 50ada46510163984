"""A house as the camera's primitives, and the agent's eye."""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from pilotage.envs.camera import BOX, CYLINDER, SPHERE, Primitives, look_at
from pilotage.envs.rooms.house import House

EYE_HEIGHT_M = 1.25
EYE_PITCH_RAD = math.radians(15.0)  # looking slightly down: furniture is lower than the eye
HFOV_DEG = 90.0
NEAR_M, FAR_M = 0.05, 25.0
DEPTH_CLIP_M = 10.0
STRUCTURE_SEGMENT, FLOOR_SEGMENT, DOOR_SEGMENT, ITEM_SEGMENT = 0, 1, 20, 100

_KINDS = {"box": BOX, "sphere": SPHERE, "cylinder": CYLINDER}


@lru_cache(maxsize=512)
def house_primitives(house: House, ceiling: bool = True) -> Primitives:
    """All bodies of a house as `Primitives` with B = 1 (do not write into them: they are cached).

    Segment ids: 0 walls and ceiling, 1 + room index for floors, 20 + door index for door frames,
    100 + item index for furniture.
    """
    bodies = [b for b in house.bodies if ceiling or b.group not in ("ceiling", "lintel")]
    n = len(bodies)
    segment = np.zeros((1, n), dtype=np.int32)
    floors = 0
    for k, body in enumerate(bodies):
        if body.group == "floor":
            segment[0, k] = FLOOR_SEGMENT + floors
            floors += 1
        elif body.group == "frame":
            segment[0, k] = DOOR_SEGMENT + int(body.name.partition("/")[0].removeprefix("door_"))
        elif body.item >= 0:
            segment[0, k] = ITEM_SEGMENT + body.item
    return Primitives(
        kind=np.array([[_KINDS[b.part.shape] for b in bodies]], dtype=np.int8),
        position=np.array([[b.part.center for b in bodies]], dtype=np.float32),
        rotation=np.broadcast_to(np.eye(3, dtype=np.float32), (1, n, 3, 3)).copy(),
        size=np.array([[b.part.size for b in bodies]], dtype=np.float32),
        color=np.array([[b.part.color for b in bodies]], dtype=np.float32),
        segment_id=segment,
    )


def eye_pose(x: float, y: float, heading: float) -> tuple[np.ndarray, np.ndarray]:
    """Position float32 [3] and rotation float32 [3, 3] of the agent's camera."""
    eye = np.array([x, y, EYE_HEIGHT_M])
    flat = math.cos(EYE_PITCH_RAD)
    toward = np.array(
        [flat * math.cos(heading), flat * math.sin(heading), -math.sin(EYE_PITCH_RAD)]
    )
    return eye.astype(np.float32), np.asarray(look_at(eye, eye + toward), dtype=np.float32)
