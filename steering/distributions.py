"""Measures on next-token and action distributions, and coefficients that reach a given one.

Methods are compared at equal dose. Beside the delivered norm, the dose may be how far the
distribution of the next token moves (arXiv:2506.10920, section 4.2): a coefficient is found by
halving an interval until KL(base || steered) is what was asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch

N_HALVINGS = 40


def entropy(logits: torch.Tensor) -> torch.Tensor:
    """H(softmax(logits)) in nats: `[..., V]` -> `[...]`."""
    log_p = logits.double().log_softmax(-1)
    return -(log_p.exp() * log_p.nan_to_num(neginf=0.0)).sum(-1)


def divergence(base: torch.Tensor, steered: torch.Tensor) -> torch.Tensor:
    """KL(base || steered) in nats of two sets of logits: `[..., V]` -> `[...]`."""
    log_p, log_q = base.double().log_softmax(-1), steered.double().log_softmax(-1)
    return (log_p.exp() * (log_p - log_q)).sum(-1)


def coefficient_for(
    measure: Callable[[float], float],
    target: float,
    *,
    first: float,
    limit: float,
    tolerance: float = 0.02,
) -> float:
    """The smallest coefficient found with `measure(coefficient)` = target, within `tolerance` of
    it.

    measure: grows from 0 at coefficient 0, by and large. The interval begins at `first` (its sign
    says where to look) and is doubled until it holds the target. Raises ValueError where that is
    not before |coefficient| passes `limit`.
    """
    if not (target > 0 and first != 0 and abs(first) <= limit):
        raise ValueError(
            f"need target > 0 and 0 < |first| <= limit, got {target}, {first}, {limit}"
        )
    low, high = 0.0, first
    while measure(high) < target:
        low, high = high, 2 * high
        if abs(high) > limit:
            raise ValueError(
                f"up to a coefficient of {low:g} the measure stays below {target:g}: the edit "
                "hardly reaches the output"
            )
    for _ in range(N_HALVINGS):
        middle = 0.5 * (low + high)
        value = measure(middle)
        if math.isclose(value, target, rel_tol=tolerance):
            return middle
        low, high = (middle, high) if value < target else (low, middle)
    raise ValueError(
        f"the measure jumps over {target:g} near the coefficient {high:g}; ask for another target"
    )
