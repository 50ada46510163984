"""Checks of what is given to the camera: each error names the field, the world and the value."""

from __future__ import annotations

import math

import numpy as np

from pilotage.envs.camera.types import (
    BOX,
    CAPSULE,
    CYLINDER,
    NONE,
    PLANE,
    SPHERE,
    Cameras,
    Primitives,
)

# Which entries of `size` each kind uses: rows are kinds.
USED_SIZES = np.zeros((6, 3), dtype=bool)
USED_SIZES[BOX] = True
USED_SIZES[SPHERE, 0] = True
USED_SIZES[CYLINDER, :2] = True
USED_SIZES[CAPSULE, :2] = True

ROTATION_TOLERANCE = 1e-3
MAX_SIDE = 16384


def check_inputs(prims: Primitives, cameras: Cameras, height: int, width: int) -> None:
    """Check shapes and values of one call.

    Primitives of kind NONE are padding: nothing else is asked of them.

    Raises:
        ValueError: naming the field, the index of the world (and of the primitive), and the value.
    """
    check_call(prims, cameras, height, width)
    _check_primitives(prims)
    _check_finite("cameras.position", cameras.position)
    _check_rotations("cameras.rotation", cameras.rotation, None)


def check_call(prims: Primitives, cameras: Cameras, height: int, width: int) -> None:
    """The part of `check_inputs` that reads shapes and plain numbers, no arrays (nor tensors)."""
    _check_scalars(cameras, height, width)
    _check_shapes(prims, cameras)


def _check_scalars(cameras: Cameras, height: int, width: int) -> None:
    for name, value in (("height", height), ("width", width)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer):
            raise ValueError(f"{name} must be a whole number of pixels, got {value!r}")
        if not 1 <= value <= MAX_SIDE:
            raise ValueError(f"{name} must be in 1..{MAX_SIDE} pixels, got {value}")
    if not 0 < cameras.fov_y_deg < 180:  # also catches NaN
        raise ValueError(f"cameras.fov_y_deg must be in (0, 180) degrees, got {cameras.fov_y_deg}")
    if not (0 < cameras.near_m < cameras.far_m and math.isfinite(cameras.far_m)):
        raise ValueError(
            "cameras.near_m and cameras.far_m must be finite with 0 < near < far, got "
            f"near_m={cameras.near_m}, far_m={cameras.far_m}"
        )


def _check_shapes(prims: Primitives, cameras: Cameras) -> None:
    if np.ndim(prims.kind) != 2:
        raise ValueError(f"primitives.kind must be [B, P], got shape {np.shape(prims.kind)}")
    b, p = np.shape(prims.kind)
    wanted = {
        "primitives.position": (prims.position, (b, p, 3)),
        "primitives.rotation": (prims.rotation, (b, p, 3, 3)),
        "primitives.size": (prims.size, (b, p, 3)),
        "primitives.color": (prims.color, (b, p, 3)),
        "primitives.segment_id": (prims.segment_id, (b, p)),
        "cameras.position": (cameras.position, (b, 3)),
        "cameras.rotation": (cameras.rotation, (b, 3, 3)),
    }
    for name, (value, shape) in wanted.items():
        if np.shape(value) != shape:
            raise ValueError(
                f"{name} must have shape {shape} ({b} worlds, {p} primitives, from "
                f"primitives.kind), got {np.shape(value)}"
            )


def _check_primitives(prims: Primitives) -> None:
    kind = prims.kind
    bad = (kind < NONE) | (kind > CAPSULE)
    if bad.any():
        where = _first(bad)
        raise ValueError(
            f"primitives.kind[{where}] (world {where[0]}) is {kind[where]}, which is no kind of "
            f"primitive: use {NONE}..{CAPSULE}"
        )
    real = kind != NONE
    _check_finite("primitives.position", prims.position, real)
    _check_finite("primitives.size", prims.size, real)
    _check_rotations("primitives.rotation", prims.rotation, real)
    bad_size = USED_SIZES[kind] & ~(prims.size > 0)
    _raise_if(bad_size, "primitives.size", prims.size, "must be > 0 metres")
    bad_edge = (kind == PLANE) & (prims.size[..., 0] < 0)
    _raise_if(bad_edge, "primitives.size", prims.size, "checker edge must be >= 0 metres")
    inside = (prims.color >= 0) & (prims.color <= 1)
    _raise_if(~inside & real[..., None], "primitives.color", prims.color, "must be in [0, 1]")
    _raise_if(real & (prims.segment_id < 0), "primitives.segment_id", prims.segment_id, "is < 0")


def _check_finite(name: str, value: np.ndarray, real: np.ndarray | None = None) -> None:
    finite = np.isfinite(value)
    if finite.all():
        return
    bad = ~finite if real is None else ~finite & real.reshape(real.shape + (1,) * (value.ndim - 2))
    _raise_if(bad, name, value, "must be finite")


def _check_rotations(name: str, rotation: np.ndarray, real: np.ndarray | None) -> None:
    gram = np.swapaxes(rotation, -1, -2) @ rotation
    bad = ~(np.abs(gram - np.eye(3, dtype=gram.dtype)) <= ROTATION_TOLERANCE).all((-1, -2))
    if real is not None:
        bad &= real
    _raise_if(bad, name, rotation, "must have orthonormal columns")


def _raise_if(bad: np.ndarray, name: str, value: np.ndarray, complaint: str) -> None:
    if bad.any():
        where = _first(bad)
        index = ", ".join(map(str, where))
        raise ValueError(
            f"{name}[{index}] (world {where[0]}) {complaint}, got {value[where].tolist()}"
        )


def _first(bad: np.ndarray) -> tuple[int, ...]:
    return tuple(int(i) for i in np.argwhere(bad)[0])
