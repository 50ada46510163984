"""A trained navigator as an agent of the graph world's panoramic actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields

import numpy as np
import torch

from pilotage.agents.scripted import ScriptedAgent
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task

from .matching import Navigator, State
from .reading import MAX_INSTRUCTION, Memory, Reader, Seen, padded

ROWS = 16  # episodes a forward pass: always as many, so that no episode feels the others
MAX_MOVES = 14  # then it stops: routes of R2R have at most 6


class TextAgent(ScriptedAgent):
    """Goes where the navigator's logits are largest; stops at the latest after `max_moves`."""

    def __init__(
        self,
        navigator: Navigator,
        *,
        name: str,
        about: Mapping[str, Json] | None = None,
        max_moves: int = MAX_MOVES,
    ) -> None:
        self.agent_id = name
        self._navigator, self._about = navigator, dict(about or {})
        self._max_moves = max_moves
        self._reader = Reader(navigator.table.lexicon)
        self._states: list[State | None] = []

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id, "max_moves": self._max_moves, **self._about}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._memory = Memory(n_slots, self._reader)
        self._states = [None] * n_slots

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._states[slot] = None
        self._memory.forget(slot)

    @torch.inference_mode()
    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        """Actions int64 [n]: 0 stop, k the k-th place; inactive slots stop."""
        actions = np.zeros(len(active), np.int64)
        slots = np.flatnonzero(active).tolist()
        for slot in slots:
            if self._states[slot] is None:
                words = self._reader.instruction(observations["instruction"][slot])
                self._states[slot] = self._navigator.begin(padded([words], MAX_INSTRUCTION))
        for first in range(0, len(slots), ROWS):
            group = slots[first : first + ROWS]
            actions[group] = self._choose(group, observations)
        return actions

    def _choose(self, group: Sequence[int], observations: Observations) -> np.ndarray:
        """int64 [len(group)]. The pass is filled up with copies of its first row."""
        rows = torch.arange(ROWS)
        rows[len(group) :] = 0
        seen = self._memory.look(observations, group)
        filled = Seen(**{f.name: getattr(seen, f.name)[rows] for f in fields(Seen)})
        states = [self._states[group[row]] for row in rows.tolist()]
        state = {name: torch.cat([s[name] for s in states if s]) for name in states[0] or {}}
        logits, after = self._navigator.step(state, filled)
        choice = logits.argmax(dim=1)
        choice[filled.step >= self._max_moves] = 0
        moved = self._navigator.advance(after, choice)
        for row, slot in enumerate(group):
            self._states[slot] = {name: t[row : row + 1] for name, t in moved.items()}
        return choice[: len(group)].numpy()
