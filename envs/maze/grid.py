"""Grid mazes as plain arrays: one byte a cell. Light: no torch, no world.

A cell (row, col) is a byte of bits: which of its four sides are open, and whether it is blocked.
Both kinds of maze fit: walls between cells (spanning trees) and blocked cells (obstacle grids).
Axis letters: B mazes, H rows, W columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

UP, DOWN, LEFT, RIGHT = 1, 2, 4, 8  # this side is open
SIDES = 15
BLOCKED = 16  # no one can stand here; all four sides are closed
AGENT, GOAL = 32, 64  # only in what an agent sees
# Sides in the order of the actions 1 to 4 (action 0 is stop), and where they lead: (row, col).
DIRECTIONS = (UP, DOWN, LEFT, RIGHT)
MOVES = ((-1, 0), (1, 0), (0, -1), (0, 1))
OPPOSITE = (DOWN, UP, RIGHT, LEFT)
_BLOCKED_LETTER = "#"


def check_cells(cells: np.ndarray, name: str = "cells") -> np.ndarray:
    """`cells` if it is uint8 [B, H, W], not empty, and every open side is open from both cells.

    Raises TypeError or ValueError that names the maze, the cell and the rule.
    """
    if not isinstance(cells, np.ndarray) or cells.dtype != np.uint8:
        raise TypeError(f"{name} must be a uint8 array, got {getattr(cells, 'dtype', type(cells))}")
    if cells.ndim != 3 or 0 in cells.shape:
        raise ValueError(f"{name} must be [B, H, W] and not empty, got shape {list(cells.shape)}")
    _refuse(name, cells > (SIDES | BLOCKED), cells, "has bits beyond the sides and BLOCKED")
    _refuse(name, (cells & BLOCKED > 0) & (cells & SIDES > 0), cells, "is blocked but has exits")
    padded = np.pad(cells, ((0, 0), (1, 1), (1, 1)))
    h, w = cells.shape[1:]
    for side, back, (dr, dc) in zip(DIRECTIONS, OPPOSITE, MOVES):
        there = padded[:, 1 + dr : 1 + dr + h, 1 + dc : 1 + dc + w]
        one_way = (cells & side > 0) & (there & back == 0)
        _refuse(name, one_way, cells, f"leads by side {side} out of the grid or one way only")
    return cells


def _refuse(name: str, wrong: np.ndarray, cells: np.ndarray, rule: str) -> None:
    if wrong.any():
        maze, row, col = (int(i[0]) for i in np.nonzero(wrong))
        raise ValueError(
            f"{name}: maze {maze}, cell ({row}, {col}) with byte {cells[maze, row, col]} {rule}"
        )


def from_free(free: np.ndarray) -> np.ndarray:
    """Cells uint8 [B, H, W] of obstacle grids bool [B, H, W]: free neighbours are connected."""
    free = np.asarray(free)
    if free.dtype != bool or free.ndim != 3:
        raise TypeError(f"free must be bool [B, H, W], got {free.dtype} {list(free.shape)}")
    down = free[:, :-1] & free[:, 1:]
    right = free[:, :, :-1] & free[:, :, 1:]
    return np.where(free, join(down, right), np.uint8(BLOCKED))


def join(down: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Cells of connections: `down` bool [B, H - 1, W], `right` bool [B, H, W - 1]."""
    n, h, w = right.shape[0], right.shape[1], down.shape[2]
    cells = np.zeros((n, h, w), np.uint8)
    cells[:, :-1] |= np.uint8(DOWN) * down
    cells[:, 1:] |= np.uint8(UP) * down
    cells[:, :, :-1] |= np.uint8(RIGHT) * right
    cells[:, :, 1:] |= np.uint8(LEFT) * right
    return cells


def to_rows(cells: np.ndarray) -> list[str]:
    """One maze uint8 [H, W] as H words: a hex digit of open sides a cell, `#` where blocked."""
    letters = np.array([*"0123456789abcdef", _BLOCKED_LETTER])
    return ["".join(letters[np.minimum(row, 16)]) for row in cells & (SIDES | BLOCKED)]


def from_rows(rows: Sequence[str]) -> np.ndarray:
    """The maze uint8 [H, W] of `to_rows`.

    Raises ValueError when rows differ in length, hold another letter, or break `check_cells`.
    """
    values = {letter: i for i, letter in enumerate("0123456789abcdef")}
    values[_BLOCKED_LETTER] = BLOCKED
    for i, row in enumerate(rows):
        strange = sorted(set(row) - values.keys())
        if strange or len(row) != len(rows[0]):
            raise ValueError(
                f"maze row {i} is {row!r}: expected {len(rows[0])} hex digits or "
                f"{_BLOCKED_LETTER!r}, found {strange or len(row)}"
            )
    cells = np.array([[values[letter] for letter in row] for row in rows], np.uint8)
    if cells.ndim != 2:
        raise ValueError("the maze has no rows; give one word a row")
    return check_cells(cells[None], "maze")[0]


def to_graph(cells: np.ndarray) -> Any:
    """One maze uint8 [H, W] as a networkx Graph: nodes (row, col) without the blocked ones."""
    import networkx as nx

    graph = nx.Graph()
    for row, col in np.argwhere(cells & BLOCKED == 0).tolist():
        graph.add_node((row, col))
        if cells[row, col] & RIGHT:
            graph.add_edge((row, col), (row, col + 1))
        if cells[row, col] & DOWN:
            graph.add_edge((row, col), (row + 1, col))
    return graph


def draw(cells: np.ndarray, start: Sequence[int] = (), goal: Sequence[int] = ()) -> str:
    """One maze uint8 [H, W] as 2 H + 1 lines of text: `#` wall, `S` start, `G` goal."""
    h, w = cells.shape
    canvas = np.full((2 * h + 1, 2 * w + 1), "#")
    for row, col in np.argwhere(cells & BLOCKED == 0).tolist():
        canvas[2 * row + 1, 2 * col + 1] = " "
        for side, (dr, dc) in zip(DIRECTIONS, MOVES):
            if cells[row, col] & side:
                canvas[2 * row + 1 + dr, 2 * col + 1 + dc] = " "
    for cell, letter in ((start, "S"), (goal, "G")):
        if len(cell):
            canvas[2 * int(cell[0]) + 1, 2 * int(cell[1]) + 1] = letter
    return "\n".join("".join(line) for line in canvas)
