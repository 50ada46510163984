"""Axes of activation space that can be reported and controlled (after arXiv:2505.13763).

An axis is a unit direction of the states at one site, with the median of what lies along it: states
above are labelled 1, others 0, so that half of them are. The axes are principal components, the
normal of a logistic regression between two sets of states, and a random one as a control.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, eq=False)
class Axis:
    """direction: unit float64 `[d]`. median: of the projections of the states that it was made on.
    explained: the share of their variance that lies along it."""

    name: str
    direction: torch.Tensor
    median: float
    explained: float

    def labels(self, states: torch.Tensor) -> torch.Tensor:
        """bool `[n]` of states `[n, d]`: those above the median."""
        return states.double() @ self.direction > self.median


def principal_axes(states: torch.Tensor, ranks: tuple[int, ...]) -> list[Axis]:
    """The principal components of states `[n, d]` by rank, 1 being the first.

    Raises ValueError for a rank that n states of d numbers do not have.
    """
    n, d = states.shape
    most = min(n - 1, d)
    if not ranks or min(ranks) < 1 or max(ranks) > most:
        raise ValueError(f"{n} states of {d} numbers have components 1 to {most}, not {ranks}")
    centred = states.double() - states.double().mean(0)
    _, _, rows = torch.linalg.svd(centred, full_matrices=False)
    return [_axis(f"component {k}", rows[k - 1], states) for k in ranks]


def logistic_axis(positive: torch.Tensor, negative: torch.Tensor, name: str) -> Axis:
    """The normal of a logistic regression (scikit-learn, C = 1, on standardised numbers) that tells
    two sets of states `[n, d]`, `[m, d]` apart; its median is that of both sets together."""
    from sklearn.linear_model import LogisticRegression

    states = torch.cat([positive, negative]).double()
    spread = states.std(0).clamp_min(1e-12)
    labels = [1] * len(positive) + [0] * len(negative)
    fitted = LogisticRegression(max_iter=2000).fit((states / spread).numpy(), labels)
    return _axis(name, torch.from_numpy(fitted.coef_[0]) / spread, states)


def random_axis(states: torch.Tensor, seed: int) -> Axis:
    """A direction drawn uniformly, and the median of states `[n, d]` along it."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(states.shape[1], generator=generator, dtype=torch.float64)
    return _axis(f"random {seed}", drawn, states)


def _axis(name: str, direction: torch.Tensor, states: torch.Tensor) -> Axis:
    unit = direction.double() / direction.double().norm()
    along = states.double() @ unit
    total = float(states.double().var(0).sum())
    return Axis(name, unit, float(along.median()), float(along.var()) / max(total, 1e-12))
