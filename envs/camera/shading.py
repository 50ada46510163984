"""The few constants of the picture, and the pixel grid, shared by every back-end.

Surfaces have `color * (AMBIENT + DIFFUSE * (1 + n . l) / 2)`: Lambert's cosine from one directional
light, wrapped around the body ("half Lambert"), so that faces turned away from the light still
differ from each other. There are no shadows. The sky goes from `SKY_HORIZON` to `SKY_ZENITH` with
the sine of the ray's elevation.
"""

from __future__ import annotations

import math

import numpy as np

AMBIENT = 0.4
DIFFUSE = 0.6
LIGHT = np.array([0.48, 0.36, 0.8])  # unit vector from the surface towards the light, world axes
SKY_HORIZON = np.array([0.86, 0.91, 0.96])
SKY_ZENITH = np.array([0.58, 0.75, 0.94])
DARK_CHECKER = 0.8  # the second checker colour is the first times this


def pixel_grid(height: int, width: int, fov_y_deg: float) -> tuple[np.ndarray, np.ndarray]:
    """Image-plane coordinates of the pixel centres at distance 1.

    The ray of pixel (row i, column j) is `(x[j], y[i], 1)` in the camera's axes (right, down,
    forward), not normalised: its parameter is the z-depth. Pixels are square, and the field of
    view spans the outer edges of the first and last row.

    Returns:
        x float64 [W] and y float64 [H].
    """
    half_x, half_y = half_extents(height, width, fov_y_deg)
    x = ((np.arange(width) + 0.5) * 2 / width - 1) * half_x
    y = ((np.arange(height) + 0.5) * 2 / height - 1) * half_y
    return x, y


def half_extents(height: int, width: int, fov_y_deg: float) -> tuple[float, float]:
    """Half width and half height of the image at distance 1."""
    half_y = math.tan(math.radians(fov_y_deg) / 2)
    return half_y * width / height, half_y
