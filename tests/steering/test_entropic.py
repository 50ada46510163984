"""Entropies against scipy, entropy directions on planted data, and doses found by halving."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from pilotage.steering.distributions import coefficient_for, divergence, entropy
from pilotage.steering.entropic import efficiency_vector, entropy_vector
from pilotage.steering.vectors import mean_difference

SITE = "layers.0.resid:out"
D = 10


def test_entropy_and_divergence_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0, 3, (2, 5, 256))
    p, q = (np.exp(x) / np.exp(x).sum(-1, keepdims=True) for x in (a, b))
    ours = entropy(torch.from_numpy(a))
    np.testing.assert_allclose(ours, stats.entropy(p, axis=-1), rtol=1e-10)
    ours = divergence(torch.from_numpy(a), torch.from_numpy(b))
    np.testing.assert_allclose(ours, stats.entropy(p, q, axis=-1), rtol=1e-10)
    assert entropy(torch.zeros(256)).item() == pytest.approx(np.log(256))
    assert entropy(torch.tensor([0.0, -torch.inf])).item() == 0.0


def _planted(n: int = 3000) -> tuple[torch.Tensor, torch.Tensor]:
    """z = 40 along axis 1 (the mean), plus 2 H along axis 0, plus noise."""
    rng = np.random.default_rng(1)
    h = rng.uniform(0, 3, n)
    z = rng.normal(size=(n, D))
    z[:, 0] += 2 * h
    z[:, 1] += 40
    return torch.from_numpy(z), torch.from_numpy(h)


def test_the_direction_is_that_of_the_covariance_and_free_of_the_mean() -> None:
    z, h = _planted()
    made = entropy_vector(z, h, site=SITE)
    covariance = np.cov(h, z.numpy().T)[0, 1:] * (len(h) - 1)
    weight = np.abs(h.numpy() - h.numpy().mean()).sum()
    np.testing.assert_allclose(made.norm * made.direction, covariance / weight, atol=1e-6)
    assert float(made.direction[0]) > 0.99
    # The published sum is not centred: there the mean wins.
    raw = (h[:, None] * z).sum(0)
    assert float(raw[1] / raw.norm()) > 0.9
    turned = entropy_vector(z, -h, site=SITE)
    assert float(turned.direction[0]) < -0.99


def test_strata_take_away_what_goes_with_the_phase() -> None:
    """Entropy is high in phase 1, and so is unit 5; within a phase only unit 0 goes with it."""
    z, h = _planted()
    phase = (torch.arange(len(h)) % 2).tolist()
    later = torch.tensor(phase, dtype=torch.float64)
    h, z = h + 4 * later, z.clone()
    z[:, 5] += 20 * later
    assert abs(float(entropy_vector(z, h, site=SITE).direction[5])) > 0.9
    within = entropy_vector(z, h, site=SITE, strata=phase)
    assert abs(float(within.direction[5])) < 0.1
    assert float(within.direction[0]) > 0.98


def test_efficiency_pairs_the_shortest_with_the_longest_success_of_a_task() -> None:
    z = torch.randn(8, D, generator=torch.Generator().manual_seed(0))
    tasks = ["a", "a", "a", "a", "b", "b", "c", "d"]
    steps = [9, 4, 30, 2, 7, 12, 5, 3]
    done = [True, True, True, False, True, True, True, False]
    made = efficiency_vector(z, tasks, steps, done, site=SITE)
    expected = mean_difference(z[[1, 4]], z[[2, 5]], site=SITE)
    assert torch.equal(made.direction, expected.direction)
    assert made.norm == expected.norm
    assert made.source["n_pairs"] == 2
    assert made.source["mean_steps_saved"] == (26 + 5) / 2
    with pytest.raises(ValueError, match="no task has two successes"):
        efficiency_vector(z[:2], ["a", "b"], [1, 2], [True, True], site=SITE)


def test_bad_entropies_are_refused() -> None:
    z, h = _planted(20)
    with pytest.raises(ValueError, match="do not vary"):
        entropy_vector(z, torch.ones(20), site=SITE)
    with pytest.raises(ValueError, match=r"must be \[n, d\] and \[n\]"):
        entropy_vector(z, h[:-1], site=SITE)
    with pytest.raises(ValueError, match="3 strata for 20"):
        entropy_vector(z, h, site=SITE, strata=[0, 1, 2])
    with pytest.raises(ValueError, match="finite"):
        entropy_vector(z, torch.full((20,), torch.nan), site=SITE)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_dose_is_found_where_the_divergence_is_what_was_asked_for(sign: int) -> None:
    """Logits a with c added to one: its divergence is known from the two distributions."""
    base = torch.from_numpy(np.random.default_rng(0).normal(size=32))
    push = torch.zeros(32, dtype=torch.float64)
    push[4] = 1.0

    def measure(c: float) -> float:
        return float(divergence(base, base + c * push))

    found = coefficient_for(measure, 0.02, first=sign * 0.01, limit=100)
    assert np.sign(found) == sign
    p, q = torch.softmax(base, 0).numpy(), torch.softmax(base + found * push, 0).numpy()
    assert stats.entropy(p, q) == pytest.approx(0.02, rel=0.02)


def test_a_dose_that_cannot_be_reached_is_refused() -> None:
    with pytest.raises(ValueError, match="hardly reaches the output"):
        coefficient_for(lambda c: 0.001, 1.0, first=1.0, limit=64)
    with pytest.raises(ValueError, match="jumps over"):
        coefficient_for(lambda c: float(c > 3), 0.5, first=1.0, limit=64)
    with pytest.raises(ValueError, match="target > 0"):
        coefficient_for(lambda c: c, -1.0, first=1.0, limit=64)
