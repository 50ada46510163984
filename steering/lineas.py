"""LinEAS: affine maps at several sites, fitted end to end (arXiv:2503.10679, section 3).

The model is frozen; at each site sits a map T(h) = w * h + b. The loss is a sum over places of the
squared 1-D Wasserstein distances, unit by unit, between what the steered model computes on source
inputs and what the untouched one computes on target inputs (equation 5). A map early in the model
is thereby answerable for what becomes of it later, which a map fitted site by site is not.

Sparsity comes from a sparse-group lasso on (w - 1, b), applied as proximal steps: soft thresholds
on numbers, then on the whole map of a site (equation 7). Units that do not matter are left alone
exactly: w = 1 and b = 0 to the last bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn

from pilotage.steering.captures import hook_site
from pilotage.steering.handles import HookHandles
from pilotage.steering.maps import AffineMap, map_of
from pilotage.steering.sites import resolve
from pilotage.steering.transport import wasserstein
from pilotage.steering.vectors import check_pairs

METHOD = "lineas arXiv:2503.10679"


@dataclass(frozen=True)
class LineasSettings:
    """steps: of gradient. rate: of learning, falling as a cosine to 0. lasso: the weight of both
    penalties; single, group: of each (lambda_1 and lambda_G of the paper)."""

    steps: int = 1000
    rate: float = 0.1
    lasso: float = 0.0
    single: float = 1.0
    group: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 1 or not self.rate > 0:
            raise ValueError(f"LinEAS: steps {self.steps} and rate {self.rate} must be > 0")
        if min(self.lasso, self.single, self.group) < 0:
            raise ValueError(
                f"LinEAS: lasso {self.lasso}, single {self.single} and group {self.group} must be "
                ">= 0"
            )


def proximal(change: torch.Tensor, single: float, group: float) -> torch.Tensor:
    """The proximal step of single |x|_1 + group |x|_2 on a site's (w - 1, b) `[2, d]`: each number
    moves towards 0 by `single`, then the whole by `group`; what would cross it is 0 exactly."""
    shrunk = change.sign() * (change.abs() - single).clamp_min(0)
    length = shrunk.norm()
    if float(length) <= group:
        return torch.zeros_like(change)
    return shrunk * (1 - group / length)


def lineas_at_site(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
    settings: LineasSettings | None = None,
) -> AffineMap:
    """One site on its own, from captured activations `[n, d]` of both sides: the same loss without
    a model behind it. Raises ValueError as `mean_difference` does."""
    check_pairs(positive, negative, site)
    settings = settings or LineasSettings()
    x, y = negative.double(), positive.double()
    # In units of the source's spread all coordinates learn at one pace, and a step stays a step.
    scale = x.std(0, correction=0).clamp_min(1e-6) if len(x) > 1 else torch.ones(x.shape[1])
    centre = x.mean(0)
    unit, goal = (x - centre) / scale, (y - centre) / scale

    def loss(changes: Sequence[torch.Tensor]) -> torch.Tensor:
        return wasserstein(unit + changes[0][0] * unit + changes[0][1], goal)

    (found,) = _descend(loss, [x.shape[1]], torch.float64, settings)
    gain, shift = found
    affine = torch.stack((1 + gain, shift * scale - gain * centre))
    origin = {"n_pairs": len(x), "lasso": settings.lasso, **(source or {})}
    return map_of(affine, x, site=site, model_digest=model_digest, method=METHOD, source=origin)


def lineas(
    decoder: nn.Module,
    forward: Callable[[], Any],
    targets: Mapping[str, torch.Tensor],
    sources: Mapping[str, torch.Tensor],
    mask: torch.Tensor,
    *,
    maps_at: Sequence[str],
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
    settings: LineasSettings | None = None,
) -> dict[str, AffineMap]:
    """Maps at the sites `maps_at`, for which the activations at all sites of `targets` agree.

    forward: runs the decoder on the source inputs, R rows of S tokens. mask: bool `[R, S]`, the
    tokens that are mapped and whose mean in each row is compared. targets, sources: by site
    float32 `[R, d]`, such means of the untouched model on the target and on the source inputs.
    Raises ValueError where these do not fit each other, and SiteError for an unknown site.
    """
    settings = settings or LineasSettings()
    missing = sorted(set(maps_at) - set(sources)) + sorted(set(targets) - set(sources))
    if not maps_at or missing:
        raise ValueError(f"LinEAS needs sites to map and source activations; missing: {missing}")
    for site in targets:
        check_pairs(targets[site], sources[site], site)
    with torch.inference_mode(False), torch.enable_grad():
        # Copies: what was captured in inference mode cannot be differentiated through.
        seen = {site: values.float().clone() for site, values in sources.items()}
        goals = {site: values.float().clone() for site, values in targets.items()}
        scales = {s: h.std(0, correction=0).clamp_min(1e-6) for s, h in seen.items()}
        centres = {s: h.mean(0) for s, h in seen.items()}
        network = _Steered(decoder, mask.clone(), list(maps_at), list(goals), scales, centres)

        def loss(changes: Sequence[torch.Tensor]) -> torch.Tensor:
            now = network.run(forward, changes)
            parts = [wasserstein(now[s] / scales[s], goals[s] / scales[s]) for s in goals]
            return torch.stack(parts).sum()

        widths = [resolve(decoder, site).width for site in maps_at]
        found = _descend(loss, widths, torch.float32, settings)
    made = {}
    for site, (gain, shift) in zip(maps_at, found, strict=True):
        affine = torch.stack((1 + gain, shift * scales[site] - gain * centres[site]))
        origin = {"n_pairs": len(mask), "lasso": settings.lasso, "compared_at": sorted(targets)}
        made[site] = map_of(
            affine,
            seen[site],
            site=site,
            model_digest=model_digest,
            method=METHOD,
            source={**origin, **(source or {})},
        )
    return made


class _Steered:
    """The frozen model with maps in it, which can be differentiated with respect to them."""

    def __init__(
        self,
        decoder: nn.Module,
        mask: torch.Tensor,
        maps_at: list[str],
        compared_at: list[str],
        scales: Mapping[str, torch.Tensor],
        centres: Mapping[str, torch.Tensor],
    ) -> None:
        self.decoder, self.mask = decoder, mask[..., None]
        self.maps_at, self.compared_at = maps_at, compared_at
        self.scales, self.centres = scales, centres
        self._seen: dict[str, torch.Tensor] = {}

    def run(
        self, forward: Callable[[], Any], changes: Sequence[torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """The means `[R, d]` at the compared sites."""
        self._seen = {}
        with ExitStack() as stack:
            handles = HookHandles()
            stack.callback(handles.remove)
            for site, change in zip(self.maps_at, changes, strict=True):
                hook_site(handles, resolve(self.decoder, site), partial(self._map, site, change))
            for site in self.compared_at:  # behind the maps, so that it sees what they did
                hook_site(handles, resolve(self.decoder, site), partial(self._keep, site))
            forward()
        missing = sorted(set(self.compared_at) - set(self._seen))
        if missing:
            raise ValueError(f"the forward did not run through {', '.join(missing)}")
        return self._seen

    def _map(self, site: str, change: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        scale, centre = self.scales[site], self.centres[site]
        moved = change[0] * (value - centre) + change[1] * scale
        return torch.where(self.mask, moved, 0.0).to(value.dtype)

    def _keep(self, site: str, value: torch.Tensor) -> None:
        weights = self.mask.to(value.dtype)
        self._seen[site] = (value * weights).sum(1) / weights.sum(1)


def _descend(
    loss: Callable[[Sequence[torch.Tensor]], torch.Tensor],
    widths: Sequence[int],
    dtype: torch.dtype,
    settings: LineasSettings,
) -> list[torch.Tensor]:
    """Proximal gradient steps from the identity; the changes (w - 1, b) `[2, d]` of each site, in
    units of the site's spread about its mean."""
    changes = [torch.zeros(2, width, dtype=dtype, requires_grad=True) for width in widths]
    for step in range(settings.steps):
        rate = settings.rate * 0.5 * (1 + math.cos(math.pi * step / settings.steps))
        gradients = torch.autograd.grad(loss(changes), changes)
        with torch.no_grad():
            for change, gradient in zip(changes, gradients, strict=True):
                new = change - rate * gradient
                weight = rate * settings.lasso
                change.copy_(proximal(new, weight * settings.single, weight * settings.group))
    return [change.detach() for change in changes]
