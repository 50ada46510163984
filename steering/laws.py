"""Laws: the ways to set a multiplier from what is measured, found by name.

A setting is plain data that a condition carries; its controller lives for one episode.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from pilotage.steering.feedback import Setpoint
from pilotage.steering.lqr import LqrSetpoint
from pilotage.steering.responses import Excitation


class Controller(Protocol):
    """Sets the multiplier of one episode, step by step."""

    def step(self, measured: float | None) -> float:
        """The multiplier for this env step; None while there is nothing to measure yet."""

    def receipt(self) -> dict[str, Any]:
        """JSON: the setting, and what came of it."""


class Setting(Protocol):
    """What to measure, and what to do about it."""

    @property
    def quantity(self) -> str:
        """The name of a sensor."""

    def controller(self, dt: float) -> Controller:
        """A fresh controller; dt: seconds between measurements."""

    def to_spec(self) -> dict[str, Any]:
        """JSON that `setting_from_spec` reads."""


def setting_from_spec(spec: Mapping[str, Any]) -> Setting:
    """The setting that a spec describes; its "law" is "pid" where it does not say.

    Raises ValueError for an unknown law, and as the setting itself does.
    """
    rest = {name: value for name, value in spec.items() if name != "law"}
    law = spec.get("law", "pid")
    if law == "pid":
        return Setpoint.from_spec(rest)
    if law == "lqr":
        return LqrSetpoint.from_spec(rest)
    if law == "excite":
        return Excitation.from_spec(rest)
    raise ValueError(f"unknown feedback law {law!r}; there are: pid, lqr, excite")
