"""Where a word in the instruction reaches the actions: patching a VLA between two wordings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pilotage.agents.vla import action_metrics
from pilotage.agents.vla.action_metrics import action_logits, make_metric
from pilotage.agents.vla.activations import draw_steps, single_step_window
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.model import VLAModel, Window
from pilotage.steering.patching import (
    Effect,
    Forward,
    Sides,
    attribution,
    both_sides,
    patch_effects,
)

GROUPS = ("instruction", "image", "proprio", "action")
PLACES = ("resid:out", "self_attn.o_proj:out", "mlp:out")


@dataclass(frozen=True, eq=False)
class WordPair:
    """A model on the same env steps under two wordings: `forward("positive")` gives the metric
    float `[R]`; token_groups int8 `[R, S]`, the same on both sides; clusters int64 `[R]`, the
    episode of each row."""

    model: VLAModel
    forward: Forward
    token_groups: torch.Tensor
    clusters: np.ndarray

    def sides(self, sites: Sequence[str]) -> Sides:
        """Both sides run once, with what they compute at the sites."""
        shape = (self.token_groups.shape[0], self.token_groups.shape[1])
        return both_sides(self.model.decoder, self.forward, sites, shape)


def word_pair(
    model: VLAModel,
    demos: Sequence[Demo],
    *,
    positive: str,
    negative: str,
    n_steps: int,
    seed: int,
    metric: str = "length",
) -> WordPair:
    """`n_steps` env steps drawn from the demos (the expert's actions are given), with `positive`
    and `negative` behind the instruction. metric: one of `action_metrics.METRICS`.

    Raises ValueError for wordings of unequal length (tokens must stand at the same places), for
    discrete actions, and for an unknown metric.
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
    measure = make_metric(metric, model, windows["positive"], windows["negative"])

    def forward(side: str) -> torch.Tensor:
        return measure(action_logits(model, windows[side]))

    return WordPair(model, forward, model.token_groups(windows["negative"]), chosen)


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
    `negative`, site by site.

    The metric is `expected_length`; intervals are bootstrapped over episodes. Raises ValueError as
    `word_pair` does.
    """
    pair = word_pair(model, demos, positive=positive, negative=negative, n_steps=n_steps, seed=seed)
    sites = sites_of(model, places)
    sides = pair.sides(sites)
    decoder, forward, tokens = model.decoder, pair.forward, pair.token_groups
    patched = patch_effects(
        decoder, forward, sides, tokens, groups, clusters=pair.clusters, seed=seed
    )
    estimated = attribution(decoder, forward, sides, tokens, groups)
    return Traced(patched, estimated, float(sides.positive.mean()), float(sides.negative.mean()))


def sites_of(model: VLAModel, places: Sequence[str]) -> list[str]:
    """These places of every block, from the first on."""
    return [f"layers.{n}.{place}" for n in range(model.config.n_layers) for place in places]


def expected_length(model: VLAModel, window: Window) -> torch.Tensor:
    """Float `[R]`: `action_metrics.expected_length` of a window."""
    return action_metrics.expected_length(model)(action_logits(model, window))
