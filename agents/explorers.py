"""Agents of the memory & planning game: they explore, remember, and plan on what they know."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Protocol

import numpy as np

from pilotage.agents.scripted import ScriptedAgent
from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task, digest
from pilotage.planners.schemas import UNBOUND, UNKNOWN, Binding, Schema

COLLECT = 0  # leaves the agent where it is; move k of `ACTIONS` is action k + 1
N_MOVES = len(ACTIONS)


class Memory(Protocol):
    """What an explorer knows of its episode."""

    def see(self, symbol: int, move: int | None = None) -> None:
        """Takes in the symbol after a move; without one, the first."""

    def advise(self, goal: int) -> int | None:
        """The next move to the place of the symbol `goal`, or to learn more; None: no idea."""


class SchemaMemory:
    """Knows the structure, and binds it to what it sees: goes to the nearest place that it has not
    seen until it has seen the goal."""

    def __init__(self, schemas: Sequence[Schema], n_symbols: int) -> None:
        self.binding = Binding(schemas, n_symbols, distinct=True)

    def see(self, symbol: int, move: int | None = None) -> None:
        self.binding.see(symbol, move)

    def advise(self, goal: int) -> int | None:
        best = self.binding.best
        way = best.schema.toward(best.here, best.bound == goal)
        return way if way is not None else best.schema.toward(best.here, best.bound == UNBOUND)


class OwnMap:
    """Knows no structure: draws its map from nothing in each episode, one place a symbol. Until it
    knows a way to the goal, it goes to the nearest place with a move that it has not tried."""

    def __init__(self, n_symbols: int) -> None:
        self._leads = np.full((n_symbols, N_MOVES), UNKNOWN)
        self._seen = np.zeros(n_symbols, bool)
        self._here = UNKNOWN

    def see(self, symbol: int, move: int | None = None) -> None:
        if move is not None:
            self._leads[self._here, move] = symbol
        self._here, self._seen[symbol] = symbol, True

    def advise(self, goal: int) -> int | None:
        known = Schema(self._leads)
        way = known.toward(self._here, np.arange(len(self._seen)) == goal)
        if way is not None:
            return way
        untried = self._leads == UNKNOWN
        if untried[self._here].any():
            return int(untried[self._here].argmax())
        return known.toward(self._here, self._seen & untried.any(axis=1))


class Explorer(ScriptedAgent):
    """Plays the game with a memory that begins anew in every episode.

    Collects where it sees the symbol that is asked for; without advice it moves at random, from the
    episode's noise seed.

    Args:
        memory: `(n_symbols) -> Memory`.
        n_symbols: of the world.
        name: for tables.
        about: what else identifies the agent, for its manifest.
    """

    def __init__(
        self,
        memory: Callable[[int], Memory],
        n_symbols: int,
        *,
        name: str,
        about: Mapping[str, Json] | None = None,
    ) -> None:
        self.agent_id, self._make, self.n_symbols = name, memory, n_symbols
        self._about = dict(about or {})
        self._lanes: list[_Lane] = []

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id, "n_symbols": self.n_symbols, **self._about}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._lanes = [_Lane(self._make(self.n_symbols)) for _ in range(n_slots)]

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._lanes[slot] = _Lane(self._make(self.n_symbols), seeds.noise)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions int64 [n]; inactive slots collect."""
        actions = np.full(len(active), COLLECT, np.int64)
        for slot in np.flatnonzero(active).tolist():
            here = int(observations["symbol"][slot])
            goal = int(observations["goal_symbol"][slot])
            actions[slot] = self._lanes[slot].act(here, goal)
        return actions

    def finish_slot(self, slot: int) -> dict[str, Json]:
        """How many moves were made at random, for want of advice."""
        return {"n_random": self._lanes[slot].n_random}


class _Lane:
    """One episode: its memory, and what was done last."""

    def __init__(self, memory: Memory, seed: int = 0) -> None:
        self._memory, self._rng = memory, np.random.default_rng(seed)
        self._last: int | None = None
        self.n_random = 0

    def act(self, symbol: int, goal: int) -> int:
        if self._last != COLLECT:
            self._memory.see(symbol, None if self._last is None else self._last - 1)
        self._last = COLLECT if symbol == goal else 1 + self._move(goal)
        return self._last

    def _move(self, goal: int) -> int:
        advice = self._memory.advise(goal)
        if advice is None:
            self.n_random += 1
            return int(self._rng.integers(N_MOVES))
        return advice


def schema_explorer(
    schemas: Sequence[Schema], n_symbols: int = 16, *, name: str = "schema"
) -> Explorer:
    """Plays on the schema that explains the episode best."""
    memory = partial(SchemaMemory, schemas)
    return Explorer(memory, n_symbols, name=name, about=told_of(schemas))


def told_of(schemas: Sequence[Schema]) -> dict[str, Json]:
    """What a manifest says of the schemas that an agent was given."""
    return {"schemas": [digest(schema.leads.tolist()) for schema in schemas]}


def structure_known_explorer(
    size: tuple[int, int] = (4, 4), *, wraps: bool = True, n_symbols: int = 16
) -> Explorer:
    """Plays on the true structure of the room, without its labels."""
    room = AliasedRoom(np.zeros(size, np.int64), wraps)
    return schema_explorer([Schema(room.transitions())], n_symbols, name="structure-known")


def own_map_explorer(n_symbols: int = 16) -> Explorer:
    """Knows nothing beforehand, and maps each room for itself."""
    return Explorer(OwnMap, n_symbols, name="own-map")
