"""Intervals and tests for proportions and for paired differences. Plain numbers in, numbers out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np

N_RESAMPLES = 10_000
CHUNK = 2**22  # entries of the index matrix that are held at once


@dataclass(frozen=True)
class Interval:
    """An estimate with a confidence interval; all NaN when there was nothing to estimate from."""

    estimate: float
    low: float
    high: float


def wilson_interval(n_successes: int, n: int, *, confidence: float = 0.95) -> Interval:
    """Score interval of a proportion, Wilson 1927: inside [0, 1], sensible at 0 and n successes.

    Raises ValueError unless 0 <= n_successes <= n.
    """
    if not 0 <= n_successes <= n:
        raise ValueError(f"n_successes must be in 0..n={n}, got {n_successes}")
    if n == 0:
        return Interval(math.nan, math.nan, math.nan)
    z = NormalDist().inv_cdf(0.5 + _checked(confidence) / 2)
    rate = n_successes / n
    middle = (rate + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(rate * (1 - rate) / n + z * z / (4 * n * n))
    low = 0.0 if n_successes == 0 else middle - half
    high = 1.0 if n_successes == n else middle + half
    return Interval(rate, low, high)


def mcnemar_exact(n_only_first: int, n_only_second: int) -> float:
    """Two-sided exact p value of McNemar's test, from the two counts of discordant pairs.

    Under the null each discordant pair falls on either side with probability 1/2 (McNemar 1947,
    binomial form). 1 when there are no discordant pairs.
    """
    if n_only_first < 0 or n_only_second < 0:
        raise ValueError(f"counts must be >= 0, got {n_only_first} and {n_only_second}")
    n = n_only_first + n_only_second
    tail = ways = 1  # ways to choose i of n, exact
    for i in range(1, min(n_only_first, n_only_second) + 1):
        ways = ways * (n - i + 1) // i
        tail += ways
    return min(1.0, 2 * tail / 2**n)


def paired_bootstrap(
    differences: np.ndarray,
    *,
    clusters: Sequence[object] | None = None,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    method: Literal["percentile", "bca"] = "percentile",
) -> Interval:
    """Mean of paired differences with a bootstrap interval (Efron & Tibshirani 1993).

    Args:
        differences: float `[n]`, finite: one number per pair.
        clusters: one label per pair; whole clusters are drawn, so that several repeats of one task
            do not count as independent. Without it every pair is its own cluster.
        method: `"percentile"`, or `"bca"`: bias-corrected and accelerated, which also corrects for
            skewness; it falls back to percentile when all clusters agree.

    Raises ValueError for values that are not finite and settings out of range.
    """
    values = np.asarray(differences, np.float64)
    if values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError("differences must be finite numbers [n]; drop pairs without a value first")
    if method not in ("percentile", "bca"):
        raise ValueError(f'method must be "percentile" or "bca", got {method!r}')
    if n_resamples < 1:
        raise ValueError(f"n_resamples must be >= 1, got {n_resamples}")
    tail = (1 - _checked(confidence)) / 2
    if len(values) == 0:
        return Interval(math.nan, math.nan, math.nan)
    sums, counts = _cluster_sums(values, clusters)
    if (values == values[0]).all():  # every resample has this mean
        return Interval(float(values[0]), float(values[0]), float(values[0]))
    estimate = float(sums.sum() / counts.sum())
    means = _resampled_means(sums, counts, n_resamples, seed)
    levels = (tail, 1 - tail)
    if method == "bca":
        levels = _bca_levels(means, estimate, sums, counts, levels)
    low, high = np.quantile(means, levels)
    return Interval(estimate, float(low), float(high))


def _checked(confidence: float) -> float:
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be inside (0, 1), got {confidence}")
    return confidence


def _cluster_sums(
    values: np.ndarray, clusters: Sequence[object] | None
) -> tuple[np.ndarray, np.ndarray]:
    """Sum of values and number of values of each cluster, in order of appearance, float64 [k]."""
    if clusters is None:
        return values, np.ones(len(values))
    if len(clusters) != len(values):
        raise ValueError(f"clusters has {len(clusters)} labels for {len(values)} differences")
    numbers: dict[object, int] = {}
    labels = np.array([numbers.setdefault(label, len(numbers)) for label in clusters])
    sums = np.zeros(len(numbers))
    np.add.at(sums, labels, values)
    return sums, np.bincount(labels, minlength=len(numbers)).astype(np.float64)


def _resampled_means(
    sums: np.ndarray, counts: np.ndarray, n_resamples: int, seed: int
) -> np.ndarray:
    """Mean over all values of as many clusters drawn with replacement, float64 [n_resamples]."""
    rng = np.random.default_rng(seed)
    k = len(sums)
    rows = max(1, CHUNK // k)
    means = []
    for start in range(0, n_resamples, rows):
        drawn = rng.integers(0, k, (min(rows, n_resamples - start), k))
        means.append(sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _bca_levels(
    means: np.ndarray,
    estimate: float,
    sums: np.ndarray,
    counts: np.ndarray,
    levels: tuple[float, float],
) -> tuple[float, float]:
    """Corrected quantile levels: Efron 1987, with the acceleration from the jackknife."""
    k = len(sums)
    below = float(np.mean(means < estimate) + np.mean(means == estimate) / 2)
    if k < 2 or not 0 < below < 1:
        return levels
    left_out = (sums.sum() - sums) / (counts.sum() - counts)
    deviations = left_out.mean() - left_out
    spread = float((deviations**2).sum())
    if spread == 0.0:
        return levels
    acceleration = float((deviations**3).sum()) / (6 * spread**1.5)
    normal = NormalDist()
    bias = normal.inv_cdf(below)
    shifted = [bias + normal.inv_cdf(level) for level in levels]
    low, high = (normal.cdf(bias + z / (1 - acceleration * z)) for z in shifted)
    return low, high
