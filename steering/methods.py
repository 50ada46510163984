"""Ways to find a steering vector from paired activations, under one signature.

`fit(positive, negative, site=..., model_digest=..., source=...) -> SteeringVector`, with paired
activations `[n, d]`. All return a unit direction and a natural norm, so that vectors of different
methods can be given at one dose. `METHODS` is what `pilotage vector --method` offers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch

from pilotage.steering.vectors import SteeringVector, check_pairs, mean_difference

Fit = Callable[..., SteeringVector]


def principal_contrast(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """The axis on which paired differences are largest: first right singular vector of `[n, d]`
    differences, not centred (RepE's contrast vector, arXiv:2310.01405; repeng's `pca_center`).

    The sign is that of the majority of the differences. The norm is the root mean square of their
    projections. Raises ValueError as `mean_difference` does.
    """
    differences = _differences(positive, negative, site)
    method = "principal_contrast arXiv:2310.01405"
    return _first_axis(differences, differences, site, model_digest, method, source)


def centred_contrast(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """As `principal_contrast`, of differences that were centred first (what a library's PCA does
    unasked). Centring takes away the mean difference, which is the effect: what is left is the axis
    on which pairs disagree about it. Kept so that the two can be compared.
    """
    differences = _differences(positive, negative, site)
    centred = differences - differences.mean(0)
    if float(centred.norm()) <= 1e-9 * float(differences.norm()):
        raise ValueError(f"all differences at {site} are the same: centring leaves nothing")
    method = "centred_contrast arXiv:2310.01405"
    return _first_axis(centred, differences, site, model_digest, method, source)


def reading_vector(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """The mean of the positive side alone (`R` of arXiv:2504.19483, section 3). Without a contrast
    it is mostly the mean activation; beside the others it shows what a contrast is worth.
    """
    check_pairs(positive, negative, site)
    mean = positive.double().mean(0)
    norm = float(mean.norm())
    if norm == 0.0:
        raise ValueError(f"the mean activation at {site} is zero")
    origin = {"n_pairs": len(positive), **(source or {})}
    method = "reading_vector arXiv:2504.19483"
    return SteeringVector(site, mean / norm, norm, model_digest, method, origin)


METHODS: dict[str, Fit] = {
    "mean-difference": mean_difference,
    "pca": principal_contrast,
    "pca-centred": centred_contrast,
    "reading": reading_vector,
}


def shuffled(
    positive: torch.Tensor, negative: torch.Tensor, seed: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The same pairs with the sides of a random half exchanged, `[n, d]` each; n >= 2. A mean
    difference of them is the control of a mean difference: the words' part cancels (all but one
    n-th of it where n is odd). It is none for the other methods: an axis does not change when rows
    change their sign, and a reading vector is nearly the same on either side.
    """
    check_pairs(positive, negative, "shuffled")
    n = len(positive)
    if n < 2:
        raise ValueError(f"a shuffle needs at least 2 pairs, got {n}")
    generator = torch.Generator().manual_seed(seed)
    flip = torch.zeros(n, dtype=torch.bool)
    flip[torch.randperm(n, generator=generator)[: n // 2]] = True
    mask = flip[:, None].to(positive.device)
    return torch.where(mask, negative, positive), torch.where(mask, positive, negative)


def _differences(positive: torch.Tensor, negative: torch.Tensor, site: str) -> torch.Tensor:
    check_pairs(positive, negative, site)
    differences = positive.double() - negative.double()
    if float(differences.abs().max()) == 0.0:
        raise ValueError(f"all differences at {site} are zero: the two sides are the same")
    return differences


def _first_axis(
    rows: torch.Tensor,
    differences: torch.Tensor,
    site: str,
    model_digest: str,
    method: str,
    source: Mapping[str, Any] | None,
) -> SteeringVector:
    """First right singular vector `[d]` of `rows`, signed by the majority of `differences`, whose
    root mean square along it is the norm."""
    axis = torch.linalg.svd(rows, full_matrices=False).Vh[0]
    along = differences @ axis
    votes = int((along > 0).sum()) - int((along < 0).sum())
    if votes < 0 or (votes == 0 and float(along.mean()) < 0):
        axis, along = -axis, -along
    agreement = round(float((along > 0).double().mean()), 4)
    norm = float(along.square().mean().sqrt())
    origin = {"n_pairs": len(differences), "sign_agreement": agreement, **(source or {})}
    return SteeringVector(site, axis, norm, model_digest, method, origin)
