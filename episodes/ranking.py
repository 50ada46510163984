"""How well a score ranks successes above failures: the area under the ROC curve, with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
from scipy.stats import rankdata

from pilotage.episodes.statistics import Interval

_Numbers = np.ndarray


def roc_auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The share of pairs (success, failure) in which the success has the higher score, ties half:
    the rank statistic of Mann and Whitney 1947. NaN where all labels are equal.

    scores float `[n]`, no NaN; labels bool `[n]`. Raises ValueError for others.
    """
    x, y = _checked(scores, labels)
    return float(np.mean(_placements(x, y)[0])) if len(x) and len(y) else math.nan


def auc_interval(
    scores: np.ndarray,
    labels: np.ndarray,
    *,
    clusters: Sequence[object] | None = None,
    strata: Sequence[object] | None = None,
    confidence: float = 0.95,
) -> Interval:
    """The area with an interval on the logit scale.

    clusters: one label per score; scores of one cluster (env steps of an episode, one task under
    several conditions) may depend on each other (Obuchowski 1997, Biometrics 53; with clusters of
    one, DeLong, DeLong and Clarke-Pearson 1988). strata: only pairs within one stratum (a task
    family, a condition) are compared, so that telling strata apart earns nothing; clusters may
    reach over strata.

    low and high are NaN where the sample says nothing about the spread: an area of 0 or 1, or only
    one cluster on a side. Raises ValueError for NaN scores and labels that do not fit.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must be inside (0, 1), got {confidence}")
    _checked(scores, labels)
    values, positive = np.asarray(scores, np.float64), np.asarray(labels, bool)
    groups = _numbered(clusters, len(values), "clusters")
    parts = _numbered([0] * len(values) if strata is None else strata, len(values), "strata")
    above = np.zeros(len(values))  # of each score, the pairs that it wins, of `pairs`
    pairs = np.zeros(len(values))
    for part in np.unique(parts):
        here = parts == part
        x, y = values[here & positive], values[here & ~positive]
        if len(x) and len(y):
            over, under = _placements(x, y)
            above[here & positive], pairs[here & positive] = over * len(y), len(y)
            above[here & ~positive], pairs[here & ~positive] = under * len(x), len(x)
    if not pairs.any():
        return Interval(math.nan, math.nan, math.nan)
    area = float(above[positive].sum() / pairs[positive].sum())
    spread = _variance(above - area * pairs, positive & (pairs > 0), pairs > 0, groups)
    total = pairs[positive].sum()
    if not (0 < area < 1 and math.isfinite(spread) and spread > 0):
        return Interval(area, math.nan, math.nan)
    half = NormalDist().inv_cdf(0.5 + confidence / 2) * math.sqrt(spread) / total
    middle, half = math.log(area / (1 - area)), half / (area * (1 - area))
    return Interval(area, _expit(middle - half), _expit(middle + half))


def _variance(
    residuals: np.ndarray, positive: np.ndarray, used: np.ndarray, groups: np.ndarray
) -> float:
    """Variance of the number of pairs won: the residuals of successes and of failures are summed
    by cluster, and the two sums of one cluster may covary (Obuchowski 1997, eq. 3 to 6)."""
    total = 0.0
    sums = np.zeros((2, int(groups.max()) + 1))
    for side, chosen in enumerate((positive, used & ~positive)):
        np.add.at(sums[side], groups[chosen], residuals[chosen])
        n = len(np.unique(groups[chosen]))
        if n < 2:
            return math.nan
        total += n / (n - 1) * float((sums[side] ** 2).sum())
    n = len(np.unique(groups[used]))
    return total + 2 * n / (n - 1) * float((sums[0] * sums[1]).sum())


def _placements(x: _Numbers, y: _Numbers) -> tuple[_Numbers, _Numbers]:
    """Of each success `[m]`, the share of failures below it; of each failure `[n]`, the share of
    successes above it. Ties count half."""
    both = rankdata(np.concatenate([x, y]))
    over = (both[: len(x)] - rankdata(x)) / len(y)
    under = 1 - (both[len(x) :] - rankdata(y)) / len(x)
    return over, under


def _checked(scores: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    values, positive = np.asarray(scores, np.float64), np.asarray(labels)
    if values.ndim != 1 or positive.shape != values.shape or positive.dtype != bool:
        raise ValueError(
            f"scores {list(values.shape)} and labels {list(positive.shape)} ({positive.dtype}) "
            "must be float [n] and bool [n]"
        )
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} scores are NaN; leave them out first")
    return values[positive], values[~positive]


def _numbered(labels: Sequence[object] | None, n: int, what: str) -> np.ndarray:
    if labels is None:
        return np.arange(n)
    if len(labels) != n:
        raise ValueError(f"{what} has {len(labels)} labels for {n} scores")
    numbers: dict[object, int] = {}
    return np.array([numbers.setdefault(label, len(numbers)) for label in labels], dtype=np.int64)


def _expit(x: float) -> float:
    return 1 / (1 + math.exp(-x))
