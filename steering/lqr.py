"""LQR: hold a measured quantity at a commanded value by a linear-quadratic controller.

Where the PID of `steering.feedback` is tuned by hand, here the gains follow from a model of how the
quantity answers to the multiplier (`steering.responses`) and from what deviations and effort cost.
With the relative error e = (x - target) / target, its running sum I, and the multiplier's distance
v from what the model says holds the target:

    e[t+1] = a e[t] + (b / target) v[t],   I[t+1] = I[t] + e[t]
    minimise the sum of e^2 + integral I^2 + effort v^2   =>   v = -K (e, I)

K comes from the discrete algebraic Riccati equation (Anderson & Moore, Optimal Control, 1990, ch.
2). The sum I makes the held value right also where c, or the gain b, is wrong; it stands still
while the multiplier is at a bound and the error would push it further out (no wind-up).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from pilotage.steering.feedback import (
    check_bounds,
    check_numbers,
    fields_of_spec,
    history_receipt,
)


@dataclass(frozen=True)
class LqrSetpoint:
    """What to hold, the response that is assumed, and what deviations and effort cost.

    quantity: the name of a sensor. target: in the sensor's unit, > 0. a, b, c: of a `Response`, b
    not 0. effort > 0: the price of the squared multiplier. integral > 0: of the squared sum of
    errors. low, high: bounds of the multiplier; start: its value before anything was measured.
    """

    quantity: str
    target: float
    a: float
    b: float
    c: float
    effort: float = 0.3
    integral: float = 0.02
    low: float = 0.0
    high: float = 2.0
    start: float = 0.0

    def __post_init__(self) -> None:
        names = ("target", "a", "b", "c", "effort", "integral", "low", "high", "start")
        check_numbers(self, names)
        check_bounds(self)
        for name in ("effort", "integral"):
            if getattr(self, name) <= 0:
                raise ValueError(
                    f"feedback on {self.quantity}: {name} must be > 0, got {getattr(self, name)}"
                )
        if self.b == 0:
            raise ValueError(
                f"feedback on {self.quantity}: b is 0: the multiplier does nothing to it, so "
                "nothing can be held; identify the response of an edit that has an effect"
            )

    @property
    def feedforward(self) -> float:
        """The multiplier at which the assumed response rests at the target."""
        return ((1.0 - self.a) * self.target - self.c) / self.b

    @property
    def gain(self) -> np.ndarray:
        """K of v = -K (e, I), float64 `[2]`."""
        forward = np.array([[self.a, 0.0], [1.0, 1.0]])
        push = np.array([[self.b / self.target], [0.0]])
        return riccati_gain(forward, push, np.diag([1.0, self.integral]), [[self.effort]])[0]

    def to_spec(self) -> dict[str, Any]:
        """JSON, all fields."""
        return {"law": "lqr", **asdict(self)}

    @classmethod
    def from_spec(cls, spec: Mapping[str, Any]) -> LqrSetpoint:
        """The inverse of `to_spec`; fields with a default may be left out.

        Raises ValueError for unknown or missing fields and values out of range.
        """
        return cls(**fields_of_spec(cls, spec, needed=("quantity", "target", "a", "b", "c")))

    def controller(self, dt: float) -> LqrController:
        """The controller of one episode. The response is per env step, so dt does not enter."""
        return LqrController(self)


class LqrController:
    """The LQR of one episode. Deterministic: the same measurements give the same multipliers."""

    def __init__(self, setpoint: LqrSetpoint) -> None:
        self.setpoint = setpoint
        self._gain, self._rest = setpoint.gain, setpoint.feedforward
        self._sum = 0.0
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
        error = (measured - s.target) / s.target
        wanted = self._rest - float(self._gain @ (error, self._sum))
        multiplier = min(max(wanted, s.low), s.high)
        further_out = -self._gain[1] * error * (wanted - multiplier) > 0
        if not further_out:
            self._sum += error
        self.measured.append(measured)
        self.multipliers.append(multiplier)
        return multiplier

    def receipt(self) -> dict[str, Any]:
        """As of a `feedback.Controller`, with the gains on e and I."""
        s = self.setpoint
        spec = {**s.to_spec(), "gain": [float(k) for k in self._gain]}
        return history_receipt(spec, self.measured, self.multipliers, (s.low, s.high))


def riccati_gain(forward: Any, push: Any, cost: Any, effort: Any) -> np.ndarray:
    """K `[m, n]` of u = -K z, which minimises the sum of z'Qz + u'Ru for z' = A z + B u.

    forward A `[n, n]`, push B `[n, m]`, cost Q `[n, n]`, effort R `[m, m]`. P solves the discrete
    algebraic Riccati equation; K = (R + B'PB)^-1 B'PA. Raises ValueError where there is no
    stabilising solution.
    """
    from scipy.linalg import solve_discrete_are

    a, b, r = (np.asarray(m, np.float64) for m in (forward, push, effort))
    try:
        p = solve_discrete_are(a, b, np.asarray(cost, np.float64), r)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"the system A = {a.tolist()}, B = {b.tolist()} has no stabilising LQR: {error}"
        ) from error
    return np.linalg.solve(r + b.T @ p @ b, b.T @ p @ a)
