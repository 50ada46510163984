"""Matched random controls: the same count and the same delivered norm, aimed at nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import nn

from pilotage.steering.interventions import Intervention
from pilotage.steering.sites import resolve


def random_matched(
    intervention: Intervention,
    decoder: nn.Module | None,
    seed: int,
    *,
    orthogonal: bool = False,
) -> Intervention:
    """A random twin of an intervention, which delivers the same norm at every token.

    A direction becomes a random unit direction (`orthogonal`: at right angles to the target's);
    neurons become as many other neurons of the same layer; the slopes and offsets of an affine map
    are given to other units at random (as many of each, `orthogonal` or not). Same site,
    coefficient and selector.
    How the norm is matched, in the same forward: `add` by equal coefficients;
    `add_norm_preserving` by turning h by the same angle; `ablate`, `affine`, `setpoint` and neurons
    by rescaling per token to what the target operation would have delivered there. `decoder` says
    how many neurons there are; it may be None for the others.
    """
    width = _width(intervention, decoder)
    return random_matched_of_width(intervention, width, seed, orthogonal=orthogonal)


def random_matched_all(
    interventions: Sequence[Intervention],
    decoder: nn.Module,
    seed: int,
    *,
    orthogonal: bool = False,
) -> list[Intervention]:
    """A control for each intervention of a condition; the distribution over layers is kept."""
    return [random_matched(i, decoder, seed, orthogonal=orthogonal) for i in interventions]


def random_matched_of_width(
    intervention: Intervention, width: int, seed: int, *, orthogonal: bool = False
) -> Intervention:
    """`random_matched` for a known site width (the number of neurons, or of the direction)."""
    if intervention.matched_to is not None:
        raise ValueError("this is a control already; make the control of its target")
    generator = _generator(seed, intervention)
    origin = {"random_matched": {"seed": int(seed), "orthogonal": orthogonal, "width": width}}
    if intervention.neurons is not None:
        others = np.setdiff1d(np.arange(width), intervention.neurons.numpy())
        if len(others) < intervention.n_neurons:
            raise ValueError(
                f"{intervention.site} has {width} neurons; {intervention.n_neurons} others do not "
                "exist for a control"
            )
        chosen = np.sort(generator.choice(others, intervention.n_neurons, replace=False))
        return replace(
            intervention, neurons=torch.from_numpy(chosen), matched_to=intervention, origin=origin
        )
    if intervention.affine is not None:
        order = torch.from_numpy(generator.permutation(width))
        affine = intervention.affine[:, order]
        return replace(intervention, affine=affine, matched_to=intervention, origin=origin)
    direction = torch.from_numpy(generator.standard_normal(width))
    if orthogonal and intervention.direction is not None:
        target = intervention.direction.double()
        for _ in range(2):  # twice, for full precision
            direction = direction - (direction @ target) / (target @ target) * target
    direction = direction / direction.norm()
    return replace(intervention, direction=direction, matched_to=intervention, origin=origin)


def _width(intervention: Intervention, decoder: nn.Module | None) -> int:
    if intervention.direction is not None:
        return len(intervention.direction)
    if intervention.affine is not None:
        return intervention.affine.shape[1]
    if decoder is None:
        raise ValueError(f"a control for neurons at {intervention.site} needs the decoder")
    return resolve(decoder, intervention.site).width


def _generator(seed: int, intervention: Intervention) -> np.random.Generator:
    """A stream per seed and site: one seed gives independent draws at different layers."""
    site = hashlib.sha256(intervention.site.encode()).digest()[:8]
    return np.random.default_rng([int(seed), int.from_bytes(site, "little")])
