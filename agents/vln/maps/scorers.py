"""Scores of the frames of a tour for an instruction: words in common, sentence vectors, mixtures.

The high level of Mobility VLA (arXiv:2407.07775) asks a long-context model for the goal frame; here
the frames are words, and a scorer of words stands in its place.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from pilotage.agents.vln.prompted.choosers import Embedder

from .tour import Tour, content_words

SOURCES = ("names", "captions", "both")


class Scorer(Protocol):
    """float64 [V] for an instruction, the highest where the goal is taken to be."""

    name: str

    def scores(self, tour: Tour, instruction: str) -> np.ndarray: ...


class Lexical:
    """The idf of the words that instruction and frame share, summed; idf over the tour's frames."""

    def __init__(self, source: str = "names") -> None:
        if source not in SOURCES:
            raise ValueError(f"source must be one of {', '.join(SOURCES)}, got {source!r}")
        self.source, self.name = source, f"lexical-{source}"

    def scores(self, tour: Tour, instruction: str) -> np.ndarray:
        return tour.words[self.source].overlap(content_words(instruction))


class Semantic:
    """The cosine of the instruction's best clause with the nearest object name of a frame, summed
    over the clauses. Names are short texts, of which a building has few different ones."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder, self.name = embedder, embedder.name
        self._tours: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def scores(self, tour: Tour, instruction: str) -> np.ndarray:
        total: np.ndarray = self.by_clause(tour, clauses(instruction)).sum(axis=0)
        return total

    def by_clause(self, tour: Tour, texts: Sequence[str]) -> np.ndarray:
        """float64 [C, V]: the cosine of each clause with the nearest name of each frame."""
        if tour.scan not in self._tours:
            self._tours[tour.scan] = self._read(tour)
        vectors, there = self._tours[tour.scan]
        near = (self._embedder.embed(list(texts)) @ vectors.T).astype(np.float64)
        seen: np.ndarray = np.where(there[None], near[:, None], -1.0).max(axis=2)
        return seen

    def _read(self, tour: Tour) -> tuple[np.ndarray, np.ndarray]:
        """Vectors [N, width] of a tour's different names, and where each is, bool [V, N]."""
        names = sorted({name for frame in tour.names for name in frame}) or ["nothing"]
        column = {name: k for k, name in enumerate(names)}
        there = np.zeros((len(tour.names), len(names)), bool)
        for row, frame in zip(there, tour.names):
            row[[column[name] for name in frame]] = True
        return self._embedder.embed(names), there


class Mixture:
    """The mean of scorers, each brought to mean 0 and deviation 1 over the tour."""

    def __init__(self, parts: Sequence[Scorer]) -> None:
        if not parts:
            raise ValueError("a mixture needs at least one scorer")
        self._parts, self.name = tuple(parts), "+".join(part.name for part in parts)

    def scores(self, tour: Tour, instruction: str) -> np.ndarray:
        return np.mean(
            [standardised(part.scores(tour, instruction)) for part in self._parts], axis=0
        )


def standardised(values: np.ndarray) -> np.ndarray:
    """Mean 0 and deviation 1 along the last axis; zeros where all are equal."""
    centred = values - values.mean(axis=-1, keepdims=True)
    spread = centred.std(axis=-1, keepdims=True)
    scaled: np.ndarray = np.divide(
        centred, spread, out=np.zeros_like(centred), where=spread > 1e-12
    )
    return scaled


def clauses(instruction: str) -> list[str]:
    """The instruction, cut at punctuation and at "and"/"then"; never empty."""
    parts = re.split(r"[.,;:]|\band\b|\bthen\b", instruction)
    return [part.strip() for part in parts if content_words(part)] or [instruction]
