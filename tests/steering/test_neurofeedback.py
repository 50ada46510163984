"""Axes and reports of them on states made by hand, beside scikit-learn and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from pilotage.steering.axes import logistic_axis, principal_axes, random_axis
from pilotage.steering.neurofeedback import Reporter, control_effect, held_out_reports

N, D = 600, 6


@pytest.fixture
def states() -> torch.Tensor:
    scales = torch.tensor([5.0, 3.0, 2.0, 1.0, 0.5, 0.2])
    return torch.randn(N, D, generator=torch.Generator().manual_seed(0)) * scales + 2


def test_principal_axes_are_those_of_scikit_learn(states: torch.Tensor) -> None:
    fitted = PCA(D).fit(states.double().numpy())
    for axis, rank in zip(principal_axes(states, (1, 3, 6)), (1, 3, 6), strict=True):
        cosine = abs(float(axis.direction @ torch.from_numpy(fitted.components_[rank - 1])))
        assert cosine == pytest.approx(1.0, abs=1e-5)
        assert axis.explained == pytest.approx(fitted.explained_variance_ratio_[rank - 1], rel=1e-4)
        assert axis.labels(states).double().mean() == 0.5
    with pytest.raises(ValueError, match="have components 1 to 6"):
        principal_axes(states, (7,))


def test_the_logistic_axis_undoes_unequal_spreads(states: torch.Tensor) -> None:
    """Two normal classes of one covariance differ in log odds along cov^-1 (mean - mean)."""
    shift = torch.tensor([4.0, 0.0, 0.0, 0.0, 0.4, 0.0])
    generator = torch.Generator().manual_seed(1)
    other = torch.randn(N, D, generator=generator) * states.std(0) + 2 + shift
    axis = logistic_axis(other, states, "x")
    expected = (shift / states.var(0)).double()
    cosine = float(axis.direction @ expected / expected.norm())
    assert cosine > 0.97
    assert float(axis.direction @ (shift / shift.norm()).double()) < 0.5  # no difference of means
    assert axis.labels(other).double().mean() > axis.labels(states).double().mean()


def test_a_random_axis_is_a_function_of_its_seed(states: torch.Tensor) -> None:
    one, again, other = (random_axis(states, seed) for seed in (0, 0, 1))
    assert torch.equal(one.direction, again.direction)
    assert abs(float(one.direction @ other.direction)) < 0.99
    assert float(one.direction.norm()) == pytest.approx(1.0)
    assert one.labels(states).double().mean() == 0.5


def test_reports_are_right_about_what_outputs_show_and_chance_about_the_rest() -> None:
    rng = np.random.default_rng(0)
    labels = rng.random(N) < 0.5
    clusters = rng.integers(20, size=N)
    shown = np.stack([labels * 2.0 + 0.1 * rng.normal(size=N), rng.normal(size=N)], axis=1)
    assert ((held_out_reports(shown, labels, clusters) > 0) == labels).mean() == 1.0
    hidden = rng.normal(size=(N, 2))
    assert ((held_out_reports(hidden, labels, clusters) > 0) == labels).mean() < 0.57


def test_knowing_the_episode_is_no_report() -> None:
    """Outputs that name the episode, of which the label is a function: nothing carries over."""
    rng = np.random.default_rng(0)
    clusters = np.repeat(np.arange(20), 10)
    labels = np.repeat(rng.permutation(20) < 10, 10)
    named = np.eye(20)[clusters]
    assert (Reporter.fit(named, labels).report(named) > 0).tolist() == labels.tolist()
    assert ((held_out_reports(named, labels, clusters) > 0) == labels).mean() <= 0.5
    with pytest.raises(ValueError, match="3 episodes are too few for 5 folds"):
        held_out_reports(named, labels, clusters % 3)
    with pytest.raises(ValueError, match="all labels are equal"):
        Reporter.fit(named, np.ones(200, bool))


def test_control_is_measured_in_natural_standard_deviations() -> None:
    natural = np.array([-2.0, 2.0, -2.0, 2.0])
    assert control_effect(natural + 3, natural - 1, natural) == pytest.approx(4 / 2)
    assert control_effect(natural, natural, natural) == 0.0
