"""Steering vectors and neuron sets: what one run finds and another loads."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pilotage.steering import artefacts
from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.calibration import warn_outside
from pilotage.steering.interventions import Intervention, Selector, unit_direction
from pilotage.steering.sites import parse_site, resolve


@dataclass(frozen=True, eq=False)
class SteeringVector:
    """A direction at a site.

    direction: unit float32 `[d]`. norm: the natural length of the difference, so that an addition
    with coefficient `1.0 * norm` moves a token by the difference that was measured.
    model_digest: of the model it was measured in ("" if unknown). source: JSON, e.g. the episodes.
    calibration: `Calibration.to_json`, where the coefficient of a dose was searched for.
    """

    site: str
    direction: torch.Tensor
    norm: float
    model_digest: str = ""
    method: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""  # where it was loaded from
    calibration: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parse_site(self.site)
        if not (math.isfinite(self.norm) and self.norm > 0):
            raise ValueError(f"vector at {self.site}: the norm is {self.norm}; it must be > 0")
        object.__setattr__(self, "direction", unit_direction(self.direction, self.site))

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the direction's numbers."""
        return artefacts.payload_digest({"direction": self.direction})

    def intervention(
        self, scale: float = 1.0, *, kind: str = "add", selector: Selector | None = None
    ) -> Intervention:
        """An intervention along it; coefficient scale * norm for `add`, scale for others.

        CalibrationWarning outside of the calibrated range.
        """
        coefficient = scale * self.norm if kind == "add" else scale
        warn_outside(self.calibration, kind, coefficient, self.file or f"vector at {self.site}")
        return Intervention(
            kind,
            self.site,
            coefficient,
            direction=self.direction,
            selector=selector or Selector(),
            origin=artefacts.origin_of("vector", self),
        )


@dataclass(frozen=True)
class NeuronSet:
    """FFN neurons as `(layer, neuron)` pairs and the activation to clamp them to."""

    neurons: tuple[tuple[int, int], ...]
    alpha: float
    model_digest: str = ""
    method: str = ""
    source: Mapping[str, Any] = field(default_factory=dict, compare=False)

    def __post_init__(self) -> None:
        pairs = tuple(sorted((int(layer), int(neuron)) for layer, neuron in self.neurons))
        if not pairs or len(set(pairs)) != len(pairs) or min(min(p) for p in pairs) < 0:
            raise ValueError(f"neurons must be distinct (layer, neuron) pairs >= 0, got {pairs}")
        if not math.isfinite(self.alpha):
            raise ValueError(f"alpha is {self.alpha}; it must be finite")
        object.__setattr__(self, "neurons", pairs)

    def by_layer(self) -> dict[int, list[int]]:
        """The neurons of each layer."""
        layers: dict[int, list[int]] = {}
        for layer, neuron in self.neurons:
            layers.setdefault(layer, []).append(neuron)
        return layers

    def interventions(
        self, alpha: float | None = None, *, kind: str = "clamp", selector: Selector | None = None
    ) -> list[Intervention]:
        """One intervention per layer (arXiv:2509.00328); alpha None takes the set's own."""
        origin: dict[str, Any] = {"method": self.method}
        if self.model_digest:
            origin["model"] = self.model_digest
        return [
            Intervention(
                kind,
                f"layers.{layer}.mlp.down_proj:in",
                self.alpha if alpha is None else alpha,
                neurons=torch.tensor(neurons),
                selector=selector or Selector(),
                origin=origin,
            )
            for layer, neurons in self.by_layer().items()
        ]


