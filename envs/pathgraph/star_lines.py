"""Star graphs as lines of token numbers, many at once: `a b a b ... / start goal = path`.

Bachmann & Nagarajan 2024 (arXiv:2403.06963). Edges lie in a random order and lead outwards; labels
are tokens 0 to n_labels - 1. The published text has bars and commas between the numbers, which tell
nothing and are left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class StarShape:
    """G(degree, length): arms of `length` nodes each, the centre included."""

    degree: int = 2
    length: int = 5
    n_labels: int = 50

    def __post_init__(self) -> None:
        if self.degree < 1 or self.length < 2 or self.n_labels < self.n_nodes:
            raise ValueError(
                f"need degree >= 1, length >= 2 and n_labels >= {self.n_nodes} (the number of "
                f"nodes), got {self.degree}, {self.length} and {self.n_labels}"
            )

    @property
    def n_nodes(self) -> int:
        return self.degree * (self.length - 1) + 1

    @property
    def vocab_size(self) -> int:
        """Labels, and the tokens SLASH, EQUALS and MASK behind them."""
        return self.n_labels + 3

    @property
    def slash(self) -> int:
        return self.n_labels

    @property
    def equals(self) -> int:
        return self.n_labels + 1

    @property
    def mask(self) -> int:
        """Stands for a token of the path that is not shown."""
        return self.n_labels + 2

    @property
    def prompt_length(self) -> int:
        return 2 * (self.n_nodes - 1) + 4


def draw_stars(shape: StarShape, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(prompts int64 [n, prompt_length], paths int64 [n, length] from start to goal)."""
    labels = rng.random((n, shape.n_labels)).argsort(axis=1)[:, : shape.n_nodes]
    start, arms = labels[:, :1], labels[:, 1:].reshape(n, shape.degree, shape.length - 1)
    starts = np.broadcast_to(start[:, None], (n, shape.degree, 1))
    tails = np.concatenate([starts, arms[:, :, :-1]], axis=2)
    edges = np.stack([tails, arms], axis=-1).reshape(n, -1, 2)
    order = rng.random(edges.shape[:2]).argsort(axis=1)
    listed = np.take_along_axis(edges, order[..., None], axis=1).reshape(n, -1)
    arm = rng.integers(shape.degree, size=n)
    path = np.concatenate([start, arms[np.arange(n), arm]], axis=1)

    def column(token: int) -> np.ndarray:
        return np.full((n, 1), token)

    marks = column(shape.slash), column(shape.equals)
    prompts = np.concatenate([listed, marks[0], start, path[:, -1:], marks[1]], axis=1)
    return prompts.astype(np.int64), path.astype(np.int64)
