"""Gradients of a metric at sites, without touching the model's own parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import resolve


class Zero:
    """A zero that is added at a site, so that its gradient is that of the site.

    `[R, S, d]` like the value there; `now` is what the site held in the last forward, detached.
    """

    def __init__(self, site: str) -> None:
        self.site = site
        self.added = torch.zeros(())
        self.now = torch.zeros(())

    def add(self, value: torch.Tensor) -> torch.Tensor:
        self.now = value.detach()
        self.added = torch.zeros_like(value, requires_grad=True)
        return self.added


def site_gradients(
    decoder: nn.Module, metric: Callable[[], torch.Tensor], sites: Iterable[str]
) -> dict[str, torch.Tensor]:
    """By site, the gradient float32 `[R, S, d]` (on the host) of the sum of a metric, float `[R]`,
    that runs the decoder once. Rows do not touch each other, so row r holds the gradient of
    metric r.

    Raises ValueError for a site that the metric does not depend on.
    """
    found = gradients_and_values(decoder, metric, sites)
    return {site: gradient for site, (gradient, _) in found.items()}


def gradients_and_values(
    decoder: nn.Module, metric: Callable[[], torch.Tensor], sites: Iterable[str]
) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """As `site_gradients`, with what each site held: site -> gradient and value, float32."""
    zeros = [Zero(site) for site in sites]
    handles = HookHandles()
    try:
        for zero in zeros:
            hook_site(handles, resolve(decoder, zero.site), zero.add)
        with torch.enable_grad():
            total = metric().sum()
    finally:
        handles.remove()
    never = [zero.site for zero in zeros if not zero.added.requires_grad]
    if never:
        raise ValueError(f"the forward did not run through {', '.join(never)}")
    found: tuple[torch.Tensor | None, ...] = (None,) * len(zeros)
    if total.requires_grad:
        found = torch.autograd.grad(total, [zero.added for zero in zeros], allow_unused=True)
    pairs = {}
    for zero, gradient in zip(zeros, found, strict=True):
        if gradient is None:
            raise ValueError(f"the metric does not depend on {zero.site}")
        pairs[zero.site] = (gradient.float().cpu(), zero.now.float().cpu())
    return pairs
