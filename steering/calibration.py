"""The coefficient at which an edit reaches a given dose, found by measuring; and what to remember.

Methods are compared at equal dose. The dose may be how far the edit carries a vector, ||dh|| /
||h||, or how far the distribution of the next token moves (arXiv:2506.10920, section 4.2, searches
for the coefficient of a given KL). Either grows from 0 with the coefficient, by and large: the
search doubles an interval until it holds the target, then halves it. Where a measurement shows that
the dose does not grow all the way, a scan from 0 on takes the halving's place, so that the
coefficient is the smallest one; the result says which of the two it was.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal

import torch

from pilotage.steering.diagnostics import NATURAL

N_HALVINGS = 40
N_SCAN = 32
_SLACK = 1e-3  # of the target: falls of the measure below it are noise
How = Literal["halving", "scan", "jump", "not reached"]


class CalibrationWarning(UserWarning):
    """An edit is used at a coefficient that nobody measured when it was calibrated."""


@dataclass(frozen=True)
class Calibration:
    """A coefficient and what was measured there.

    target, reached: of the measure. tried: the least and the greatest coefficient measured, 0 among
    them. how: "halving"; "scan" where the measure does not grow all the way; "jump" where it skips
    the target (the coefficient is just before) and "not reached" where it stays below (the
    coefficient is that of the largest measured). measure: "kl" or "norm", kind: of the
    intervention. natural: the coefficients that leave a typical vector in its natural range, see
    `natural_range`.
    """

    target: float
    reached: float
    coefficient: float
    tried: tuple[float, float]
    how: How
    n_measured: int
    measure: str = ""
    kind: str = ""
    natural: tuple[float, float] | None = None

    def to_json(self) -> dict[str, Any]:
        """For the header of an artefact."""
        found = asdict(self)
        found["tried"] = list(self.tried)
        found["natural"] = None if self.natural is None else list(self.natural)
        return found

    def named(
        self, measure: str, kind: str, natural: tuple[float, float] | None = None
    ) -> Calibration:
        """The same, saying what was measured and of which kind of edit."""
        return replace(self, measure=measure, kind=kind, natural=natural)

    def check(self) -> Calibration:
        """Itself. Raises ValueError where the target was not reached."""
        what = f"the {self.measure or 'measure'}"
        if self.how == "not reached":
            raise ValueError(
                f"up to a coefficient of {_farthest(self.tried):g} {what} stays below "
                f"{self.target:g} (at most {self.reached:g}): the edit hardly reaches the output; "
                "ask for less"
            )
        if self.how == "jump":
            raise ValueError(
                f"{what} jumps over {self.target:g} behind the coefficient {self.coefficient:g}; "
                "ask for another target"
            )
        return self


def calibrate(
    measure: Callable[[float], float],
    target: float,
    *,
    first: float,
    limit: float,
    tolerance: float = 0.02,
) -> Calibration:
    """The coefficient at which `measure(coefficient)` is the target, within `tolerance` of it.

    measure: 0 at coefficient 0, where it is not asked. The interval begins at `first` (its sign
    says where to look) and is doubled until it holds the target, up to |coefficient| = `limit`.
    What `how` of the answer says is to be looked at; `check` refuses what is no answer.
    Raises ValueError for a target, a start or a limit that make no sense, and where the measure is
    not a number.
    """
    if not (target > 0 and first != 0 and abs(first) <= limit and tolerance > 0):
        raise ValueError(
            "need target > 0, 0 < |first| <= limit and tolerance > 0, got "
            f"{target}, {first}, {limit}, {tolerance}"
        )
    search = _Search(measure, target, tolerance)
    high = first
    while search(high) < target and not search.hit(high):
        if abs(high) == limit:
            return search.answer(search.largest(), "not reached")
        high = math.copysign(min(2 * abs(high), limit), high)
    how: How = "halving"
    found = search.halve(search.below(high), high)
    if not search.grows():
        how = "scan"
        found = search.scan(high)
    return search.answer(found, how if search.hit(found) else "jump")


def natural_range(
    kind: str, natural: torch.Tensor, direction: torch.Tensor | None
) -> tuple[float, float] | None:
    """The coefficients of an `add` or `add_norm_preserving` that leave the median vector between
    the 0.5 and 99.5 percentiles of what natural ones `[n, d]` have along the direction `[d]`.

    Of an addition they are in units of h; of a norm-preserving one in units of |h|, to first
    order. None for other kinds, which have no direction to go along.
    """
    if direction is None or kind not in ("add", "add_norm_preserving"):
        return None
    h = natural.double()
    along = h @ direction.double()
    quantiles = torch.tensor((NATURAL[0], 0.5, NATURAL[1]), dtype=torch.float64)
    low, middle, high = torch.quantile(along, quantiles).tolist()
    unit = float(h.norm(dim=1).median()) if kind == "add_norm_preserving" else 1.0
    return (low - middle) / unit, (high - middle) / unit


def warn_outside(calibration: Mapping[str, Any], kind: str, coefficient: float, where: str) -> None:
    """CalibrationWarning for a coefficient beyond those that were measured; 0 is always within.

    calibration: `Calibration.to_json`, or empty. Another kind of edit than was calibrated is not
    judged: its coefficient means something else.
    """
    if not calibration or calibration["kind"] != kind:
        return
    low, high = calibration["tried"]
    if low <= coefficient <= high:
        return
    natural = calibration.get("natural")
    more = "" if natural is None else f"; natural range {natural[0]:.4g} to {natural[1]:.4g}"
    warnings.warn(
        f"{where}: the coefficient {coefficient:.4g} is outside of the calibrated range {low:.4g} "
        f"to {high:.4g} ({calibration['measure']} {calibration['reached']:.4g} at "
        f"{calibration['coefficient']:.4g}){more}; what it does there was not measured",
        CalibrationWarning,
        stacklevel=3,
    )


class _Search:
    """What was measured so far."""

    def __init__(self, measure: Callable[[float], float], target: float, tolerance: float) -> None:
        self.measure, self.target, self.tolerance = measure, target, tolerance
        self.known: dict[float, float] = {0.0: 0.0}

    def __call__(self, coefficient: float) -> float:
        if coefficient not in self.known:
            value = float(self.measure(coefficient))
            if math.isnan(value):
                raise ValueError(f"the measure at the coefficient {coefficient:g} is not a number")
            self.known[coefficient] = value
        return self.known[coefficient]

    def hit(self, coefficient: float) -> bool:
        return math.isclose(self(coefficient), self.target, rel_tol=self.tolerance)

    def below(self, high: float) -> float:
        """The last coefficient measured before `high`."""
        return max((c for c in self.known if abs(c) < abs(high)), key=abs)

    def largest(self) -> float:
        return max(self.known, key=lambda c: self.known[c])

    def grows(self) -> bool:
        """Whether no measurement is clearly below one of a smaller coefficient."""
        values = [self.known[c] for c in sorted(self.known, key=abs)]
        falls = [a - b for a, b in pairwise(values)]
        return max(falls) <= _SLACK * self.target

    def halve(self, low: float, high: float) -> float:
        """Where the measure passes the target between two sides of it; the side before a jump."""
        if self.hit(high):
            return high
        for _ in range(N_HALVINGS):
            middle = 0.5 * (low + high)
            if self.hit(middle):
                return middle
            low, high = (middle, high) if self(middle) < self.target else (low, middle)
        return low

    def scan(self, end: float) -> float:
        """The first passage of the target on a grid from 0 to `end`, halved."""
        low = 0.0
        for k in range(1, N_SCAN + 1):
            high = end * k / N_SCAN
            if self(high) >= self.target or self.hit(high):
                return self.halve(low, high)
            low = high
        return low

    def answer(self, coefficient: float, how: How) -> Calibration:
        return Calibration(
            target=self.target,
            reached=self(coefficient),
            coefficient=coefficient,
            tried=(min(self.known), max(self.known)),
            how=how,
            n_measured=len(self.known) - 1,
        )


def _farthest(tried: tuple[float, float]) -> float:
    return max(tried, key=abs)
