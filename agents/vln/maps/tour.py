"""A tour of a building: one frame of words per viewpoint, and who is next to whom."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np

from pilotage.agents.vln.words import FILLERS, tokenize

Place = TypeVar("Place")


@dataclass(frozen=True, eq=False)
class Tour:
    """V frames. `names[v]` are the objects seen at a viewpoint, `captions[v]` all its captions,
    `neighbours[v]` pairs of (frame number, metres), `things[v]` pairs of (object id, name), by
    default none."""

    scan: str
    viewpoints: tuple[str, ...]
    names: tuple[tuple[str, ...], ...]
    captions: tuple[str, ...]
    neighbours: tuple[tuple[tuple[int, float], ...], ...]
    things: tuple[tuple[tuple[str, str], ...], ...] = ()
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        n = len(self.viewpoints)
        if not self.things:
            object.__setattr__(self, "things", ((),) * n)
        for part in ("names", "captions", "neighbours", "things"):
            if len(getattr(self, part)) != n:
                raise ValueError(
                    f"tour of {self.scan}: {len(getattr(self, part))} {part} for {n} viewpoints"
                )
        object.__setattr__(self, "index", {name: i for i, name in enumerate(self.viewpoints)})

    @cached_property
    def words(self) -> dict[str, WordTable]:
        """Of the sources "names", "captions" and "both": which words each frame has."""
        names = [set(content_words(" ".join(frame))) for frame in self.names]
        captions = [set(content_words(text)) for text in self.captions]
        both = [a | b for a, b in zip(names, captions)]
        tables = {"names": names, "captions": captions, "both": both}
        return {source: WordTable.of(frames) for source, frames in tables.items()}

    def route(self, start: int, goal: int) -> list[int]:
        """A shortest path by metres (Dijkstra), both ends included; ValueError without one."""
        try:
            return shortest_route(self.neighbours, start, goal)
        except KeyError:
            raise ValueError(
                f"tour of {self.scan}: there is no path from {self.viewpoints[start]} to "
                f"{self.viewpoints[goal]}"
            ) from None


@dataclass(frozen=True, eq=False)
class WordTable:
    """`column` of each word in `there`, bool [V, W]; `idf` float64 [W] is log(V / frames with)."""

    column: dict[str, int]
    there: np.ndarray
    idf: np.ndarray

    @classmethod
    def of(cls, frames: Sequence[set[str]]) -> WordTable:
        column = {word: k for k, word in enumerate(sorted(set().union(*frames)))}
        there = np.zeros((len(frames), len(column)), bool)
        for row, words in zip(there, frames):
            row[[column[word] for word in words]] = True
        return cls(column, there, np.log(len(frames) / np.maximum(there.sum(axis=0), 1)))

    def overlap(self, words: Sequence[str]) -> np.ndarray:
        """float64 [V]: the sum of the idf of the different `words` that a frame has."""
        columns = [self.column[word] for word in dict.fromkeys(words) if word in self.column]
        total: np.ndarray = self.there[:, columns] @ self.idf[columns]
        return total


def shortest_route(neighbours: Any, start: Place, goal: Place) -> list[Place]:
    """A shortest path (Dijkstra), both ends included; `neighbours[place]` are pairs of (place,
    metres). KeyError without one."""
    best, before, n = {start: 0.0}, {start: start}, 0
    queue: list[tuple[float, int, Place]] = [(0.0, n, start)]  # n: places need not be ordered
    while queue:
        so_far, _, here = heapq.heappop(queue)
        if here == goal:
            break
        if so_far > best[here]:
            continue
        for there, metres in neighbours[here]:
            length = so_far + metres
            if length < best.get(there, np.inf):
                best[there], before[there], n = length, here, n + 1
                heapq.heappush(queue, (length, n, there))
    route = [goal]
    while route[-1] != start:
        route.append(before[route[-1]])
    return route[::-1]


def metres_of(neighbours: Any, route: Sequence[Place]) -> float:
    """The length of a route over `neighbours` as `shortest_route` has them."""
    return float(sum(dict(neighbours[a])[b] for a, b in itertools.pairwise(route)))


def content_words(text: str) -> list[str]:
    """Telling words, a plural -s taken off longer ones."""
    return [
        word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
        for word in tokenize(text)
        if word not in FILLERS
    ]
