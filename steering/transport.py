"""Closed-form transport of activations, unit by unit: from one distribution to another.

For one unit with source values x_1..x_n and target values y_1..y_n the map that is optimal for the
squared cost pairs them in order. Two affine maps follow from it (AcT, arXiv:2410.23054, section 3;
the Gaussian one is the baseline of LinEAS, arXiv:2503.10679):

- `gaussian_transport`: w = sd(y) / sd(x), b = mean(y) - w mean(x), exact between Gaussians
- `sorted_transport`: w, b of the least-squares line through the sorted pairs

Only marginals are matched: what units do together is left as it is. The source is the negative
side, the target the positive one, so coefficient 1 carries the first into the second.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from pilotage.steering.maps import AffineMap, map_of
from pilotage.steering.vectors import check_pairs

STILL = 1e-4  # a unit whose standard deviation is less is only shifted


def gaussian_transport(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> AffineMap:
    """The map between the Gaussians of each unit; activations `[n, d]`, n >= 2.

    Raises ValueError as `mean_difference` does, and where nothing is to be moved.
    """
    x, y = _sides(positive, negative, site)
    sd_x, sd_y = x.std(0, correction=0), y.std(0, correction=0)
    slope = torch.where(sd_x > STILL, sd_y / sd_x.clamp_min(STILL), 1.0)
    return _made(slope, x, y, site, model_digest, "gaussian_transport arXiv:2410.23054", source)


def sorted_transport(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> AffineMap:
    """The line of least squares through each unit's sorted values; as `gaussian_transport`."""
    x, y = _sides(positive, negative, site)
    sorted_x, sorted_y = (side.sort(0).values for side in (x, y))
    centred = sorted_x - x.mean(0)
    energy = centred.square().sum(0)
    moves = energy > len(x) * STILL**2
    slope = (centred * (sorted_y - y.mean(0))).sum(0) / energy.clamp_min(len(x) * STILL**2)
    slope = torch.where(moves, slope, 1.0)
    return _made(slope, x, y, site, model_digest, "sorted_transport arXiv:2410.23054", source)


def wasserstein(source: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Sum over units of the squared 2-Wasserstein distance of two samples `[n, d]`, a scalar that
    can be differentiated (LinEAS, equation 5)."""
    return (source.sort(0).values - target.sort(0).values).square().mean(0).sum()


def _sides(
    positive: torch.Tensor, negative: torch.Tensor, site: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Source and target in float64."""
    check_pairs(positive, negative, site)
    if len(positive) < 2:
        raise ValueError(f"a transport at {site} needs at least 2 activations a side, got 1")
    return negative.double(), positive.double()


def _made(
    slope: torch.Tensor,
    x: torch.Tensor,
    y: torch.Tensor,
    site: str,
    model_digest: str,
    method: str,
    source: Mapping[str, Any] | None,
) -> AffineMap:
    """The map with these slopes `[d]` that carries the mean of x to that of y."""
    affine = torch.stack((slope, y.mean(0) - slope * x.mean(0)))
    origin = {"n_pairs": len(x), **(source or {})}
    return map_of(affine, x, site=site, model_digest=model_digest, method=method, source=origin)
