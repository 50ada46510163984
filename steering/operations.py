"""The arithmetic of the interventions, on `[R, S, width]` tensors, one row's settings per row.

Every function is elementwise over rows and tokens, so a row's result does not depend on its
neighbours. Directions are unit `[R, 1, d]`, coefficients `[R, 1, 1]`; all in float32.
"""

from __future__ import annotations

import torch

_TINY = torch.finfo(torch.float32).tiny
_LARGEST_FACTORISED = 256  # neurons; beyond, the factorisation costs more than it saves


def at_least_tiny(x: torch.Tensor) -> torch.Tensor:
    """A length that can be divided by."""
    return x.clamp_min(_TINY)


def dot(h: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """h.v per token: `[R, S, d]`, `[R, 1, d]` -> `[R, S, 1]`."""
    return (h * v).sum(-1, keepdim=True)


def length(h: torch.Tensor) -> torch.Tensor:
    """|h| per token: `[R, S, d]` -> `[R, S, 1]`."""
    return torch.linalg.vector_norm(h, dim=-1, keepdim=True)


def turn(h: torch.Tensor, c: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
    """The change of a norm-preserving addition, |h| unit(unit(h) + c v) - h."""
    size = length(h)
    turned = h / at_least_tiny(size) + c * v
    return size * turned / at_least_tiny(length(turned)) - h


def turn_as_far(
    h: torch.Tensor, c: torch.Tensor, u: torch.Tensor, change: torch.Tensor
) -> torch.Tensor:
    """Turn h towards the random direction u by the angle by which another `change` turns it.

    Same |h| afterwards and, equal angles having equal chords, the same length of the change.
    """
    size = at_least_tiny(length(h))
    chord = length(change) / size  # 2 sin(angle / 2)
    lost = chord.square() / 2  # 1 - cos(angle)
    sine = chord * (1 - chord.square() / 4).clamp_min(0).sqrt()
    unit = h / size
    sideways = u - dot(unit, u) * unit
    sideways = sideways - (sideways * unit).sum(-1, keepdim=True) * unit
    sideways = torch.sign(c) * sideways / at_least_tiny(length(sideways))
    return size * (sine * sideways - lost * unit)


def mapped(h: torch.Tensor, affine: torch.Tensor) -> torch.Tensor:
    """What an affine map per unit changes, (w - 1) h + b: `[R, S, d]`, `[R, 2, d]`."""
    return (affine[:, :1] - 1) * h + affine[:, 1:]


def brought_within(there: torch.Tensor, bounds: torch.Tensor) -> torch.Tensor:
    """How far from an interval: `[R, S, 1]`, `[R, 1, 2]` -> `[R, S, 1]`, 0 inside."""
    return there.clamp(bounds[..., :1], bounds[..., 1:]) - there


def neurons(x: torch.Tensor, index: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Chosen neurons `[R, S, k]` of `[R, S, n]`, and their index for every token."""
    index = index.expand(-1, x.shape[1], -1)
    return index, x.gather(-1, index)


def written(change: torch.Tensor, vectors: torch.Tensor) -> torch.Tensor:
    """How long what a change of neurons writes is: `[R, S, k]`, `[R, k, w]` -> `[R, S, 1]`."""
    return length(torch.bmm(change, vectors))


def written_width(n_neurons: int, d: int) -> int:
    """The w of `writing_vectors`."""
    return n_neurons if n_neurons <= min(d // 2, _LARGEST_FACTORISED) else d


def writing_vectors(weight: torch.Tensor, neurons: torch.Tensor) -> torch.Tensor:
    """What each neuron writes, float32 `[k, w]`, in coordinates in which lengths are the same.

    Of few neurons only the space that they span is kept: their value vectors are V = L Q with
    orthonormal rows of Q, so |c V| = |c L|, and L is `[k, k]`.
    weight: `[d, n]`, its columns the value vectors.
    """
    columns = weight.detach()[:, neurons]  # [d, k]
    if written_width(len(neurons), len(columns)) == len(columns):
        return columns.T.float()
    return torch.linalg.qr(columns.double(), mode="r").R.T.float()
