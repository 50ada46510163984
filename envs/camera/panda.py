"""The Franka Emika Panda (`franka_panda/panda.urdf` of pybullet_data) as 23 simple shapes.

Rods and boxes in the links' URDF frames, in metres. They were fitted to the silhouette and depth of
each link's visual mesh from twenty directions, then made symmetric by hand.
"""

from __future__ import annotations

import math

import numpy as np

from pilotage.envs.camera.pybullet_adapter import LinkShape, Triple
from pilotage.envs.camera.types import BOX, CAPSULE, CYLINDER

WHITE = (0.90, 0.90, 0.88)
GREY = (0.55, 0.56, 0.58)
DARK = (0.27, 0.27, 0.29)


def _rod(
    link: int, kind: int, start: Triple, end: Triple, radius: float, color: Triple
) -> LinkShape:
    """A capsule or cylinder whose axis runs from `start` to `end` (caps of a capsule beyond)."""
    axis = np.subtract(end, start)
    length = float(np.linalg.norm(axis))
    x, y, z = axis / length
    # the shortest turn that takes the z axis to (x, y, z); half a turn about x when it is -z
    quaternion = np.array([-y, x, 0.0, 1.0 + z]) if z > -0.999999 else np.array([1.0, 0, 0, 0])
    qx, qy, qz, qw = (float(q) for q in quaternion / np.linalg.norm(quaternion))
    middle = np.add(start, end) / 2
    return LinkShape(
        link=link,
        kind=kind,
        position=(float(middle[0]), float(middle[1]), float(middle[2])),
        quaternion=(qx, qy, qz, qw),
        size=(radius, length / 2, 0.0),
        color=color,
    )


def _box(link: int, centre: Triple, half: Triple, color: Triple, yaw: float = 0.0) -> LinkShape:
    turn = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    return LinkShape(link, BOX, centre, turn, half, color)


# Links as PyBullet numbers them: -1 base, 0..6 arm, 8 hand, 9 and 10 fingers.
PANDA_PRIMITIVES: tuple[LinkShape, ...] = (
    _rod(-1, CAPSULE, (-0.079, 0.0, 0.025), (-0.014, 0.0, 0.075), 0.071, WHITE),
    _rod(-1, CYLINDER, (0.003, 0.0, 0.0), (-0.012, 0.0, 0.135), 0.067, WHITE),
    _rod(0, CAPSULE, (0.0, 0.003, -0.158), (0.0, -0.052, 0.003), 0.055, WHITE),
    _rod(0, CYLINDER, (0.0, -0.115, 0.0), (0.0, 0.002, 0.004), 0.050, WHITE),
    _rod(1, CAPSULE, (0.0, -0.160, -0.003), (0.0, 0.003, 0.054), 0.054, WHITE),
    _rod(1, CYLINDER, (0.0, -0.003, 0.117), (0.0, 0.006, 0.0), 0.050, WHITE),
    _rod(2, CAPSULE, (0.0, 0.0, -0.089), (0.004, 0.002, -0.060), 0.055, WHITE),
    _rod(2, CYLINDER, (0.078, 0.095, 0.0), (0.084, 0.0, 0.003), 0.053, GREY),
    _rod(3, CAPSULE, (-0.0825, 0.092, 0.002), (-0.079, 0.064, 0.004), 0.054, WHITE),
    _rod(3, CYLINDER, (-0.003, 0.002, 0.098), (0.0, 0.0, 0.0), 0.053, GREY),
    _rod(4, CAPSULE, (0.0, 0.015, -0.214), (0.0, -0.003, -0.228), 0.053, WHITE),
    _rod(4, CAPSULE, (0.0, 0.057, -0.193), (0.0, 0.095, -0.062), 0.030, DARK),
    _rod(4, CAPSULE, (0.0, 0.046, 0.002), (0.0, 0.084, 0.002), 0.050, WHITE),
    _rod(5, CAPSULE, (-0.002, 0.0, 0.014), (0.084, 0.021, 0.003), 0.047, WHITE),
    _rod(5, CYLINDER, (0.084, 0.074, 0.003), (0.088, -0.050, 0.001), 0.042, WHITE),
    _rod(6, CYLINDER, (0.001, 0.001, 0.052), (0.001, 0.001, 0.105), 0.044, WHITE),
    _box(6, (0.038, 0.038, 0.084), (0.045, 0.020, 0.016), WHITE, yaw=math.pi / 4),
    _box(8, (0.0, 0.0, 0.030), (0.018, 0.098, 0.036), WHITE),
    _rod(8, CYLINDER, (0.0, 0.0, -0.006), (0.0, 0.0, 0.010), 0.031, GREY),
    _box(9, (0.0, 0.0167, 0.015), (0.0099, 0.0089, 0.0148), DARK),
    _box(9, (0.0, 0.0076, 0.042), (0.0087, 0.0071, 0.0118), DARK),
    _box(10, (0.0, -0.0167, 0.015), (0.0099, 0.0089, 0.0148), DARK),
    _box(10, (0.0, -0.0076, 0.042), (0.0087, 0.0071, 0.0118), DARK),
)
