"""What the conformance checks share: the error, a random agent, comparing records by bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import gymnasium as gym
import numpy as np

from .records import record_digest
from .types import Condition, EpisodeRecord, Json, Observations, Seeds, Task

World = gym.vector.VectorEnv[Any, Any, Any]
MakeWorld = Callable[[int], World]


class ContractError(AssertionError):
    """A world or an agent breaks a rule of its contract."""


def require(holds: Any, rule: str) -> None:
    """Raise ContractError with `rule` unless `holds`."""
    if not holds:
        raise ContractError(rule)


class RandomAgent:
    """Seeded random actions: what the world checks play with. Discrete: action 0 is rare."""

    agent_id = "random@0"
    observation_needs: frozenset[str] = frozenset()

    def __init__(self, space: gym.Space[Any]) -> None:
        self._space = space
        self._rngs: list[np.random.Generator] = []

    def manifest(self) -> dict[str, Json]:
        return {"kind": "random", "space": str(self._space)}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        self._rngs = [np.random.default_rng(0) for _ in range(n_slots)]

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._rngs[slot] = np.random.default_rng(seeds.agent)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        space = self._space
        actions = np.zeros((len(active), *space.shape), space.dtype)  # type: ignore[misc]
        for slot in np.flatnonzero(active):
            rng = self._rngs[slot]
            if isinstance(space, gym.spaces.Box):
                actions[slot] = rng.uniform(space.low, space.high)
            elif isinstance(space, gym.spaces.MultiDiscrete):
                actions[slot] = rng.integers(space.start, space.start + space.nvec)
            else:
                discrete = cast(gym.spaces.Discrete, space)
                stop = rng.random() < 0.01
                choice = 0 if stop else rng.integers(1, discrete.n)
                actions[slot] = discrete.start + choice
        return actions

    def step_trace(self) -> dict[str, np.ndarray]:
        return {}

    def finish_slot(self, slot: int) -> dict[str, Json]:
        return {}


def require_same(
    expected: Sequence[EpisodeRecord], found: Sequence[EpisodeRecord], what: str
) -> None:
    by_key = {record.key: record for record in found}
    for record in expected:
        other = by_key[record.key]
        if record_digest(record) != record_digest(other):
            where = f"task {record.task.task_id!r}, condition {record.condition!r}"
            raise ContractError(
                f"the record of {where} differs with {what}: {record_difference(record, other)}"
            )


def record_difference(a: EpisodeRecord, b: EpisodeRecord) -> str:
    """The first place where two records of one episode differ, in words; "" when they are equal."""
    for name in ("agent_id", "end", "success", "error", "receipt"):
        left, right = getattr(a, name), getattr(b, name)
        if left != right:
            return f"{name}: {left!r} and {right!r}"
    arrays = [_named_arrays(record) for record in (a, b)]
    if arrays[0].keys() != arrays[1].keys():
        return f"arrays {sorted(arrays[0])} and {sorted(arrays[1])}"
    for name, left in arrays[0].items():
        right = arrays[1][name]
        if (left.shape, left.dtype) != (right.shape, right.dtype):
            return f"{name}: {left.dtype} {left.shape} and {right.dtype} {right.shape}"
        if left.tobytes() != right.tobytes():
            step = next(t for t in range(len(left)) if left[t].tobytes() != right[t].tobytes())
            return f"{name} at step {step}: {left[step].ravel()[:8]} and {right[step].ravel()[:8]}"
    return "" if record_digest(a) == record_digest(b) else "task, condition or seeds"


def _named_arrays(record: EpisodeRecord) -> dict[str, np.ndarray]:
    arrays = {f"trace[{name!r}]": rows for name, rows in record.trace.items()}
    arrays |= {"rewards": record.rewards, "actions": record.actions}
    arrays |= {f"agent_trace[{name!r}]": rows for name, rows in record.agent_trace.items()}
    pictures = {"frames": record.frames, "depths": record.depths}
    return arrays | {name: rows for name, rows in pictures.items() if rows is not None}
