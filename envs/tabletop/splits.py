"""Who may see what: words, (colour, shape) pairs and table cells are held out by a stable hash.

A list of alternatives is ordered by SHA-256, and the first ones go to "test", the next to "val",
the rest to "train": editing code elsewhere never moves an item, and no part is ever empty.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache

from pilotage.envs.tabletop import layout

SPLITS = ("train", "val", "test")
N_HELD_OUT_PAIRS = {"test": 4, "val": 3}
N_HELD_OUT_CELLS = {"test": 10, "val": 5}


def check_split(split: str) -> str:
    """Returns `split`, or raises ValueError with the valid names."""
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is unknown; choose one of {', '.join(SPLITS)}")
    return split


def stable_hash(text: str) -> int:
    """The first 8 bytes of SHA-256 as an integer."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


@lru_cache(maxsize=256)
def _partition(
    kind: str, items: tuple[str, ...], n_test: int, n_val: int
) -> dict[str, tuple[str, ...]]:
    ranked = sorted(items, key=lambda item: stable_hash(f"{kind}|{item}"))
    chosen = {"test": set(ranked[:n_test]), "val": set(ranked[n_test : n_test + n_val])}
    chosen["train"] = set(ranked) - chosen["test"] - chosen["val"]
    return {split: tuple(i for i in items if i in chosen[split]) for split in SPLITS}


def partition(
    kind: str, items: Sequence[str], *, n_test: int, n_val: int
) -> dict[str, tuple[str, ...]]:
    """Splits `items` into train, val and test by their hash; the order inside a split is kept."""
    if n_test + n_val >= len(items):
        raise ValueError(
            f"{kind}: {n_test} + {n_val} held-out items leave no training item of {len(items)}"
        )
    return _partition(kind, tuple(items), n_test, n_val)


@lru_cache(maxsize=1)
def pairs() -> dict[str, tuple[tuple[str, str], ...]]:
    """(colour, shape) pairs of each split."""
    names = [f"{color} {shape}" for color in layout.COLORS for shape in layout.SHAPES]
    parts = partition("pair", names, n_test=N_HELD_OUT_PAIRS["test"], n_val=N_HELD_OUT_PAIRS["val"])
    return {
        split: tuple((name.split()[0], name.split()[1]) for name in parts[split])
        for split in SPLITS
    }


def cell_of(x: float, y: float) -> tuple[int, int]:
    """The (row, column) of the table cell that holds the point, rows along x."""
    return (
        int((x - layout.TABLE_LOW[0]) / layout.CELL),
        int((y - layout.TABLE_LOW[1]) / layout.CELL),
    )


@lru_cache(maxsize=1)
def cells() -> dict[str, tuple[tuple[int, int], ...]]:
    """Table cells (row, column) of each split."""
    rows, columns = layout.CELL_ROWS, layout.CELL_COLUMNS
    names = [f"{row},{column}" for row in range(rows) for column in range(columns)]
    parts = partition("cell", names, n_test=N_HELD_OUT_CELLS["test"], n_val=N_HELD_OUT_CELLS["val"])
    return {
        split: tuple((int(n.split(",")[0]), int(n.split(",")[1])) for n in parts[split])
        for split in SPLITS
    }
