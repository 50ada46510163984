"""Patching and its gradient estimate, on a real Llama and where the answer is known exactly."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from pilotage.steering.patching import Patch, attribution, both_sides, patch_effects
from pilotage.steering.sites import resolve

from .conftest import N_LAYERS, make_llama
from .helpers import groups as layout
from .helpers import ids

R, S = 4, 9
RESID = [f"layers.{n}.resid:out" for n in range(N_LAYERS)]
PARTS = ["layers.1.mlp:out", "layers.1.self_attn.o_proj:out", "layers.1.mlp.down_proj:in"]


@pytest.fixture
def setting():
    """A model, two inputs that differ in tokens 5 and 6, and the metric: one logit at the end."""
    model = make_llama().requires_grad_(False)
    inputs = {"negative": ids(R, S, seed=1), "positive": ids(R, S, seed=1)}
    inputs["positive"][:, 5:7] = ids(R, 2, seed=2)

    def forward(side: str) -> torch.Tensor:
        return model(inputs[side]).logits[:, -1, 7]

    return model, forward, torch.from_numpy(layout(R, S))


def test_patching_everything_after_a_block_gives_the_other_side(setting) -> None:
    model, forward, groups = setting
    sides = both_sides(model, forward, RESID, (R, S))
    for effect in patch_effects(model, forward, sides, groups, ["all"]):
        assert effect.share == pytest.approx(1.0, abs=1e-4)
        assert effect.low <= effect.share <= effect.high


def test_tokens_that_do_not_differ_carry_nothing_in_before_the_first_attention(setting) -> None:
    """After the last block only the last token matters; before it, what differs matters."""
    model, forward, groups = setting
    sides = both_sides(model, forward, RESID, (R, S))
    effects = {
        (e.site, e.group): e.share
        for e in patch_effects(
            model,
            forward,
            sides,
            groups,
            ["image", "instruction", "all"],
            sites=[RESID[0], RESID[-1]],
        )
    }
    assert effects[RESID[0], "image"] == pytest.approx(0.0, abs=1e-5), (
        "these come before the change"
    )
    assert abs(effects[RESID[-1], "image"]) < 1e-6


def test_a_patch_is_the_forward_with_that_value(setting) -> None:
    """At the last block's residual the logits are the head of the normed value: by hand."""
    model, forward, _ = setting
    values = torch.randn(R, S, resolve(model, RESID[-1]).width)
    mask = torch.zeros(R, S, dtype=torch.bool)
    mask[:, -1] = True
    with torch.no_grad(), Patch(model, RESID[-1], values, mask):
        patched = forward("negative")
    by_hand = model.lm_head(model.model.norm(values[:, -1]))[:, 7]
    torch.testing.assert_close(patched, by_hand, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(forward("negative"), forward("negative"))


def test_the_estimate_is_the_derivative_of_the_real_patch(setting) -> None:
    """Patching an epsilon of the way moves the metric by epsilon times the estimate."""
    model, forward, groups = setting
    sites = [*RESID, *PARTS]
    sides = both_sides(model, forward, sites, (R, S))
    estimates = attribution(model, forward, sides, groups, ["instruction"])
    for estimate in estimates:
        positive, negative = sides.activations[estimate.site]
        step = 1e-3
        mask = groups == 2
        with (
            torch.no_grad(),
            Patch(model, estimate.site, negative + step * (positive - negative), mask),
        ):
            moved = (forward("negative").double() - sides.negative).mean() / step
        assert estimate.share == pytest.approx(float(moved) / sides.gap, rel=0.05, abs=0.01)
        assert np.isnan(estimate.low)


def test_nothing_stays_on_the_model(setting) -> None:
    model, forward, groups = setting
    before = forward("negative")
    sides = both_sides(model, forward, PARTS, (R, S))
    patch_effects(model, forward, sides, groups, ["all"])
    attribution(model, forward, sides, groups, ["all"])
    assert torch.equal(forward("negative"), before)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_what_cannot_be_patched_is_refused(setting) -> None:
    model, forward, _ = setting
    mask = torch.ones(R, S, dtype=torch.bool)
    with pytest.raises(ValueError, match="is 32 wide, the values 31"):
        Patch(model, RESID[0], torch.zeros(R, S, 31), mask)
    with pytest.raises(ValueError, match=r"bool \[R, S\]"):
        Patch(model, RESID[0], torch.zeros(R, S, 32), mask.float())
    short = Patch(model, RESID[0], torch.zeros(R, S - 1, 32), mask[:, 1:])
    with pytest.raises(ValueError, match=r"has \[4, 9\] tokens, the patch \[4, 8\]"), short:
        forward("negative")
    with pytest.raises(ValueError, match="same mean metric"):
        both_sides(model, lambda _: forward("negative"), RESID, (R, S))
