"""Ray against shape, compiled: each function draws one primitive into the z-buffer.

The ray of a pixel in the primitive's frame is `origin + t * (ray @ (x, y, 1))` with t the z-depth.
A pixel is written where the ray enters the shape at `near <= t < z`. `rect` is (first row, end row,
first column, end column). All float32; `reference.py` has the same in plain float64 numpy.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

from pilotage.envs.camera.shading import AMBIENT, DARK_CHECKER, DIFFUSE

Array = np.ndarray
Scalar = Any  # a numpy float32 inside compiled code

f32 = np.float32
TINY = f32(1e-12)  # stands in for a ray component of zero, so that nothing divides by zero
TINY_SQUARE = f32(1e-20)
ZERO, ONE = f32(0.0), f32(1.0)
AMB, DIF = f32(AMBIENT + DIFFUSE / 2), f32(DIFFUSE / 2)  # shade = AMB + DIF * (normal . light)
DARK = f32(DARK_CHECKER)

OPTIONS: dict[str, Any] = {"error_model": "numpy", "fastmath": {"contract", "nsz"}}
jit = njit(**OPTIONS)


@jit
def draw_plane(
    ray: Array, origin: Array, edge: Scalar, light_z: Scalar, x: Array, y: Array,
    near: Scalar, p: int, z: Array, shade: Array, index: Array,
) -> None:  # fmt: skip
    bright = AMB + DIF * light_z
    lift = -origin[2]
    inverse = ONE / edge if edge > ZERO else ZERO
    for i in range(y.shape[0]):
        base = ray[2, 1] * y[i] + ray[2, 2]
        base_x = ray[0, 1] * y[i] + ray[0, 2]
        base_y = ray[1, 1] * y[i] + ray[1, 2]
        for j in range(x.shape[0]):
            dz = ray[2, 0] * x[j] + base
            if dz < -TINY:
                t = lift / dz
                if t >= near and t < z[i, j]:
                    z[i, j] = t
                    index[i, j] = p
                    value = bright
                    if edge > ZERO:
                        u = np.floor((origin[0] + t * (ray[0, 0] * x[j] + base_x)) * inverse)
                        v = np.floor((origin[1] + t * (ray[1, 0] * x[j] + base_y)) * inverse)
                        if (np.int64(u) + np.int64(v)) & 1:
                            value = bright * DARK
                    shade[i, j] = value


@jit
def draw_box(
    ray: Array, origin: Array, size: Array, light: Array, x: Array, y: Array,
    rect: Array, near: Scalar, p: int, z: Array, shade: Array, index: Array,
) -> None:  # fmt: skip
    ax, ay, az = -origin[0] - size[0], -origin[1] - size[1], -origin[2] - size[2]
    bx, by, bz = -origin[0] + size[0], -origin[1] + size[1], -origin[2] + size[2]
    # the face that can be seen along each axis is the one on the camera's side
    shade_x = AMB + (DIF if origin[0] > ZERO else -DIF) * light[0]
    shade_y = AMB + (DIF if origin[1] > ZERO else -DIF) * light[1]
    shade_z = AMB + (DIF if origin[2] > ZERO else -DIF) * light[2]
    for i in range(rect[0], rect[1]):
        base_x = ray[0, 1] * y[i] + ray[0, 2]
        base_y = ray[1, 1] * y[i] + ray[1, 2]
        base_z = ray[2, 1] * y[i] + ray[2, 2]
        for j in range(rect[2], rect[3]):
            dx = ray[0, 0] * x[j] + base_x
            dy = ray[1, 0] * x[j] + base_y
            dz = ray[2, 0] * x[j] + base_z
            ix = ONE / (dx if abs(dx) > TINY else TINY)
            iy = ONE / (dy if abs(dy) > TINY else TINY)
            iz = ONE / (dz if abs(dz) > TINY else TINY)
            tx, ty, tz = min(ax * ix, bx * ix), min(ay * iy, by * iy), min(az * iz, bz * iz)
            ux, uy, uz = max(ax * ix, bx * ix), max(ay * iy, by * iy), max(az * iz, bz * iz)
            enter = max(max(tx, ty), tz)
            leave = min(min(ux, uy), uz)
            hit = (enter <= leave) & (enter >= near) & (enter < z[i, j])
            value = shade_x if enter == tx else (shade_y if enter == ty else shade_z)
            z[i, j] = enter if hit else z[i, j]
            shade[i, j] = value if hit else shade[i, j]
            index[i, j] = p if hit else index[i, j]


@jit
def draw_sphere(
    ray: Array, origin: Array, size: Array, light: Array, x: Array, y: Array,
    rect: Array, near: Scalar, p: int, z: Array, shade: Array, index: Array,
) -> None:  # fmt: skip
    radius = size[0]
    square = radius * radius
    scale = DIF / radius
    ox, oy, oz = origin[0], origin[1], origin[2]
    for i in range(rect[0], rect[1]):
        base_x = ray[0, 1] * y[i] + ray[0, 2]
        base_y = ray[1, 1] * y[i] + ray[1, 2]
        base_z = ray[2, 1] * y[i] + ray[2, 2]
        for j in range(rect[2], rect[3]):
            dx = ray[0, 0] * x[j] + base_x
            dy = ray[1, 0] * x[j] + base_y
            dz = ray[2, 0] * x[j] + base_z
            inverse = ONE / (dx * dx + dy * dy + dz * dz)
            u = (ox * dx + oy * dy + oz * dz) * inverse
            qx, qy, qz = ox - u * dx, oy - u * dy, oz - u * dz
            rest = square - (qx * qx + qy * qy + qz * qz)
            if rest >= ZERO:
                back = np.sqrt(rest * inverse)
                t = -u - back
                if t >= near and t < z[i, j]:
                    z[i, j] = t
                    index[i, j] = p
                    nx, ny, nz = qx - back * dx, qy - back * dy, qz - back * dz
                    shade[i, j] = AMB + scale * (nx * light[0] + ny * light[1] + nz * light[2])


@jit
def draw_cylinder(
    ray: Array, origin: Array, size: Array, light: Array, x: Array, y: Array,
    rect: Array, near: Scalar, p: int, z: Array, shade: Array, index: Array,
) -> None:  # fmt: skip
    radius, half = size[0], size[1]
    square = radius * radius
    scale = DIF / radius
    ox, oy, oz = origin[0], origin[1], origin[2]
    az, bz = -oz - half, -oz + half
    cap = AMB + (DIF if oz > ZERO else -DIF) * light[2]
    for i in range(rect[0], rect[1]):
        base_x = ray[0, 1] * y[i] + ray[0, 2]
        base_y = ray[1, 1] * y[i] + ray[1, 2]
        base_z = ray[2, 1] * y[i] + ray[2, 2]
        for j in range(rect[2], rect[3]):
            dx = ray[0, 0] * x[j] + base_x
            dy = ray[1, 0] * x[j] + base_y
            dz = ray[2, 0] * x[j] + base_z
            inverse = ONE / max(dx * dx + dy * dy, TINY_SQUARE)
            u = (ox * dx + oy * dy) * inverse
            qx, qy = ox - u * dx, oy - u * dy
            rest = square - (qx * qx + qy * qy)
            if rest >= ZERO:
                back = np.sqrt(rest * inverse)
                iz = ONE / (dz if abs(dz) > TINY else TINY)
                side = -u - back
                flat = min(az * iz, bz * iz)
                t = max(side, flat)
                leave = min(-u + back, max(az * iz, bz * iz))
                if t <= leave and t >= near and t < z[i, j]:
                    z[i, j] = t
                    index[i, j] = p
                    value = cap
                    if side >= flat:
                        nx, ny = qx - back * dx, qy - back * dy
                        value = AMB + scale * (nx * light[0] + ny * light[1])
                    shade[i, j] = value


@jit
def draw_capsule(
    ray: Array, origin: Array, size: Array, light: Array, x: Array, y: Array,
    rect: Array, near: Scalar, p: int, z: Array, shade: Array, index: Array,
) -> None:  # fmt: skip
    radius, half = size[0], size[1]
    square = radius * radius
    scale = DIF / radius
    ox, oy, oz = origin[0], origin[1], origin[2]
    for i in range(rect[0], rect[1]):
        base_x = ray[0, 1] * y[i] + ray[0, 2]
        base_y = ray[1, 1] * y[i] + ray[1, 2]
        base_z = ray[2, 1] * y[i] + ray[2, 2]
        for j in range(rect[2], rect[3]):
            dx = ray[0, 0] * x[j] + base_x
            dy = ray[1, 0] * x[j] + base_y
            dz = ray[2, 0] * x[j] + base_z
            flat = dx * dx + dy * dy
            inverse = ONE / max(flat, TINY_SQUARE)
            u = (ox * dx + oy * dy) * inverse
            qx, qy = ox - u * dx, oy - u * dy
            rest = square - (qx * qx + qy * qy)
            if rest < ZERO:
                continue
            back = np.sqrt(rest * inverse)
            t = -u - back
            height = oz + t * dz
            if abs(height) <= half:
                nx, ny, nz = qx - back * dx, qy - back * dy, ZERO
            else:  # the round end on that side
                cz = oz - (half if height > ZERO else -half)
                inverse = ONE / (flat + dz * dz)
                u = (ox * dx + oy * dy + cz * dz) * inverse
                qx, qy, qz = ox - u * dx, oy - u * dy, cz - u * dz
                rest = square - (qx * qx + qy * qy + qz * qz)
                if rest < ZERO:
                    continue
                back = np.sqrt(rest * inverse)
                t = -u - back
                nx, ny, nz = qx - back * dx, qy - back * dy, qz - back * dz
            if t >= near and t < z[i, j]:
                z[i, j] = t
                index[i, j] = p
                shade[i, j] = AMB + scale * (nx * light[0] + ny * light[1] + nz * light[2])
