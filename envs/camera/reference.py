"""What the camera means, in plain float64 numpy: slow, and the judge of the fast back-ends.

Every shape is convex, so a ray is inside it on one interval [enter, leave]; the shape is seen at
`enter` when that is in [near, far). Intervals come from the textbook formulas: slabs for boxes, the
quadratic equation for spheres and cylinders (Ericson, *Real-Time Collision Detection*, 5.3).
"""

from __future__ import annotations

import numpy as np

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

Interval = tuple[np.ndarray, np.ndarray]


def render_reference(
    prims: Primitives,
    cameras: Cameras,
    height: int,
    width: int,
    *,
    pixel_shift: tuple[float, float] = (0.0, 0.0),
) -> Frames:
    """Render checked inputs (see `render`), rays moved by `pixel_shift` (right, down) pixels."""
    n = prims.kind.shape[0]
    x, y = pixel_grid(height, width, cameras.fov_y_deg)
    pixel = 2 * np.tan(np.radians(cameras.fov_y_deg) / 2) / height
    rays = np.ones((height, width, 3))
    rays[..., 0] = x + pixel_shift[0] * pixel
    rays[..., 1] = y[:, None] + pixel_shift[1] * pixel
    frames = Frames(
        rgb=np.empty((n, height, width, 3), np.uint8),
        depth_m=np.empty((n, height, width), np.float32),
        segment=np.empty((n, height, width), np.int32),
    )
    for world in range(n):
        color, depth, segment = _render_world(prims, cameras, world, rays)
        frames.rgb[world] = np.floor(np.clip(color, 0, 1) * 255 + 0.5)
        frames.depth_m[world] = depth
        frames.segment[world] = segment
    return frames


def _render_world(
    prims: Primitives, cameras: Cameras, world: int, rays: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    camera = cameras.rotation[world].astype(np.float64)
    directions = rays @ camera.T  # [H, W, 3] in world axes; z-depth 1 per unit of the parameter
    depth = np.full(rays.shape[:2], float(cameras.far_m))
    segment = np.full(rays.shape[:2], -1)
    color = _sky(directions)
    for p in np.flatnonzero(prims.kind[world] != NONE):
        kind = prims.kind[world, p]
        size = prims.size[world, p].astype(np.float64)
        rotation = prims.rotation[world, p].astype(np.float64)
        shift = cameras.position[world].astype(np.float64) - prims.position[world, p]
        origin, local = shift @ rotation, directions @ rotation
        with np.errstate(divide="ignore", invalid="ignore"):
            enter, leave = _interval(kind, size, origin, local)
        seen = (enter <= leave) & (enter >= cameras.near_m) & (enter < depth)
        hit = origin + enter[seen][:, None] * local[seen]
        cosine = _normals(kind, size, hit) @ (LIGHT @ rotation)
        shade = AMBIENT + DIFFUSE * (1 + cosine) / 2
        if kind == PLANE and size[0] > 0:
            odd = np.floor(hit[:, :2] / size[0]).sum(axis=1) % 2 == 1
            shade[odd] *= DARK_CHECKER
        depth[seen] = enter[seen]
        segment[seen] = prims.segment_id[world, p]
        color[seen] = shade[:, None] * prims.color[world, p]
    return color, depth, segment


def _sky(directions: np.ndarray) -> np.ndarray:
    sine = directions[..., 2] / np.linalg.norm(directions, axis=-1)
    return SKY_HORIZON + np.clip(sine, 0, 1)[..., None] * (SKY_ZENITH - SKY_HORIZON)


def _interval(kind: int, size: np.ndarray, origin: np.ndarray, ray: np.ndarray) -> Interval:
    """Where rays [..., 3] from `origin` [3] are inside the shape; (inf, -inf) where never."""
    if kind == PLANE:  # the half space z <= 0, seen from above only
        t = -origin[2] / ray[..., 2]
        ahead = (origin[2] > 0) & (ray[..., 2] < 0)
        return np.where(ahead, t, np.inf), np.full_like(t, np.inf)
    if kind == BOX:
        return _meet(*(_slab(size[a], origin[a], ray[..., a]) for a in range(3)))
    if kind == SPHERE:
        return _ball(size[0], origin, ray)
    side = _ball(size[0], origin[:2], ray[..., :2])
    tube = _meet(side, _slab(size[1], origin[2], ray[..., 2]))
    if kind == CYLINDER:
        return tube
    if kind != CAPSULE:
        raise ValueError(f"kind {kind} is no kind of primitive")
    end = np.array([0, 0, size[1]])
    parts = [tube, _ball(size[0], origin - end, ray), _ball(size[0], origin + end, ray)]
    parts = [_meet(part) for part in parts]
    return np.minimum.reduce([a for a, _ in parts]), np.maximum.reduce([b for _, b in parts])


def _slab(half: float, origin: float, ray: np.ndarray) -> Interval:
    """|coordinate| <= half."""
    first, second = (-half - origin) / ray, (half - origin) / ray
    always = (ray == 0) & (abs(origin) <= half)
    never = (ray == 0) & (abs(origin) > half)
    enter = np.where(always, -np.inf, np.where(never, np.inf, np.minimum(first, second)))
    leave = np.where(always, np.inf, np.where(never, -np.inf, np.maximum(first, second)))
    return enter, leave


def _ball(radius: float, origin: np.ndarray, ray: np.ndarray) -> Interval:
    """Distance from the origin <= radius, in as many dimensions as given."""
    a = (ray * ray).sum(-1)
    b = ray @ origin
    c = origin @ origin - radius * radius
    root = np.sqrt(np.where(b * b >= a * c, b * b - a * c, np.nan))
    enter, leave = (-b - root) / a, (-b + root) / a
    inside = (a == 0) & (c <= 0)
    enter, leave = np.where(inside, -np.inf, enter), np.where(inside, np.inf, leave)
    return np.where(np.isnan(enter), np.inf, enter), np.where(np.isnan(leave), -np.inf, leave)


def _meet(*intervals: Interval) -> Interval:
    """The common part; (inf, -inf) where there is none."""
    enter = np.maximum.reduce([a for a, _ in intervals])
    leave = np.minimum.reduce([b for _, b in intervals])
    return np.where(enter <= leave, enter, np.inf), np.where(enter <= leave, leave, -np.inf)


def _normals(kind: int, size: np.ndarray, hit: np.ndarray) -> np.ndarray:
    """Outward unit normals [N, 3] at points [N, 3] on the surface."""
    normal = np.zeros_like(hit)
    if kind == PLANE:
        normal[:, 2] = 1
    elif kind == BOX:
        axis = np.argmax(np.abs(hit) / size, axis=1)
        rows = np.arange(len(hit))
        normal[rows, axis] = np.sign(hit[rows, axis])
    elif kind == SPHERE:
        normal = hit / size[0]
    elif kind == CAPSULE:
        normal = hit.copy()
        normal[:, 2] -= np.clip(hit[:, 2], -size[1], size[1])
        normal /= size[0]
    else:  # the cap where the point is further out along z than around it
        radial = np.linalg.norm(hit[:, :2], axis=1)
        cap = size[1] - np.abs(hit[:, 2]) < size[0] - radial
        normal[cap, 2] = np.sign(hit[cap, 2])
        normal[~cap, :2] = hit[~cap, :2] / size[0]
    return normal
