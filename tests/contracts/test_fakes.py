"""The fakes obey the contracts, and the checks notice when a fake does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from pilotage.episodes.fakes import FakeAgent, FakeVectorEnv, make_fake_tasks
from pilotage.episodes.testing import ContractError, check_agent, check_vector_world
from pilotage.episodes.types import BASELINE, Condition, EndReason, Observations

TASKS = make_fake_tasks(6)
CONDITIONS = [BASELINE, Condition("slow", {"gain": 0.5})]


def test_the_fake_world_obeys() -> None:
    check_vector_world(FakeVectorEnv, TASKS)
    check_vector_world(lambda n: FakeVectorEnv(n, expert_actions=True), TASKS)


def test_the_fake_agent_obeys() -> None:
    records = check_agent(FakeAgent(), FakeVectorEnv, TASKS, CONDITIONS)
    assert len(records) == 12


class Leaky(FakeVectorEnv):
    """A slot's wind depends on what ran there before, too little for the first picture."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        before = self._steps.copy()
        answer = super().reset(seed=seed, options=options)
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        for slot in np.flatnonzero(mask & (before > 6)):
            self._rngs[slot].normal()
        return answer


class ChangesNeighbours(FakeVectorEnv):
    """A masked reset moves the others a little."""

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        answer = super().reset(seed=seed, options=options)
        answer[1]["trace"]["position"] += 1e-9 * self._steps[:, None]
        return answer


class SharedMemory(FakeVectorEnv):
    def _observe(self) -> dict[str, Any]:
        fresh = super()._observe()
        self.buffer = getattr(self, "buffer", fresh["rgb"])
        self.buffer[:] = fresh["rgb"]
        return fresh | {"rgb": self.buffer}


class NeighbourNoise(FakeVectorEnv):
    """One generator for all slots."""

    def reset(self, **kwargs: Any) -> Any:
        answer = super().reset(**kwargs)
        self._rngs[1:] = self._rngs[:1] * (self.num_envs - 1)
        return answer


class Endless(FakeVectorEnv):
    def step(self, actions: np.ndarray) -> Any:
        observations, rewards, terminated, truncated, infos = super().step(actions)
        infos["end_reason"] = [r if r != "step_limit" else "" for r in infos["end_reason"]]
        return observations, rewards, terminated, np.zeros_like(truncated), infos


class Restless(FakeVectorEnv):
    """Ended slots go on moving."""

    def step(self, actions: np.ndarray) -> Any:
        self._position[~self._live] += 0.01
        return super().step(actions)


class Forgiving(FakeVectorEnv):
    def step(self, actions: np.ndarray) -> Any:
        return super().step(np.clip(np.nan_to_num(actions), -1, 1))


class ResetsAll(FakeVectorEnv):
    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        if options and self._tasks[0] is not None:
            tasks = [new or old for new, old in zip(options["tasks"], self._tasks, strict=True)]
            options = {"reset_mask": np.ones(self.num_envs, bool), "tasks": tasks}
        return super().reset(seed=seed, options=options)


@pytest.mark.parametrize(
    ("world", "rule"),
    [
        (Leaky, "what ran before"),
        (ChangesNeighbours, "masked reset changed the trace"),
        (SharedMemory, "memory"),
        (NeighbourNoise, "differs with"),
        (Endless, "went on after max_steps|flags"),
        (Restless, "ended slot changed"),
        (Forgiving, "accepted the action"),
        (ResetsAll, "masked reset changed slot"),
    ],
)
def test_a_world_that_breaks_a_rule_is_told_which(world: type[FakeVectorEnv], rule: str) -> None:
    with pytest.raises(ContractError, match=rule):
        check_vector_world(world, TASKS)


def test_tasks_that_never_reach_the_expected_end_are_refused() -> None:
    with pytest.raises(ContractError, match="give tasks that do"):
        check_vector_world(FakeVectorEnv, TASKS, expected_ends=[EndReason.COLLISION_LIMIT])


class SharedNoise(FakeAgent):
    def reset_slot(self, slot: int, *args: Any) -> None:
        super().reset_slot(slot, *args)
        self._rngs[:] = [self._rngs[slot]] * len(self._rngs)


class Batchy(FakeAgent):
    """Its action depends on the mean over all rows, active or not."""

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        mean = 1e-3 * observations["proprio"].mean()
        return np.clip(super().act(observations, active) + mean, -1, 1)


class Careless(FakeAgent):
    def prepare(self, conditions: Any, n_slots: int) -> None:
        super().prepare([], n_slots)


class Scribbler(FakeAgent):
    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        observations["proprio"][0] += 1
        return super().act(observations, active)


class Hysteretic(FakeAgent):
    """Keeps its generator from the episode before."""

    def reset_slot(self, slot: int, *args: Any) -> None:
        kept = self._rngs[slot]
        super().reset_slot(slot, *args)
        self._rngs[slot] = kept


@pytest.mark.parametrize(
    ("agent", "rule"),
    [
        (SharedNoise, "differs with"),
        (Batchy, "differs with"),
        (Careless, "unknown part"),
        (Scribbler, "act changed observation 'proprio'"),
        (Hysteretic, "differs with"),
    ],
)
def test_an_agent_that_breaks_a_rule_is_told_which(
    agent: Callable[[], FakeAgent], rule: str
) -> None:
    with pytest.raises(ContractError, match=rule):
        check_agent(agent(), FakeVectorEnv, TASKS, CONDITIONS)
