"""The arithmetic of the interventions, on `[R, S, width]` tensors, one row's settings per row.

Every function is elementwise over rows and tokens, so a row's result does not depend on its
neighbours. Directions are unit `[R, d]`, coefficients `[R]`; all in float32.
"""

from __future__ import annotations

import torch

_TINY = torch.finfo(torch.float32).tiny


def dot(h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """h.v per token: `[R, S, d]`, `[R, d]` -> `[R, S, 1]`."""
    return (h * v[:, None]).sum(-1, keepdim=True)


def length(h: torch.Tensor) -> torch.Tensor:
    """|h| per token: `[R, S, d]` -> `[R, S, 1]`."""
    return torch.linalg.vector_norm(h, dim=-1, keepdim=True)


def ablate(h: torch.Tensor, c: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The change -c (h.v) v."""
    return -c[:, None, None] * dot(h, v) * v[:, None]


def ablate_matched(
    h: torch.Tensor, c: torch.Tensor, u: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Against h along the random direction u, as much as the target loses: |c (h.target)|."""
    side = torch.where(dot(h, u) < 0, -1.0, 1.0)
    return -c[:, None, None] * dot(h, target).abs() * side * u[:, None]


def turn(h: torch.Tensor, c: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The change of a norm-preserving addition, |h| unit(unit(h) + c v) - h."""
    size = length(h)
    turned = h / size.clamp_min(_TINY) + c[:, None, None] * v[:, None]
    return size * turned / length(turned).clamp_min(_TINY) - h


def turn_matched(
    h: torch.Tensor, c: torch.Tensor, u: torch.Tensor, target: torch.Tensor
) -> torch.Tensor:
    """Turn h towards u by the angle by which the target operation turns it.

    Same |h| afterwards and, equal angles having equal chords, the same length of the change.
    """
    size = length(h).clamp_min(_TINY)
    chord = length(turn(h, c, target)) / size  # 2 sin(angle / 2)
    lost = chord.square() / 2  # 1 - cos(angle)
    sine = chord * (1 - chord.square() / 4).clamp_min(0).sqrt()
    unit = h / size
    sideways = u[:, None] - dot(unit, u) * unit
    sideways = sideways - (sideways * unit).sum(-1, keepdim=True) * unit
    sideways = torch.sign(c)[:, None, None] * sideways / length(sideways).clamp_min(_TINY)
    return size * (sine * sideways - lost * unit)


def written(change: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """What a change of neurons writes: `[R, S, k]` x value vectors `[R, k, d]` -> `[R, S, d]`."""
    return torch.bmm(change, vectors)
