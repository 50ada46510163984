"""Agents without a model for the continuous world: VLN-CE's floors, and recorded actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from pilotage.agents.scripted import ScriptedAgent
from pilotage.episodes.types import Condition, Observations, Seeds, Task

STOP, FORWARD, LEFT, RIGHT = range(4)


class RandomContinuousAgent(ScriptedAgent):
    """VLN-CE's random agent: every action from the same distribution (arXiv:2004.02857)."""

    agent_id = "random"
    probabilities = (0.02, 0.68, 0.15, 0.15)  # stop, forward, left, right

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._rngs = [np.random.default_rng(0) for _ in range(n_slots)]
        self._steps = np.cumsum(self.probabilities)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._rngs[slot] = np.random.default_rng(seeds.noise)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        drawn = np.array([rng.random() if on else 1.0 for rng, on in zip(self._rngs, active)])
        return np.minimum(np.searchsorted(self._steps, drawn, side="right"), RIGHT)


class HandcraftedAgent(ScriptedAgent):
    """VLN-CE's handcrafted agent: turn to a random heading, go 37 times forward, stop.

    37 moves are the mean length of the experts' traces.
    """

    agent_id = "handcrafted"
    n_forward = 37

    def __init__(self, turn_deg: int = 15) -> None:
        self.n_turns = 360 // turn_deg

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._turns = np.zeros(n_slots, np.int64)
        self._moves = np.zeros(n_slots, np.int64)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._turns[slot] = np.random.default_rng(seeds.noise).integers(self.n_turns)
        self._moves[slot] = self.n_forward

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        turning = self._turns > 0
        going = ~turning & (self._moves > 0)
        self._turns -= active & turning
        self._moves -= active & going
        return np.select([turning, going], [RIGHT, FORWARD], STOP)


class ReplayAgent(ScriptedAgent):
    """Carries out recorded actions, then stops: `actions` maps task ids to them. Privileged."""

    agent_id = "replay"

    def __init__(self, actions: Mapping[str, Sequence[int]]) -> None:
        self._actions = actions

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._plans: list[Sequence[int]] = [()] * n_slots
        self._steps = np.zeros(n_slots, np.int64)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        if task.task_id not in self._actions:
            raise ValueError(f"there are no recorded actions for task {task.task_id!r}")
        self._plans[slot], self._steps[slot] = self._actions[task.task_id], 0

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        chosen = np.full(len(active), STOP)
        for slot in np.flatnonzero(active).tolist():
            plan, step = self._plans[slot], int(self._steps[slot])
            if step < len(plan):
                chosen[slot] = plan[step]
        self._steps += active
        return chosen
