"""Measures on next-token and action distributions."""

from __future__ import annotations

import torch


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """H(softmax(logits)) in nats: `[..., V]` -> `[...]`."""
    log_p = logits.double().log_softmax(-1)
    return -(log_p.exp() * log_p.nan_to_num(neginf=0.0)).sum(-1)


def divergence(base: torch.Tensor, steered: torch.Tensor) -> torch.Tensor:
    """KL(base || steered) in nats of two sets of logits: `[..., V]` -> `[...]`."""
    log_p, log_q = base.double().log_softmax(-1), steered.double().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)
