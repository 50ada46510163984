"""Guards: steering that lets go when a probe says that the episode is going wrong.

A success probe reads the probability of success out of a hidden state (what a frozen policy knows
about success: arXiv:2605.28527). A guard watches it while an edit acts: after `patience` steps in a
row below `threshold` the dose decays to nothing; after `resume_patience` steps in a row at or above
`resume` it comes back. resume >= threshold, so that the two do not alternate at every step.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.steering import artefacts
from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.feedback import fields_of_spec
from pilotage.steering.sites import parse_site

_WHAT = "success probe"


@dataclass(frozen=True, eq=False)
class SuccessProbe:
    """p(success) = logistic(weight . h + bias) of a hidden state h at a site.

    weight: float32 `[d]`. model_digest, method, source: as in `SteeringVector`.
    """

    site: str
    weight: torch.Tensor
    bias: float
    model_digest: str = ""
    method: str = ""
    source: Mapping[str, Any] = field(default_factory=dict)
    file: str = ""  # where it was loaded from

    def __post_init__(self) -> None:
        parse_site(self.site)
        weight = torch.as_tensor(self.weight).detach().to("cpu", torch.float32).clone()
        if weight.dim() != 1 or not torch.isfinite(weight).all() or not math.isfinite(self.bias):
            raise ValueError(
                f"the probe at {self.site} must be finite numbers [d], got {list(weight.shape)}, "
                f"bias {self.bias}"
            )
        object.__setattr__(self, "weight", weight)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of weight and bias."""
        return artefacts.payload_digest(self._tensors())

    def probability(self, h: Any) -> float:
        """Of one hidden state `[d]`, in (0, 1). ValueError for another width."""
        state = np.asarray(h, dtype=np.float64)
        if state.shape != tuple(self.weight.shape):
            raise ValueError(
                f"the probe at {self.site} reads {len(self.weight)} numbers, got {state.shape}"
            )
        logit = float(self.weight.double().numpy() @ state) + self.bias
        return 0.5 * (1.0 + math.tanh(0.5 * logit))  # the logistic function, without overflow

    def save(self, path: Path | str) -> None:
        """Write it: safetensors with a JSON header; whole or not at all."""
        header = {
            "site": self.site,
            "model_digest": self.model_digest,
            "method": self.method,
            "source": dict(self.source),
        }
        artefacts.write(path, _WHAT, self._tensors(), header)

    @classmethod
    def load(
        cls, path: Path | str, *, model_digest: str | None = None, allow_other_model: bool = False
    ) -> SuccessProbe:
        """Read what `save` wrote. FileNotFoundError, or ArtefactError saying what is wrong."""
        tensors, header = artefacts.read(path, _WHAT)
        try:
            made = cls(
                header["site"],
                tensors["weight"],
                float(tensors["bias"]),
                header["model_digest"],
                header["method"],
                header["source"],
                str(path),
            )
        except (KeyError, ValueError) as error:
            raise ArtefactError(f"{path}: {error}") from error
        artefacts.check_model(
            path, made.model_digest, model_digest, allow_other_model=allow_other_model
        )
        return made

    def _tensors(self) -> dict[str, torch.Tensor]:
        return {"weight": self.weight, "bias": torch.tensor(self.bias, dtype=torch.float64)}


def fit_success_probe(
    episodes: Sequence[np.ndarray],
    successes: Sequence[bool],
    *,
    site: str,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
    penalty: float = 100.0,
) -> SuccessProbe:
    """A logistic probe of whole episodes' outcomes on their steps' states.

    episodes: float `[T, d]` each; every episode weighs the same, however long it is. penalty: of
    the squared weights, on standardised states. Raises ValueError unless there are episodes of both
    outcomes.
    """
    from sklearn.linear_model import LogisticRegression

    if len(episodes) != len(successes) or len(set(map(bool, successes))) < 2:
        raise ValueError(
            f"a success probe needs episodes that succeed and that fail, got {len(episodes)} "
            f"episodes, {sum(map(bool, successes))} of {len(successes)} outcomes being successes"
        )
    states = np.concatenate([np.asarray(e, np.float64) for e in episodes])
    outcome = np.concatenate(
        [np.full(len(e), bool(s)) for e, s in zip(episodes, successes, strict=True)]
    )
    weights = np.concatenate([np.full(len(e), 1.0 / max(len(e), 1)) for e in episodes])
    middle, spread = states.mean(0), states.std(0) + 1e-6
    fitted = LogisticRegression(C=len(episodes) / penalty, max_iter=2000)
    fitted.fit((states - middle) / spread, outcome, sample_weight=weights)
    weight = fitted.coef_[0] / spread
    return SuccessProbe(
        site,
        torch.from_numpy(weight),
        float(fitted.intercept_[0] - weight @ middle),
        model_digest,
        "logistic regression on episode outcomes",
        {"n_episodes": len(episodes), "n_steps": len(states), "penalty": penalty, **(source or {})},
    )


