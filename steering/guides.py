"""Guides: a network that decides how much of given vectors a state gets; fitted, saved, applied.

Weighted activation steering (Guiding Giants, arXiv:2505.20309) as the paper describes it. What its
published code does otherwise, and is done here as written: the gate is a sigmoid also when it is
applied (a raw logit would subtract the vectors from states that ask for nothing), and the state is
read before the first edited layer, so that all layers' weights act in the same forward.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering import artefacts
from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.gates import Gate
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.vectors import SteeringVector

_WHAT = "guide"
_TENSORS = ("directions", "norms", "inner", "outer")


@dataclass(frozen=True, eq=False)
class Guide:
    """Vectors at L sites, and the network that says how much of each a state gets.

    reads: where the state is read, "layers.<i>.resid:in". directions: unit float32 `[L, d]`; norms:
    natural lengths, float32 `[L]`. inner: float32 `[k, d + 1]`; outer: float32 `[1 + L, k + 1]`,
    the gate's row first; last columns are biases. model_digest, method, source: as in
    `SteeringVector`.
    """

    reads: str
    sites: tuple[str, ...]
    directions: torch.Tensor
    norms: torch.Tensor
    inner: torch.Tensor
    outer: torch.Tensor
    model_digest: str = ""
    method: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""  # where it was loaded from

    def __post_init__(self) -> None:
        object.__setattr__(self, "sites", tuple(self.sites))
        n = len(self.sites)
        if not n or len(set(self.sites)) != n:
            raise ValueError(f"a guide needs distinct sites, got {list(self.sites)}")
        for name, rows in (("directions", n), ("norms", n), ("outer", n + 1)):
            if len(getattr(self, name)) != rows:
                raise ValueError(
                    f"a guide of {n} sites needs {rows} rows of {name}, got "
                    f"{len(getattr(self, name))}"
                )
        if not (self.norms > 0).all():
            raise ValueError(f"a guide's norms must be > 0, got {self.norms.tolist()}")
        self.interventions()  # refuses what makes no sense

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the numbers."""
        return artefacts.payload_digest({name: getattr(self, name) for name in _TENSORS})

    def gate(self, site: str) -> Gate:
        """The network for one of its sites. KeyError lists them."""
        place = self._place(site)
        return Gate(self.reads, self.inner, self.outer[[0, 1 + place]])

    def intervention(
        self, site: str, scale: float = 1.0, *, selector: Selector | None = None
    ) -> Intervention:
        """The guided edit at one of its sites; `scale` times the vector's natural norm where the
        gate is open."""
        place = self._place(site)
        return Intervention(
            "guided",
            site,
            scale * float(self.norms[place]),
            direction=self.directions[place],
            gate=self.gate(site),
            selector=selector or Selector(),
            origin=artefacts.origin_of(_WHAT, self),
        )

    def interventions(
        self, scale: float = 1.0, *, selector: Selector | None = None
    ) -> list[Intervention]:
        """One guided edit for each site."""
        return [self.intervention(site, scale, selector=selector) for site in self.sites]

    def gates(self, states: torch.Tensor) -> torch.Tensor:
        """sigmoid(s) of states `[n, d]`, in (0, 1), without the layers' weights."""
        hidden = torch.relu(states.float() @ self.inner[:, :-1].T + self.inner[:, -1])
        return torch.sigmoid(hidden @ self.outer[0, :-1] + self.outer[0, -1])

    def save(self, path: Path | str) -> None:
        """Write it: safetensors with a JSON header; whole or not at all."""
        header = {
            "reads": self.reads,
            "sites": list(self.sites),
            "model_digest": self.model_digest,
            "method": self.method,
            "source": dict(self.source),
        }
        artefacts.write(path, _WHAT, {n: getattr(self, n).contiguous() for n in _TENSORS}, header)

    @classmethod
    def load(
        cls, path: Path | str, *, model_digest: str | None = None, allow_other_model: bool = False
    ) -> Guide:
        """Read what `save` wrote. FileNotFoundError, or ArtefactError saying what is wrong."""
        tensors, header = artefacts.read(path, _WHAT)
        try:
            made = cls(
                header["reads"],
                tuple(header["sites"]),
                **{name: tensors[name] for name in _TENSORS},
                model_digest=header["model_digest"],
                method=header["method"],
                source=header["source"],
                file=str(path),
            )
        except (KeyError, ValueError) as error:
            raise ArtefactError(f"{path}: {error}") from error
        artefacts.check_model(
            path, made.model_digest, model_digest, allow_other_model=allow_other_model
        )
        return made

    def _place(self, site: str) -> int:
        if site not in self.sites:
            raise KeyError(f"this guide has no site {site}; there are: {', '.join(self.sites)}")
        return self.sites.index(site)


