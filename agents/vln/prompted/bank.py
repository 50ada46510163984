"""Select2Plan's memory of experience: decisions that were answered well, found again when needed.

The bank is made from walks of the train split: what was to be done, which places there were, and
which one the shortest path takes. Retrieval is by maximal marginal relevance (Carbonell &
Goldstein 1998): like the question, unlike what was taken already.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pilotage.agents.scripted import ExpertAgent
from pilotage.episodes.types import Condition, Observations, Seeds, Task

from .asking import STOP, Option
from .choosers import Embedder
from .memory import NOTHING_YET, Notes
from .sights import Sight, look, short
from .wording import numbered

N_WORDS = 14  # of a caption in a list of movements


@dataclass(frozen=True)
class Example:
    """A decision with its answer."""

    key: str  # what it is found by
    situation: str  # as a prompt shows it
    explanation: str
    answer: str

    def shown(self) -> str:
        return f"{self.situation}\nExplanation: {self.explanation}\nAnswer: {self.answer}"


class Bank:
    """Examples and their vectors.

    Raises ValueError for a bank without examples.
    """

    def __init__(self, examples: Sequence[Example], embedder: Embedder) -> None:
        if not examples:
            raise ValueError("a bank needs examples; record some walks of the train split")
        self.examples, self.embedder = list(examples), embedder
        self._vectors = embedder.embed([example.key for example in examples])

    def find(self, key: str, k: int, *, relevance: float = 0.7) -> list[Example]:
        """The `k` examples to show for a situation, the most relevant one last."""
        query = self.embedder.embed([key])[0]
        return [self.examples[i] for i in mmr(query, self._vectors, k, relevance)[::-1]]


def mmr(query: np.ndarray, vectors: np.ndarray, k: int, relevance: float) -> list[int]:
    """Rows of `vectors` [n, d] in the order in which maximal marginal relevance takes them:
    argmax of relevance * cos(v, query) - (1 - relevance) * max over taken t of cos(v, t).

    All vectors are of length 1. Ties go to the lower row. At most n are taken. Raises ValueError
    for `relevance` outside 0..1 or k < 0.
    """
    if not 0 <= relevance <= 1 or k < 0:
        raise ValueError(f"relevance must be in 0..1 and k >= 0, got {relevance} and {k}")
    to_query = vectors @ query
    to_taken = np.zeros(len(vectors))
    taken: list[int] = []
    for n in range(min(k, len(vectors))):
        scores = relevance * to_query - (1 - relevance) * to_taken
        scores[taken] = -np.inf
        best = int(scores.argmax())
        taken.append(best)
        likeness = vectors @ vectors[best]
        to_taken = likeness.astype(np.float64) if n == 0 else np.maximum(to_taken, likeness)
    return taken


class ExampleMemory(Notes):
    """Select2Plan's prompt: examples, what was done so far, and the movements there are."""

    def __init__(self, bank: Bank, *, n_examples: int = 3, n_words: int = 12) -> None:
        super().__init__(n_words=n_words)
        if n_examples < 0:
            raise ValueError(f"n_examples must be >= 0, got {n_examples}")
        self._bank, self._n_examples = bank, n_examples

    def blocks(self) -> Mapping[str, str]:
        notes = super().blocks()
        found = self._bank.find(key_of(self.now, self.goal()), self._n_examples)
        examples = "\n\n".join(example.shown() for example in found)
        blocks = {
            "Examples": examples or NOTHING_YET,
            "Instruction": notes["Instruction"],
            "History": notes["History"],
            "Situation": situation_of(self.now, self, self.goal()),
        }
        return blocks | ({"Remarks": notes["Remarks"]} if "Remarks" in notes else {})


def key_of(sight: Sight, goal: str) -> str:
    """What a decision is found by: what is to be done, and what is seen around."""
    return f"{goal}. {short(sight.here, 60)}"


def situation_of(sight: Sight, memory: Notes, goal: str) -> str:
    """What is to be done, and the movements with what is seen there."""
    return "\n".join([f"To do: {goal}", *map(_movement, numbered(sight, memory, True))])


def _movement(option: Option) -> str:
    if option.action == STOP:
        return f"{option.label}: stop here"
    return f"{option.label}: {option.text} ({short(option.caption, N_WORDS)})"


class Recorder(ExpertAgent):
    """Walks with the world's expert and writes down each decision as an `Example`."""

    agent_id = "recorder"

    def __init__(self) -> None:
        self.examples: list[Example] = []
        self._notes: list[Notes] = []

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._notes = [Notes() for _ in range(n_slots)]

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._notes[slot] = Notes()

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        for slot in np.flatnonzero(active).tolist():
            self._write(look(observations, slot), self._notes[slot])
        return super().act(observations, active)

    def _write(self, sight: Sight, notes: Notes) -> None:
        notes.see(sight)
        goal = notes.goal()
        options = numbered(sight, notes, True)
        chosen = next(option for option in options if option.action == sight.expert)
        if chosen.action == STOP:
            why = f'"{goal}" is done and the end of the instruction is reached.'
        else:
            seen = short(chosen.caption, N_WORDS)
            why = f'"{goal}" is to be done, and {chosen.text} leads on ({seen}).'
        situation = situation_of(sight, notes, goal)
        self.examples.append(Example(key_of(sight, goal), situation, why, chosen.label))
        notes.chose(chosen, "")
