"""Where a word in the instruction reaches the actions: patching a VLA between two wordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.activations import draw_steps, single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.steering.patching import Effect, Sides, attribution, both_sides, patch_effects

GROUPS = ("instruction", "image", "proprio", "action")
PLACES = ("resid:out", "self_attn.o_proj:out", "mlp:out")
N_TRANSLATION = 3  # the first tokens of a continuous action


@dataclass(frozen=True)
class Traced:
    """Effects by real patching and by their gradient estimate, in the same order, and the metric's
    means under the two wordings."""

    patched: list[Effect]
    estimated: list[Effect]
    positive: float
    negative: float


def trace_word(
    model: VLAModel,
    demos: Sequence[Demo],
    *,
    positive: str,
    negative: str,
    places: Sequence[str] = PLACES,
    groups: Sequence[str] = GROUPS,
    n_steps: int = 128,
    seed: int = 0,
) -> Traced:
    """Patches what the decoder computes under `positive` behind the instruction into its run under
    `negative`, site by site, at env steps drawn from the demos (the expert's actions are given).

    The metric is `expected_length`; intervals are bootstrapped over episodes. Raises ValueError for
    wordings of unequal length (tokens must stand at the same places) and for discrete actions.
    """
    if model.config.n_discrete:
        raise ValueError("tracing a word needs continuous actions: its metric is their size")
    lengths = [len(model.tokenizer.encode(text)) for text in (positive, negative)]
    if lengths[0] != lengths[1]:
        raise ValueError(
            f"{positive!r} has {lengths[0]} tokens and {negative!r} {lengths[1]}: choose wordings "
            "of one length, such as quickly and slowly"
        )
    chosen, steps = draw_steps(demos, n_steps, seed)
    picks = [demos[i] for i in chosen]
    windows = {
        "positive": single_step_window(model, picks, steps, positive),
        "negative": single_step_window(model, picks, steps, negative),
    }

    def forward(side: str) -> torch.Tensor:
        return expected_length(model, windows[side])

    token_groups = model.token_groups(windows["negative"])
    sites = [f"layers.{n}.{place}" for n in range(model.config.n_layers) for place in places]
    shape = (token_groups.shape[0], token_groups.shape[1])
    sides: Sides = both_sides(model.decoder, forward, sites, shape)
    patched = patch_effects(
        model.decoder, forward, sides, token_groups, groups, clusters=chosen, seed=seed
    )
    estimated = attribution(model.decoder, forward, sides, token_groups, groups)
    return Traced(patched, estimated, float(sides.positive.mean()), float(sides.negative.mean()))


def expected_length(model: VLAModel, window: Window) -> torch.Tensor:
    """Float `[R]`: sqrt of the sum over the three translation tokens of E[value^2], in units of the
    largest component: how far the policy wants to go, whatever the direction. The tokens before
    one are the expert's."""
    c = model.config
    values = ActionCodec(c.n_action_tokens, c.n_bins, c.n_discrete).decode(
        np.repeat(np.arange(c.n_bins)[:, None], c.n_action_tokens, axis=1)
    )
    squares = torch.from_numpy(np.square(values[:, 0])).float()
    states = model(window)["action"][:, 0, :N_TRANSLATION]
    first = model.tokenizer.first_bin_id
    chances = model.decoder.lm_head(states)[..., first : first + c.n_bins].softmax(-1)
    return (chances * squares).sum(-1).sum(-1).sqrt()
