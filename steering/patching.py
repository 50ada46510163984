"""Where in a decoder does a difference live? Activation patching, and its gradient estimate.

A model is run on two inputs that differ in one thing (two instructions that differ in a word). A
*patch* puts what one side computed at a site, at some tokens, into the run of the other; if the
output follows, what makes the difference passes there. The effect of a patch is a share of the
whole difference, 1 where the patched run gives what the other side gives:

    share = (mean of the patched negative run - mean of negative) / (mean of positive - of negative)

Attribution patching (Nanda 2023; AtP, arXiv:2403.00745) estimates all effects from one backward
pass, as gradient times difference. It is a first-order guess, to be read beside real patches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType

import numpy as np
import torch
from torch import nn

from pilotage.steering.captures import capture, hook_site
from pilotage.steering.gradients import site_gradients
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import resolve
from pilotage.steering.tokens import group_id

# "positive" or "negative" -> one number a row, float `[R]`, of a forward on that side's input.
Forward = Callable[[str], torch.Tensor]


@dataclass(frozen=True)
class Effect:
    """The share of the difference that passes a site at a token group. low, high: 95 % interval
    over clusters of rows (bootstrap of the ratio of means); NaN for an estimate."""

    site: str
    group: str
    share: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Sides:
    """Both sides: metrics float64 `[R]`, and activations by site float32 `[R, S, d]`."""

    positive: torch.Tensor
    negative: torch.Tensor
    activations: Mapping[str, tuple[torch.Tensor, torch.Tensor]]

    @property
    def gap(self) -> float:
        """Mean positive metric less mean negative metric."""
        return float(self.positive.mean() - self.negative.mean())


class Patch:
    """A context manager: in every forward inside it, the site holds `values` where `mask` says so.

    values float `[R, S, d]`, mask bool `[R, S]`, or `[R, S, d]` for single units. The site's own
    place in the forward is the one that `Capture` reads and a Steerer edits.
    """

    def __init__(
        self, decoder: nn.Module, site: str, values: torch.Tensor, mask: torch.Tensor
    ) -> None:
        self._site = resolve(decoder, site)
        fits = mask.shape in (values.shape[:2], values.shape)
        if values.dim() != 3 or not fits or mask.dtype != torch.bool:
            raise ValueError(
                f"{site}: values {list(values.shape)} and mask {list(mask.shape)} ({mask.dtype}) "
                "must be [R, S, d] and bool [R, S] or [R, S, d]"
            )
        if values.shape[2] != self._site.width:
            raise ValueError(f"{site} is {self._site.width} wide, the values {values.shape[2]}")
        self._values, self._mask = values, mask if mask.dim() == 3 else mask[..., None]
        self._handles = HookHandles()

    def _change(self, value: torch.Tensor) -> torch.Tensor:
        if value.shape[:2] != self._mask.shape[:2]:
            raise ValueError(
                f"{self._site.site}: the forward has {list(value.shape[:2])} tokens, the patch "
                f"{list(self._mask.shape[:2])}"
            )
        return torch.where(self._mask, self._values.to(value) - value, torch.zeros_like(value))

    def __enter__(self) -> Patch:
        hook_site(self._handles, self._site, self._change)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._handles.remove()


def both_sides(
    decoder: nn.Module, forward: Forward, sites: Sequence[str], shape: tuple[int, int]
) -> Sides:
    """Run both sides once. shape: `(R, S)` of a forward, the same on both sides.

    Raises ValueError when the two sides do not differ in the metric.
    """
    metrics, kept = [], []
    with torch.no_grad():
        for side in ("positive", "negative"):
            with capture(decoder, sites) as seen:
                metrics.append(forward(side).double())
                kept.append({site: seen.activations(site).view(*shape, -1) for site in sites})
    sides = Sides(metrics[0], metrics[1], {s: (kept[0][s], kept[1][s]) for s in sites})
    if not abs(sides.gap) > 1e-12:
        raise ValueError(
            f"the two sides have the same mean metric ({sides.gap:g}): nothing to find"
        )
    return sides


def patch_effects(
    decoder: nn.Module,
    forward: Forward,
    sides: Sides,
    token_groups: torch.Tensor,
    groups: Sequence[str],
    *,
    sites: Sequence[str] | None = None,
    clusters: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
) -> list[Effect]:
    """The effect of patching each site at each token group, by one forward each.

    token_groups int8 `[R, S]` (`steering.tokens`), the same on both sides; "all" among `groups`
    takes every token. clusters `[R]`: rows that belong together (steps of one episode) are drawn
    together for the intervals; by default each row is its own.
    """
    labels = np.arange(len(sides.negative)) if clusters is None else np.asarray(clusters)
    found = []
    for site in sites or list(sides.activations):
        for group in groups:
            mask = group_mask(token_groups, group)
            with torch.no_grad(), Patch(decoder, site, sides.activations[site][0], mask):
                patched = forward("negative").double()
            moved = (patched - sides.negative).cpu().numpy()
            found.append(Effect(site, group, *share_of_gap(moved, sides, labels, seed)))
    return found


def attribution(
    decoder: nn.Module,
    forward: Forward,
    sides: Sides,
    token_groups: torch.Tensor,
    groups: Sequence[str],
) -> list[Effect]:
    """The effects estimated at the negative side: gradient of the metric times the difference of
    the activations, summed over a group's tokens. One forward and one backward pass."""
    gradients = site_gradients(decoder, lambda: forward("negative"), sides.activations)
    found = []
    for site, (positive, negative) in sides.activations.items():
        along = (gradients[site] * (positive - negative)).sum(-1)  # [R, S]
        for group in groups:
            mask = group_mask(token_groups, group).cpu()
            total = float((along * mask).sum(1).double().mean())
            found.append(Effect(site, group, total / sides.gap, float("nan"), float("nan")))
    return found


def group_mask(token_groups: torch.Tensor, group: str) -> torch.Tensor:
    """Bool `[R, S]`: the tokens of a group, or every token of "all"."""
    if group == "all":
        return torch.ones_like(token_groups, dtype=torch.bool)
    return token_groups == group_id(group)


def share_of_gap(
    moved: np.ndarray, sides: Sides, labels: np.ndarray, seed: int
) -> tuple[float, float, float]:
    """Mean of `moved` float64 `[R]` as a share of the mean gap, and its 95 % interval over clusters
    of rows `[R]` (bootstrap of the ratio of means)."""
    gap = (sides.positive - sides.negative).cpu().numpy()
    _, cluster = np.unique(labels, return_inverse=True)
    n = int(cluster.max()) + 1
    moved_sums = np.bincount(cluster, moved, minlength=n)
    gap_sums = np.bincount(cluster, gap, minlength=n)
    picks = np.random.default_rng(seed).integers(n, size=(2000, n))
    ratios = moved_sums[picks].sum(1) / gap_sums[picks].sum(1)
    low, high = np.quantile(ratios, [0.025, 0.975])
    return float(moved.mean() / gap.mean()), float(low), float(high)
