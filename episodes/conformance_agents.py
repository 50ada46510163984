"""The contract of an agent, checked."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .conformance import ContractError, MakeWorld, World, require, require_same
from .loop import run_episodes
from .types import (
    BASELINE,
    Agent,
    Condition,
    EpisodeRecord,
    Observations,
    Task,
    canonical_json,
)


def check_agent(
    agent: Agent,
    make_env: MakeWorld,
    tasks: Sequence[Task],
    conditions: Sequence[Condition] = (BASELINE,),
    *,
    seed: int = 0,
    n_slots: Sequence[int] = (2, 3),
    allow_errors: bool = False,
) -> list[EpisodeRecord]:
    """Check the contract of an agent in a world made by `make_env(n_slots)`; returns its records.

    Checked: identity and manifest, that an unknown condition is refused, that observations are not
    changed, that inactive rows do not matter, and that records are bit-identical when repeated, in
    reverse order, and for every number of slots in `n_slots` (compared with 1).

    Raises ContractError; episodes that end by an error are one, unless `allow_errors`.
    """
    require(isinstance(agent, Agent), f"{type(agent).__name__} lacks methods of the protocol")
    require(isinstance(agent.agent_id, str) and agent.agent_id, "agent_id is empty")
    canonical_json(agent.manifest())
    _check_unknown_condition(agent)
    world = make_env(1)
    watched = _Watched(agent)
    reference = watched.play(world, tasks, conditions, seed)
    if not allow_errors:
        errors = [record.error for record in reference if record.end.is_error]
        require(not errors, f"episodes ended by errors: {errors[:3]}")
    again = watched.play(world, tasks, conditions, seed)
    world.close()
    require_same(reference, again, "a second run of the same agent")
    for n in n_slots:
        world = make_env(n)
        records = watched.play(world, tasks, conditions, seed)
        require_same(reference, records, f"{n} slots instead of 1")
        records = watched.play(world, tasks[::-1], conditions, seed)
        require_same(reference, records, f"{n} slots, tasks in reverse order")
        world.close()
    return reference


def _check_unknown_condition(agent: Agent) -> None:
    try:
        agent.prepare([Condition("nonsense", {"no-such-part": 1})], 1)
    except Exception as error:
        require(str(error), "the refusal of an unknown condition has no message")
    else:
        raise ContractError("prepare accepted a condition with the unknown part 'no-such-part'")


class _Watched:
    """Passes everything on to an agent, and checks each `act` on the way.

    Rows of inactive slots are filled with noise, so an agent that looks at them is found out.
    """

    def __init__(self, agent: Agent) -> None:
        self._agent = agent
        self.agent_id = agent.agent_id
        self.observation_needs = agent.observation_needs
        self.manifest = agent.manifest
        self.prepare = agent.prepare
        self.reset_slot = agent.reset_slot
        self.step_trace = agent.step_trace
        self.finish_slot = agent.finish_slot
        self._rng = np.random.default_rng(0)
        self._broken: list[str] = []

    def play(
        self, world: World, tasks: Sequence[Task], conditions: Sequence[Condition], seed: int
    ) -> list[EpisodeRecord]:
        """Run the agent; ContractError for what `act` did wrong (the loop would record it)."""
        records = run_episodes(world, self, tasks, conditions, seed=seed)
        require(not self._broken, "; ".join(self._broken[:3]))
        return records

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        shown = {name: self._scrambled(values, active) for name, values in observations.items()}
        kept = {
            name: values.copy() for name, values in shown.items() if isinstance(values, np.ndarray)
        }
        mask = active.copy()
        actions = self._agent.act(shown, active)
        if (active != mask).any():
            self._broken.append("act changed `active`")
        for name, values in kept.items():
            if not np.array_equal(values, shown[name]):
                self._broken.append(f"act changed observation {name!r}")
        return actions

    def _scrambled(self, values: Any, active: np.ndarray) -> Any:
        if not isinstance(values, np.ndarray):
            return tuple(v if on else "noise" for v, on in zip(values, active, strict=True))
        noisy = values.copy()
        idle = ~active
        noise = self._rng.integers(0, 2, noisy[idle].shape)
        noisy[idle] = noise.astype(noisy.dtype)
        return noisy
