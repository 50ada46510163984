"""A spectrum of scene objects, after Meta-Explore (arXiv:2303.04077): what is seen, whichever way
one looks.

For each category the boxes of a panorama are drawn on one canvas; its block of the feature is the
logarithm of the magnitude of their 2-D Fourier transform, low frequencies only. To turn around is a
circular shift of the canvas, which magnitudes do not show. The paper's code is not public: sizes,
the canonical box and the alignment below are a reconstruction.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from .tour import content_words

N_COLUMNS, N_ROWS = 12, 3  # views of a panorama: 30 deg apart, 3 elevations
TILE = (6, 8)  # rows and columns of the canvas that a view has
VIEW_PX = (480, 640)
LOW = (8, 16)  # frequencies kept, rows and columns


@dataclass(frozen=True, eq=False)
class Scene:
    """The blocks of the categories that are seen, float64 [LOW[0] * LOW[1]] each."""

    blocks: Mapping[str, np.ndarray]

    @cached_property
    def norm(self) -> float:
        return float(np.sqrt(sum(block @ block for block in self.blocks.values())))

    def similarity(self, category: str) -> float:
        """The cosine with the spectrum of the canonical box of a category; 0 where it is not."""
        if category not in self.blocks:
            return 0.0
        return float(self.blocks[category] @ _CANONICAL / (self.norm * _CANONICAL_NORM))


class Bag(Scene):
    """The control: each category counts alike, however large, many and wherever it is."""

    def similarity(self, category: str) -> float:
        return float(category in self.blocks) / max(np.sqrt(len(self.blocks)), 1.0)


def category_of(name: str) -> str:
    """The last telling word of an object's name; "" for a name without one."""
    return (content_words(name) or [""])[-1]


def blocks_of(
    boxes: Iterable[Mapping[str, Any]], columns: Iterable[int] | None = None
) -> dict[str, np.ndarray]:
    """The spectrum of objects {name, visible_pos, bbox2d}, by category; of the views in some
    `columns` (heading steps of 30 deg, 0..11) only, by default of all."""
    wanted = set(range(N_COLUMNS) if columns is None else columns)
    canvases: dict[str, np.ndarray] = {}
    for thing in boxes:
        for view, box in zip(thing["visible_pos"], thing["bbox2d"]):
            if view % N_COLUMNS in wanted:
                blank = np.zeros((N_ROWS * TILE[0], N_COLUMNS * TILE[1]), bool)
                _draw(canvases.setdefault(category_of(thing["name"]), blank), view, box)
    return {name: spectrum(canvas) for name, canvas in canvases.items() if name}


def spectrum(canvas: np.ndarray) -> np.ndarray:
    """log(1 + |DFT|) of a bool canvas, the lowest `LOW` frequencies, flat."""
    low: np.ndarray = np.log1p(np.abs(np.fft.fft2(canvas)))[: LOW[0], : LOW[1]].ravel()
    return low


def _draw(canvas: np.ndarray, view: int, box: Iterable[float]) -> None:
    """Fill what a box [x, y, w, h] in pixels of a view covers, a cell at least; up is row 0."""
    x, y, w, h = box
    top, left = (N_ROWS - 1 - view // N_COLUMNS) * TILE[0], view % N_COLUMNS * TILE[1]
    spans = []
    for low, size, cells, pixels in ((y, h, TILE[0], VIEW_PX[0]), (x, w, TILE[1], VIEW_PX[1])):
        first = min(max(int(low * cells / pixels), 0), cells - 1)
        last = min(max(int(np.ceil((low + size) * cells / pixels)), first + 1), cells)
        spans.append((first, last))
    rows, cols = spans
    canvas[top + rows[0] : top + rows[1], left + cols[0] : left + cols[1]] = True


def aligned(similarity: np.ndarray) -> float:
    """The best sum over phrases of `similarity` [P, T] that goes through the places in order: each
    phrase at one place, none before the place of the phrase ahead of it."""
    if not similarity.size:
        return 0.0
    best = np.zeros(similarity.shape[1])
    for row in similarity:
        best = np.maximum.accumulate(best) + row
    return float(best.max())


def _canonical() -> np.ndarray:
    """One box in the middle of a level view, half as wide and high as the view."""
    canvas = np.zeros((N_ROWS * TILE[0], N_COLUMNS * TILE[1]), bool)
    _draw(canvas, N_COLUMNS, (VIEW_PX[1] / 4, VIEW_PX[0] / 4, VIEW_PX[1] / 2, VIEW_PX[0] / 2))
    return spectrum(canvas)


_CANONICAL = _canonical()
_CANONICAL_NORM = float(np.linalg.norm(_CANONICAL))
