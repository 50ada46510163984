"""Holding what a linear probe reads, by the smallest edit that does it (arXiv:2603.05487).

Where `steering.feedback` needs a sensor and several steps to reach a command, a probe
zeta = w.h + b that reads the quantity inside the model gives the edit at once, in closed form:

    dh = (clip(zeta, low, high) - zeta) w / |w|^2

which is the shortest dh with w.(h + dh) + b in [low, high], and none where it is inside already.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch

from pilotage.steering.interventions import Intervention, Selector


def probe_setpoint(
    weight: torch.Tensor,
    bias: float,
    *,
    site: str,
    low: float,
    high: float | None = None,
    share: float = 1.0,
    selector: Selector | None = None,
    origin: Mapping[str, Any] | None = None,
) -> Intervention:
    """A `setpoint` intervention for a probe `weight [d]`, `bias`, in the probe's own unit.

    low, high: the interval to hold; without `high`, the one value. share: how much of the way, 1
    for all. Raises ValueError for a probe of zeros, and for low > high.
    """
    w = torch.as_tensor(weight).detach().double()
    length = float(w.norm())
    if w.dim() != 1 or not (math.isfinite(length) and length > 0 and math.isfinite(bias)):
        raise ValueError(
            f"the probe at {site} must be finite [d] and not zero, got {list(w.shape)} of length "
            f"{length:g}, bias {bias:g}"
        )
    ends = (low, low if high is None else high)
    return Intervention(
        "setpoint",
        site,
        share,
        direction=w / length,
        bounds=((ends[0] - bias) / length, (ends[1] - bias) / length),
        selector=selector or Selector(),
        origin={"probe": {"length": length, "bias": float(bias)}, **(origin or {})},
    )
