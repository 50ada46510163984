"""Where a camera stands and which way it looks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def look_at(
    eye: Sequence[float] | np.ndarray,
    target: Sequence[float] | np.ndarray,
    up: Sequence[float] | np.ndarray = (0.0, 0.0, 1.0),
) -> np.ndarray:
    """Rotation of a camera at `eye` [3] that looks at `target` [3], `up` [3] being image-upward.

    Returns:
        float32 [3, 3] whose columns are the camera's right, down and forward axes in world axes.

    Raises:
        ValueError: an argument is not three finite numbers, the eye is on the target, or `up` is
            along the view.
    """
    vectors = []
    for name, value in (("eye", eye), ("target", target), ("up", up)):
        vector = np.asarray(value, dtype=np.float64)
        if vector.shape != (3,) or not np.isfinite(vector).all():
            raise ValueError(f"{name} must be three finite numbers, got {value!r}")
        vectors.append(vector)
    start, end, upward = vectors
    forward = end - start
    distance = np.linalg.norm(forward)
    if distance < 1e-9:
        raise ValueError(f"eye and target are the same point {start.tolist()}: nothing to look at")
    forward /= distance
    right = np.cross(forward, upward)
    length = np.linalg.norm(right)
    if length < 1e-6 * max(float(np.linalg.norm(upward)), 1e-12):
        raise ValueError(
            f"up {upward.tolist()} is along the view {forward.tolist()}: choose another up"
        )
    right /= length
    down = np.cross(forward, right)
    return np.stack([right, down, forward], axis=1).astype(np.float32)