@dataclass(frozen=True)
class GuideFit:
    """How a guide is trained. weight_pull: of the layers' weights towards their given shares."""

    n_hidden: int = 32
    n_updates: int = 600
    learning_rate: float = 3e-3
    weight_decay: float = 1e-2
    weight_pull: float = 0.1
    seed: int = 0


def fit_guide(
    vectors: Sequence[SteeringVector],
    states: np.ndarray,
    wanted: np.ndarray,
    *,
    reads: str,
    shares: Sequence[float] | None = None,
    fit: GuideFit | None = None,
    source: Mapping[str, Any] | None = None,
) -> Guide:
    """Train the network on labelled states: binary cross-entropy of the gate, and on the states
    that want the edit the squared distance of the layers' weights from `shares`.

    states: float `[n, d]`, read at `reads`. wanted: bool `[n]`, whether the edit should act there.
    shares: of each vector, in (0, 1); evenly 1 / 2 where not given. Deterministic for a seed.
    Raises ValueError unless both labels occur and the vectors are of one model.
    """
    fit = fit or GuideFit()
    labels = np.asarray(wanted, dtype=bool)
    if len(states) != len(labels) or labels.all() or not labels.any():
        raise ValueError(
            f"a guide needs states that want the edit and that do not: {len(states)} states, "
            f"{int(labels.sum())} of {len(labels)} labels say yes"
        )
    models = sorted({v.model_digest for v in vectors})
    if len(models) != 1:
        raise ValueError(f"a guide needs vectors of one model, got {models or 'no vectors'}")
    h = torch.from_numpy(np.asarray(states, np.float64)).float()
    aims = torch.full((len(vectors),), 0.5) if shares is None else torch.tensor(shares)
    inner, outer = _train(h, torch.from_numpy(labels).float(), aims, fit)
    return Guide(
        reads,
        tuple(v.site for v in vectors),
        torch.stack([v.direction for v in vectors]),
        torch.tensor([v.norm for v in vectors]),
        inner,
        outer,
        models[0],
        "weighted activation steering arXiv:2505.20309",
        {"n_states": len(h), "share_wanted": float(labels.mean()), **(source or {})},
    )


def _train(
    h: torch.Tensor, wanted: torch.Tensor, aims: torch.Tensor, fit: GuideFit
) -> tuple[torch.Tensor, torch.Tensor]:
    """inner `[k, d + 1]` and outer `[1 + L, k + 1]`, for states as they are."""
    middle, spread = h.mean(0), h.std(0) + 1e-6
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False):
        torch.manual_seed(fit.seed)
        first = nn.Linear(h.shape[1], fit.n_hidden)
        second = nn.Linear(fit.n_hidden, 1 + len(aims))
    optimiser = torch.optim.AdamW(
        [*first.parameters(), *second.parameters()],
        lr=fit.learning_rate,
        weight_decay=fit.weight_decay,
    )
    x = (h - middle) / spread
    for _ in range(fit.n_updates):
        out = second(torch.relu(first(x)))
        loss = nn.functional.binary_cross_entropy_with_logits(out[:, 0], wanted)
        off = (torch.sigmoid(out[:, 1:]) - aims).square().mean(1)
        loss = loss + fit.weight_pull * (off * wanted).sum() / wanted.sum()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    with torch.no_grad():
        weight = first.weight / spread  # the standardisation goes into the first layer
        bias = first.bias - weight @ middle
        inner = torch.cat([weight, bias[:, None]], 1)
        return inner, torch.cat([second.weight, second.bias[:, None]], 1)
