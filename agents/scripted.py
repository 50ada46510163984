"""Agents without a network: the world's own expert, and a random one. Baselines of every table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task


class ScriptedAgent:
    """What scripted agents share: no network, so no condition but the empty one."""

    agent_id = "plain"
    observation_needs: frozenset[str] = frozenset()

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        refused = [c.name for c in conditions if c.spec]
        if refused:
            raise ValueError(
                f"agent {self.agent_id!r} has no network to steer; conditions {refused} need one"
            )

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        """Nothing to remember."""

    def step_trace(self) -> dict[str, np.ndarray]:
        return {}

    def finish_slot(self, slot: int) -> dict[str, Json]:
        return {}


class ExpertAgent(ScriptedAgent):
    """Does what the world's scripted expert would do: privileged, the ceiling of a table."""

    agent_id = "expert"
    observation_needs = frozenset({"expert_action"})

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        return np.array(observations["expert_action"], copy=True)


class RandomAgent(ScriptedAgent):
    """Uniform actions, from each episode's own noise seed: the floor of a table.

    In a discrete world it never stops of its own accord more than `stop_probability` of the time,
    else every episode would end at its start.
    """

    agent_id = "random"

    def __init__(self, action_space: Any, *, stop_probability: float = 0.02) -> None:
        self.action_space = action_space
        self.stop_probability = stop_probability
        self._rngs: list[np.random.Generator] = []

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._rngs = [np.random.default_rng(0) for _ in range(n_slots)]

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._rngs[slot] = np.random.default_rng(seeds.noise)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        chosen = [self._draw(rng) for rng in self._rngs]
        return np.array(chosen, dtype=self.action_space.dtype)

    def _draw(self, rng: np.random.Generator) -> Any:
        if hasattr(self.action_space, "n"):
            if rng.random() < self.stop_probability:
                return 0
            return rng.integers(1, self.action_space.n)
        low, high = self.action_space.low, self.action_space.high
        return rng.uniform(low, high).astype(self.action_space.dtype)
