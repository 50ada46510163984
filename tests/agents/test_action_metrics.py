"""What attribution explains: each metric of the action bins by hand, and where it must be zero."""

from __future__ import annotations

import math

import pytest
import torch

from pilotage.agents.vla.action_metrics import (
    METRICS,
    action_logits,
    bin_values,
    expected_length,
    expected_value,
    log_probability,
    logit_difference,
    make_metric,
    minus_divergence,
)
from pilotage.agents.vla.activations import single_step_window
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.agents.vla.tracing import sites_of, word_pair
from pilotage.steering.attribution import attribute, patch_places

from .tiny import tiny_config, tiny_demos, tiny_model


@pytest.fixture
def model() -> VLAModel:
    return tiny_model(tiny_config())


def windows(model: VLAModel) -> tuple[Window, Window]:
    quick, slow = (
        single_step_window(model, tiny_demos(), [0, 1, 2], word) for word in ("quickly", "slowly")
    )
    return quick, slow


def certain(model: VLAModel, bins: list[int]) -> torch.Tensor:
    """Logits `[1, 3, n_bins]` of a policy that is sure of these bins."""
    logits = torch.full((1, 3, model.config.n_bins), -1e4)
    logits[0, torch.arange(3), torch.tensor(bins)] = 0.0
    return logits


def test_sizes_of_a_policy_that_is_sure_are_those_of_its_action(model: VLAModel) -> None:
    last = model.config.n_bins - 1  # the bin of +1; the first is that of -1
    assert bin_values(model)[[0, last]].tolist() == [-1.0, 1.0]
    assert float(expected_length(model)(certain(model, [0, last, last]))) == pytest.approx(3**0.5)
    _, window = windows(model)
    done = torch.stack([torch.from_numpy(d.actions[t, :3]) for t, d in enumerate(tiny_demos())])
    along = expected_value(model, window)(certain(model, [last, 0, last]).expand(3, -1, -1))
    by_hand = (done * torch.tensor([1.0, -1.0, 1.0])).sum(1) / done.norm(dim=1)
    torch.testing.assert_close(along, by_hand, rtol=0.0, atol=0.02)  # actions are binned


def test_a_logit_difference_is_of_the_bins_that_both_sides_like_best(model: VLAModel) -> None:
    metric = logit_difference(certain(model, [5, 6, 7]), certain(model, [1, 2, 7]))
    logits = torch.zeros(1, 3, model.config.n_bins)
    logits[0, 0, 5], logits[0, 0, 1] = 2.0, 0.5
    logits[0, 1, 6], logits[0, 1, 2] = 1.0, 4.0
    logits[0, 2, 7] = 9.0  # both like it: no difference
    assert float(metric(logits)) == pytest.approx((1.5 - 3.0) / 3)


def test_probability_and_divergence_by_hand(model: VLAModel) -> None:
    n = model.config.n_bins
    flat = torch.zeros(1, 3, n)
    assert float(log_probability(certain(model, [3, 4, 5]))(flat)) == pytest.approx(
        3 * math.log(1 / n), rel=1e-5
    )
    sure = certain(model, [3, 4, 5])
    assert float(minus_divergence(sure)(sure)) == pytest.approx(0.0, abs=1e-6)
    assert float(minus_divergence(sure)(flat)) == pytest.approx(-3 * math.log(n), rel=1e-5)
    soft = torch.randn(2, 3, n)
    other = torch.randn(2, 3, n)
    expected = [
        -sum(
            torch.distributions.kl_divergence(
                torch.distributions.Categorical(logits=soft[r, k]),
                torch.distributions.Categorical(logits=other[r, k]),
            )
            for k in range(3)
        )
        for r in range(2)
    ]
    torch.testing.assert_close(minus_divergence(soft)(other), torch.stack(expected))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_can_be_attributed_and_patched(model: VLAModel, name: str) -> None:
    """Patching the last block's stream at the tokens that act gives the other side's metric."""
    pair = word_pair(
        model,
        tiny_demos(),
        positive="quickly",
        negative="slowly",
        n_steps=6,
        seed=0,
        metric=name,
    )
    sides = pair.sides(sites_of(model, ("resid:out",))[-1:])
    assert sides.gap != 0.0
    guessed = attribute(
        model.decoder, pair.forward, sides, pair.token_groups, ["all"], method="relp"
    )
    assert guessed.carried.any()
    patched = patch_places(
        model.decoder, pair.forward, sides, pair.token_groups, guessed.places
    ).carried[0]
    torch.testing.assert_close(
        torch.from_numpy(patched), sides.positive - sides.negative, rtol=1e-3, atol=1e-4
    )


def test_unknown_metrics_are_refused(model: VLAModel) -> None:
    quick, slow = windows(model)
    with pytest.raises(ValueError, match="unknown metric 'speed'; there are: length, value"):
        make_metric("speed", model, quick, slow)
    assert action_logits(model, slow).shape == (3, 3, model.config.n_bins)
