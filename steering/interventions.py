"""Interventions as data: where, what, how much, and when.

Let h be the vector at a site (a token's residual stream, or its FFN neurons x), v a unit direction:

- `clamp`: x_i <- coefficient for i in `neurons` (arXiv:2509.00328, section 3)
- `add`: h <- h + coefficient * v (CAA, arXiv:2312.06681)
- `add_norm_preserving`: h <- |h| unit(unit(h) + coefficient * v) (VISTA, arXiv:2502.03628)
- `ablate`: h <- h - coefficient * (h.v) v (arXiv:2406.11717 at coefficient 1), or with `neurons`:
  x_i <- (1 - coefficient) x_i
- `affine`: h <- h + coefficient * (w * h + b - h), every unit on its own (arXiv:2503.10679, section
  3: 1 is the whole map, between 0 and 1 a part of the way)
- `setpoint`: h <- h + coefficient * (clip(h.v, low, high) - h.v) v, the shortest edit that brings
  what a linear probe reads into an interval (arXiv:2603.05487)
- `guided`: h <- h + coefficient * g * v, g in (0, 1) from a network that reads the row's state
  earlier in the same forward (arXiv:2505.20309; see `gates`)

Coefficient 0 is off for every kind, also for `clamp`: to hold neurons at zero, ablate them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import torch

from pilotage.steering.gates import Gate, check_order
from pilotage.steering.sites import Site, parse_site
from pilotage.steering.tokens import group_bits

KINDS = ("add", "add_norm_preserving", "ablate", "clamp", "affine", "setpoint", "guided")
_PAYLOADS = {"clamp": "neurons", "affine": "affine"}  # of the others: a direction
_IN_WORDS = {"direction": "a direction", "neurons": "neurons", "affine": "an affine map"}
PHASES = ("prefill", "decode")
_UNIT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Selector:
    """When and where an intervention acts: all given clauses must hold. None leaves a clause open.

    token_groups: names of `steering.tokens`. phases: of "prefill", "decode".
    decode_tokens: indices of decode forwards (0 is the first after the prefill); tokens of a
    prefill have no such index, so this clause excludes them. denoise_steps: indices of the forwards
    that denoise an action chunk (flow matching, diffusion); no other forward has such an index.
    env_steps: `(first, stop)`, half open. replans: the same over decisions, which a policy that
    acts in chunks makes every so many env steps (0 is the episode's first). Padding is never
    selected.
    """

    token_groups: frozenset[str] | None = None
    phases: frozenset[str] | None = None
    decode_tokens: tuple[int, ...] | None = None
    env_steps: tuple[int, int] | None = None
    replans: tuple[int, int] | None = None
    denoise_steps: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.token_groups is not None:
            object.__setattr__(self, "token_groups", _names(self.token_groups, "token_groups"))
            group_bits(self.token_groups)
        if self.phases is not None:
            object.__setattr__(self, "phases", _names(self.phases, "phases"))
            unknown = sorted(set(self.phases) - set(PHASES))
            if unknown:
                raise ValueError(f"unknown phases {unknown}; there are: {', '.join(PHASES)}")
        for name in ("decode_tokens", "denoise_steps"):
            self._check_indices(name)
        for name in ("env_steps", "replans"):
            self._check_span(name)

    def _check_indices(self, name: str) -> None:
        given = getattr(self, name)
        if given is None:
            return
        indices = tuple(sorted({int(i) for i in given}))
        if not indices or indices[0] < 0:
            raise ValueError(f"{name} must be indices >= 0, got {given}; None selects all")
        if name == "decode_tokens" and self.phases is not None and "decode" not in self.phases:
            raise ValueError("decode_tokens is given but phases excludes 'decode': nothing is left")
        object.__setattr__(self, name, indices)

    def _check_span(self, name: str) -> None:
        given = getattr(self, name)
        if given is None:
            return
        span = tuple(int(i) for i in given)
        if len(span) != 2 or not 0 <= span[0] < span[1]:
            raise ValueError(f"{name} must be (first, stop) with 0 <= first < stop, got {given}")
        object.__setattr__(self, name, span)

    def to_spec(self) -> dict[str, Any]:
        """JSON with the given clauses only."""
        spec: dict[str, Any] = {}
        for name in ("token_groups", "phases"):
            value = getattr(self, name)
            if value is not None:
                spec[name] = sorted(value)
        for name in ("decode_tokens", "env_steps", "replans", "denoise_steps"):
            value = getattr(self, name)
            if value is not None:
                spec[name] = list(value)
        return spec

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Selector:
        """The inverse of `to_spec`; unknown clauses are refused."""
        clauses = tuple(f.name for f in fields(cls))
        _refuse_unknown(spec, clauses, "selector")
        values = {name: spec[name] for name in clauses if spec.get(name) is not None}
        return cls(**values)


@dataclass(frozen=True, eq=False)
class Intervention:
    """One edit at one site. Immutable; validated when made.

    direction: unit float32 `[width of the site]` (add, add_norm_preserving, ablate, setpoint,
    guided).
    neurons: distinct int64 `[k]` (clamp, ablate), only at `:in` sites.
    affine: float32 `[2, width of the site]`, the slopes w and the offsets b.
    bounds: `(low, high)` of h.v (setpoint), equal for a point.
    gate: what decides how much of it a row gets (guided).
    coefficient: in units of the site's own vectors (add, guided), of |h| (norm-preserving), a share
    of the edit (ablate, affine, setpoint), an activation (clamp).
    matched_to: for a control, the intervention whose delivered norm it takes, per token.
    origin: JSON saying where the direction or the control came from (file and digest, or seed).
    """

    kind: str
    site: str
    coefficient: float
    direction: torch.Tensor | None = None
    neurons: torch.Tensor | None = None
    selector: Selector = field(default_factory=Selector)
    matched_to: Intervention | None = None
    origin: Mapping[str, Any] = field(default_factory=dict)
    affine: torch.Tensor | None = None
    bounds: tuple[float, float] | None = None
    gate: Gate | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown intervention kind {self.kind!r}; there are: {KINDS}")
        site = parse_site(self.site)
        object.__setattr__(self, "coefficient", float(self.coefficient))
        if not math.isfinite(self.coefficient):
            raise ValueError(f"{self.kind} at {site}: coefficient is {self.coefficient}")
        payload = _PAYLOADS.get(self.kind, "direction")
        if self.kind == "ablate" and self.neurons is not None:
            payload = "neurons"
        self._check_payload(payload, site)
        if payload == "neurons":
            self._check_neurons(site)
        elif payload == "affine":
            object.__setattr__(self, "affine", affine_pair(self.affine, str(site)))
        else:
            object.__setattr__(self, "direction", unit_direction(self.direction, str(site)))
        if self.matched_to is not None:
            self._check_match(self.matched_to)

    def _check_payload(self, payload: str, site: Site) -> None:
        """Exactly this payload is given, and bounds where they mean something."""
        given = [n for n in ("direction", "neurons", "affine") if getattr(self, n) is not None]
        if given != [payload]:
            raise ValueError(
                f"{self.kind} at {site} needs {_IN_WORDS[payload]} and nothing else, got "
                f"{' and '.join(_IN_WORDS[name] for name in given) or 'nothing'}"
            )
        if (self.gate is not None) != (self.kind == "guided"):
            raise ValueError(f"{self.kind} at {site}: a gate is for a guided edit, which needs one")
        if self.gate is not None:
            check_order(self.gate.reads, site)
        if (self.bounds is not None) != (self.kind == "setpoint"):
            raise ValueError(f"{self.kind} at {site}: bounds are for a setpoint, which needs them")
        if self.bounds is not None:
            bounds = tuple(float(x) for x in self.bounds)
            if len(bounds) != 2 or not (all(map(math.isfinite, bounds)) and bounds[0] <= bounds[1]):
                raise ValueError(f"setpoint at {site}: bounds must be low <= high, got {bounds}")
            object.__setattr__(self, "bounds", bounds)

    def _check_neurons(self, site: Site) -> None:
        if not site.is_input:
            raise ValueError(
                f"neurons live at the input of a projection, not at {site}; use layers."
                f"{site.layer}.mlp.down_proj:in or layers.{site.layer}.self_attn.o_proj:in"
            )
        neurons = torch.as_tensor(self.neurons).detach().cpu()
        if neurons.is_floating_point() or neurons.dim() != 1 or len(neurons) == 0:
            raise ValueError(f"neurons at {site} must be a non-empty list of integers")
        neurons = neurons.to(torch.int64).clone()
        if len(neurons.unique()) != len(neurons) or int(neurons.min()) < 0:
            raise ValueError(f"neurons at {site} must be distinct and >= 0: {neurons.tolist()}")
        object.__setattr__(self, "neurons", neurons)

    def _check_match(self, target: Intervention) -> None:
        for name in ("kind", "site", "coefficient", "selector", "n_neurons", "bounds", "gate"):
            mine, other = getattr(self, name), getattr(target, name)
            if mine != other:
                raise ValueError(
                    f"a matched control has the {name} of its target: {mine!r} is not {other!r}"
                )
        if target.matched_to is not None:
            raise ValueError("a control cannot be matched to another control")

    @property
    def n_neurons(self) -> int:
        """How many neurons are set; 0 for a direction."""
        return 0 if self.neurons is None else len(self.neurons)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of everything that decides what is delivered (not of `origin`)."""
        parts = hashlib.sha256()
        head: list[Any] = [self.kind, self.site, self.coefficient, self.selector.to_spec()]
        if self.bounds is not None:
            head.append(self.bounds)
        if self.gate is not None:
            head.append(self.gate.digest)
        parts.update(json.dumps(head, sort_keys=True).encode())
        for payload in (self.direction, self.neurons, self.affine):
            if payload is not None:
                parts.update(payload.numpy().tobytes())
        if self.matched_to is not None:
            parts.update(self.matched_to.digest.encode())
        return parts.hexdigest()

    def with_coefficient(self, coefficient: float) -> Intervention:
        """The same edit with another coefficient (also in the target of a control)."""
        target = self.matched_to
        if target is not None:
            target = target.with_coefficient(coefficient)
        return replace(self, coefficient=coefficient, matched_to=target)

    def to_spec(self, folder: Path | str | None = None) -> dict[str, Any]:
        """JSON that `from_spec` reads. Directions go by file and digest; see `specs`."""
        from pilotage.steering.specs import intervention_to_spec

        return intervention_to_spec(self, folder)

    @classmethod
    def from_spec(
        cls, spec: Mapping[str, Any], folder: Path | str | None = None, **options: Any
    ) -> Intervention:
        """Read `to_spec` JSON; vector files are looked up from `folder`. See `specs`."""
        from pilotage.steering.specs import intervention_from_spec

        return intervention_from_spec(spec, folder, **options)


def unit_direction(direction: Any, where: str) -> torch.Tensor:
    """A float32 unit vector `[d]`, renormalised in float64. Raises ValueError if it is not near
    unit.
    """
    vector = torch.as_tensor(direction).detach().to("cpu", torch.float64)
    if vector.dim() != 1:
        raise ValueError(f"the direction at {where} must be [d], got {list(vector.shape)}")
    length = float(vector.norm())
    if not math.isfinite(length):
        raise ValueError(f"the direction at {where} is not finite")
    if abs(length - 1.0) > _UNIT_TOLERANCE:
        raise ValueError(
            f"the direction at {where} has length {length:.6g}, not 1; divide by the length and "
            "put it into the coefficient"
        )
    return (vector / length).to(torch.float32)


def affine_pair(pair: Any, where: str) -> torch.Tensor:
    """Slopes and offsets as finite float32 `[2, d]`."""
    values = torch.as_tensor(pair).detach().to("cpu", torch.float32).clone()
    if values.dim() != 2 or len(values) != 2 or not torch.isfinite(values).all():
        raise ValueError(
            f"the affine map at {where} must be finite slopes and offsets [2, d], got "
            f"{list(values.shape)}"
        )
    return values


def _names(value: Any, what: str) -> frozenset[str]:
    if isinstance(value, str):
        raise ValueError(
            f"{what} must be a set of names, got the text {value!r}; write [{value!r}]"
        )
    names = frozenset(value)
    if not names:
        raise ValueError(f"{what} is empty: nothing would be selected; None selects all")
    return names


def _refuse_unknown(spec: Mapping[str, Any], known: tuple[str, ...], what: str) -> None:
    unknown = sorted(set(spec) - set(known))
    if unknown:
        raise ValueError(f"unknown {what} fields {unknown}; there are: {', '.join(known)}")
