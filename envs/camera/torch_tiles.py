"""Which 8 x 8 tiles of the screen each primitive can touch, in torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from pilotage.envs.camera.types import CAPSULE, CYLINDER, NONE, PLANE, SPHERE

TILE = 8


@dataclass
class Scene:
    """What all worlds of a call share."""

    height: int
    width: int
    padded_height: int  # whole tiles
    padded_width: int
    half: tuple[float, float]
    x: Tensor  # [padded width]
    y: Tensor  # [padded height]
    near: float
    far: float
    light: Tensor  # [3]


def to_local(scene: Scene, prims: Any, cameras: Any, part: slice) -> tuple[Tensor, Tensor, Tensor]:
    """Camera axes [n, P, 3, 3], camera position and light [n, P, 3] in each primitive's frame."""
    rotation = prims.rotation[part].double()
    camera = cameras.rotation[part].double()[:, None]
    shift = cameras.position[part].double()[:, None] - prims.position[part].double()

    def turned(vector: Tensor) -> Tensor:  # rotation^T @ vector, without a matrix product:
        first = rotation[..., 0, :] * vector[..., 0, None]  # its rounding depends on the batch
        second = rotation[..., 1, :] * vector[..., 1, None]
        return first + second + rotation[..., 2, :] * vector[..., 2, None]

    ray = torch.stack([turned(camera[..., :, c]) for c in range(3)], dim=-1)
    return ray, turned(shift), turned(scene.light.expand_as(shift))


def bounding_corners(kind: Tensor, size: Tensor, ray: Tensor, origin: Tensor) -> Tensor:
    """Corners [n, P, 8, 3], in camera axes, of a box around each primitive."""
    a, b, c = size.unbind(-1)
    ball, rod, pill = kind == SPHERE, kind == CYLINDER, kind == CAPSULE
    half_y = torch.where(ball | rod | pill, a, b)
    half_z = torch.where(ball, a, torch.where(rod, b, torch.where(pill, a + b, c)))
    half = torch.stack([a, half_y, half_z], dim=-1)
    ends = torch.tensor([-1.0, 1.0], dtype=half.dtype, device=half.device)
    signs = torch.cartesian_prod(ends, ends, ends)  # [8, 3]; corner q ^ (4 >> k) is across axis k
    local = signs * half[..., None, :] - origin[..., None, :]  # [n, P, 8, 3]
    return sum(local[..., k, None] * ray[..., None, k, :] for k in range(3))  # type: ignore[return-value]


def tile_rectangles(scene: Scene, corners: Tensor, kind: Tensor) -> Tensor:
    """First and end tile row, first and end tile column [n, P, 4]; empty where nothing shows."""
    near = scene.near
    z = corners[..., 2]
    behind = z < near
    points = [corners]
    for axis in range(3):  # where edges cross the near plane
        other = corners[..., [q ^ (4 >> axis) for q in range(8)], :]
        weight = (near - z) / (other[..., 2] - z)
        crossing = corners + weight[..., None] * (other - corners)
        crosses = behind & (other[..., 2] >= near)
        points.append(torch.where(crosses[..., None], crossing, corners))
    cloud = torch.stack(points, dim=-2)  # [n, P, 8, 4, 3]
    shown = cloud[..., 2] >= near * (1 - 1e-9)
    spans = []
    for axis, (half, count) in enumerate(
        [(scene.half[0], scene.width), (scene.half[1], scene.height)]
    ):
        place = cloud[..., axis] / cloud[..., 2] / half
        low = torch.where(shown, place, torch.inf).flatten(-2).amin(-1)
        high = torch.where(shown, place, -torch.inf).flatten(-2).amax(-1)
        first = torch.ceil((low + 1) * count / 2 - 0.51).clamp(0, count)
        last = torch.floor((high + 1) * count / 2 - 0.49).clamp(-1, count - 1)
        is_plane = kind == PLANE
        first = first.masked_fill(is_plane, 0).long()
        last = last.masked_fill(is_plane, count - 1).long()
        empty = last < first
        spans.append((first // TILE, torch.where(empty, first // TILE, last // TILE + 1)))
    dark = ((z > scene.far).all(-1) & (kind != PLANE)) | (kind == NONE)
    rect = torch.stack([*spans[1], *spans[0]], dim=-1)
    return rect.masked_fill(dark[..., None], 0)


def tile_pairs(scene: Scene, rect: Tensor, chosen: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """Of the tiles to test: primitive [N] (world * P + index), pixel rows and columns [N, 64]."""
    device = rect.device
    which = chosen.flatten().nonzero()[:, 0]
    if len(which) == 0:
        return None
    r0, r1, c0, c1 = rect.reshape(-1, 4)[which].unbind(-1)
    wide = c1 - c0
    count = (r1 - r0) * wide
    pair = torch.repeat_interleave(torch.arange(len(which), device=device), count)
    if len(pair) == 0:
        return None
    place = torch.arange(len(pair), device=device) - (count.cumsum(0) - count)[pair]
    lane = torch.arange(TILE * TILE, device=device)
    row = (r0[pair] + place // wide[pair])[:, None] * TILE + lane // TILE
    column = (c0[pair] + place % wide[pair])[:, None] * TILE + lane % TILE
    return which[pair], row, column
