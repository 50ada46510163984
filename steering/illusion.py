"""Is a direction read, or does patching it only wake a dormant one (arXiv:2311.17030, section 3)?

Let v be a unit direction at the input of a linear map W, v = v_row + v_null with v_null in the
null space of W. Patching along v moves h by v v^T (h_source - h). If the two classes differ along
v_null, which nothing reads, and W reads v_row, along which they do not differ, then the patch turns
the one into a push along the other: an effect that the model's own computation never has. So v,
v_row, v_null and the whole vector are patched beside each other.

At a residual site W is the stack of all maps that read it. In small models its rows span the whole
stream, and nothing is null.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pilotage.steering.diagnostics import row_and_null
from pilotage.steering.patching import Effect, Forward, Patch, Sides, group_mask, share_of_gap
from pilotage.steering.sites import resolve

MUCH_MORE = 2.0  # times: the effect of v beside those of v_row and of the whole vector
LITTLE = 0.01  # of the whole difference: a smaller effect of v is none
CLOSE = 0.25  # of the effect of v: v_row may differ by so much from a direction that is read


def separation(positive: torch.Tensor, negative: torch.Tensor, direction: torch.Tensor) -> float:
    """How far two classes `[n, d]`, `[m, d]` lie apart along a direction: difference of the means
    of their projections in pooled standard deviations (0 along a direction of no length)."""
    length = float(direction.double().norm())
    if length < 1e-12:
        return 0.0
    unit = direction.double() / length
    along = [side.double() @ unit for side in (positive, negative)]
    pooled = torch.stack([x.var() for x in along]).mean().sqrt()
    return float((along[0].mean() - along[1].mean()) / pooled.clamp_min(1e-12))


@dataclass(frozen=True)
class Illusion:
    """The test of one direction at one site.

    read: |v_row|^2. effects by "direction", "row", "null", "full" (a part of no length has none).
    apart: separation of the classes along v_row and v_null."""

    site: str
    read: float
    effects: dict[str, Effect]
    apart: tuple[float, float]

    def verdict(self) -> str:
        """`illusion`: v does much more than what is read of it and than the whole vector.
        `dormant`: than what is read of it, so that the effect is borrowed from what is not read;
        but the whole, which differs in more than v, does as much.
        `faithful`: v_row does what v does, and the whole at least as much. `no effect`: the
        interval of v holds 0, or it is below a hundredth. Else `unclear`."""
        of = {name: effect.share for name, effect in self.effects.items()}
        v, row, full = of["direction"], of.get("row", 0.0), of["full"]
        ends = self.effects["direction"].low, self.effects["direction"].high
        if abs(v) < LITTLE or ends[0] <= 0 <= ends[1]:
            return "no effect"
        sign = 1 if v > 0 else -1
        if abs(v) > MUCH_MORE * sign * row:
            return "illusion" if abs(v) > MUCH_MORE * sign * full else "dormant"
        if abs(row - v) <= CLOSE * abs(v) and sign * full >= (1 - CLOSE) * abs(v):
            return "faithful"
        return "unclear"


def illusion_test(
    decoder: nn.Module,
    forward: Forward,
    sides: Sides,
    site: str,
    direction: torch.Tensor,
    token_groups: torch.Tensor,
    group: str,
    *,
    clusters: Sequence[int] | np.ndarray | None = None,
    seed: int = 0,
) -> Illusion:
    """Patch the positive side's component along v, v_row, v_null, and all of it, into the negative
    run at the tokens of a group; arguments as of `patching.patch_effects`.

    direction `[d]`. ValueError for a site that is not in front of a linear map.
    """
    resolved = resolve(decoder, site)
    if not resolved.site.is_input:
        raise ValueError(
            f"{site}: no linear map reads it alone; choose mlp.down_proj:in or self_attn.o_proj:in"
        )
    row, null = row_and_null(direction, resolved.weight)
    positive, negative = sides.activations[site]
    mask = group_mask(token_groups, group).cpu()
    labels = np.arange(len(negative)) if clusters is None else np.asarray(clusters)
    effects = {}
    for name, part in (("direction", row + null), ("row", row), ("null", null), ("full", None)):
        values = positive
        if part is not None:
            if float(part.norm()) < 1e-6:
                continue
            unit = (part / part.norm()).to(negative)
            values = negative + ((positive - negative) @ unit)[..., None] * unit
        with torch.no_grad(), Patch(decoder, site, values, mask):
            moved = forward("negative").double() - sides.negative
        found = share_of_gap(moved.cpu().numpy(), sides, labels, seed)
        effects[name] = Effect(site, group, *found)
    apart = [separation(positive[mask], negative[mask], part) for part in (row, null)]
    return Illusion(site, float(row.square().sum()), effects, (apart[0], apart[1]))
