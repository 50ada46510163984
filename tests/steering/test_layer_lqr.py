"""LQR through the layers: against a numerical optimum, a known chain, and a model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from pilotage.steering import SteeringVector, capture
from pilotage.steering.layer_lqr import layer_lqr, layer_shares, layer_slopes

from .conftest import D
from .helpers import ids, steered_logits, unit


def _cost(edits: np.ndarray, slopes: list[float], effort: float, start: float) -> float:
    e, total = start, 0.0
    for u, slope in zip(edits, (*slopes, 0.0), strict=True):
        total += (e + u) ** 2 + effort * u**2
        e = slope * (e + u)
    return total


@pytest.mark.parametrize("effort", [0.2, 1.0, 10.0])
def test_the_shares_are_what_a_numerical_search_finds(effort: float) -> None:
    slopes = [1.3, 0.4, -2.0]
    found = minimize(_cost, np.zeros(4), args=(slopes, effort, 2.0), options={"gtol": 1e-10}).x
    e, shares = 2.0, []
    for u, slope in zip(found, (*slopes, 0.0), strict=True):
        shares.append(-u / e)
        e = slope * (e + u)
    np.testing.assert_allclose(layer_shares(slopes, effort), shares, rtol=1e-4)


def test_dear_edits_go_nowhere_and_cheap_ones_all_the_way() -> None:
    assert max(layer_shares([1.0, 1.0], 1e6)) < 1e-5
    assert min(layer_shares([1.0, 1.0], 1e-6)) > 0.999
    assert layer_shares([], 1.0) == [0.5]
    assert layer_shares([2.0], 1.0)[0] > layer_shares([0.1], 1.0)[0], "what grows is met early"


def test_slopes_of_a_known_chain_are_recovered() -> None:
    z = np.random.default_rng(0).normal(size=(50, 3))
    z[:, 1] = 1.5 * z[:, 0] + 7
    z[:, 2] = -0.25 * z[:, 1] - 3
    assert layer_slopes(z) == pytest.approx([1.5, -0.25])


@pytest.mark.parametrize("effort", [0.0, -1.0, float("nan")])
def test_an_effort_that_is_not_positive_is_refused(effort: float) -> None:
    with pytest.raises(ValueError, match="effort must be > 0"):
        layer_shares([1.0], effort)


def test_readings_that_do_not_vary_are_refused() -> None:
    with pytest.raises(ValueError, match="layer number 0 are all 2"):
        layer_slopes(np.array([[2.0, 1.0], [2.0, 3.0]]))


def test_edits_bring_a_model_to_the_positive_side_the_nearer_the_cheaper(llama) -> None:
    sites = [f"layers.{k}.resid:out" for k in range(3)]
    sides = {}
    for seed in (1, 2):
        with torch.no_grad(), capture(llama, sites, reduce="last") as seen:
            llama(ids(12, 6, seed=seed))
        sides[seed] = {site: seen.activations(site) for site in sites}
    paired = {site: (sides[1][site] + 2 * unit(D, 3), sides[2][site]) for site in sites}
    vectors = [SteeringVector(site, unit(D, 3), 1.0) for site in sites]
    tokens, off = ids(1, 6, seed=9), []
    for effort in (1e6, 1.0, 1e-3):
        edits = layer_lqr(vectors, paired, effort=effort)
        assert [e.kind for e in edits] == ["setpoint"] * 3
        target = float((paired[sites[2]][0] @ unit(D, 3)).mean())
        assert edits[2].bounds == pytest.approx((target, target), rel=1e-5)
        assert edits[0].origin["layer_lqr"]["effort"] == effort
        reached = _reading(llama, tokens, edits, sites[2])
        off.append(abs(reached - target))
    assert off[0] > off[1] > off[2]
    assert off[2] < 0.01 * off[0]


def _reading(llama, tokens: torch.Tensor, edits: list, site: str) -> float:
    """h.v of the last token after the edits, by hand from the next place that is not edited."""
    kept: list[torch.Tensor] = []
    handle = llama.model.norm.register_forward_pre_hook(lambda _, args: kept.append(args[0]))
    try:
        steered_logits(llama, tokens, {0: edits})
    finally:
        handle.remove()
    return float(kept[-1][0, -1] @ unit(D, 3))


def test_layers_out_of_order_are_refused() -> None:
    vectors = [SteeringVector(f"layers.{k}.resid:out", unit(D, 3), 1.0) for k in (1, 0)]
    with pytest.raises(ValueError, match=r"first to last, got layers \[1, 0\]"):
        layer_lqr(vectors, {}, effort=1.0)
