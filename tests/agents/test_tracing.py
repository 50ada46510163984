"""Tracing a word through a tiny VLA: the metric by hand, and where effects must and must not be."""

from __future__ import annotations

import pytest
import torch

from pilotage.agents.vla.activations import single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.tracing import expected_length, trace_word

from .tiny import tiny_config, tiny_demos, tiny_model


@pytest.fixture
def demos() -> list[Demo]:
    return tiny_demos()


def test_the_metric_is_the_expected_size_of_the_translation(demos: list[Demo]) -> None:
    model = tiny_model(tiny_config())
    window = single_step_window(model, demos, [0, 1, 2], "quickly")
    logits = model.decoder.lm_head(model(window)["action"])[:, 0]
    bins = logits[..., model.tokenizer.first_bin_id :].softmax(-1)
    n = model.config.n_bins
    centres = (torch.arange(n) + 0.5) / n * 2 - 1  # the middle of each of n equal parts of [-1, 1]
    by_hand = (bins * centres**2).sum(-1).sum(-1).sqrt()
    torch.testing.assert_close(expected_length(model, window), by_hand, rtol=0.02, atol=5e-3)


def test_a_word_enters_by_the_instruction_and_leaves_by_the_tokens_that_act(
    demos: list[Demo],
) -> None:
    model = tiny_model(tiny_config())
    traced = trace_word(model, demos, positive="quickly", negative="slowly", n_steps=12)
    share = {(e.site, e.group): e.share for e in traced.patched}
    last = f"layers.{model.config.n_layers - 1}.resid:out"
    # What acts are proprio (the first action token) and action tokens; the rest has no way out.
    assert share[last, "proprio"] + share[last, "action"] == pytest.approx(1.0, abs=0.05)
    assert share[last, "instruction"] == pytest.approx(0.0, abs=1e-6)
    assert share[last, "image"] == pytest.approx(0.0, abs=1e-6)
    assert len(traced.patched) == len(traced.estimated) == 3 * 3 * 4
    # Only the instruction differs: what the first attention writes elsewhere is all there is, and
    # the MLP of the first block sees no more than that.
    entered = sum(share["layers.0.resid:out", g] for g in ("instruction", "proprio", "action"))
    assert abs(entered) > 0.3
    assert (share["layers.0.self_attn.o_proj:out", "proprio"]) != 0.0


def test_wordings_must_stand_at_the_same_places(demos: list[Demo]) -> None:
    model = tiny_model(tiny_config())
    with pytest.raises(ValueError, match="'quickly' has 1 tokens and 'go left' 2"):
        trace_word(model, demos, positive="quickly", negative="go left")
    discrete = tiny_model(tiny_config(memory_steps=3))
    with pytest.raises(ValueError, match="continuous actions"):
        trace_word(discrete, demos, positive="quickly", negative="slowly")
