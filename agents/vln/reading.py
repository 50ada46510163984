"""What an agent of the graph world reads and remembers, as padded arrays for a network.

    instruction: words int64 [L]
    seen, per slot of m: K places that can be chosen (see `Seen`)

Only observations are read; viewpoint ids serve to tell visited places from new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch

from pilotage.episodes.types import Observations

from .words import FILLERS, PAD, Lexicon, tokenize

MAX_INSTRUCTION = (
    80  # words; one instruction of train in a thousand is longer, its rest is not read
)
MAX_LINE = 24  # different words of a caption with its objects
MAX_PLACE = 64  # different words of a whole panorama
MAX_CANDIDATES = 16


@dataclass(frozen=True, eq=False)
class Seen:
    """One step of B episodes, K places each; padding is where `there` is False."""

    heading: torch.Tensor  # float32 [B, K], rad relative to the agent, clockwise
    elevation: torch.Tensor  # float32 [B, K], rad above the horizon
    distance: torch.Tensor  # float32 [B, K], m
    there: torch.Tensor  # bool [B, K]
    visited: torch.Tensor  # float32 [B, K], 1 for a place where the agent was
    came_from: torch.Tensor  # float32 [B, K], 1 for the place before this one
    words: torch.Tensor  # int64 [B, K, J], what is seen toward a place; `PAD` behind
    place: torch.Tensor  # int64 [B, P], what is seen around
    step: torch.Tensor  # int64 [B], moves made

    def narrowed(self) -> Seen:
        """Without the columns that are padding in every row (training only: shapes change)."""
        k = max(1, int(self.there.sum(dim=1).max()))
        cut = {f.name: getattr(self, f.name) for f in fields(self)}
        for name in ("heading", "elevation", "distance", "there", "visited", "came_from", "words"):
            cut[name] = cut[name][:, :k]
        return Seen(**cut)


class Reader:
    """Texts to rows of a lexicon; every text is read once."""

    def __init__(self, lexicon: Lexicon) -> None:
        self.lexicon = lexicon
        self._lines: dict[str, np.ndarray] = {}
        self._candidates: dict[str, np.ndarray] = {}
        self._places: dict[str, np.ndarray] = {}

    def instruction(self, text: str) -> np.ndarray:
        """int64 [L], at least one word."""
        words = tokenize(text)[:MAX_INSTRUCTION]
        return self.lexicon.rows(words) if words else np.full(1, PAD, np.int64)

    def line(self, text: str) -> np.ndarray:
        """int64 [n]: the telling words of one caption, each once."""
        if text not in self._lines:
            words = dict.fromkeys(w for w in tokenize(text) if w not in FILLERS)
            rows = self.lexicon.rows(words)
            self._lines[text] = np.array(list(dict.fromkeys(rows.tolist())), np.int64)
        return self._lines[text]

    def candidates(self, text: str) -> np.ndarray:
        """int64 [K, J] for one caption a line."""
        if text not in self._candidates:
            rows = np.full((MAX_CANDIDATES, MAX_LINE), PAD, np.int64)
            for k, line in enumerate(text.split("\n")[:MAX_CANDIDATES] if text else []):
                words = self.line(line)[:MAX_LINE]
                rows[k, : len(words)] = words
            self._candidates[text] = rows
        return self._candidates[text]

    def place(self, text: str) -> np.ndarray:
        """int64 [P] for the lines `direction: caption` of a panorama, in whatever order."""
        if text not in self._places:
            lines = [line.partition(": ")[2] for line in text.split("\n")]
            words = [self.line(line) for line in sorted(lines)]
            every = np.array(list(dict.fromkeys(np.concatenate(words).tolist())), np.int64)
            rows = np.full(MAX_PLACE, PAD, np.int64)
            rows[: len(every)] = every[:MAX_PLACE]
            self._places[text] = rows
        return self._places[text]


class Memory:
    """Where each of n slots has been, from the ids in its observations."""

    def __init__(self, n_slots: int, reader: Reader) -> None:
        self.reader = reader
        self._route: list[list[str]] = [[] for _ in range(n_slots)]

    def forget(self, slot: int) -> None:
        """A new episode begins in `slot`."""
        self._route[slot] = []

    def look(self, observations: Observations, slots: Sequence[int]) -> Seen:
        """What the slots see now; a slot's step is counted by how often it is asked."""
        m, k = len(slots), MAX_CANDIDATES
        chosen = np.asarray(slots, np.int64)
        geometry = np.asarray(observations["candidates"], np.float32)[chosen]
        there = np.asarray(observations["action_mask"])[chosen, 1 : 1 + k].astype(bool)
        visited, came_from = np.zeros((m, k), np.float32), np.zeros((m, k), np.float32)
        words = np.full((m, k, MAX_LINE), PAD, np.int64)
        place = np.full((m, MAX_PLACE), PAD, np.int64)
        step = np.zeros(m, np.int64)
        has_text = "candidate_text" in observations
        for i, slot in enumerate(slots):
            route = self._route[slot]
            step[i] = len(route)
            ids = observations["candidate_ids"][slot].split(" ")
            been = set(route)
            for column, name in enumerate(ids[:k]):
                visited[i, column] = name in been
                came_from[i, column] = bool(route) and name == route[-1]
            route.append(observations["viewpoint"][slot])
            if has_text:
                words[i] = self.reader.candidates(observations["candidate_text"][slot])
                place[i] = self.reader.place(observations["panorama_text"][slot])
        elevation = geometry[..., 1] + np.asarray(observations["pose"], np.float32)[chosen, 1:2]
        heading = np.where(there, geometry[..., 0], 0.0).astype(np.float32)
        arrays = (
            *(heading, np.where(there, elevation, 0.0).astype(np.float32)),
            *(geometry[..., 2], there, visited, came_from, words, place, step),
        )
        return Seen(*(torch.from_numpy(np.ascontiguousarray(a)) for a in arrays))


def padded(rows: Sequence[np.ndarray], width: int | None = None) -> torch.Tensor:
    """int64 [B, L] of instructions, `PAD` behind their ends."""
    out = np.full((len(rows), width or max(len(r) for r in rows)), PAD, np.int64)
    for i, row in enumerate(rows):
        out[i, : len(row)] = row
    return torch.from_numpy(out)
