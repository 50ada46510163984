"""Mazes as token text: the `maze-dataset` format and the Searchformer format, written and read.

`maze-dataset` (Ivanitskiy et al. 2023, arXiv:2309.10498), tokeniser AOTP_UT_rasterized, the words
separated by one blank:

    <ADJLIST_START> (0,0) <--> (0,1) ; ... <ADJLIST_END> <ORIGIN_START> (r,c) <ORIGIN_END>
    <TARGET_START> (r,c) <TARGET_END> <PATH_START> (r,c) ... <PATH_END>

The order and direction of the connections carries no meaning (there they are shuffled). A cell
without exits is not in the text, and a blocked cell cannot be told from it. Nolte et al. 2024
(arXiv:2412.05117) drop "<-->" and cut at <PATH_START> to get the prompt.

Searchformer (Lehnert et al. 2024, arXiv:2402.14083), x = column and y = row:

    start x y goal x y wall x y wall x y ... plan x y plan x y ...
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pilotage.envs.maze.grid import BLOCKED, DOWN, RIGHT, check_cells, from_free, join

Cell = tuple[int, int]
_CELL = re.compile(r"\((\d+),(\d+)\)")
_SECTIONS = ("ADJLIST", "ORIGIN", "TARGET", "PATH")


@dataclass(frozen=True)
class ReadMaze:
    """What a text says. `path` is empty for a prompt."""

    cells: np.ndarray  # uint8 [H, W]
    start: Cell
    goal: Cell
    path: tuple[Cell, ...]


def write_tokens(
    cells: np.ndarray,
    start: Sequence[int],
    goal: Sequence[int],
    path: Sequence[Sequence[int]] | None = (),
    *,
    rng: np.random.Generator | None = None,
    arrows: bool = True,
) -> str:
    """One maze uint8 [H, W] in the `maze-dataset` format.

    Args:
        path: cells (row, col); None leaves the path section open (`<PATH_START>` comes last).
        rng: shuffles the connections and turns them at random; without it they are row by row.
        arrows: whether "<-->" stands between the two cells of a connection.
    """
    pairs = connections(cells)
    if rng is not None:
        pairs = [pairs[i] for i in rng.permutation(len(pairs))]
        pairs = [
            pair[::-1] if flip else pair for pair, flip in zip(pairs, rng.random(len(pairs)) < 0.5)
        ]
    words = ["<ADJLIST_START>"]
    for a, b in pairs:
        words += [_word(a), "<-->", _word(b), ";"] if arrows else [_word(a), _word(b), ";"]
    words += ["<ADJLIST_END>", "<ORIGIN_START>", _word(start), "<ORIGIN_END>"]
    words += ["<TARGET_START>", _word(goal), "<TARGET_END>", "<PATH_START>"]
    if path is not None:
        words += [*map(_word, path), "<PATH_END>"]
    return " ".join(words)


def connections(cells: np.ndarray) -> list[tuple[Cell, Cell]]:
    """The open sides of one maze uint8 [H, W], each once, row by row; the smaller cell first."""
    found = []
    for r, c in np.argwhere(cells & (DOWN | RIGHT)).tolist():
        if cells[r, c] & RIGHT:
            found.append(((r, c), (r, c + 1)))
        if cells[r, c] & DOWN:
            found.append(((r, c), (r + 1, c)))
    return found


def read_tokens(text: str, *, shape: tuple[int, int] | None = None) -> ReadMaze:
    """The maze of a text in the `maze-dataset` format, with or without "<-->".

    `shape` (rows, cols) is needed when the last row or column has no exits or the grid is not
    square; by default the grid is the smallest square that holds all cells.

    Raises ValueError that names the section and the word: a missing or repeated marker, a
    connection that is not two neighbours, a cell outside `shape`, not one origin and one target.
    """
    words = text.split()
    sections = {name: _section(words, name) for name in _SECTIONS}
    sides = _pairs(sections["ADJLIST"])
    ends = [_cells(sections[name], name) for name in ("ORIGIN", "TARGET")]
    for name, found in zip(("ORIGIN", "TARGET"), ends):
        if len(found) != 1:
            raise ValueError(f"section {name} has {len(found)} cells, expected one")
    path = _cells(sections["PATH"], "PATH")
    everything = [c for pair in sides for c in pair] + ends[0] + ends[1] + path
    size = 1 + max(max(cell) for cell in everything)
    rows, cols = shape or (size, size)
    for cell in everything:
        if cell[0] >= rows or cell[1] >= cols:
            raise ValueError(f"cell {_word(cell)} is outside {rows} x {cols} cells")
    down = np.zeros((1, max(rows - 1, 0), cols), bool)
    right = np.zeros((1, rows, max(cols - 1, 0)), bool)
    for a, b in map(sorted, sides):
        (down if b[0] > a[0] else right)[0, a[0], a[1]] = True
    return ReadMaze(join(down, right)[0], ends[0][0], ends[1][0], tuple(path))


def _section(words: Sequence[str], name: str) -> list[str]:
    first, last = f"<{name}_START>", f"<{name}_END>"
    if words.count(first) != 1 or words.count(last) > 1:
        raise ValueError(f"expected one {first}, found {words.count(first)} (and {last} once)")
    begin = words.index(first) + 1
    if last not in words:
        if name == "PATH":
            return list(words[begin:])  # a prompt, or a path cut short
        raise ValueError(f"{last} is missing")
    if words.index(last) < begin:
        raise ValueError(f"{last} comes before {first}")
    return list(words[begin : words.index(last)])


def _pairs(words: Sequence[str]) -> list[tuple[Cell, Cell]]:
    pairs = []
    for group in " ".join(words).split(";"):
        cells = _cells([word for word in group.split() if word != "<-->"], "ADJLIST")
        if not cells:
            continue
        if len(cells) != 2 or abs(cells[0][0] - cells[1][0]) + abs(cells[0][1] - cells[1][1]) != 1:
            raise ValueError(f"section ADJLIST: {group.strip()!r} is not two neighbouring cells")
        pairs.append((cells[0], cells[1]))
    return pairs


def _cells(words: Sequence[str], name: str) -> list[Cell]:
    found = []
    for word in words:
        match = _CELL.fullmatch(word)
        if match is None:
            raise ValueError(f"section {name}: {word!r} is not a cell like (0,1)")
        found.append((int(match[1]), int(match[2])))
    return found


def _word(cell: Sequence[int]) -> str:
    return f"({int(cell[0])},{int(cell[1])})"


def write_searchformer(
    cells: np.ndarray,
    start: Sequence[int],
    goal: Sequence[int],
    path: Sequence[Sequence[int]] = (),
) -> str:
    """One obstacle grid uint8 [H, W] in the Searchformer format, walls row by row.

    ValueError when free neighbours are not connected: that format has no walls between cells.
    """
    if not np.array_equal(from_free((cells & BLOCKED == 0)[None])[0], cells):
        raise ValueError("the maze has walls between free cells; use write_tokens for such mazes")
    parts = [("start", start), ("goal", goal)]
    parts += [("wall", cell) for cell in np.argwhere(cells & BLOCKED).tolist()]
    parts += [("plan", cell) for cell in path]
    return " ".join(f"{name} {int(cell[1])} {int(cell[0])}" for name, cell in parts)


def read_searchformer(text: str, *, shape: tuple[int, int]) -> ReadMaze:
    """The obstacle grid of a text in the Searchformer format, of `shape` (rows, cols).

    Raises ValueError that names the words which are not "name x y", or a cell outside.
    """
    words = text.split()
    found: dict[str, list[Cell]] = {"start": [], "goal": [], "wall": [], "plan": []}
    for i in range(0, len(words), 3):
        group = words[i : i + 3]
        if len(group) != 3 or group[0] not in found or not (group[1] + group[2]).isdecimal():
            raise ValueError(f"word {i}: {' '.join(group)!r} is not 'name x y' of {sorted(found)}")
        cell = (int(group[2]), int(group[1]))
        if cell[0] >= shape[0] or cell[1] >= shape[1]:
            raise ValueError(f"word {i}: {' '.join(group)!r} is outside {shape[0]} x {shape[1]}")
        found[group[0]].append(cell)
    for name in ("start", "goal"):
        if len(found[name]) != 1:
            raise ValueError(f"{len(found[name])} cells are named {name!r}, expected one")
    free = np.ones((1, *shape), bool)
    for cell in found["wall"]:
        free[0][cell] = False
    cells = check_cells(from_free(free))[0]
    return ReadMaze(cells, found["start"][0], found["goal"][0], tuple(found["plan"]))
