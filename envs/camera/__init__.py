"""A batched camera for worlds made of simple shapes: colour, depth and segmentation."""

from pilotage.envs.camera.poses import look_at
from pilotage.envs.camera.render import render
from pilotage.envs.camera.types import (
    BOX,
    CAPSULE,
    CYLINDER,
    NONE,
    PLANE,
    SPHERE,
    Cameras,
    Frames,
    Primitives,
)

__all__ = [
    "BOX",
    "CAPSULE",
    "CYLINDER",
    "NONE",
    "PLANE",
    "SPHERE",
    "Cameras",
    "Frames",
    "Primitives",
    "look_at",
    "render",
]
