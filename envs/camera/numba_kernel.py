"""The CPU back-end: one compiled loop over worlds, primitives and the pixels each can cover.

Per primitive, the camera is brought into the local frame once (float64); a screen rectangle that is
sure to hold its picture is found from its bounding box, clipped at the near plane; and only the
pixels of that rectangle are tested (float32). Worlds never share anything, so the picture of a
world does not depend on the batch. `reference.py` says what each formula means.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from pilotage.envs.camera.shading import (
    AMBIENT,
    DARK_CHECKER,
    DIFFUSE,
    LIGHT,
    SKY_HORIZON,
    SKY_ZENITH,
    pixel_grid,
)
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

f32 = np.float32
TINY = f32(1e-12)  # stands in for a ray component of zero, so that nothing divides by zero
TINY_SQUARE = f32(1e-20)
ZERO, ONE, HALF = f32(0.0), f32(1.0), f32(0.5)
AMB, DIF = f32(AMBIENT + DIFFUSE / 2), f32(DIFFUSE / 2)
DARK = f32(DARK_CHECKER)

jit = njit(cache=True, error_model="numpy", fastmath={"contract", "nsz"}, boundscheck=False)


def render_numba(prims: Primitives, cameras: Cameras, height: int, width: int) -> Frames:
    """Render checked inputs (see `render`) on one CPU core."""
    n = prims.kind.shape[0]
    x, y = pixel_grid(height, width, cameras.fov_y_deg)
    frames = Frames(
        rgb=np.empty((n, height, width, 3), np.uint8),
        depth_m=np.empty((n, height, width), np.float32),
        segment=np.empty((n, height, width), np.int32),
    )
    _render_worlds(
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


@jit
def _render_worlds(
    kind, position, rotation, size, color, segment_id, cam_position, cam_rotation,
    x, y, near, far, light, horizon, zenith, rgb, depth, segment,
):  # fmt: skip
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
                    _draw_plane(ray32, origin32, s[0], light32[2], x, y, near, p, z, shade, index)
                continue
            _bounding_corners(k, s, ray, origin, corners)
            if not _screen_rectangle(corners, x, y, near, far, rect):
                continue
            if k == BOX:
                _draw_box(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
            elif k == SPHERE:
                _draw_sphere(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
            elif k == CYLINDER:
                _draw_cylinder(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
            elif k == CAPSULE:
                _draw_capsule(ray32, origin32, s, light32, x, y, rect, near, p, z, shade, index)
        _paint(
            color[b], segment_id[b], cam_rotation[b], x, y, horizon, zenith,
            shade, index, rgb[b], segment[b],
        )  # fmt: skip


@jit
def _to_local(
    position, rotation, cam_position, cam_rotation, light,
    ray, ray32, origin, origin32, light32,
):  # fmt: skip
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
def _bounding_corners(kind, size, ray, origin, corners):
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
def _screen_rectangle(corners, x, y, near, far, rect):
    """First and last row and column that the convex hull of `corners` can cover; False if none."""
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
        if zmin < near:  # where an edge crosses the near plane
            for axis in range(3):
                r = q ^ (1 << axis)
                if zq < near <= corners[r, 2]:
                    w = (near - zq) / (corners[r, 2] - zq)
                    u = (corners[q, 0] + w * (corners[r, 0] - corners[q, 0])) / near
                    v = (corners[q, 1] + w * (corners[r, 1] - corners[q, 1])) / near
                    left, right = min(left, u), max(right, u)
                    top, bottom = min(top, v), max(bottom, v)
    height, width = y.shape[0], x.shape[0]
    # pixel j is at x[0] + j * step: the first at or right of `left`, the last at or left of `right`
    half_x = -np.float64(x[0]) * width / max(width - 1, 1) if width > 1 else 0.0
    half_y = -np.float64(y[0]) * height / max(height - 1, 1) if height > 1 else 0.0
    if width > 1:
        step = 2 * half_x / width
        j0 = (left - x[0]) / step
        j1 = (right - x[0]) / step
    else:
        j0, j1 = 0.0, 0.0
    if height > 1:
        step = 2 * half_y / height
        i0 = (top - y[0]) / step
        i1 = (bottom - y[0]) / step
    else:
        i0, i1 = 0.0, 0.0
    slack = 0.01
    if j1 < -slack or i1 < -slack or j0 > width - 1 + slack or i0 > height - 1 + slack:
        return False
    rect[0] = np.int64(np.ceil(max(i0 - slack, 0.0)))
    rect[1] = np.int64(np.floor(min(i1 + slack, height - 1.0))) + 1
    rect[2] = np.int64(np.ceil(max(j0 - slack, 0.0)))
    rect[3] = np.int64(np.floor(min(j1 + slack, width - 1.0))) + 1
    return rect[0] < rect[1] and rect[2] < rect[3]


@jit
def _draw_plane(ray, origin, edge, light_z, x, y, near, p, z, shade, index):
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
def _draw_box(ray, origin, size, light, x, y, rect, near, p, z, shade, index):
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
def _draw_sphere(ray, origin, size, light, x, y, rect, near, p, z, shade, index):
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
def _draw_cylinder(ray, origin, size, light, x, y, rect, near, p, z, shade, index):
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
def _draw_capsule(ray, origin, size, light, x, y, rect, near, p, z, shade, index):
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


@jit
def _paint(color, segment_id, cam_rotation, x, y, horizon, zenith, shade, index, rgb, segment):
    """Colours and segment ids from the winning primitive of every pixel; sky where there is none."""
    full = f32(255.0)
    for i in range(y.shape[0]):
        base = cam_rotation[2, 1] * y[i] + cam_rotation[2, 2]
        for j in range(x.shape[0]):
            p = index[i, j]
            if p >= 0:
                segment[i, j] = segment_id[p]
                gain = shade[i, j] * full
                for c in range(3):
                    rgb[i, j, c] = np.uint8(np.int32(min(color[p, c] * gain, full) + HALF))
            else:
                segment[i, j] = -1
                up = cam_rotation[2, 0] * x[j] + base
                sine = max(up / np.sqrt(x[j] * x[j] + y[i] * y[i] + ONE), ZERO)
                for c in range(3):
                    value = horizon[c] + sine * (zenith[c] - horizon[c])
                    rgb[i, j, c] = np.uint8(np.int32(min(value * full, full) + HALF))
