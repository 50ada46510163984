"""Semi-nonnegative factorisation of FFN activations: features as sets of neurons with a ratio.

Activations A `[n, m]` (token by neuron) are written as A ~ G F with weights G `[n, k]` >= 0, when a
feature is on, and features F `[k, m]` of any sign, which neurons it is (arXiv:2506.10920; the
factorisation is Ding, Li and Jordan's semi-NMF, 2010). Each iteration:

    F <- (G'G)^-1 G'A, then only the largest share of each row is kept (winner takes all)
    G <- G * sqrt((P+ + G Q-) / (P- + G Q+)),   P = A F', Q = F F'

with + and - the positive and negative parts. Without the winners' rule the squared error never
rises, but features are fixed up to a blend only (one may carry a part of another as long as no
weight turns negative); with it an iteration may be worse, and the best one is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch.nn.functional import normalize, one_hot

from pilotage.steering.vectors import SteeringVector

_SMALL = 1e-12
METHOD = "snmf arXiv:2506.10920"


@dataclass(frozen=True, eq=False)
class Factors:
    """features: float64 `[k, m]`. weights: float64 `[n, k]` >= 0, each column of length 1 (or 0).
    errors: the squared error |A - G F|^2 after every iteration, of which this is the least."""

    features: torch.Tensor
    weights: torch.Tensor
    errors: tuple[float, ...]

    def encode(self, activations: torch.Tensor, iterations: int = 200) -> torch.Tensor:
        """The weights `[n, k]` of other activations `[n, m]` with these features held."""
        a = activations.double()
        weights = torch.full((len(a), len(self.features)), 1.0, dtype=torch.float64)
        weights *= a.norm() / max(float((weights @ self.features).norm()), _SMALL)
        for _ in range(iterations):
            weights = _update(a, self.features, weights)
        return weights


def factorise(
    activations: torch.Tensor,
    n_features: int,
    *,
    kept: float = 0.01,
    iterations: int = 300,
    tolerance: float = 1e-6,
    seed: int = 0,
    start: torch.Tensor | None = None,
    n_starts: int = 4,
) -> Factors:
    """Factors of activations `[n, m]`: the best of a few descents, as one may end in a poor corner.

    kept: the share of neurons in a feature, at least one; 1 switches the winners' rule off.
    tolerance: stop when 20 iterations together gain less than this share of the error. start:
    weights `[n, n_features]` >= 0 to begin from; by default `n_starts` clusterings of the
    activations, drawn from the seed.
    Raises ValueError for numbers that are not finite and sizes out of range.
    """
    a = _checked(activations, n_features, kept)
    n_kept = max(1, round(kept * a.shape[1]))
    if start is not None and (start.shape != (len(a), n_features) or float(start.min()) < 0):
        raise ValueError(f"start must be >= 0 [{len(a)}, {n_features}], got {list(start.shape)}")
    if iterations < 1 or n_starts < 1:
        raise ValueError(f"iterations {iterations} and n_starts {n_starts} must be >= 1")
    starts = _clusterings(a, n_features, n_starts, seed) if start is None else [start.double()]
    found = [_descend(a, weights, n_kept, iterations, tolerance) for weights in starts]
    return min(found, key=lambda factors: min(factors.errors))


def _clusterings(a: torch.Tensor, n_features: int, n_starts: int, seed: int) -> list[torch.Tensor]:
    """Weights 1 in the own cluster of each row's direction, 0.2 elsewhere (Ding, Li and Jordan,
    section 3.5), `[n, n_features]`."""
    from sklearn.cluster import KMeans

    unit = normalize(a, dim=1).numpy()
    starts = []
    for i in range(n_starts):
        labels = KMeans(n_features, n_init=1, random_state=seed + i).fit(unit).labels_
        starts.append(0.2 + one_hot(torch.from_numpy(labels).long(), n_features).double())
    return starts


def _descend(
    a: torch.Tensor, start: torch.Tensor, n_kept: int, iterations: int, tolerance: float
) -> Factors:
    """Iterate from some weights; the best iteration."""
    weights = start + _SMALL  # a weight of 0 would stay 0
    best, kept_best, errors = math.inf, (weights, weights), []
    for _ in range(iterations):
        features = _winners(_least_squares(a, weights), n_kept)
        weights, features = _normalised(_update(a, features, weights), features)
        errors.append(float((a - weights @ features).square().sum()))
        if errors[-1] < best:
            best, kept_best = errors[-1], (features, weights)
        if len(errors) > 20 and errors[-21] - errors[-1] < tolerance * errors[-21]:
            break
    return Factors(*kept_best, tuple(errors))


def merged(
    activations: torch.Tensor, factors: Factors, n_features: int, *, seed: int = 0, **options: Any
) -> Factors:
    """The next level of a hierarchy: fewer features, each a blend of finer ones.

    The weights are factorised in turn, which says which features are on together; from there the
    factorisation goes on, on the activations themselves. options: as of `factorise`.
    """
    if n_features >= len(factors.features):
        raise ValueError(
            f"a coarser level must have fewer features: {n_features} of {len(factors.features)}"
        )
    coarse = factorise(factors.weights, n_features, kept=1.0, seed=seed)
    return factorise(activations, n_features, start=coarse.weights, seed=seed, **options)


def concept_scores(positive: torch.Tensor, negative: torch.Tensor) -> torch.Tensor:
    """log(mean weight with the concept / mean weight without) of each feature `[k]`, from weights
    `[n, k]` (section 4.1). A thousandth of the largest mean is added to both, so that features that
    are hardly ever on do not win."""
    on, off = positive.mean(0), negative.mean(0)
    floor = max(1e-3 * float(torch.maximum(on, off).max()), _SMALL)
    return torch.log((on + floor) / (off + floor))


def snmf_vector(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    weight: torch.Tensor,
    site: str,
    n_features: int = 16,
    kept: float = 0.01,
    seed: int = 0,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """What the feature of a concept writes into the stream, as a direction at `site`.

    positive, negative: neurons `[n, m]` (at `mlp.down_proj:in`) with and without the concept, which
    need not be paired. weight: `[d, m]` of the down projection. The features are those of all
    activations together, and the one with the largest `concept_scores` is taken. The norm is what
    the feature writes more with the concept than without, on average.
    Raises ValueError as `factorise` does, and where no feature tells the sides apart.
    """
    factors = factorise(torch.cat([positive, negative]), n_features, kept=kept, seed=seed)
    on, off = factors.weights[: len(positive)], factors.weights[len(positive) :]
    scores = concept_scores(on, off)
    chosen = int(scores.argmax())
    more = float(on[:, chosen].mean() - off[:, chosen].mean())
    written = weight.detach().double() @ factors.features[chosen]
    length = float(written.norm())
    if more * length <= 0 or float(scores[chosen]) < 1e-6:
        raise ValueError(f"no feature at {site} is on more with the concept than without")
    origin = {
        "n": [len(positive), len(negative)],
        "feature": chosen,
        "n_features": n_features,
        "kept": kept,
        "score": round(float(scores[chosen]), 4),
        "neurons": torch.nonzero(factors.features[chosen]).flatten().tolist(),
        "explained": round(1 - min(factors.errors) / _energy(positive, negative), 4),
        **(source or {}),
    }
    return SteeringVector(site, written / length, more * length, model_digest, METHOD, origin)


def _energy(positive: torch.Tensor, negative: torch.Tensor) -> float:
    return float(positive.double().square().sum() + negative.double().square().sum())


def _checked(activations: torch.Tensor, n_features: int, kept: float) -> torch.Tensor:
    if activations.dim() != 2 or not torch.isfinite(activations).all():
        raise ValueError(f"activations must be finite [n, m], got {list(activations.shape)}")
    n, m = activations.shape
    if not 1 <= n_features <= min(n, m) or not 0 < kept <= 1:
        raise ValueError(
            f"n_features must be from 1 to {min(n, m)} and kept in (0, 1], got {n_features} and "
            f"{kept}"
        )
    return activations.double()


def _least_squares(a: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """F that fits best, also where two columns of G are the same."""
    return torch.linalg.pinv(weights.T @ weights, hermitian=True) @ (weights.T @ a)


def _winners(features: torch.Tensor, n_kept: int) -> torch.Tensor:
    if n_kept >= features.shape[1]:
        return features
    index = features.abs().topk(n_kept, dim=1).indices
    return torch.zeros_like(features).scatter(1, index, features.gather(1, index))


def _update(a: torch.Tensor, features: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The multiplicative step of G, which keeps it >= 0 (Ding, Li and Jordan, equation 3.6)."""
    p, q = a @ features.T, features @ features.T
    up = p.clamp_min(0) + weights @ (-q).clamp_min(0)
    down = (-p).clamp_min(0) + weights @ q.clamp_min(0)
    return weights * ((up + _SMALL) / (down + _SMALL)).sqrt()


def _normalised(weights: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Columns of G of length 1, the product unchanged."""
    length = weights.norm(dim=0).clamp_min(_SMALL)
    return weights / length, features * length[:, None]
