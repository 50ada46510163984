"""Entropies against scipy, entropy directions on planted data, quick and slow successes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from pilotage.steering.distributions import divergence, entropy
from pilotage.steering.entropic import efficiency_pairs, efficiency_vector, entropy_vector
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


def test_efficiency_pairs_are_those_of_brute_force() -> None:
    """All ordered pairs of successes of one task, and of each task the one that saves most."""
    rng = np.random.default_rng(0)
    tasks = [f"t{i}" for i in rng.integers(0, 12, 60)]
    steps, done = rng.integers(1, 30, 60).tolist(), (rng.random(60) < 0.5).tolist()
    best: dict[str, int] = {}
    for i in range(60):
        for j in range(60):
            if tasks[i] == tasks[j] and done[i] and done[j] and steps[j] > steps[i]:
                best[tasks[i]] = max(best.get(tasks[i], 0), steps[j] - steps[i])
    pairs = efficiency_pairs(tasks, steps, done)
    assert {tasks[a]: steps[b] - steps[a] for a, b in pairs} == best
    assert len(pairs) == len(best)
    assert all(tasks[a] == tasks[b] and done[a] and done[b] for a, b in pairs)


def test_too_few_pairs_are_refused_with_the_reason() -> None:
    z = torch.randn(7, D, generator=torch.Generator().manual_seed(0))
    tasks, steps = ["a", "b", "c", "c", "d", "d", "d"], [1, 2, 5, 5, 3, 4, 9]
    done = [True, False, True, True, True, True, False]
    why = r"only 1 of 4 tasks have .* 2 are needed \(without a success: 1 tasks, with one: 1, with "
    with pytest.raises(ValueError, match=why + "more of one length: 1"):
        efficiency_vector(z, tasks, steps, done, site=SITE, min_pairs=2)
    assert efficiency_vector(z, tasks, steps, done, site=SITE).source["n_pairs"] == 1
    with pytest.raises(ValueError, match="no task has two successes"):
        efficiency_vector(z[:2], ["a", "b"], [1, 2], [True, True], site=SITE)
    with pytest.raises(ValueError, match="7 activations, 6 tasks"):
        efficiency_vector(z, tasks[:6], steps, done, site=SITE)


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
