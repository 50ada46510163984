"""How far the words of an instruction are answered by what is seen: late interaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
import torch
from torch import Tensor, nn

from .reading import Seen
from .words import CLASSES, PAD, Lexicon

State = Mapping[str, Tensor]  # of B episodes: every tensor is [B, ...]
LEFT, RIGHT = (list(CLASSES).index(side) for side in ("left", "right"))
N_CLASSES = len(CLASSES)


class Navigator(Protocol):
    """A policy over the places to go and stopping, for B episodes at a time."""

    table: WordTable

    def begin(self, words: Tensor, mirrored: Tensor | None = None) -> State:
        """The state at the start, from instructions int64 [B, L]; `mirrored` bool [B] says in which
        episodes left and right are exchanged (training)."""

    def step(self, state: State, seen: Seen) -> tuple[Tensor, State]:
        """Logits [B, 1 + K] (0: stop; minus infinity where there is no place), and a state that
        `advance` takes."""

    def advance(self, state: State, choice: Tensor) -> State:
        """The state behind the choice int64 [B] of one of the logits."""


class WordTable(nn.Module):
    """The lexicon as buffers: hashes, unit vectors [R, W], weights (idf) [R], classes [R, C].

    Raises ValueError for another number of vectors or weights than the lexicon has rows.
    """

    hashes: Tensor
    vectors: Tensor
    weights: Tensor
    classes: Tensor

    def __init__(self, lexicon: Lexicon, vectors: np.ndarray, weights: np.ndarray) -> None:
        super().__init__()
        if not len(vectors) == len(weights) == lexicon.n_rows:
            raise ValueError(
                f"{len(vectors)} vectors and {len(weights)} weights for {lexicon.n_rows} rows"
            )
        self.n_buckets = lexicon.n_buckets
        self.register_buffer("hashes", torch.from_numpy(lexicon.hashes))
        self.register_buffer("vectors", torch.from_numpy(vectors).float())
        self.register_buffer("weights", torch.from_numpy(weights).float())
        self.register_buffer("classes", torch.from_numpy(lexicon.classes()), persistent=False)
        self.sides = [int(lexicon.rows([side])[0]) for side in ("left", "right")]

    @property
    def lexicon(self) -> Lexicon:
        return Lexicon(self.hashes.numpy(), self.n_buckets)

    def mirrored(self, words: Tensor, mirrored: Tensor | None) -> Tensor:
        """Words int64 [B, L] with left and right exchanged in the rows of `mirrored`."""
        if mirrored is None:
            return words
        left, right = self.sides
        other = torch.where(words == left, right, torch.where(words == right, left, words))
        return torch.where(mirrored[:, None], other, words)

    def summary(self, words: Tensor) -> Tensor:
        """Weighted mean of vectors [..., W], of length 1, or 0 without words."""
        mean = (self.vectors[words] * self.weights[words][..., None]).sum(dim=-2)
        return nn.functional.normalize(mean, dim=-1)

    def answered(self, words: Tensor, seen: Seen) -> Tensor:
        """[B, 1 + K, L] in 0..1: how like each word is to the likest word seen around (row 0), or
        toward a place (rows 1..K). Cosines below 0.3 count as nothing."""
        asked = self.vectors[words]  # [B, L, W]
        b, k, j = seen.words.shape
        toward = self.vectors[seen.words.reshape(b, k * j)] @ asked.transpose(1, 2)
        around = self.vectors[seen.place] @ asked.transpose(1, 2)
        best = torch.cat([around.amax(dim=1)[:, None], toward.view(b, k, j, -1).amax(dim=2)], dim=1)
        return ((best - 0.3) / 0.7).clamp(0.0, 1.0)


def idf(lexicon: Lexicon, lines: list[np.ndarray]) -> np.ndarray:
    """float32 [R]: log(n / (1 + df)) over captions (rows of their different words), scaled to at
    most 1; words that occur in none get 1, `PAD` gets 0."""
    counts = np.zeros(lexicon.n_rows)
    for rows in lines:
        counts[rows] += 1
    most = np.log(max(2, len(lines)))
    weights = np.clip(np.log(max(2, len(lines)) / (1 + counts)) / most, 0.0, 1.0)
    weights[PAD] = 0.0
    return weights.astype(np.float32)


def without_places(logits: Tensor, there: Tensor) -> Tensor:
    """Logits [B, 1 + K] with minus infinity where there is no place."""
    can_stop = torch.ones_like(there[:, :1])
    return logits.masked_fill(~torch.cat([can_stop, there], dim=1), -torch.inf)
