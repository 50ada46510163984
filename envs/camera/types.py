"""What a camera sees and returns: primitives, camera poses and frames, as structures of arrays.

Axis letters: B worlds, P primitives, H rows, W columns. World frame: z up, metres, right-handed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# Kinds of primitive. A slot of kind NONE is skipped: it pads worlds with fewer bodies.
NONE, PLANE, BOX, SPHERE, CYLINDER, CAPSULE = 0, 1, 2, 3, 4, 5


@dataclass
class Primitives:
    """Bodies as simple shapes. `size` per kind, metres, in the local frame:

    PLANE    infinite, local z is the normal; size = (checker edge or 0 for plain, -, -); the second
             checker colour is the first darkened by 20 %
    BOX      half extents (x, y, z)
    SPHERE   (radius, -, -)
    CYLINDER (radius, half length along local z, -), flat caps
    CAPSULE  (radius, half length of the segment along local z, -), round caps beyond the segment
    """

    kind: np.ndarray  # int8 [B, P]
    position: np.ndarray  # float32 [B, P, 3]
    rotation: np.ndarray  # float32 [B, P, 3, 3], local -> world (columns are the local axes)
    size: np.ndarray  # float32 [B, P, 3]
    color: np.ndarray  # float32 [B, P, 3] in [0, 1]
    segment_id: np.ndarray  # int32 [B, P], >= 0; background is -1


@dataclass
class Cameras:
    """Pinhole cameras, one per world; `rotation` columns: (right, down, forward) in world axes."""

    position: np.ndarray  # float32 [B, 3]
    rotation: np.ndarray  # float32 [B, 3, 3]
    fov_y_deg: float
    near_m: float = 0.01
    far_m: float = 20.0


@dataclass
class Frames:
    """Rendered frames. `depth_m` is along the camera's forward axis; background is far_m."""

    rgb: np.ndarray  # uint8 [B, H, W, 3]
    depth_m: np.ndarray  # float32 [B, H, W]
    segment: np.ndarray  # int32 [B, H, W]
