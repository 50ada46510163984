"""One number a row of what a VLA wants to do: what attribution and patching explain.

All read the logits of the action bins at the three translation tokens, the tokens before each being
the expert's. Choosing another metric can change what is found (arXiv:2309.16042).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from pilotage.agents.vla.actions import ActionCodec
from pilotage.agents.vla.model import VLAModel, Window

N_TRANSLATION = 3  # the first tokens of a continuous action

# Logits float [R, 3, n_bins] of the translation tokens -> float [R].
Metric = Callable[[torch.Tensor], torch.Tensor]


def action_logits(model: VLAModel, window: Window) -> torch.Tensor:
    """Logits float `[R, 3, n_bins]` of the bins at the translation tokens of one env step."""
    states = model(window)["action"][:, 0, :N_TRANSLATION]
    first = model.tokenizer.first_bin_id
    return model.decoder.lm_head(states)[..., first : first + model.config.n_bins]


def expected_length(model: VLAModel) -> Metric:
    """sqrt of the sum over the three tokens of E[value^2], in units of the largest component: how
    far the policy wants to go, whatever the direction."""
    squares = bin_values(model).square()

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return (logits.softmax(-1) * squares.to(logits)).sum(-1).sum(-1).sqrt()

    return metric


def expected_value(model: VLAModel, window: Window) -> Metric:
    """The expected translation along the expert's, sum over k of u_k E[value_k] with u the unit
    vector of what the expert does; 0 where it stands still."""
    values = bin_values(model)
    done = values[window.actions[:, 0, :N_TRANSLATION]]
    along = done / done.norm(dim=-1, keepdim=True).clamp_min(1e-6)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        expected = (logits.softmax(-1) * values.to(logits)).sum(-1)
        return (expected * along.to(logits)).sum(-1)

    return metric


def logit_difference(positive: torch.Tensor, negative: torch.Tensor) -> Metric:
    """Mean over the tokens of the logit of the bin that the positive side likes best less that of
    the negative side's. positive, negative: both sides' logits `[R, 3, n_bins]`."""
    liked, other = (x.argmax(-1, keepdim=True) for x in (positive, negative))

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return (logits.gather(-1, liked) - logits.gather(-1, other))[..., 0].mean(-1)

    return metric


def log_probability(positive: torch.Tensor) -> Metric:
    """Sum over tokens of log p of the bin that the positive side `[R, 3, n_bins]` likes best."""
    liked = positive.argmax(-1, keepdim=True)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return logits.log_softmax(-1).gather(-1, liked)[..., 0].sum(-1)

    return metric


def minus_divergence(positive: torch.Tensor) -> Metric:
    """-KL(positive || here), summed over the tokens: 0 where the bins' distribution is that of the
    positive side `[R, 3, n_bins]`, below 0 elsewhere."""
    target = positive.detach().log_softmax(-1)

    def metric(logits: torch.Tensor) -> torch.Tensor:
        return -(target.exp() * (target - logits.log_softmax(-1))).sum(-1).sum(-1)

    return metric


METRICS = ("length", "value", "logit-difference", "log-probability", "kl")


def make_metric(name: str, model: VLAModel, positive: Window, negative: Window) -> Metric:
    """One of `METRICS` for a pair of windows. Raises ValueError listing them."""
    if name == "length":
        return expected_length(model)
    if name == "value":
        return expected_value(model, negative)
    if name not in METRICS:
        raise ValueError(f"unknown metric {name!r}; there are: {', '.join(METRICS)}")
    with torch.no_grad():
        liked = action_logits(model, positive)
        if name == "logit-difference":
            return logit_difference(liked, action_logits(model, negative))
    return log_probability(liked) if name == "log-probability" else minus_divergence(liked)


def bin_values(model: VLAModel) -> torch.Tensor:
    """The action value float32 `[n_bins]` of each bin of a translation token."""
    c = model.config
    bins = np.repeat(np.arange(c.n_bins)[:, None], c.n_action_tokens, axis=1)
    decoded = ActionCodec(c.n_action_tokens, c.n_bins, c.n_discrete).decode(bins)
    return torch.from_numpy(decoded[:, 0].astype(np.float32))
