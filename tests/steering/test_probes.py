"""The set-point: what a probe reads afterwards, and that no shorter edit does it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from transformers import LlamaForCausalLM

from pilotage.steering.probes import probe_setpoint

from .helpers import RESID, ids
from .test_operations import block_outputs, steered_blocks


def _probe() -> tuple[torch.Tensor, float]:
    return 3 * torch.randn(32, generator=torch.Generator().manual_seed(5)), 0.7


def test_the_probe_reads_the_target_afterwards_and_a_bound_where_it_was_beyond(
    llama: LlamaForCausalLM,
) -> None:
    w, b = _probe()
    tokens = ids(1, 6)
    before = block_outputs(llama, tokens, 1)[0] @ w + b
    after = steered_blocks(llama, tokens, probe_setpoint(w, b, site=RESID, low=4.0))[0] @ w + b
    assert torch.allclose(after, torch.full((6,), 4.0), atol=1e-3)
    low, high = (float(q) for q in torch.quantile(before, torch.tensor([0.3, 0.7])))
    held = probe_setpoint(w, b, site=RESID, low=low, high=high)
    after = steered_blocks(llama, tokens, held)[0] @ w + b
    assert torch.allclose(after, before.clamp(low, high), atol=1e-3)
    assert ((before < low) | (before > high)).any()
    assert ((before > low) & (before < high)).any()
    half = steered_blocks(llama, tokens, probe_setpoint(w, b, site=RESID, low=4.0, share=0.5))[0]
    assert torch.allclose(half @ w + b, (before + 4.0) / 2, atol=1e-3)


def test_tokens_inside_the_interval_keep_their_bits(llama: LlamaForCausalLM) -> None:
    w, b = _probe()
    tokens = ids(1, 6)
    before = block_outputs(llama, tokens, 1)
    wide = probe_setpoint(w, b, site=RESID, low=-1e4, high=1e4)
    assert torch.allclose(steered_blocks(llama, tokens, wide), before, atol=0, rtol=0)


def test_no_shorter_edit_reaches_the_target(llama: LlamaForCausalLM) -> None:
    """scipy's constrained minimum of |dh|^2, against the edit of the first token."""
    w, b = _probe()
    tokens = ids(1, 6)
    h = block_outputs(llama, tokens, 1)[0, 0].double().numpy()
    edited = steered_blocks(llama, tokens, probe_setpoint(w, b, site=RESID, low=4.0))[0, 0]
    probe = w.double().numpy()
    best = minimize(
        lambda dh: dh @ dh,
        np.zeros(32),
        jac=lambda dh: 2 * dh,
        constraints={"type": "eq", "fun": lambda dh: probe @ (h + dh) + b - 4.0},
        method="SLSQP",
    )
    assert best.success
    np.testing.assert_allclose(edited.double().numpy() - h, best.x, atol=1e-4)


def test_bad_probes_are_refused() -> None:
    w, b = _probe()
    with pytest.raises(ValueError, match="not zero"):
        probe_setpoint(torch.zeros(4), b, site=RESID, low=1.0)
    with pytest.raises(ValueError, match="low <= high"):
        probe_setpoint(w, b, site=RESID, low=2.0, high=1.0)