def mean_difference(
    positive: torch.Tensor,
    negative: torch.Tensor,
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """Mean of paired differences of activations `[n, d]` (CAA, arXiv:2312.06681, section 3).

    Raises ValueError for unequal shapes, numbers that are not finite, and a difference of zero.
    """
    check_pairs(positive, negative, site)
    difference = (positive.double() - negative.double()).mean(0)
    norm = float(difference.norm())
    if norm == 0.0:
        raise ValueError(f"the mean difference at {site} is zero: the two sides are the same")
    origin = {"n_pairs": len(positive), **(source or {})}
    return SteeringVector(
        site, difference / norm, norm, model_digest, "mean_difference arXiv:2312.06681", origin
    )


def check_pairs(positive: torch.Tensor, negative: torch.Tensor, site: str) -> None:
    """ValueError unless both are finite, of one shape `[n, d]`, n >= 1."""
    if positive.dim() != 2 or positive.shape != negative.shape or len(positive) == 0:
        raise ValueError(
            f"positive {list(positive.shape)} and negative {list(negative.shape)} must be paired "
            "activations [n, d], n >= 1"
        )
    for name, values in (("positive", positive), ("negative", negative)):
        if not torch.isfinite(values).all():
            row = int((~torch.isfinite(values)).any(1).nonzero()[0])
            raise ValueError(f"{name} activations at {site}: row {row} is not finite")


def save_vector(vector: SteeringVector, path: Path | str) -> None:
    """Write a vector: safetensors with a JSON header; whole or not at all."""
    write_sited(vector, path, "steering vector", {"direction": vector.direction})


def load_vector(
    path: Path | str,
    decoder: nn.Module | None = None,
    *,
    model_digest: str | None = None,
    allow_other_model: bool = False,
) -> SteeringVector:
    """Read a vector and check that it fits.

    decoder: check the site and its width, and the digest (computed, unless `model_digest` is
    given). Raises FileNotFoundError, or ArtefactError naming the file and what is wrong.
    """
    expected = expected_digest(decoder, model_digest, allow_other_model)
    vector: SteeringVector = read_sited(
        SteeringVector, path, "steering vector", "direction", decoder
    )
    artefacts.check_model(path, vector.model_digest, expected, allow_other_model=allow_other_model)
    return vector


def write_sited(made: Any, path: Path | str, what: str, tensors: dict[str, torch.Tensor]) -> None:
    """Write what was measured at one site; whole or not at all."""
    header = {
        "site": made.site,
        "norm": made.norm,
        "model_digest": made.model_digest,
        "method": made.method,
        "source": dict(made.source),
    }
    if made.calibration:
        header["calibration"] = dict(made.calibration)
    artefacts.write(path, what, tensors, header)


def read_sited(
    make: Callable[..., Any], path: Path | str, what: str, tensor: str, decoder: nn.Module | None
) -> Any:
    """`make(site, tensor, norm, model_digest, method, source, file, calibration)` of what
    `write_sited` wrote. ArtefactError where it is none, or does not fit the site in `decoder`."""
    tensors, header = artefacts.read(path, what)
    try:
        made = make(
            header["site"],
            tensors[tensor],
            float(header["norm"]),
            header["model_digest"],
            header["method"],
            header["source"],
            str(path),
            header.get("calibration", {}),
        )
    except (KeyError, ValueError) as error:
        raise ArtefactError(f"{path}: {error}") from error
    if decoder is not None:
        units, width = tensors[tensor].shape[-1], _width_of(path, made.site, decoder)
        if units != width:
            raise ArtefactError(
                f"{path}: the {what} is of {units} units, {made.site} has {width} in this model"
            )
    return made


def save_neurons(neurons: NeuronSet, path: Path | str) -> None:
    """Write a neuron set: safetensors with a JSON header; whole or not at all."""
    header = {
        "alpha": neurons.alpha,
        "model_digest": neurons.model_digest,
        "method": neurons.method,
        "source": dict(neurons.source),
    }
    pairs = torch.tensor(neurons.neurons, dtype=torch.int64)
    artefacts.write(path, "neuron set", {"layer_neuron": pairs}, header)


def load_neurons(
    path: Path | str,
    decoder: nn.Module | None = None,
    *,
    model_digest: str | None = None,
    allow_other_model: bool = False,
) -> NeuronSet:
    """Read a neuron set and check that it fits; errors as in `load_vector`."""
    tensors, header = artefacts.read(path, "neuron set")
    try:
        pairs = tuple((int(a), int(b)) for a, b in tensors["layer_neuron"].tolist())
        neurons = NeuronSet(
            pairs,
            float(header["alpha"]),
            header["model_digest"],
            header["method"],
            header["source"],
        )
    except (KeyError, ValueError) as error:
        raise ArtefactError(f"{path}: {error}") from error
    if decoder is not None:
        for layer, members in neurons.by_layer().items():
            site = f"layers.{layer}.mlp.down_proj:in"
            width = _width_of(path, site, decoder)
            if max(members) >= width:
                raise ArtefactError(f"{path}: neuron {max(members)} at {site}, which has {width}")
    expected = expected_digest(decoder, model_digest, allow_other_model)
    artefacts.check_model(path, neurons.model_digest, expected, allow_other_model=allow_other_model)
    return neurons


def _width_of(path: Path | str, site: str, decoder: nn.Module) -> int:
    """The width of a file's site in this model. Raises ArtefactError where it has none."""
    try:
        return resolve(decoder, site).width
    except ValueError as error:
        raise ArtefactError(f"{path}: {error}") from error


def expected_digest(decoder: nn.Module | None, digest: str | None, allow_other: bool) -> str | None:
    """The model digest that a file must have; None: any."""
    if digest is None and decoder is not None and not allow_other:
        return artefacts.model_digest(decoder)
    return digest
