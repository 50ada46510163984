"""Feedback: hold a measured quantity at a commanded value by the coefficient of a steering edit.

A constant coefficient says how hard to push; what comes of it depends on the scene and on the phase
of the task. A controller measures the quantity at every env step and sets a multiplier of the
edit's coefficients, so that the command is in the quantity's own units. It is a PID in discrete
time (after CTRL-STEER, arXiv:2606.00269, which drives clamped neurons so); with the relative error
e = (target - measured) / target:

    I <- clip(I + ki s e dt, low, high)      (clamped, so that it does not wind up at a bound)
    multiplier = clip(kp s e + I - kd s (measured - before) / (target dt), low, high)

with s = -1 where more of the edit makes the quantity fall. The derivative is of the measurement, so
a change of the command gives no kick. A bound may be reached and the command not: the receipt says
for what share of the steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Setpoint:
    """What to hold, and how hard to try.

    quantity: the name of a sensor. target: in the sensor's unit, > 0. kp, ki (1/s), kd (s): gains
    on the relative error. sign: 1, or -1 where the quantity falls as the multiplier grows. low,
    high: bounds of the multiplier; start: its value at the first step, before anything was
    measured.
    """

    quantity: str
    target: float
    kp: float = 0.5
    ki: float = 5.0
    kd: float = 0.0
    sign: float = 1.0
    low: float = 0.0
    high: float = 2.0
    start: float = 0.0

    def __post_init__(self) -> None:
        check_numbers(self, ("target", "kp", "ki", "kd", "sign", "low", "high", "start"))
        if self.sign not in (1.0, -1.0):
            raise ValueError(f"feedback on {self.quantity}: sign must be 1 or -1, got {self.sign}")
        check_bounds(self)
        if min(self.kp, self.ki, self.kd) < 0:
            raise ValueError(
                f"feedback on {self.quantity}: gains must be >= 0, got kp {self.kp}, ki {self.ki}, "
                f"kd {self.kd}; where the quantity falls as the multiplier grows, set sign to -1"
            )

    def to_spec(self) -> dict[str, Any]:
        """JSON, all fields."""
        return asdict(self)

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> Setpoint:
        """The inverse of `to_spec`; fields with a default may be left out.

        Raises ValueError for unknown or missing fields and values out of range.
        """
        return cls(**fields_of_spec(cls, spec, needed=("quantity", "target")))

    def controller(self, dt: float) -> Controller:
        """The PID of one episode; dt: seconds between measurements."""
        return Controller(self, dt)


class Controller:
    """The PID of one episode. Deterministic: the same measurements give the same multipliers."""

    def __init__(self, setpoint: Setpoint, dt: float) -> None:
        """dt: seconds between measurements."""
        self.setpoint, self.dt = setpoint, dt
        self._integral = setpoint.start
        self._before: float | None = None
        self.measured: list[float] = []
        self.multipliers: list[float] = []

    def step(self, measured: float | None) -> float:
        """The multiplier for this env step. measured: None while there is nothing to measure yet.

        Raises ValueError for a measurement that is not finite.
        """
        s = self.setpoint
        if measured is None:
            self.multipliers.append(s.start)
            return s.start
        if not math.isfinite(measured):
            raise ValueError(f"feedback on {s.quantity}: the sensor says {measured}")
        error = s.sign * (s.target - measured) / s.target
        rise = 0.0
        if self._before is not None:
            rise = s.sign * (measured - self._before) / (s.target * self.dt)
        self._integral = min(max(self._integral + s.ki * error * self.dt, s.low), s.high)
        wanted = s.kp * error + self._integral - s.kd * rise
        multiplier = min(max(wanted, s.low), s.high)
        self._before = measured
        self.measured.append(measured)
        self.multipliers.append(multiplier)
        return multiplier

    def receipt(self) -> dict[str, Any]:
        """JSON: the command, and over the steps at which something was measured: the quantity, the
        multiplier, and the share of them at which it stood at a bound."""
        s = self.setpoint
        return history_receipt(s.to_spec(), self.measured, self.multipliers, (s.low, s.high))


def check_numbers(setting: Any, names: Sequence[str]) -> None:
    """Make these fields of a frozen setting floats. ValueError for one that is not finite."""
    for name in names:
        where = f"feedback on {setting.quantity}"
        try:
            value = float(getattr(setting, name))
        except TypeError as error:
            raise ValueError(
                f"{where}: {name} is {getattr(setting, name)!r}, not a number"
            ) from error
        object.__setattr__(setting, name, value)
        if not math.isfinite(value):
            raise ValueError(f"{where}: {name} is {value}")


def check_bounds(setting: Any) -> None:
    """ValueError unless target > 0 and low <= start <= high, low < high."""
    where = f"feedback on {setting.quantity}"
    if setting.target <= 0:
        raise ValueError(f"{where}: target must be > 0, got {setting.target}")
    if not setting.low <= setting.start <= setting.high or setting.low == setting.high:
        raise ValueError(
            f"{where}: need low <= start <= high and low < high, got "
            f"{setting.low}, {setting.start}, {setting.high}"
        )


def fields_of_spec(cls: Any, spec: Mapping[str, Any], *, needed: Sequence[str]) -> dict[str, Any]:
    """A spec as arguments of a dataclass. ValueError for unknown or missing fields."""
    known = [f.name for f in fields(cls)]
    unknown = sorted(set(spec) - set(known))
    missing = [name for name in needed if name not in spec]
    if unknown or missing:
        raise ValueError(
            f"feedback spec: unknown fields {unknown}, missing {missing}; "
            f"there are: {', '.join(known)}"
        )
    return dict(spec)


def history_receipt(
    spec: Mapping[str, Any],
    measured: Sequence[float],
    multipliers: Sequence[float],
    bounds: tuple[float, float],
) -> dict[str, Any]:
    """A setting's JSON, and what came of it over the steps at which something was measured."""
    counted = multipliers[len(multipliers) - len(measured) :]
    at_bound = [m in bounds for m in counted]
    return {
        **spec,
        "n_measured": len(measured),
        "mean_measured": float(np.mean(measured)) if measured else None,
        "mean_multiplier": float(np.mean(counted)) if counted else None,
        "share_at_bound": float(np.mean(at_bound)) if at_bound else None,
    }
