"""Affine maps per unit at a site: what the transport methods find and another run loads.

T(h) = w * h + b, every unit on its own. Unlike an addition it moves each token by another amount,
so its natural norm is a mean over the activations that it was fitted to.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pilotage.steering import artefacts
from pilotage.steering.calibration import warn_outside
from pilotage.steering.interventions import Intervention, Selector, affine_pair
from pilotage.steering.sites import parse_site
from pilotage.steering.vectors import (
    SteeringVector,
    expected_digest,
    load_vector,
    read_sited,
    write_sited,
)

_WHAT = "affine map"


@dataclass(frozen=True, eq=False)
class AffineMap:
    """A map per unit at a site.

    affine: float32 `[2, d]`, slopes and offsets. norm: mean |T(h) - h| over the source activations,
    so that coefficient `scale` moves such a token by `scale * norm` on average.
    model_digest, method, source, calibration: as in `SteeringVector`.
    """

    site: str
    affine: torch.Tensor
    norm: float
    model_digest: str = ""
    method: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""  # where it was loaded from
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_site(self.site)
        if not (math.isfinite(self.norm) and self.norm > 0):
            raise ValueError(
                f"map at {self.site}: the norm is {self.norm}; it must be > 0; a map that moves "
                "nothing steers nothing (of a sparse one: ask for a smaller lasso)"
            )
        object.__setattr__(self, "affine", affine_pair(self.affine, self.site))

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the slopes and offsets."""
        return artefacts.payload_digest({"affine": self.affine})

    @property
    def n_units(self) -> int:
        """How many units the map moves."""
        return int(((self.affine[0] != 1) | (self.affine[1] != 0)).sum())

    def moved(self, h: torch.Tensor) -> torch.Tensor:
        """T(h) - h of activations `[n, d]`."""
        slope, offset = self.affine.to(h)
        return (slope - 1) * h + offset

    def intervention(
        self, scale: float = 1.0, *, kind: str = "affine", selector: Selector | None = None
    ) -> Intervention:
        """The edit h + scale (T(h) - h). CalibrationWarning outside of the calibrated range."""
        warn_outside(self.calibration, kind, scale, self.file or f"map at {self.site}")
        return Intervention(
            kind,
            self.site,
            scale,
            affine=self.affine,
            selector=selector or Selector(),
            origin=artefacts.origin_of("map", self),
        )


Artefact = SteeringVector | AffineMap


def map_of(
    affine: torch.Tensor,
    activations: torch.Tensor,
    *,
    site: str,
    model_digest: str,
    method: str,
    source: Mapping[str, Any],
) -> AffineMap:
    """An `AffineMap` whose norm is measured on source activations `[n, d]`."""
    h = activations.double()
    change = (affine[0].double() - 1) * h + affine[1].double()
    norm = float(change.norm(dim=1).mean())
    return AffineMap(site, affine, norm, model_digest, method, source)


def save_map(made: AffineMap, path: Path | str) -> None:
    """Write a map: safetensors with a JSON header; whole or not at all."""
    write_sited(made, path, _WHAT, {"affine": made.affine})


def load_map(
    path: Path | str,
    decoder: nn.Module | None = None,
    *,
    model_digest: str | None = None,
    allow_other_model: bool = False,
) -> AffineMap:
    """Read a map and check that it fits; arguments and errors as in `load_vector`."""
    expected = expected_digest(decoder, model_digest, allow_other_model)
    made: AffineMap = read_sited(AffineMap, path, _WHAT, "affine", decoder)
    artefacts.check_model(path, made.model_digest, expected, allow_other_model=allow_other_model)
    return made


def load_edit(path: Path | str, **options: Any) -> Artefact:
    """A vector or a map, whichever the file holds; options as in `load_vector`."""
    if artefacts.kind_of(path) == _WHAT:
        return load_map(path, **options)
    return load_vector(path, **options)
