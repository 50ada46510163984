"""Is an edit what it claims to be? Checks on activations before and after it, at its own site.

A steering effect can come from a push that is far from anything the model has ever computed, from
making every vector shorter, or from a few enormous coordinates. Each has its test here, on natural
activations `[n, d]` and the same after the edit:

- natural range: how far the edit carries tokens along its own direction, in standard deviations of
  the natural activations, and how many end beyond their 0.5 and 99.5 percentiles
- shrinkage (after the reproduction of COAST: 0.9 h did what the method did): how much of the edit
  is explained by one scalar times h
- massive dimensions (arXiv:2508.03616): the coordinates that dominate norms, and what share of the
  edit's energy lies in them
- row and null space (arXiv:2311.17030): what share of a direction the next linear map can read
  (`steering.illusion` also patches along its parts)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

NATURAL = (0.005, 0.995)  # quantiles that bound the natural range
MASSIVE = 20.0  # times the median of |h|: a dimension whose mean |h_i| is more is massive
MAX_OUTSIDE = 0.25  # of tokens beyond the natural range, more is flagged
MAX_SHRINKAGE = 0.5  # of the edit explained by a scalar, more is flagged
MAX_MASSIVE = 0.5  # of the edit's energy in massive dimensions, more is flagged
MIN_READ = 0.5  # of a direction's energy that the next map reads, less is flagged


@dataclass(frozen=True)
class Diagnosis:
    """What an edit does to natural activations. Shares are of tokens or of energy, in [0, 1].

    size: mean |dh| / |h|. shift: along the edit's mean direction, in natural standard deviations.
    outside, outside_before: share of tokens beyond the natural range along that direction, after
    and before the edit. long: share of tokens longer than the natural range allows. scale: the
    scalar s for which s h is nearest to the edited h; shrinkage: the share of the edit that s h
    explains. n_massive: massive dimensions; massive: the share of the edit's energy in them;
    size_rest: `size` in the other dimensions alone. ratio: max |h_i| / median |h_i| of a natural
    token, mean (arXiv:2508.03616, section 2).
    """

    n: int
    size: float
    shift: float
    outside: float
    outside_before: float
    long: float
    scale: float
    shrinkage: float
    n_massive: int
    massive: float
    size_rest: float
    ratio: float

    def flags(self) -> list[str]:
        """What a reader should know before believing the effect; empty if nothing."""
        found = []
        if self.outside > MAX_OUTSIDE:
            found.append(f"{self.outside:.0%} of tokens leave the natural range")
        if self.long > MAX_OUTSIDE:
            found.append(f"{self.long:.0%} of tokens become longer than natural ones")
        if self.shrinkage > MAX_SHRINKAGE:
            found.append(f"{self.shrinkage:.0%} of it is scaling h by {self.scale:.2f}")
        if self.massive > MAX_MASSIVE:
            found.append(f"{self.massive:.0%} of it is in {self.n_massive} massive dimensions")
        return found

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "flags": self.flags()}


def diagnose(natural: torch.Tensor, edited: torch.Tensor) -> Diagnosis:
    """The checks, on the same tokens before and after an edit, both `[n, d]`, n >= 2.

    Raises ValueError for unequal shapes, numbers that are not finite, and an edit of nothing.
    """
    if natural.dim() != 2 or natural.shape != edited.shape or len(natural) < 2:
        raise ValueError(
            f"natural {list(natural.shape)} and edited {list(edited.shape)} must be the same "
            "tokens [n, d], n >= 2"
        )
    for name, values in (("natural", natural), ("edited", edited)):
        if not torch.isfinite(values).all():
            raise ValueError(f"{name} activations are not all finite")
    h, after = natural.double(), edited.double()
    change = after - h
    energy = float(change.square().sum())
    if energy == 0.0:
        raise ValueError("the edit changes nothing at these tokens")
    lengths = h.norm(dim=1)
    # The mean of the change; where changes cancel (a rotation), their main axis.
    direction = change.mean(0)
    if float(direction.norm()) < 1e-3 * float(change.norm(dim=1).mean()):
        direction = torch.linalg.svd(change, full_matrices=False).Vh[0]
    direction = direction / direction.norm()
    along, along_after = h @ direction, after @ direction
    bounds = _natural(along)
    scale = float((h * after).sum() / h.square().sum())
    massive = massive_dimensions(h)
    return Diagnosis(
        n=len(h),
        size=_size(change, h),
        shift=float((along_after - along).mean() / along.std().clamp_min(1e-12)),
        outside=_beyond(along_after, bounds),
        outside_before=_beyond(along, bounds),
        long=float((after.norm(dim=1) > _natural(lengths)[1]).double().mean()),
        scale=scale,
        shrinkage=1.0 - float((after - scale * h).square().sum()) / energy,
        n_massive=len(massive),
        massive=float(change[:, massive].square().sum()) / energy,
        size_rest=_size(_masked(change, massive), _masked(h, massive)),
        ratio=massive_ratio(h),
    )


def _size(change: torch.Tensor, h: torch.Tensor) -> float:
    return float((change.norm(dim=1) / h.norm(dim=1).clamp_min(1e-12)).mean())


def massive_dimensions(activations: torch.Tensor, ratio: float = MASSIVE) -> list[int]:
    """Dimensions of `[n, d]` whose mean |h_i| is more than `ratio` times the median of all |h|."""
    sizes = activations.double().abs()
    return torch.nonzero(sizes.mean(0) > ratio * sizes.median()).flatten().tolist()


def massive_ratio(activations: torch.Tensor) -> float:
    """max |h_i| / median |h_i| of each token of `[n, d]`, mean over tokens: how far a few
    dimensions stand out at this site. A model that was fine-tuned is compared with itself before.
    """
    sizes = activations.double().abs()
    return float((sizes.amax(1) / sizes.median(1).values.clamp_min(1e-12)).mean())


def without(values: torch.Tensor, dimensions: Sequence[int]) -> torch.Tensor:
    """Directions or activations `[..., d]` with some dimensions (the massive ones) set to zero:
    before vectors are fitted, or in a finished one. ValueError where nothing is left of them."""
    masked = _masked(values, dimensions)
    if values.any() and not masked.any():
        raise ValueError(
            f"all of it is in the dimensions {list(dimensions)}; without them nothing is left"
        )
    return masked


def _masked(values: torch.Tensor, dimensions: Sequence[int]) -> torch.Tensor:
    masked = values.clone()
    masked[..., list(dimensions)] = 0
    return masked


def neurons_outside(natural: torch.Tensor, neurons: Sequence[int], value: float) -> float:
    """The share of neurons for which a clamp to `value` lies beyond the natural range of that
    neuron; natural: `[n, d]`."""
    low, high = torch.quantile(
        natural.double()[:, list(neurons)], torch.tensor(NATURAL, dtype=torch.float64), dim=0
    )
    return float(((value < low) | (value > high)).double().mean())


def row_and_null(
    direction: torch.Tensor, weight: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """v_row and v_null float64 `[in]` of a direction `[in]`, made unit first, for a map
    `[out, in]`. ValueError where they do not fit."""
    matrix = weight.detach().double()
    if direction.shape != (matrix.shape[1],):
        raise ValueError(
            f"the direction {list(direction.shape)} does not fit a map {list(matrix.shape)}"
        )
    _, values, rows = torch.linalg.svd(matrix, full_matrices=False)
    kept = rows[values > values[0] * max(matrix.shape) * torch.finfo(torch.float64).eps]
    unit = direction.to(matrix) / direction.to(matrix).norm()
    row = kept.T @ (kept @ unit)
    return row, unit - row


def read_share(direction: torch.Tensor, weight: torch.Tensor) -> float:
    """The share of a direction's energy that a linear map `weight [out, in]` can read: |v_row|^2 of
    v = v_row + v_null, v unit `[in]`. What lies in the null space changes nothing downstream,
    however well it separates two classes (arXiv:2311.17030, section 3)."""
    row, _ = row_and_null(direction, weight)
    return float(row.square().sum())


def _natural(values: torch.Tensor) -> tuple[float, float]:
    low, high = torch.quantile(values, torch.tensor(NATURAL, dtype=values.dtype))
    return float(low), float(high)


def _beyond(values: torch.Tensor, bounds: tuple[float, float]) -> float:
    return float(((values < bounds[0]) | (values > bounds[1])).double().mean())
