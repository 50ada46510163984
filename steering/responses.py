"""Responses: how a measured quantity answers to the multiplier of an edit, found by least squares.

The model is of first order, x[t+1] = a x[t] + b u[t] + c, with x the quantity and u the multiplier
that was set after x[t] was measured. To identify it the multiplier has to vary within episodes:
`Excitation` is a "controller" that measures and does not react, but plays random levels.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pilotage.steering.feedback import fields_of_spec, history_receipt

MIN_STEPS = 8  # fewer say nothing about three numbers


@dataclass(frozen=True)
class Response:
    """x[t+1] = a x[t] + b u[t] + c; c in the quantity's unit, b in that unit per multiplier.

    n_steps: pairs of steps that it was fitted to. residual: root mean square of what is left, in
    the quantity's unit. r_squared: the share of the variance of x[t+1] that it explains.
    """

    a: float
    b: float
    c: float
    n_steps: int
    residual: float
    r_squared: float

    def to_json(self) -> dict[str, Any]:
        """All fields."""
        return asdict(self)


def identify(episodes: Iterable[tuple[np.ndarray, np.ndarray]]) -> Response:
    """Fit a response to episodes `(x [T], u [T])`; pairs of steps do not cross episodes.

    Raises ValueError where shapes differ, a number is not finite, there are too few steps, or x and
    u did not vary independently, so that a, b and c cannot be told apart.
    """
    rows, answers = [np.zeros((0, 3))], [np.zeros(0)]
    for number, (x, u) in enumerate(episodes):
        x, u = np.asarray(x, np.float64), np.asarray(u, np.float64)
        if x.ndim != 1 or x.shape != u.shape:
            raise ValueError(
                f"episode {number}: x has shape {x.shape}, u {u.shape}; expected two of [T]"
            )
        if not (np.isfinite(x).all() and np.isfinite(u).all()):
            raise ValueError(
                f"episode {number}: x or u is not finite; leave out the steps before the first "
                "measurement"
            )
        rows.append(np.stack([x[:-1], u[:-1], np.ones(max(len(x) - 1, 0))], axis=1))
        answers.append(x[1:])
    design, answer = np.concatenate(rows), np.concatenate(answers)
    if len(answer) < MIN_STEPS:
        raise ValueError(
            f"a response needs {MIN_STEPS} pairs of steps or more, got {len(answer)}; play more "
            "episodes"
        )
    found, _, rank, _ = np.linalg.lstsq(design, answer, rcond=1e-10)
    if rank < design.shape[1]:
        raise ValueError(
            "the quantity and the multiplier did not vary independently, so the response cannot be "
            "identified; play levels that change within episodes (Excitation)"
        )
    left = answer - design @ found
    spread = float(np.var(answer))
    explained = 1.0 - float(np.mean(left**2)) / spread if spread > 0 else 0.0
    a, b, c = (float(v) for v in found)
    return Response(a, b, c, len(answer), float(np.sqrt(np.mean(left**2))), explained)


@dataclass(frozen=True)
class Excitation:
    """Plays levels of the multiplier at random, each for `hold_steps` env steps, and measures.

    seed: the same seed plays the same levels in every episode.
    """

    quantity: str
    levels: tuple[float, ...]
    hold_steps: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        levels = tuple(float(v) for v in self.levels)
        object.__setattr__(self, "levels", levels)
        if len(set(levels)) < 2 or not all(map(math.isfinite, levels)):
            raise ValueError(f"excitation of {self.quantity}: needs two levels, got {levels}")
        if self.hold_steps < 1:
            raise ValueError(
                f"excitation of {self.quantity}: hold_steps must be >= 1, got {self.hold_steps}"
            )

    def to_spec(self) -> dict[str, Any]:
        """JSON, all fields."""
        return {"law": "excite", **asdict(self), "levels": list(self.levels)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Excitation:
        """The inverse of `to_spec`. Raises ValueError for unknown or missing fields."""
        return cls(**fields_of_spec(cls, spec, needed=("quantity", "levels")))

    def controller(self, dt: float) -> ExcitationLaw:
        """The levels of one episode."""
        return ExcitationLaw(self)


class ExcitationLaw:
    """The levels of one episode, step by step; see `Excitation`."""

    def __init__(self, setting: Excitation) -> None:
        self.setting = setting
        self._rng = np.random.default_rng(setting.seed)
        self._level = 0.0
        self.measured: list[float] = []
        self.multipliers: list[float] = []

    def step(self, measured: float | None) -> float:
        """The level of this env step, whatever was measured."""
        if len(self.multipliers) % self.setting.hold_steps == 0:
            self._level = float(self._rng.choice(self.setting.levels))
        if measured is not None:
            self.measured.append(measured)
        self.multipliers.append(self._level)
        return self._level

    def receipt(self) -> dict[str, Any]:
        """As of a `feedback.Controller`."""
        levels: Sequence[float] = self.setting.levels
        bounds = (min(levels), max(levels))
        return history_receipt(self.setting.to_spec(), self.measured, self.multipliers, bounds)
