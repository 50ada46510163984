"""Sensors: what a feedback controller measures of the body, from what the agent itself senses.

A sensor belongs to one slot and is made anew at each episode. `measure` takes the slot's
proprioception `[P]` of this env step; it returns None while there is nothing to compare with.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import numpy as np

from pilotage.envs.tabletop.layout import EE_CENTRE, EE_RANGE, STEP_SECONDS
from pilotage.episodes.names import unknown


class Sensor(Protocol):
    """Measures one quantity of one slot, step by step."""

    def measure(self, proprio: np.ndarray) -> float | None: ...


class HandSpeed:
    """Speed of the end effector over the last env step, m/s."""

    def __init__(self) -> None:
        self._before: np.ndarray | None = None

    def measure(self, proprio: np.ndarray) -> float | None:
        here = np.asarray(proprio[:3], dtype=np.float64) * EE_RANGE
        before, self._before = self._before, here
        return None if before is None else float(np.linalg.norm(here - before)) / STEP_SECONDS


class HandHeight:
    """Height of the end effector above the table, m."""

    def measure(self, proprio: np.ndarray) -> float | None:
        return float(proprio[2]) * EE_RANGE[2] + EE_CENTRE[2]


# world -> quantity -> sensor
SENSORS: dict[str, dict[str, Callable[[], Sensor]]] = {
    "tabletop": {"speed": HandSpeed, "height": HandHeight}
}
PERIODS_S = {"tabletop": STEP_SECONDS}  # between env steps


def make_sensor(world: str, quantity: str) -> Sensor:
    """KeyError listing what a world can measure."""
    there = SENSORS.get(world, {})
    if quantity not in there:
        if not there:
            raise KeyError(
                f"no quantity can be held in the world {world!r}; feedback works in: "
                f"{', '.join(SENSORS)}"
            )
        raise unknown("quantity", quantity, list(there))
    return there[quantity]()
