"""Semi-NMF against planted factors, its own monotone error, and scikit-learn's NMF."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from sklearn.decomposition import NMF

from pilotage.steering.snmf import Factors, concept_scores, factorise, merged, snmf_vector

SITE = "layers.1.resid:out"
N, M, K = 240, 60, 4


def _planted(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A = G F, every feature of 6 neurons of its own with both signs, mostly one on at a time."""
    rng = np.random.default_rng(seed)
    features = np.zeros((K, M))
    for k in range(K):
        features[k, 6 * k : 6 * k + 6] = rng.choice([-1, 1], 6) * rng.uniform(0.5, 1.5, 6)
    weights = rng.exponential(1.0, (N, K)) * (rng.random((N, K)) < 0.3)
    a = weights @ features + 0.01 * rng.normal(size=(N, M))
    return torch.from_numpy(a), torch.from_numpy(features), torch.from_numpy(weights)


def _matched(found: torch.Tensor, planted: torch.Tensor) -> list[float]:
    """Cosine of each planted row with the found row that it is best paired with, all together."""
    unit = [(x / x.norm(dim=1, keepdim=True)).numpy() for x in (found, planted)]
    cosines = unit[1] @ unit[0].T
    rows, columns = linear_sum_assignment(-cosines)
    return cosines[rows, columns].tolist()


@pytest.mark.parametrize("seed", range(3))
def test_the_error_never_rises_without_the_winners_rule(seed: int) -> None:
    draw = torch.Generator().manual_seed(seed)
    a = torch.randn(80, 20, generator=draw)
    errors = np.array(factorise(a, 5, kept=1.0, iterations=120, seed=seed).errors)
    assert len(errors) > 20
    assert (np.diff(errors) <= 1e-9 * errors[0]).all()
    assert errors[-1] < 0.9 * errors[0]


@pytest.mark.parametrize("seed", range(3))
def test_planted_features_are_found_with_their_neurons_and_weights(seed: int) -> None:
    a, features, weights = _planted(seed)
    found = factorise(a, K, kept=0.1, seed=seed)
    assert min(_matched(found.features, features)) > 0.99
    assert min(_matched(found.weights.T, weights.T)) > 0.99
    assert (found.weights >= 0).all()
    assert ((found.features != 0).sum(1) == 6).all()
    assert min(found.errors) < 0.01 * float(a.square().sum())


def test_the_best_iteration_is_the_one_that_is_kept() -> None:
    """With the winners' rule errors may rise; what comes back has the least of them."""
    a = torch.randn(80, 40, generator=torch.Generator().manual_seed(1))
    found = factorise(a, 6, kept=0.1, iterations=60)
    assert (np.diff(found.errors) > 0).any()
    product = found.weights.numpy() @ found.features.numpy()
    assert np.square(a.numpy() - product).sum() == pytest.approx(min(found.errors), rel=1e-9)


def test_on_nonnegative_data_it_explains_what_nmf_does() -> None:
    rng = np.random.default_rng(3)
    a = rng.random((60, 3)) @ rng.random((3, 20)) + 0.05 * rng.random((60, 20))
    theirs = NMF(3, max_iter=5000, init="nndsvda", tol=1e-6).fit(a).reconstruction_err_ ** 2
    ours = min(factorise(torch.from_numpy(a), 3, kept=1.0, iterations=2000, tolerance=1e-9).errors)
    assert ours < 1.05 * theirs


def test_encoding_finds_the_weights_back() -> None:
    a, _, _ = _planted()
    found = factorise(a, K, kept=0.1)
    again = found.encode(a, 400)
    assert min(_matched(again.T, found.weights.T)) > 0.99


def test_features_that_are_on_together_are_merged() -> None:
    """Four features; 0 and 1, and 2 and 3, are always on together. The level above has the two."""
    _, features, weights = _planted()
    weights[:, 1], weights[:, 3] = weights[:, 0], weights[:, 2]
    a = weights @ features
    fine = Factors(features, weights, (0.0,))
    coarse = merged(a, fine, 2, kept=0.2)
    pairs = torch.stack((features[0] + features[1], features[2] + features[3]))
    assert min(_matched(coarse.features, pairs)) > 0.99
    with pytest.raises(ValueError, match="fewer features: 4 of 4"):
        merged(a, fine, 4)


def test_the_score_is_the_log_ratio_of_means() -> None:
    on, off = torch.tensor([[2.0, 1.0], [4.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 5.0]])
    scores = concept_scores(on.double(), off.double())
    assert scores.tolist() == pytest.approx([np.log(3), -np.log(3)], rel=5e-3)


def test_the_vector_of_a_concept_is_what_its_planted_feature_writes() -> None:
    a, features, weights = _planted()
    on = weights[:, 2] > 0.5
    down = torch.randn(16, M, generator=torch.Generator().manual_seed(0))
    made = snmf_vector(
        a[on], a[~on], weight=down, site=SITE, n_features=K, kept=0.1, model_digest="m"
    )
    written = down.double() @ features[2]
    assert float(made.direction.double() @ written / written.norm()) > 0.99
    assert made.source["neurons"] == list(range(12, 18))
    more = float(weights[on, 2].mean() - weights[~on, 2].mean()) * float(written.norm())
    assert made.norm == pytest.approx(more, rel=0.05)
    assert made.source["explained"] > 0.99


def test_bad_input_is_refused() -> None:
    a, _, _ = _planted()
    with pytest.raises(ValueError, match="from 1 to 60"):
        factorise(a, 61)
    with pytest.raises(ValueError, match=r"kept in \(0, 1\]"):
        factorise(a, 3, kept=0.0)
    with pytest.raises(ValueError, match="finite"):
        factorise(torch.full((4, 4), torch.nan), 2)
    with pytest.raises(ValueError, match="start must be >= 0"):
        factorise(a, 3, start=-torch.ones(N, 3))
    with pytest.raises(ValueError, match="no feature"):
        snmf_vector(a, a, weight=torch.eye(M), site=SITE, n_features=3, kept=0.1)
