"""What a Steerer refuses, and how its arguments become arrays."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering.interventions import PHASES, Intervention
from pilotage.steering.sites import SiteError, resolve
from pilotage.steering.tokens import N_GROUPS, PAD, group_name


def check_fits(decoder: nn.Module, device: torch.device, intervention: Intervention) -> None:
    """Raise when an intervention does not fit the model: site, width or device."""
    if not isinstance(intervention, Intervention):
        raise TypeError(f"expected an Intervention, got {type(intervention).__name__}")
    site = resolve(decoder, intervention.site)
    found = site.weight.device
    if found != device:
        raise SiteError(f"{intervention.site} is on {found}, other layers on {device}")
    for part in (intervention, intervention.matched_to):
        if part is None:
            continue
        if part.direction is not None and len(part.direction) != site.width:
            raise ValueError(
                f"{part.kind} at {part.site}: the direction has {len(part.direction)} numbers, "
                f"the site {site.width}; was it made for another model?"
            )
        if part.gate is not None:
            read = resolve(decoder, part.gate.reads).width
            if part.gate.width != read:
                raise ValueError(
                    f"{part.kind} at {part.site}: the gate reads {part.gate.width} numbers, "
                    f"{part.gate.reads} has {read}; was it made for another model?"
                )
        if part.affine is not None and part.affine.shape[1] != site.width:
            raise ValueError(
                f"{part.kind} at {part.site}: the map is of {part.affine.shape[1]} units, the site "
                f"has {site.width}; was it made for another model?"
            )
        if part.neurons is not None and int(part.neurons.max()) >= site.width:
            raise ValueError(
                f"{part.kind} at {part.site}: neuron {int(part.neurons.max())} does not exist, "
                f"the site has {site.width}"
            )


def row_numbers(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """The same as int64 `[R]`. Raises ValueError unless they are distinct row numbers."""
    numbers = rows.astype(np.int64)
    inside = (numbers >= 0) & (numbers < n_rows)
    if numbers.ndim != 1 or not inside.all() or len(np.unique(numbers)) != len(numbers):
        raise ValueError(
            f"rows must be distinct numbers from 0 to {n_rows - 1}, got {numbers.tolist()}"
        )
    return numbers


def check_groups(groups: np.ndarray) -> None:
    """Raise ValueError for a token group id that does not exist."""
    if groups.size and (groups.min() < PAD or groups.max() >= N_GROUPS):
        worst = groups[(groups < PAD) | (groups >= N_GROUPS)][0]
        group_name(int(worst))


def phase_number(phase: str) -> int:
    """The index of a phase in `PHASES`."""
    if phase not in PHASES:
        raise ValueError(f"unknown phase {phase!r}; there are: {', '.join(PHASES)}")
    return PHASES.index(phase)


def host(values: Any) -> np.ndarray:
    """Anything array-like as numpy; a tensor on a device is copied (and waited for)."""
    if isinstance(values, torch.Tensor):
        return values.detach().cpu().numpy()
    return np.asarray(values)


def per_row(values: Any, n_rows: int, name: str) -> np.ndarray:
    """One value per row of a forward, `[R]`."""
    array = host(values)
    if array.shape != (n_rows,):
        raise ValueError(f"{name} has shape {array.shape}, expected [{n_rows}]")
    return array
