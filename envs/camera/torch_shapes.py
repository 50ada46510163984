"""Ray against shape in torch: the z-depth at which each ray enters, and the shade there.

Each function takes the ray's `direction` and the camera's `origin` and the `light`, in the
primitive's frame, as lists of their three components ([N, 64] and [N, 1]), and `size` [N, 3]. It
returns t and shade, both [N, 64]; t is inf where the ray misses. `reference.py` says what each
formula means; the forms here are those of `numba_shapes.py`, which keep their digits in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from pilotage.envs.camera.shading import AMBIENT, DARK_CHECKER, DIFFUSE

TINY = 1e-12
TINY_SQUARE = 1e-20
AMB, DIF = AMBIENT + DIFFUSE / 2, DIFFUSE / 2

Vector = list[Tensor]


def plane(d: Vector, o: Vector, size: Tensor, light: Vector) -> tuple[Tensor, Tensor]:
    """The half space z <= 0, seen from above."""
    seen = (o[2] > 0) & (d[2] < -TINY)
    t = torch.where(seen, -o[2] / d[2], torch.inf)
    edge = size[:, 0, None]
    checked = edge > 0
    inverse = torch.where(checked, 1.0 / edge, 0.0)
    finite = torch.where(seen, t, 0.0)
    cell = [torch.floor((o[k] + finite * d[k]) * inverse) for k in range(2)]
    odd = torch.remainder(cell[0] + cell[1], 2.0) == 1.0
    shade = (AMB + DIF * light[2]).expand_as(t)
    return t, torch.where(odd & checked, shade * DARK_CHECKER, shade)


def box(d: Vector, o: Vector, size: Tensor, light: Vector) -> tuple[Tensor, Tensor]:
    """Half extents `size`."""
    enters, leaves, shades = [], [], []
    for k in range(3):
        enter, leave = _slab(d[k], o[k], size[:, k, None])
        enters.append(enter)
        leaves.append(leave)
        shades.append(AMB + torch.where(o[k] > 0, DIF, -DIF) * light[k])
    t = torch.maximum(torch.maximum(enters[0], enters[1]), enters[2])
    leave = torch.minimum(torch.minimum(leaves[0], leaves[1]), leaves[2])
    shade = torch.where(t == enters[1], shades[1], shades[2])
    shade = torch.where(t == enters[0], shades[0], shade)
    return torch.where(t <= leave, t, torch.inf), shade


def sphere(d: Vector, o: Vector, size: Tensor, light: Vector) -> tuple[Tensor, Tensor]:
    """Radius size[0]."""
    return _ball(d, o, size[:, 0, None], light)


def cylinder(d: Vector, o: Vector, size: Tensor, light: Vector) -> tuple[Tensor, Tensor]:
    """Radius size[0], half length size[1] along z."""
    radius, half = size[:, 0, None], size[:, 1, None]
    rest, inverse, middle, q = _closest(d[:2], o[:2], radius)
    back = torch.sqrt(rest.clamp(min=0) * inverse)
    side = middle - back
    enter, leave = _slab(d[2], o[2], half)
    t = torch.maximum(side, enter)
    leave = torch.minimum(middle + back, leave)
    around = (q[0] - back * d[0]) * light[0] + (q[1] - back * d[1]) * light[1]
    cap = AMB + torch.where(o[2] > 0, DIF, -DIF) * light[2]
    shade = torch.where(side >= enter, AMB + DIF / radius * around, cap)
    return torch.where((rest >= 0) & (t <= leave), t, torch.inf), shade


def capsule(d: Vector, o: Vector, size: Tensor, light: Vector) -> tuple[Tensor, Tensor]:
    """Radius size[0], half length of the segment size[1] along z."""
    radius, half = size[:, 0, None], size[:, 1, None]
    rest, inverse, middle, q = _closest(d[:2], o[:2], radius)
    back = torch.sqrt(rest.clamp(min=0) * inverse)
    side = middle - back
    height = o[2] + side * d[2]
    around = (q[0] - back * d[0]) * light[0] + (q[1] - back * d[1]) * light[1]
    side_shade = AMB + DIF / radius * around
    end = o[2] - torch.where(height > 0, half, -half)
    t, shade = _ball(d, [o[0], o[1], end], radius, light)
    straight = height.abs() <= half
    t, shade = torch.where(straight, side, t), torch.where(straight, side_shade, shade)
    return torch.where(rest >= 0, t, torch.inf), shade


def _slab(d: Tensor, o: Tensor, half: Tensor) -> tuple[Tensor, Tensor]:
    inverse = 1.0 / torch.where(d.abs() > TINY, d, TINY)
    first, second = (-o - half) * inverse, (-o + half) * inverse
    return torch.minimum(first, second), torch.maximum(first, second)


def _closest(d: Vector, o: Vector, radius: Tensor) -> tuple[Tensor, Tensor, Tensor, Vector]:
    """radius^2 - distance^2 of the ray's nearest point, 1 / d.d, where it is, and the point."""
    square, along = d[0] * d[0], o[0] * d[0]
    for k in range(1, len(d)):
        square, along = square + d[k] * d[k], along + o[k] * d[k]
    inverse = 1.0 / square.clamp(min=TINY_SQUARE)
    u = along * inverse
    q = [o[k] - u * d[k] for k in range(len(d))]
    distance = q[0] * q[0]
    for k in range(1, len(d)):
        distance = distance + q[k] * q[k]
    return radius * radius - distance, inverse, -u, q


def _ball(d: Vector, o: Vector, radius: Tensor, light: Vector) -> tuple[Tensor, Tensor]:
    rest, inverse, middle, q = _closest(d, o, radius)
    back = torch.sqrt(rest.clamp(min=0) * inverse)
    cosine = (q[0] - back * d[0]) * light[0]
    for k in range(1, 3):
        cosine = cosine + (q[k] - back * d[k]) * light[k]
    return torch.where(rest >= 0, middle - back, torch.inf), AMB + DIF / radius * cosine
