"""The area under the ROC curve against brute force, scikit-learn, and its own sampling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from pilotage.episodes.ranking import auc_interval, roc_auc


def drawn(seed: int, n: int = 40) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and labels that they tell something of."""
    rng = np.random.default_rng(seed)
    labels = rng.random(n) < 0.4
    return np.round(rng.normal(size=n) + 0.8 * labels, 1), labels


def by_pairs(scores: np.ndarray, labels: np.ndarray) -> list[list[float]]:
    """What each success earns against each failure: 1, 0 or, tied, a half."""
    return [
        [1.0 if x > y else 0.5 if x == y else 0.0 for y in scores[~labels]] for x in scores[labels]
    ]


@pytest.mark.parametrize("seed", range(4))
def test_the_area_is_the_share_of_pairs_in_order(seed: int) -> None:
    scores, labels = drawn(seed)
    assert roc_auc(scores, labels) == pytest.approx(np.mean(by_pairs(scores, labels)), abs=1e-12)
    assert roc_auc(scores, labels) == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert auc_interval(scores, labels).estimate == pytest.approx(roc_auc(scores, labels))


def test_the_spread_is_that_of_delong() -> None:
    """Variance from the placements of each success and failure, all written out; logit scale."""
    scores, labels = drawn(0)
    won = np.array(by_pairs(scores, labels))
    variance = won.mean(1).var(ddof=1) / won.shape[0] + won.mean(0).var(ddof=1) / won.shape[1]
    area = won.mean()
    half = 1.959964 * math.sqrt(variance) / (area * (1 - area))
    low, high = (1 / (1 + math.exp(-(math.log(area / (1 - area)) + s * half))) for s in (-1, 1))
    found = auc_interval(scores, labels)
    assert (found.low, found.high) == pytest.approx((low, high), abs=1e-6)


def test_the_same_episode_twice_is_no_more_evidence() -> None:
    scores, labels = drawn(1)
    once = auc_interval(scores, labels)
    n = len(scores)
    twice = auc_interval(np.tile(scores, 2), np.tile(labels, 2), clusters=[*range(n), *range(n)])
    assert (twice.low, twice.high) == pytest.approx((once.low, once.high), abs=1e-12)
    naive = auc_interval(np.tile(scores, 2), np.tile(labels, 2))
    assert naive.high - naive.low < 0.8 * (once.high - once.low)


def test_the_interval_covers_when_scores_of_a_cluster_go_together() -> None:
    """Clusters of six whose scores share most of their spread, labels mixed within and between."""
    rng = np.random.default_rng(0)
    truth = 0.5
    covered = np.zeros(2)
    n_runs, n_clusters, size = 300, 30, 6
    clusters = np.repeat(np.arange(n_clusters), size)
    for _ in range(n_runs):
        scores = np.repeat(rng.normal(size=n_clusters), size) + 0.3 * rng.normal(size=180)
        labels = rng.random(180) < np.repeat(rng.choice([0.1, 0.9], n_clusters), size)
        for k, groups in enumerate((clusters.tolist(), None)):
            found = auc_interval(scores, labels, clusters=groups)
            covered[k] += found.low <= truth <= found.high
    assert 0.90 <= covered[0] / n_runs <= 0.99
    assert covered[1] / n_runs < 0.8, "without clusters it must be far too narrow"


def test_telling_families_apart_earns_nothing_within_them() -> None:
    rng = np.random.default_rng(2)
    hard = np.repeat([True, False], 100)
    labels = rng.random(200) < np.where(hard, 0.2, 0.8)
    scores = rng.normal(size=200) - 3 * hard  # knows only how hard the family is
    assert auc_interval(scores, labels).estimate > 0.7
    found = auc_interval(scores, labels, strata=hard.tolist())
    won = [by_pairs(scores[hard == h], labels[hard == h]) for h in (True, False)]
    flat = [w for part in won for row in part for w in row]
    assert found.estimate == pytest.approx(np.mean(flat), abs=1e-12)
    assert found.low < 0.5 < found.high


def test_a_sample_that_says_nothing_of_the_spread_has_no_interval() -> None:
    perfect = auc_interval(np.arange(6.0), np.arange(6) > 2)
    assert perfect.estimate == 1.0
    assert math.isnan(perfect.low)
    assert math.isnan(perfect.high)
    one = auc_interval(np.array([0.5, 0.0, 1.0]), np.array([True, False, False]))
    assert one.estimate == 0.5
    assert math.isnan(one.low)
    assert math.isnan(auc_interval(np.arange(3.0), np.ones(3, bool)).estimate)
    assert math.isnan(roc_auc(np.arange(3.0), np.ones(3, bool)))


def test_bad_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="1 scores are NaN"):
        roc_auc(np.array([0.0, np.nan]), np.array([True, False]))
    with pytest.raises(ValueError, match="bool"):
        roc_auc(np.arange(2.0), np.array([1, 0]))
    with pytest.raises(ValueError, match="clusters has 1 labels for 2 scores"):
        auc_interval(np.arange(2.0), np.array([True, False]), clusters=[0])
    with pytest.raises(ValueError, match="confidence must be inside"):
        auc_interval(np.arange(2.0), np.array([True, False]), confidence=1.0)
