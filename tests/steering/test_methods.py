"""Vector methods on activations whose answer is known, and against scikit-learn's PCA."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from pilotage.steering.methods import (
    METHODS,
    centred_contrast,
    principal_contrast,
    reading_vector,
    shuffled,
)
from pilotage.steering.vectors import mean_difference

SITE = "layers.0.resid:out"
N, D = 400, 12


def _axis(k: int) -> torch.Tensor:
    return torch.eye(D)[k]


def _pairs(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """The effect is 2 along axis 0; pairs differ most about axis 1; all share a mean on axis 2."""
    generator = torch.Generator().manual_seed(seed)
    negative = torch.randn(N, D, generator=generator) + 30 * _axis(2)
    noise = 0.05 * torch.randn(N, D, generator=generator)
    nuisance = torch.randn(N, 1, generator=generator) * _axis(1)
    return negative + 2 * _axis(0) + nuisance + noise, negative


def _along(vector, k: int) -> float:
    return float(vector.direction[k])


def test_the_contrast_finds_the_effect_and_centring_takes_it_away() -> None:
    positive, negative = _pairs()
    assert _along(mean_difference(positive, negative, site=SITE), 0) > 0.99
    assert _along(principal_contrast(positive, negative, site=SITE), 0) > 0.99
    centred = centred_contrast(positive, negative, site=SITE)
    assert abs(_along(centred, 0)) < 0.1
    assert abs(_along(centred, 1)) > 0.99


def test_a_reading_vector_is_mostly_the_mean_activation() -> None:
    vector = reading_vector(*_pairs(), site=SITE)
    assert _along(vector, 2) > 0.99
    assert vector.norm == pytest.approx(30, rel=0.05)


def test_the_centred_axis_is_that_of_scikit_learn() -> None:
    positive, negative = _pairs(3)
    theirs = PCA(1).fit((positive - negative).numpy()).components_[0]
    ours = centred_contrast(positive, negative, site=SITE).direction.numpy()
    assert abs(float(ours @ theirs)) == pytest.approx(1.0, abs=1e-5)


def test_the_sign_follows_the_majority_and_turns_with_the_sides() -> None:
    positive, negative = _pairs()
    there = principal_contrast(positive, negative, site=SITE)
    back = principal_contrast(negative, positive, site=SITE)
    np.testing.assert_allclose(there.direction, -back.direction, atol=1e-6)
    assert there.source["sign_agreement"] > 0.95
    # One huge pair the other way moves the mean, not the vote.
    positive[0] = negative[0] - 500 * _axis(0)
    assert _along(principal_contrast(positive, negative, site=SITE), 0) > 0.9


def test_the_norm_is_the_root_mean_square_along_the_axis() -> None:
    positive, negative = _pairs()
    vector = principal_contrast(positive, negative, site=SITE)
    along = (positive - negative).double() @ vector.direction.double()
    assert vector.norm == pytest.approx(float(along.square().mean().sqrt()), rel=1e-5)


def test_shuffled_pairs_keep_every_row_and_lose_the_effect() -> None:
    positive, negative = _pairs()
    first, second = shuffled(positive, negative, 1)
    exchanged = (first == negative).all(1)
    assert int(exchanged.sum()) == N // 2
    np.testing.assert_array_equal(first[~exchanged], positive[~exchanged])
    np.testing.assert_array_equal(second[exchanged], positive[exchanged])
    real = mean_difference(positive, negative, site=SITE)
    assert mean_difference(first, second, site=SITE).norm < 0.15 * real.norm


@pytest.mark.parametrize("name", METHODS)
def test_every_method_says_where_it_comes_from_and_refuses_what_does_not_fit(name: str) -> None:
    fit = METHODS[name]
    positive, negative = _pairs()
    made = fit(positive, negative, site=SITE, model_digest="m", source={"env": "e"})
    assert made.source == {**made.source, "n_pairs": N, "env": "e"}
    assert "arXiv:" in made.method
    assert float(made.direction.norm()) == pytest.approx(1.0, abs=1e-5)
    with pytest.raises(ValueError, match="paired"):
        fit(positive, negative[:-1], site=SITE)
    with pytest.raises(ValueError, match="row 3 is not finite"):
        fit(torch.where(torch.arange(N)[:, None] == 3, torch.nan, positive), negative, site=SITE)


@pytest.mark.parametrize("name", ["mean-difference", "pca", "pca-centred"])
def test_sides_that_are_the_same_leave_nothing(name: str) -> None:
    positive, _ = _pairs()
    with pytest.raises(ValueError, match=r"zero|the same"):
        METHODS[name](positive, positive.clone(), site=SITE)