@dataclass(frozen=True)
class Guard:
    """When to let go, and when to take up again; see the module's text.

    ramp_steps: env steps that the dose takes from full to nothing, and back.
    """

    probe: SuccessProbe
    threshold: float
    resume: float
    patience: int = 3
    resume_patience: int = 3
    ramp_steps: int = 4

    def __post_init__(self) -> None:
        where = f"guard at {self.probe.site}"
        if not 0.0 <= self.threshold <= self.resume <= 1.0:
            raise ValueError(
                f"{where}: need 0 <= threshold <= resume <= 1, got {self.threshold}, {self.resume}"
            )
        for name in ("patience", "resume_patience", "ramp_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{where}: {name} must be >= 1, got {getattr(self, name)}")

    @classmethod
    def from_spec(
        cls, spec: Mapping[str, Any], folder: Path | None, *, model_digest: str | None = None
    ) -> Guard:
        """Read a spec; its "probe" is `{"file": ..., "digest": ...}`, looked up from `folder`.

        Raises ValueError for unknown or missing fields, ArtefactError for a file that does not fit.
        """
        values = fields_of_spec(cls, spec, needed=("probe", "threshold", "resume"))
        given = dict(values["probe"])
        path = Path(folder or ".") / given["file"]
        probe = SuccessProbe.load(path, model_digest=model_digest)
        if given.get("digest", probe.digest) != probe.digest:
            raise ArtefactError(
                f"{path} has the probe {probe.digest}, the spec asks for {given['digest']}"
            )
        return cls(**{**values, "probe": replace(probe, file=given["file"])})


class GuardState:
    """The guard of one episode. Deterministic: the same probabilities give the same factors."""

    def __init__(self, guard: Guard) -> None:
        self.guard = guard
        self.engaged = True
        self._level = guard.ramp_steps  # of ramp_steps, so that nothing is nothing
        self._in_a_row = 0  # steps that speak for a change
        self._step = 0
        self.probability = math.nan  # of this step
        self._probabilities: list[float] = []
        self._factors: list[float] = []
        self._let_go: list[int] = []
        self._resumed: list[int] = []

    @property
    def factor(self) -> float:
        """What the dose is multiplied by, 0 to 1."""
        return self._level / self.guard.ramp_steps

    def step(self, h: Any) -> float:
        """The factor for this env step; h: the state `[d]` of the step before, None at the first.

        Raises ValueError where the probability is not a number.
        """
        self.probability = math.nan
        if h is not None:
            self.see(self.guard.probe.probability(h))
        self._factors.append(self.factor)
        self._step += 1
        return self.factor

    def see(self, probability: float) -> None:
        """Take note of a probability of success."""
        g = self.guard
        if math.isnan(probability):
            raise ValueError(f"guard at {g.probe.site}: the probability of success is not a number")
        self.probability = probability
        self._probabilities.append(probability)
        wants_change = probability < g.threshold if self.engaged else probability >= g.resume
        self._in_a_row = self._in_a_row + 1 if wants_change else 0
        if self._in_a_row >= (g.patience if self.engaged else g.resume_patience):
            (self._let_go if self.engaged else self._resumed).append(self._step)
            self.engaged, self._in_a_row = not self.engaged, 0
        self._level += 1 if self.engaged else -1
        self._level = min(max(self._level, 0), g.ramp_steps)

    def receipt(self) -> dict[str, Any]:
        """JSON: the guard, when it let go and resumed (env steps), what it read and allowed."""
        g, seen = self.guard, self._probabilities
        return {
            "probe": {"site": g.probe.site, "digest": g.probe.digest, "file": g.probe.file},
            "threshold": g.threshold,
            "resume": g.resume,
            "patience": g.patience,
            "resume_patience": g.resume_patience,
            "ramp_steps": g.ramp_steps,
            "n_read": len(seen),
            "min_probability": min(seen) if seen else None,
            "mean_probability": float(np.mean(seen)) if seen else None,
            "let_go_at": list(self._let_go),
            "resumed_at": list(self._resumed),
            "mean_factor": float(np.mean(self._factors)) if self._factors else None,
        }
