"""The CPU back-end: one compiled loop over worlds, primitives and the pixels each can cover.

Per primitive, the camera is brought into the local frame once (float64); a screen rectangle that is
sure to hold its picture is found from its bounding box, clipped at the near plane; and only the
pixels of that rectangle are tested (float32). Worlds never share anything, so the picture of a
world does not depend on the batch. `reference.py` says what each formula means.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from pilotage.envs.camera import numba_shapes, shading
from pilotage.envs.camera.numba_shapes import (
    ONE,
    OPTIONS,
    ZERO,
    Array,
    Scalar,
    draw_box,
    draw_capsule,
    draw_cylinder,
    draw_plane,
    draw_sphere,
    f32,
    jit,
)
from pilotage.envs.camera.shading import LIGHT, SKY_HORIZON, SKY_ZENITH, half_extents, pixel_grid
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


def render_numba(prims: Primitives, cameras: Cameras, height: int, width: int) -> Frames:
    """Render checked inputs (see `render`) on one CPU core."""
    n = prims.kind.shape[0]
    x, y = pixel_grid(height, width, cameras.fov_y_deg)
    frames = Frames(
        rgb=np.empty((n, height, width, 3), np.uint8),
        depth_m=np.empty((n, height, width), np.float32),
        segment=np.empty((n, height, width), np.int32),
    )
    _compiled()(
        np.ascontiguousarray(prims.kind, np.int8),
        np.ascontiguousarray(prims.position, np.float32),
        np.ascontiguousarray(prims.rotation, np.float32),
        np.ascontiguousarray(prims.size, np.float32),
        np.ascontiguousarray(prims.color, np.float32),
        np.ascontiguousarray(prims.segment_id, np.int32),
        np.ascontiguousarray(cameras.position, np.float32),
        np.ascontiguousarray(cameras.rotation, np.float32),
        x.astype(np.float32),
        y.astype(np.float32),
        *half_extents(height, width, cameras.fov_y_deg),
        np.float32(cameras.near_m),
        np.float32(cameras.far_m),
        LIGHT,
        SKY_HORIZON.astype(np.float32),
        SKY_ZENITH.astype(np.float32),
        frames.rgb,
        frames.depth_m,
        frames.segment,
    )
    return frames


@cache
def _compiled() -> Callable[..., None]:
    """The kernel, kept on disk by numba between processes.

    Numba looks only at the file of the cached function to see whether it is out of date. What the
    function closes over is part of the key, so the digest brings in the other files.
    """
    sources = (__file__, numba_shapes.__file__, shading.__file__)
    digest = hashlib.sha256(b"".join(Path(source).read_bytes() for source in sources)).hexdigest()

    @njit(cache=True, **OPTIONS)
    def entry(*arguments: Any) -> None:
        len(digest)  # only mentioned so that it is closed over
        _render_worlds(*arguments)

    return entry


@jit
def _render_worlds(
    kind: Array, position: Array, rotation: Array, size: Array, color: Array, segment_id: Array,
    cam_position: Array, cam_rotation: Array, x: Array, y: Array, half_x: float, half_y: float,
    near: Scalar, far: Scalar, light: Array, horizon: Array, zenith: Array,
    rgb: Array, depth: Array, segment: Array,
) -> None:  # fmt: skip
    n_worlds, n_prims = kind.shape
    height, width = y.shape[0], x.shape[0]
    shade = np.empty((height, width), np.float32)
    index = np.empty((height, width), np.int32)
    ray, ray32 = np.empty((3, 3), np.float64), np.empty((3, 3), np.float32)
    origin, origin32 = np.empty(3, np.float64), np.empty(3, np.float32)
    light32 = np.empty(3, np.float32)
    corners = np.empty((8, 3), np.float64)
    rect = np.empty(4, np.int64)
    for b in range(n_worlds):
        z = depth[b]
        z[:, :] = far
        index[:, :] = -1
        for p in range(n_prims):
            k = kind[b, p]
            if k == NONE:
                continue
            _to_local(
                position[b, p], rotation[b, p], cam_position[b], cam_rotation[b],
                light, ray, ray32, origin, origin32, light32,
            )  # fmt: skip
            s = size[b, p]
            if k == PLANE:
                if origin32[2] > ZERO:
                    draw_plane(ray32, origin32, s[0], light32[2], x, y, near, p, z, shade, index)
                continue
            _bounding_corners(k, s, ray, origin, corners)
            if not _screen_rectangle(corners, height, width, half_x, half_y, near, far, rect):
                continue
            if k == BOX:
                draw_box(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
            elif k == SPHERE:
                draw_sphere(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
            elif k == CYLINDER:
                draw_cylinder(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
            elif k == CAPSULE:
                draw_capsule(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
        _paint(
            color[b], segment_id[b], cam_rotation[b], x, y, horizon, zenith,
            shade, index, rgb[b], segment[b],
        )  # fmt: skip


@jit
def _to_local(
    position: Array, rotation: Array, cam_position: Array, cam_rotation: Array, light: Array,
    ray: Array, ray32: Array, origin: Array, origin32: Array, light32: Array,
) -> None:  # fmt: skip
    """Camera axes (columns of `ray`), camera position and light in the primitive's frame."""
    for i in range(3):
        o, li = 0.0, 0.0
        for m in range(3):
            r = np.float64(rotation[m, i])
            o += r * (np.float64(cam_position[m]) - np.float64(position[m]))
            li += r * light[m]
        origin[i] = o
        origin32[i] = o
        light32[i] = li
        for c in range(3):
            v = 0.0
            for m in range(3):
                v += np.float64(rotation[m, i]) * np.float64(cam_rotation[m, c])
            ray[i, c] = v
            ray32[i, c] = v


