"""Agents of `pilotage/AliasedRoom-v0`: a map from the walk that is shown, a plan on it, the way."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from pilotage.agents.explorers import told_of
from pilotage.agents.scripted import ScriptedAgent
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task
from pilotage.planners.cscg import CSCG, map_walk
from pilotage.planners.schemas import Binding, Schema

STOP = 0  # move k of `ACTIONS` is action k + 1

# (symbols int64 [T], moves int64 [T - 1], step, seed) -> the moves from the end of the walk to
# where it was at that step; none where it knows no way.
Plan = Callable[[np.ndarray, np.ndarray, int, int], Sequence[int]]


class RecallAgent(ScriptedAgent):
    """Plans once, when an episode begins, carries the plan out, and stops behind its end.

    Args:
        plan: see `Plan`; its seed is the episode's seed of the agent.
        name: for tables.
        about: what else identifies the agent, for its manifest.
    """

    def __init__(self, plan: Plan, *, name: str, about: Mapping[str, Json] | None = None) -> None:
        self.agent_id, self._plan, self._about = name, plan, dict(about or {})
        self._seeds: list[int] = []
        self._todo: list[deque[int] | None] = []
        self._n_planned: list[int] = []

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id, **self._about}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._seeds, self._todo, self._n_planned = [0] * n_slots, [None] * n_slots, [0] * n_slots

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._seeds[slot], self._todo[slot] = seeds.agent, None

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions int64 [n]; inactive slots stop."""
        actions = np.full(len(active), STOP, np.int64)
        for slot in np.flatnonzero(active).tolist():
            todo = self._todo[slot]
            if todo is None:
                todo = self._todo[slot] = self._planned(observations, slot)
                self._n_planned[slot] = len(todo)
            actions[slot] = todo.popleft() if todo else STOP
        return actions

    def _planned(self, observations: Observations, slot: int) -> deque[int]:
        symbols = observations["walk_symbols"][slot]
        symbols = symbols[symbols >= 0]
        moves = observations["walk_actions"][slot][: len(symbols) - 1] - 1
        step = int(observations["goal_step"][slot])
        return deque(1 + move for move in self._plan(symbols, moves, step, self._seeds[slot]))

    def finish_slot(self, slot: int) -> dict[str, Json]:
        """How many moves the plan had."""
        return {"n_planned": self._n_planned[slot]}


def cscg_recall(*, n_clones: int, pseudocount: float = 2e-3) -> RecallAgent:
    """A clone-structured graph with `n_clones` of each symbol, learned from the walk alone, in
    every episode anew."""

    def plan(symbols: np.ndarray, moves: np.ndarray, step: int, seed: int) -> list[int]:
        model = CSCG(int(symbols.max()) + 1, n_clones, int(moves.max()) + 1, seed=seed)
        found = map_walk(model, symbols, moves, pseudocount=pseudocount)
        return found.plan(int(found.path[-1]), int(found.path[step]))[1]

    about = {"n_clones": n_clones, "pseudocount": pseudocount}
    return RecallAgent(plan, name=f"cscg-{n_clones}", about=about)


def schema_recall(
    schemas: Sequence[Schema], n_symbols: int, *, name: str = "schema"
) -> RecallAgent:
    """The schema that explains the walk best; only where it began and the labels are sought."""

    def plan(symbols: np.ndarray, moves: np.ndarray, step: int, _: int) -> list[int]:
        binding = Binding(schemas, n_symbols, distinct=False)
        binding.see(int(symbols[0]))
        for symbol, move in zip(symbols[1:].tolist(), moves.tolist()):
            binding.see(symbol, move)
        if binding.n_restarts:
            return []  # no schema explains the whole walk
        best = binding.best
        goal = best.start
        for move in moves[:step].tolist():
            goal = int(best.schema.leads[goal, move])
        targets, here, way = np.arange(best.schema.n_slots) == goal, best.here, []
        while (move := best.schema.toward(here, targets)) is not None:
            way.append(move)
            here = int(best.schema.leads[here, move])
        return way

    return RecallAgent(plan, name=name, about=told_of(schemas))
