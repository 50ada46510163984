"""How well guesses of effects agree with the true ones, over places and rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

N_DRAWS = 1000


@dataclass(frozen=True)
class Agreement:
    """How attributed and true effects of n places agree; low, high: 95 % over clusters of rows.

    pearson, spearman: of the means over rows. pearson_rows: over single rows of all places.
    """

    n: int
    pearson: float
    low: float
    high: float
    spearman: float
    pearson_rows: float


@dataclass(frozen=True)
class Difference:
    """A difference of two Pearson correlations with the same true effects, and its paired 95 %
    interval over clusters of rows."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Control:
    """Sizes of true effects as shares of the gap: the mean |share| of the top places, of random
    ones matched to these, and of places drawn from all; chance: the share of 2,000 random draws of
    as many places from the latter whose mean reaches the top's."""

    top: float
    matched: float
    drawn: float
    chance: float


def agreement(
    attributed: np.ndarray, true: np.ndarray, clusters: np.ndarray, *, seed: int = 0
) -> Agreement:
    """attributed, true float64 `[n_places, R]`; clusters `[R]` (rows of one episode are drawn
    together). NaN where there are fewer than three places, or one side is constant."""
    drawn = _resampled((attributed, true), clusters, seed)
    low, high = _interval([pearson(a, t) for a, t in zip(*drawn, strict=True)])
    a, t = attributed.mean(1), true.mean(1)
    ranked = pearson(_ranks(a), _ranks(t))
    rows = pearson(attributed.ravel(), true.ravel())
    return Agreement(len(true), pearson(a, t), low, high, ranked, rows)


def pearson_difference(
    one: np.ndarray, other: np.ndarray, true: np.ndarray, clusters: np.ndarray, *, seed: int = 0
) -> Difference:
    """Pearson(one, true) - Pearson(other, true) of means over rows; arrays as in `agreement`."""
    drawn = _resampled((one, other, true), clusters, seed)
    low, high = _interval([pearson(a, t) - pearson(b, t) for a, b, t in zip(*drawn, strict=True)])
    t = true.mean(1)
    return Difference(pearson(one.mean(1), t) - pearson(other.mean(1), t), low, high)


def random_control(
    top: np.ndarray, matched: np.ndarray, drawn: np.ndarray, *, seed: int = 0
) -> Control:
    """True effects as shares of the gap, float64 `[k]`, `[m]` and `[n]`; as many as the top has are
    drawn from the last, with repetition."""
    best, sizes = np.abs(top).mean(), np.abs(drawn)
    picks = np.random.default_rng(seed).integers(len(sizes), size=(2000, len(top)))
    reach = (sizes[picks].mean(1) >= best).mean()
    alike = float(np.abs(matched).mean()) if len(matched) else float("nan")
    return Control(float(best), alike, float(sizes.mean()), float(reach))


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """The correlation of two float `[n]`; NaN for n < 3 and where one is constant."""
    if len(x) < 3 or np.ptp(x) == 0.0 or np.ptp(y) == 0.0:
        return float("nan")
    return float(np.corrcoef(x, y)[0, 1])


def _resampled(sides: tuple[np.ndarray, ...], clusters: np.ndarray, seed: int) -> list[np.ndarray]:
    """Of each `[n, R]`, its sums over rows in `N_DRAWS` draws of whole clusters: `[draws, n]`."""
    _, number = np.unique(clusters, return_inverse=True)
    n_clusters = int(number.max()) + 1
    picks = np.random.default_rng(seed).integers(n_clusters, size=(N_DRAWS, n_clusters))
    weights = np.zeros((N_DRAWS, n_clusters))
    np.add.at(weights, (np.arange(N_DRAWS)[:, None], picks), 1.0)
    return [weights[:, number] @ values.T for values in sides]


def _interval(values: list[float]) -> tuple[float, float]:
    finite = [v for v in values if np.isfinite(v)]
    if not finite:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def _ranks(values: np.ndarray) -> np.ndarray:
    """Mean ranks, ties sharing theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts - 1) / 2)[inverse])
