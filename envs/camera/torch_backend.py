"""The back-end for other devices: the ray caster in torch operations, float32.

The screen is cut into tiles of 8 x 8 pixels. For every kind of primitive, the pairs (primitive,
tile that its screen rectangle touches) are tested in one batch, and a minimum over 64-bit keys
(depth bits, primitive index) finds each pixel's surface. All arithmetic is elementwise and the
minimum does not depend on order, so a world's picture does not depend on the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pilotage.envs.camera import torch_shapes
from pilotage.envs.camera.shading import (
    LIGHT,
    SKY_HORIZON,
    SKY_ZENITH,
    half_extents,
    pixel_grid,
)
from pilotage.envs.camera.torch_tiles import (
    TILE,
    Scene,
    bounding_corners,
    tile_pairs,
    tile_rectangles,
    to_local,
)
from pilotage.envs.camera.types import (
    BOX,
    CAPSULE,
    CYLINDER,
    PLANE,
    SPHERE,
    Cameras,
    Frames,
    Primitives,
)
from pilotage.envs.camera.validation import check_call, check_inputs

NO_PRIMITIVE = 0x7FFFFFFF
# Most ray-primitive tests held at once: bounds memory (a test needs about 100 bytes).
MAX_TESTS = {"cpu": 1 << 20, "cuda": 1 << 26}

DRAW: dict[int, Callable[..., tuple[Tensor, Tensor]]] = {
    PLANE: torch_shapes.plane,
    BOX: torch_shapes.box,
    SPHERE: torch_shapes.sphere,
    CYLINDER: torch_shapes.cylinder,
    CAPSULE: torch_shapes.capsule,
}


def to_device(prims: Primitives, cameras: Cameras, device: str) -> tuple[Any, Any]:
    """The same structures with tensors on `device` in place of arrays, for `render_torch`."""

    def move(value: Any) -> Any:
        if not isinstance(value, np.ndarray):
            return value
        return torch.from_numpy(np.ascontiguousarray(value)).to(device)

    return _each_field(prims, move), _each_field(cameras, move)


def _to_numpy(structure: Any) -> Any:
    def move(value: Any) -> Any:
        return value.cpu().numpy() if isinstance(value, Tensor) else value

    return _each_field(structure, move)


def _each_field(structure: Any, change: Callable[[Any], Any]) -> Any:
    return type(structure)(*(change(getattr(structure, f.name)) for f in fields(structure)))


def render_on_device(
    prims: Primitives, cameras: Cameras, height: int, width: int, device: str
) -> Frames:
    """Render checked numpy inputs on `device` and bring the pictures back."""
    try:
        moved = to_device(prims, cameras, device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(f"device {device!r} cannot be used by torch here: {error}") from error
    frames = render_torch(*moved, height=height, width=width, check=False)
    return _to_numpy(frames)


@torch.no_grad()
def render_torch(prims: Any, cameras: Any, *, height: int, width: int, check: bool = True) -> Any:
    """`render` for `Primitives` and `Cameras` that hold tensors; everything stays on their device.

    Args:
        prims: `Primitives` with tensors [B, P, ...] in place of arrays (see `to_device`).
        cameras: `Cameras` with tensors [B, ...].
        height, width: pixels.
        check: look at the values too, which copies the inputs to the host; shapes are always
            checked.

    Returns:
        Frames with tensors on the same device.

    Raises:
        ValueError: as in `render`.
    """
    check_call(prims, cameras, height, width)
    if check:
        check_inputs(_to_numpy(prims), _to_numpy(cameras), height, width)
    scene = _scene(prims, cameras, height, width)
    b, p = prims.kind.shape
    device = prims.kind.device
    limit = MAX_TESTS.get(device.type, MAX_TESTS["cuda"])
    chunk = max(1, limit // max(1, p * scene.padded_height * scene.padded_width))
    rgb = torch.empty((b, height, width, 3), dtype=torch.uint8, device=device)
    depth = torch.empty((b, height, width), dtype=torch.float32, device=device)
    segment = torch.empty((b, height, width), dtype=torch.int32, device=device)
    for start in range(0, b, chunk):
        part = slice(start, min(start + chunk, b))
        rgb[part], depth[part], segment[part] = _render_chunk(scene, prims, cameras, part)
    return Frames(rgb=rgb, depth_m=depth, segment=segment)  # type: ignore[arg-type]


def _scene(prims: Any, cameras: Any, height: int, width: int) -> Scene:
    device = prims.kind.device
    high, wide = -(-height // TILE) * TILE, -(-width // TILE) * TILE
    x, y = pixel_grid(height, width, cameras.fov_y_deg)
    x, y = np.pad(x, (0, wide - width)), np.pad(y, (0, high - height))

    def tensor(values: np.ndarray) -> Tensor:
        return torch.as_tensor(values.astype(np.float32), device=device)

    return Scene(
        height=height,
        width=width,
        padded_height=high,
        padded_width=wide,
        half=half_extents(height, width, cameras.fov_y_deg),
        x=tensor(x),
        y=tensor(y),
        near=float(np.float32(cameras.near_m)),
        far=float(np.float32(cameras.far_m)),
        light=torch.as_tensor(LIGHT, device=device),
    )


def _render_chunk(
    scene: Scene, prims: Any, cameras: Any, part: slice
) -> tuple[Tensor, Tensor, Tensor]:
    kind = prims.kind[part]
    n, p = kind.shape
    ray, origin, light = to_local(scene, prims, cameras, part)
    size = prims.size[part].float()
    corners = bounding_corners(kind, size.double(), ray, origin)
    rect = tile_rectangles(scene, corners, kind)
    n_pixels = scene.padded_height * scene.padded_width
    far_bits = int(np.float32(scene.far).view(np.int32))
    empty = (far_bits << 32) | NO_PRIMITIVE
    device = kind.device
    keys = torch.full((n * n_pixels + 1,), empty, dtype=torch.int64, device=device)
    shade = torch.zeros((n * n_pixels + 1,), dtype=torch.float32, device=device)
    ray32 = ray.float().reshape(n * p, 3, 3)
    origin32, light32 = origin.float().reshape(n * p, 3), light.float().reshape(n * p, 3)
    size = size.reshape(n * p, 3)
    drawn = []
    for number, draw in DRAW.items():
        pairs = tile_pairs(scene, rect, kind == number)
        if pairs is None:
            continue
        which, row, column = pairs  # [N], [N, 64], [N, 64]
        x, y = scene.x[column], scene.y[row]
        r = ray32[which][:, :, :, None]  # [N, 3, 3, 1]
        direction = [r[:, k, 0] * x + (r[:, k, 1] * y + r[:, k, 2]) for k in range(3)]
        start = [origin32[which, k, None] for k in range(3)]
        toward = [light32[which, k, None] for k in range(3)]
        t, value = draw(direction, start, size[which], toward)
        miss = ~((t >= scene.near) & (t < scene.far))
        bits = t.view(torch.int32).long()
        key = ((bits << 32) | (which % p)[:, None]).masked_fill(miss, empty)
        at = (which // p)[:, None] * n_pixels + row * scene.padded_width + column
        keys.scatter_reduce_(0, at.flatten(), key.flatten(), "amin")
        drawn.append((at, key, value))
    for at, key, value in drawn:  # losers write to the spare last slot
        at = torch.where((keys[at] == key) & (key != empty), at, n * n_pixels)
        shade[at] = value
    return _paint(scene, prims, cameras, part, keys[:-1], shade[:-1])


def _paint(
    scene: Scene, prims: Any, cameras: Any, part: slice, keys: Tensor, shade: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Colours, depths and segment ids from the winning keys; sky where there is none."""
    n, p = prims.kind[part].shape
    shape = (n, scene.padded_height, scene.padded_width)
    crop = (slice(None), slice(0, scene.height), slice(0, scene.width))
    keys, shade = keys.reshape(shape)[crop], shade.reshape(shape)[crop]
    index = keys & 0xFFFFFFFF
    sky = index == NO_PRIMITIVE
    world = torch.arange(n, device=keys.device)[:, None, None]
    index = index.masked_fill(sky, 0) if p else torch.zeros_like(index)
    depth = (keys >> 32).int().view(torch.float32)
    camera = cameras.rotation[part].float()[:, 2, :, None, None]
    x, y = scene.x[: scene.width], scene.y[: scene.height, None]
    up = camera[:, 0] * x + (camera[:, 1] * y + camera[:, 2])
    sine = (up / torch.sqrt(x * x + y * y + 1.0)).clamp(min=0.0)[..., None]
    horizon = torch.as_tensor(SKY_HORIZON.astype(np.float32), device=keys.device)
    zenith = torch.as_tensor(SKY_ZENITH.astype(np.float32), device=keys.device)
    color = horizon + sine * (zenith - horizon)
    segment = torch.full_like(index, -1)
    if p:
        surface = prims.color[part].float()[world, index] * shade[..., None]
        color = torch.where(sky[..., None], color, surface)
        segment = torch.where(sky, segment, prims.segment_id[part].long()[world, index])
    rgb = (color * 255.0).clamp(max=255.0) + 0.5
    return rgb.to(torch.uint8), depth, segment.int()
