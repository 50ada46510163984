"""Agents without a model for the graph world: the numbers that any other agent has to beat."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotage.agents.scripted import ExpertAgent, ScriptedAgent
from pilotage.episodes.types import Condition, Observations, Seeds, Task

STOP, RIGHT, FORWARD = 0, 2, 5  # of the view-based action space


class StopAgent(ScriptedAgent):
    """Stops where it starts: what is left of a metric when nothing is done."""

    agent_id = "stop"

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        return np.zeros(len(active), np.int64)


class ShortestAgent(ExpertAgent):
    """Walks a shortest path to the goal and stops there: privileged, the ceiling."""

    agent_id = "shortest"


class RandomWalkAgent(ScriptedAgent):
    """The random agent of Anderson et al. 2018 (arXiv:1711.07280), for view-based actions.

    It turns right 0 to 11 times, then goes forward five times to the place nearest to the middle of
    its view, turning right once where there is none, and stops; after 30 actions it stops anyway.
    """

    agent_id = "random"
    n_forward = 5
    budget = 30

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._turns = np.zeros(n_slots, np.int64)
        self._moves = np.zeros(n_slots, np.int64)
        self._steps = np.zeros(n_slots, np.int64)

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._turns[slot] = np.random.default_rng(seeds.noise).integers(12)
        self._moves[slot] = self._steps[slot] = 0

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        done = (self._moves >= self.n_forward) | (self._steps >= self.budget)
        turning = self._turns > 0
        free = np.asarray(observations["action_mask"])[:, FORWARD] == 1
        actions = np.where(turning | ~free, RIGHT, FORWARD)
        actions[done] = STOP
        self._turns -= active & turning
        self._moves += active & (actions == FORWARD)
        self._steps += active
        return actions
