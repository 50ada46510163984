"""LQR through the layers: how far each set-point edit should go, given the layers behind it.

Layers as time steps of a linear system with feedback at every layer is the idea of A-LQR
(arXiv:2604.19018) and WA-LQR (arXiv:2607.14943); in a subspace of contrastive activations, of
LA-LQR (arXiv:2606.04775). Here the subspace is one direction a layer, so that what comes out are
the `setpoint` edits that exist. What is built is the control problem of this text; the papers'
full Jacobians, adaptive targets and denoising steps are not.

With e_l the distance of h.v_l from its target before the edit u_l of layer l, and slopes a_l fitted
to activations:

    e[l+1] = a_l (e_l + u_l),   minimise the sum over layers of (e_l + u_l)^2 + effort u_l^2

Backwards from the last layer, with s = 1 + a_l^2 p[l+1]:  u_l = -s / (effort + s) e_l and
p_l = effort s / (effort + s). So each edit goes a share in (0, 1) of the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.sites import parse_site
from pilotage.steering.vectors import SteeringVector, check_pairs


def layer_shares(slopes: Sequence[float], effort: float) -> list[float]:
    """The share of its way that the edit at each of `len(slopes) + 1` layers goes, first to last.

    Raises ValueError unless effort > 0 and the slopes are finite.
    """
    if not (effort > 0 and all(map(math.isfinite, (*slopes, effort)))):
        raise ValueError(
            f"effort must be > 0 and slopes finite, got effort {effort}, slopes {list(slopes)}"
        )
    shares, later = [], 0.0
    for slope in (0.0, *reversed(slopes)):  # nothing comes after the last layer
        s = 1.0 + slope**2 * later
        shares.append(s / (effort + s))
        later = effort * s / (effort + s)
    return shares[::-1]


def layer_slopes(readings: np.ndarray) -> list[float]:
    """Slopes a_l of z[l+1] on z[l], by least squares with an offset; readings: float `[n, L]`.

    Raises ValueError where a layer's reading does not vary.
    """
    z = np.asarray(readings, np.float64)
    centred = z - z.mean(0)
    spread = (centred**2).sum(0)
    flat = np.flatnonzero(spread[:-1] <= 1e-12 * np.maximum(1.0, (z**2).sum(0)[:-1]))
    if len(flat):
        raise ValueError(
            f"readings of layer number {flat[0]} are all {z[0, flat[0]]:g}, so what the next layer "
            "makes of them cannot be told; give activations of different inputs"
        )
    return [float(centred[:, k] @ centred[:, k + 1] / spread[k]) for k in range(z.shape[1] - 1)]


def layer_lqr(
    vectors: Sequence[SteeringVector],
    sides: Mapping[str, tuple[torch.Tensor, torch.Tensor]],
    *,
    effort: float,
    selector: Selector | None = None,
) -> list[Intervention]:
    """Set-point edits that bring h.v of every layer to what it is on the positive side on average.

    vectors: one a layer, in the order of the layers. sides: by site, positive and negative
    activations float `[n, d]`, the rows being the same inputs at every site. effort: the price of
    the squared edit beside that of the squared distance, > 0.
    Raises ValueError for vectors out of order and activations that do not fit.
    """
    layers = [parse_site(v.site).layer for v in vectors]
    if not layers or sorted(set(layers)) != layers:
        raise ValueError(f"give vectors of distinct layers, first to last, got layers {layers}")
    readings, targets = [], []
    for vector in vectors:
        positive, negative = sides[vector.site]
        check_pairs(positive, negative, vector.site)
        direction = vector.direction.double()
        targets.append(float((positive.double() @ direction).mean()))
        readings.append((torch.cat([positive, negative]).double() @ direction).numpy())
    slopes = layer_slopes(np.stack(readings, axis=1))
    shares = layer_shares(slopes, effort)
    origin: dict[str, Any] = {"layer_lqr": {"effort": effort, "slopes": slopes}}
    return [
        Intervention(
            "setpoint",
            vector.site,
            share,
            direction=vector.direction,
            bounds=(target, target),
            selector=selector or Selector(),
            origin=origin,
        )
        for vector, share, target in zip(vectors, shares, targets, strict=True)
    ]
