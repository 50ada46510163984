"""Pictures for people: the agent's view beside the house from above."""

from __future__ import annotations

import math

import numpy as np

from pilotage.envs.camera import CYLINDER, Cameras, Primitives, look_at, render
from pilotage.envs.rooms.bodies import FAR_M, HFOV_DEG, NEAR_M, eye_pose, house_primitives
from pilotage.envs.rooms.house import AGENT_RADIUS_M, House
from pilotage.envs.rooms.lane import Lane

_CAMERA_HEIGHT_M = 45.0
_AGENT_COLOR, _NOSE_COLOR, _GOAL_COLOR = (0.1, 0.9, 0.9), (1.0, 1.0, 1.0), (1.0, 0.1, 0.8)


def film_frame(lane: Lane, size: int = 256) -> np.ndarray:
    """uint8 [size, 2 size, 3]: the agent's view on the left, the house from above on the right."""
    if lane.task is None:
        raise RuntimeError("reset before render")
    position, rotation = eye_pose(lane.x, lane.y, lane.heading)
    cameras = Cameras(position[None], rotation[None], HFOV_DEG, NEAR_M, FAR_M)
    view = render(house_primitives(lane.house), cameras, height=size, width=size).rgb[0]
    nose = 0.75 * AGENT_RADIUS_M
    tip = (lane.x + nose * math.cos(lane.heading), lane.y + nose * math.sin(lane.heading))
    marks = [
        (lane.x, lane.y, AGENT_RADIUS_M, 1.5, _AGENT_COLOR),
        (*tip, 0.08, 1.6, _NOSE_COLOR),
        *((x, y, 0.1, 0.1, _GOAL_COLOR) for x, y in lane.task.goal["points"]),
    ]
    return np.concatenate([view, view_from_above(lane.house, marks, size)], axis=1)


def view_from_above(
    house: House,
    marks: list[tuple[float, float, float, float, tuple[float, float, float]]],
    size: int,
) -> np.ndarray:
    """uint8 [size, size, 3]: the house without its ceiling, north up, with upright cylinders as
    marks (x, y, radius, height, colour)."""
    bodies = house_primitives(house, ceiling=False)
    n = len(marks)
    extra = Primitives(
        kind=np.full((1, n), CYLINDER, dtype=np.int8),
        position=np.array([[(x, y, h / 2) for x, y, _, h, _ in marks]], dtype=np.float32),
        rotation=np.broadcast_to(np.eye(3, dtype=np.float32), (1, n, 3, 3)).copy(),
        size=np.array([[(r, h / 2, 0) for _, _, r, h, _ in marks]], dtype=np.float32),
        color=np.array([[c for *_, c in marks]], dtype=np.float32),
        segment_id=np.full((1, n), 50, dtype=np.int32),
    )
    if n:
        bodies = Primitives(
            **{f: np.concatenate([getattr(bodies, f), v], axis=1) for f, v in vars(extra).items()}
        )
    x, y = house.size[0] / 2, house.size[1] / 2
    eye = np.array([x, y, _CAMERA_HEIGHT_M], dtype=np.float32)
    rotation = look_at(eye, (x, y, 0.0), up=(0.0, 1.0, 0.0))
    fov = 2 * math.degrees(math.atan(max(house.size) / 2 * 1.03 / (_CAMERA_HEIGHT_M - 2.5)))
    cameras = Cameras(eye[None], rotation[None], fov, 1.0, 2 * _CAMERA_HEIGHT_M)
    return render(bodies, cameras, height=size, width=size).rgb[0]