@jit
def _bounding_corners(kind: int, size: Array, ray: Array, origin: Array, corners: Array) -> None:
    """Corners [8, 3], in camera axes, of a box around the primitive."""
    hx, hy, hz = np.float64(size[0]), np.float64(size[1]), np.float64(size[2])
    if kind == SPHERE:
        hy, hz = hx, hx
    elif kind == CYLINDER:
        hy, hz = hx, hy
    elif kind == CAPSULE:
        hy, hz = hx, hx + hy
    for c in range(3):
        centre = -(ray[0, c] * origin[0] + ray[1, c] * origin[1] + ray[2, c] * origin[2])
        if kind == SPHERE:  # round: a box along the camera's axes is the tightest
            ax, ay, az = hx * (c == 0), hx * (c == 1), hx * (c == 2)
        else:
            ax, ay, az = ray[0, c] * hx, ray[1, c] * hy, ray[2, c] * hz
        for q in range(8):
            v = centre
            v += ax if q & 1 else -ax
            v += ay if q & 2 else -ay
            v += az if q & 4 else -az
            corners[q, c] = v


@jit
def _screen_rectangle(
    corners: Array, height: int, width: int, half_x: float, half_y: float,
    near: Scalar, far: Scalar, rect: Array,
) -> bool:  # fmt: skip
    """Rows and columns whose pixel centres the hull of `corners` can cover; False if none."""
    zmin, zmax = np.inf, -np.inf
    for q in range(8):
        zmin = min(zmin, corners[q, 2])
        zmax = max(zmax, corners[q, 2])
    if zmax < near or zmin > far:
        return False
    left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
    for q in range(8):
        zq = corners[q, 2]
        if zq >= near:
            u, v = corners[q, 0] / zq, corners[q, 1] / zq
            left, right = min(left, u), max(right, u)
            top, bottom = min(top, v), max(bottom, v)
            continue
        for axis in range(3):  # where an edge crosses the near plane
            r = q ^ (1 << axis)
            if corners[r, 2] >= near:
                w = (near - zq) / (corners[r, 2] - zq)
                u = (corners[q, 0] + w * (corners[r, 0] - corners[q, 0])) / near
                v = (corners[q, 1] + w * (corners[r, 1] - corners[q, 1])) / near
                left, right = min(left, u), max(right, u)
                top, bottom = min(top, v), max(bottom, v)
    rect[0], rect[1] = _pixel_span(top / half_y, bottom / half_y, height)
    rect[2], rect[3] = _pixel_span(left / half_x, right / half_x, width)
    return rect[0] < rect[1] and rect[2] < rect[3]


@jit
def _pixel_span(low: float, high: float, count: int) -> tuple[int, int]:
    """First and end pixel whose centres are in [low, high], where the image spans [-1, 1]."""
    slack = 0.01  # of a pixel: more than float32 can round
    first = np.ceil((low + 1) * count / 2 - 0.5 - slack)
    last = np.floor((high + 1) * count / 2 - 0.5 + slack)
    return int(max(first, 0.0)), int(min(last, count - 1.0)) + 1


@jit
def _paint(
    color: Array, segment_id: Array, cam_rotation: Array, x: Array, y: Array, horizon: Array,
    zenith: Array, shade: Array, index: Array, rgb: Array, segment: Array,
) -> None:  # fmt: skip
    """Colours and segment ids of the winning primitive of every pixel; sky where there is none."""
    full, half = f32(255.0), f32(0.5)
    for i in range(y.shape[0]):
        base = cam_rotation[2, 1] * y[i] + cam_rotation[2, 2]
        for j in range(x.shape[0]):
            p = index[i, j]
            if p >= 0:
                segment[i, j] = segment_id[p]
                gain = shade[i, j] * full
                for c in range(3):
                    rgb[i, j, c] = np.uint8(np.int32(min(color[p, c] * gain, full) + half))
            else:
                segment[i, j] = -1
                up = cam_rotation[2, 0] * x[j] + base
                sine = max(up / np.sqrt(x[j] * x[j] + y[i] * y[i] + ONE), ZERO)
                for c in range(3):
                    value = horizon[c] + sine * (zenith[c] - horizon[c])
                    rgb[i, j, c] = np.uint8(np.int32(min(value * full, full) + half))
