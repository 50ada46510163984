"""Film frames by PyBullet's own software renderer: slow, but with the arm's real meshes."""

from __future__ import annotations

import numpy as np

from pilotage.envs.bullet import pybullet as pb
from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.drawing import EYE, FOV_Y_DEG, TARGET
from pilotage.envs.tabletop.physics import TabletopPhysics
from pilotage.episodes.types import Task


def tiny_picture(
    physics: TabletopPhysics, task: Task | None, *, height: int, width: int
) -> np.ndarray:
    """The front camera's view, uint8 [height, width, 3]; needs a world built with meshes."""
    here = {"physicsClientId": physics.client}
    if task is not None:
        _paint(physics, task)
    image = pb.getCameraImage(
        width,
        height,
        pb.computeViewMatrix(EYE, TARGET, (0, 0, 1)),
        pb.computeProjectionMatrixFOV(FOV_Y_DEG, width / height, 0.01, 20.0),
        renderer=pb.ER_TINY_RENDERER,
        **here,
    )
    return np.reshape(np.asarray(image[2], dtype=np.uint8), (height, width, 4))[..., :3].copy()


def _paint(physics: TabletopPhysics, task: Task) -> None:
    """Colours the objects and, once per world, lays the zones as bodies without physics."""
    here = {"physicsClientId": physics.client}
    for body, thing in zip(physics.objects, task.scene["objects"], strict=True):
        pb.changeVisualShape(body, -1, rgbaColor=[*thing["rgb"], 1.0], **here)
    pb.changeVisualShape(physics.table, -1, rgbaColor=[*layout.TABLE_COLOR, 1.0], **here)
    if physics.painted:
        return
    for zone in task.scene["zones"]:
        half, thin = layout.ZONE_HALF, layout.ZONE_THICKNESS
        color = [*zone["rgb"], 1.0]
        if zone["shape"] == "disc":
            shape = pb.createVisualShape(
                pb.GEOM_CYLINDER, radius=half, length=2 * thin, rgbaColor=color, **here
            )
        else:
            shape = pb.createVisualShape(
                pb.GEOM_BOX, halfExtents=[half, half, thin], rgbaColor=color, **here
            )
        position = [*zone["position"], thin]
        pb.createMultiBody(0, -1, shape, basePosition=position, **here)
    physics.painted = True
