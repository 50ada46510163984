"""Which split a maze belongs to: a stable hash of its layout, the same for its eight symmetries.

Turning and mirroring is the natural augmentation of maze data; with a plain hash it would carry
test mazes into training.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from pilotage.envs.maze.grid import DIRECTIONS, MOVES
from pilotage.envs.requests import SPLITS

_TENTHS = ("test", "val", *["train"] * 8)


def split_of(cells: np.ndarray) -> np.ndarray:
    """Index in SPLITS, int64 [B], of mazes uint8 [B, H, W]: 8 tenths train, 1 val, 1 test."""
    tenth = layout_hash(cells) % np.uint64(10)
    return np.array([SPLITS.index(name) for name in _TENTHS])[tenth.astype(np.int64)]


def layout_hash(cells: np.ndarray) -> np.ndarray:
    """uint64 [B]: equal for a maze and its turned and mirrored copies."""
    n, h, w = cells.shape
    flat = cells.reshape(n, h * w)
    best = np.full(n, np.iinfo(np.uint64).max, np.uint64)
    place = np.arange(h * w)
    for symmetry in range(8):
        table = _symmetry_table(h, w, symmetry)
        best = np.minimum(best, _mix(table[place, flat].sum(axis=1, dtype=np.uint64)))
    return best


def transform(cells: np.ndarray, symmetry: int) -> np.ndarray:
    """One of the 8 turned and mirrored copies of mazes uint8 [B, H, W]; 0 is the maze itself."""
    _, h, w = cells.shape
    place, byte = _maps(h, w, symmetry)
    th, tw = (w, h) if symmetry & 1 else (h, w)
    out = np.empty((len(cells), th * tw), np.uint8)
    out[:, place] = byte[cells.reshape(len(cells), h * w)]
    return out.reshape(-1, th, tw)


def transform_places(places: np.ndarray, shape: tuple[int, int], symmetry: int) -> np.ndarray:
    """Where (row, col) integers [..., 2] of a maze of `shape` go."""
    h, w = shape
    place, _ = _maps(h, w, symmetry)
    tw = h if symmetry & 1 else w
    return np.stack(np.divmod(place[places[..., 0] * w + places[..., 1]], tw), axis=-1)


@lru_cache(maxsize=64)
def _maps(h: int, w: int, symmetry: int) -> tuple[np.ndarray, np.ndarray]:
    """(new place of each place [h * w], new byte of each byte [32]).

    Bit 0 swaps rows and columns; then bit 1 mirrors the rows and bit 2 the columns.
    """
    row, col = np.divmod(np.arange(h * w), w)
    move = np.array(MOVES)
    if symmetry & 1:
        row, col, h, w = col, row, w, h
        move = move[:, ::-1]
    if symmetry & 2:
        row, move = h - 1 - row, move * (-1, 1)
    if symmetry & 4:
        col, move = w - 1 - col, move * (1, -1)
    new_side = [DIRECTIONS[MOVES.index((r, c))] for r, c in move.tolist()]
    byte = np.arange(32, dtype=np.uint8) & 16
    for old, new in zip(DIRECTIONS, new_side):
        byte |= np.where(np.arange(32) & old, new, 0).astype(np.uint8)
    return row * w + col, byte


@lru_cache(maxsize=64)
def _symmetry_table(h: int, w: int, symmetry: int) -> np.ndarray:
    """uint64 [h * w, 32]: what a byte at a place adds to the hash of the transformed maze."""
    place, byte = _maps(h, w, symmetry)
    th, tw = (w, h) if symmetry & 1 else (h, w)
    salt = np.uint64(th * 4096 + tw) << np.uint64(40)
    return _mix(salt + place[:, None].astype(np.uint64) * np.uint64(32) + byte.astype(np.uint64))


def _mix(x: np.ndarray) -> np.ndarray:
    """The SplitMix64 finaliser (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195)."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
