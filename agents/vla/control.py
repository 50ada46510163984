"""Controllers and guards of the slots: they measure at every step, and scale what steers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.agents.vla.conditions import AgentCondition
from pilotage.agents.vla.sensors import PERIODS_S, Sensor, make_sensor
from pilotage.agents.vla.watching import StateReader
from pilotage.steering.guard import GuardState
from pilotage.steering.laws import Controller


@dataclass
class Feedback:
    """The sensor and the controller of one slot's episode."""

    sensor: Sensor
    controller: Controller
    multiplier: float = math.nan  # of this step

    def step(self, proprio: np.ndarray) -> float:
        self.multiplier = self.controller.step(self.sensor.measure(proprio))
        return self.multiplier


class Controls:
    """One controller and one guard a row, where its condition has them.

    Raises ValueError for a condition that controls a quantity this world does not measure.
    """

    def __init__(self, world: str, conditions: Iterable[AgentCondition], n_rows: int) -> None:
        every = list(conditions)
        self._world = world
        for condition in every:
            if condition.feedback is not None:  # refused before any episode
                make_sensor(world, condition.feedback.quantity)
        self._has_feedback = any(c.feedback is not None for c in every)
        self._has_guard = any(c.guard is not None for c in every)
        self._feedback: list[Feedback | None] = [None] * n_rows
        self._guards: list[GuardState | None] = [None] * n_rows

    def begin(self, row: int, condition: AgentCondition) -> None:
        """An episode under `condition` begins in a row."""
        self._guards[row] = None if condition.guard is None else GuardState(condition.guard)
        self._feedback[row] = None
        if (target := condition.feedback) is not None:
            sensor = make_sensor(self._world, target.quantity)
            self._feedback[row] = Feedback(sensor, target.controller(PERIODS_S[self._world]))

    def measures_body(self, rows: Iterable[int]) -> bool:
        """Whether any of these rows has a controller, which needs proprioception."""
        return any(self._feedback[row] is not None for row in rows)

    def step(
        self, row: int, proprio: np.ndarray | None, states: StateReader | None
    ) -> float | None:
        """What the coefficients of a row are multiplied with at this step; None: left alone.

        proprio: float32 `[P]` of the row, or None where no row of this step has a controller.
        """
        feedback, guard = self._feedback[row], self._guards[row]
        if feedback is None and guard is None:
            return None
        multiplier = 1.0
        if feedback is not None and proprio is not None:
            multiplier = feedback.step(proprio)
        if guard is not None and states is not None:
            multiplier *= guard.step(states.state(guard.guard.probe.site, row))
        return multiplier

    def multiplier(self, row: int) -> float | None:
        """What the controller of a row chose at this step; None without one."""
        feedback = self._feedback[row]
        return None if feedback is None else feedback.multiplier

    def trace(self, n_slots: int) -> dict[str, np.ndarray]:
        """What the record keeps of this step, per slot; NaN where there is nothing to keep."""
        kept: dict[str, np.ndarray] = {}
        if self._has_feedback:
            kept["multiplier"] = np.array(
                [np.nan if f is None else f.multiplier for f in self._feedback[:n_slots]],
                dtype=np.float32,
            )
        if self._has_guard:
            guards = self._guards[:n_slots]
            rows = [(np.nan, np.nan) if g is None else (g.factor, g.probability) for g in guards]
            factor, probability = np.array(rows, dtype=np.float32).T
            kept |= {"guard_factor": factor, "guard_probability": probability}
        return kept

    def receipt(self, row: int) -> dict[str, Any]:
        """What the episode of a row got from its controller and its guard."""
        told: dict[str, Any] = {}
        if (feedback := self._feedback[row]) is not None:
            told["feedback"] = feedback.controller.receipt()
        if (guard := self._guards[row]) is not None:
            told["guard"] = guard.receipt()
        return told
