"""Mazes as lines of token numbers: the words of `maze-dataset` without "<-->", for many at once.

    <ADJLIST_START> (r,c) (r,c) ; ... <ADJLIST_END> <ORIGIN_START> (r,c) <ORIGIN_END>
    <TARGET_START> (r,c) <TARGET_END> <PATH_START> | (r,c) ... (r,c) <PATH_END>

One token a cell, as Nolte et al. 2024 (arXiv:2412.05117) have it; the bar is where a prompt ends
and a path begins. `envs.maze.tokens` reads and writes the same words as text. There the connections
are shuffled once, when the data set is made; here each time a line is written, by given noise.

A shorter prompt (`write_walls`) has one token a cell, which also says which of its sides are open
and whether one starts or ends there: size * size tokens instead of three a connection. What is read
is the same maze, but it need not be put together from its connections first, so that results with
it do not compare with published ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from pilotage.envs.maze.grid import BLOCKED, DOWN, RIGHT, SIDES, check_cells
from pilotage.planners.grids import GridPlans, solve_grids
from pilotage.planners.plan import PlanStatus

MARKERS = (
    *("<PAD>", "<ADJLIST_START>", ";", "<ADJLIST_END>", "<ORIGIN_START>", "<ORIGIN_END>"),
    *("<TARGET_START>", "<TARGET_END>", "<PATH_START>", "<PATH_END>"),
)
PAD, LIST_START, NEXT, LIST_END, ORIGIN, ORIGIN_END, TARGET, TARGET_END, PATH, END = range(10)
FIRST_CELL = len(MARKERS)
N_SIDES = SIDES + 1  # ways in which the sides of a cell can be open
N_STATES = 3 * N_SIDES  # of a cell in `write_walls`: its sides, and nothing, the start or the goal


class PromptKind(StrEnum):
    """How a maze is told; names as on the command line."""

    EDGES = "edges"
    WALLS = "walls"


@dataclass(frozen=True, eq=False)
class Mazes:
    """B mazes with start and goal, of one shape.

    cells uint8 [B, H, W] as in `envs.maze.grid`; starts and goals integers [B, 2], (row, col).
    Raises TypeError or ValueError that names the maze: cells that are none, a start or goal outside
    or blocked, a start that is the goal.
    """

    cells: np.ndarray
    starts: np.ndarray
    goals: np.ndarray

    def __post_init__(self) -> None:
        check_cells(self.cells)
        for name, places in (("start", self.starts), ("goal", self.goals)):
            self._check(name, np.asarray(places))
        same = (np.asarray(self.starts) == np.asarray(self.goals)).all(axis=1)
        if same.any():
            i = int(np.argmax(same))
            cell = tuple(np.asarray(self.starts)[i].tolist())
            raise ValueError(
                f"maze {i}: start and goal are both {cell}; a path task needs two different cells"
            )

    def _check(self, name: str, places: np.ndarray) -> None:
        n, h, w = self.cells.shape
        if places.shape != (n, 2) or places.dtype.kind not in "iu":
            raise ValueError(
                f"{name}s must be integers [{n}, 2] (row, col), got {places.dtype} {places.shape}"
            )
        outside = np.any((places < 0) | (places >= (h, w)), axis=1)
        inside = np.where(outside[:, None], 0, places)
        blocked = self.cells[np.arange(n), inside[:, 0], inside[:, 1]] & BLOCKED > 0
        for wrong, what in ((outside, f"outside {h} x {w} cells"), (blocked & ~outside, "blocked")):
            if wrong.any():
                i = int(np.argmax(wrong))
                raise ValueError(f"maze {i}: {name} {tuple(places[i].tolist())} is {what}")

    def __len__(self) -> int:
        return len(self.cells)

    def __getitem__(self, rows: np.ndarray | slice) -> Mazes:
        """The mazes of these rows."""
        return Mazes(self.cells[rows], self.starts[rows], self.goals[rows])


def vocabulary(size: int) -> tuple[str, ...]:
    """The words of a network for up to `size` x `size` cells, in the order of their numbers."""
    return (*MARKERS, *(f"({r},{c})" for r in range(size) for c in range(size)))


def prompts_of(kind: PromptKind, mazes: Mazes, size: int, noise: np.ndarray) -> np.ndarray:
    """Prompts int64 [B, S] of a kind; `noise` matters to "edges" alone. Raises as the writers."""
    if kind is PromptKind.WALLS:
        return write_walls(mazes, size)
    return write_prompts(mazes, size, noise)


def write_prompts(mazes: Mazes, size: int, noise: np.ndarray) -> np.ndarray:
    """Prompts int64 [B, S], padded on the left where a maze has fewer connections than another.

    Args:
        size: the vocabulary's; mazes may be smaller.
        noise: floats [B, 2, 2 * H * W] in [0, 1): they order the connections, and turn those at
            which they are below 1/2.

    Raises ValueError for mazes larger than the vocabulary.
    """
    cells = mazes.cells
    n, h, w = cells.shape
    _check_size(h, w, size)
    numbers = _cell_tokens(h, w, size)
    here = np.tile(numbers.reshape(-1), 2)
    there = here + np.repeat([1, size], h * w)  # to the right, then down
    is_open = np.concatenate([(cells & s > 0).reshape(n, -1) for s in (RIGHT, DOWN)], axis=1)
    count = is_open.sum(axis=1)
    most = int(count.max(initial=0))
    order = np.argsort(np.where(is_open, noise[:, 0], -1.0), axis=1)[:, 2 * h * w - most :]
    turned = np.take_along_axis(noise[:, 1], order, axis=1) < 0.5
    first, second = here[order], there[order]
    groups = np.full((n, most, 3), NEXT)
    groups[..., 0] = np.where(turned, second, first)
    groups[..., 1] = np.where(turned, first, second)
    groups[np.arange(most) < (most - count)[:, None]] = PAD
    line = np.full((n, 1 + 3 * most + 8), PAD)
    line[:, 1 : 1 + 3 * most] = groups.reshape(n, -1)
    line[np.arange(n), 3 * (most - count)] = LIST_START
    line[:, -8:] = [LIST_END, ORIGIN, 0, ORIGIN_END, TARGET, 0, TARGET_END, PATH]
    line[:, -6], line[:, -3] = (
        FIRST_CELL + places[:, 0] * size + places[:, 1] for places in (mazes.starts, mazes.goals)
    )
    return line


def write_walls(mazes: Mazes, size: int) -> np.ndarray:
    """Prompts int64 [B, H * W], row by row: cell + V * (1 + state), V words in the vocabulary.

    A state is below `N_STATES`: the open sides as in `envs.maze.grid`, and `N_SIDES` more for the
    start, twice as much for the goal. Raises ValueError for mazes larger than the vocabulary.
    """
    n, h, w = mazes.cells.shape
    _check_size(h, w, size)
    state = (mazes.cells & SIDES).astype(np.int64)
    rows = np.arange(n)
    state[rows, mazes.starts[:, 0], mazes.starts[:, 1]] += N_SIDES
    state[rows, mazes.goals[:, 0], mazes.goals[:, 1]] += 2 * N_SIDES
    line = _cell_tokens(h, w, size) + len(vocabulary(size)) * (1 + state)
    return line.reshape(n, -1)


def _cell_tokens(h: int, w: int, size: int) -> np.ndarray:
    return FIRST_CELL + np.arange(h)[:, None] * size + np.arange(w)


def _check_size(h: int, w: int, size: int) -> None:
    if max(h, w) > size:
        raise ValueError(
            f"mazes of {h} x {w} cells are larger than a vocabulary of {size} x {size}; take a "
            f"network of size {max(h, w)}"
        )


def labels(mazes: Mazes) -> GridPlans:
    """A shortest path of each maze; in a tree it is the only path without a cell twice.

    ValueError that names the first maze without a way from start to goal.
    """
    plans = solve_grids(mazes.cells, mazes.starts, mazes.goals)
    unsolved = plans.status != int(PlanStatus.SOLVED)
    if unsolved.any():
        raise ValueError(
            f"maze {int(np.argmax(unsolved))} has no way from start to goal; leave it out"
        )
    return plans


def write_paths(paths: np.ndarray, n_moves: np.ndarray, size: int) -> np.ndarray:
    """Tokens int64 [B, longest + 2] of cells [B, L, 2]: n_moves + 1 cells, the end, padding."""
    length = int(n_moves.max(initial=-1)) + 2
    line = np.full((len(paths), length), PAD)
    cells = FIRST_CELL + paths[:, : length - 1, 0] * size + paths[:, : length - 1, 1]
    used = np.arange(length - 1) <= n_moves[:, None]
    line[:, :-1] = np.where(used, cells, PAD)
    line[np.arange(len(paths)), n_moves + 1] = END
    return line


def read_paths(line: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells int64 [B, L, 2] and n_moves [B] of path tokens [B, L]; the inverse of `write_paths`.

    A line without an end, or with another marker before it, is no path: n_moves is -1.
    """
    is_end = line == END
    n_moves = np.where(is_end.any(axis=1), is_end.argmax(axis=1), 0) - 1
    before = np.arange(line.shape[1]) <= n_moves[:, None]
    n_moves[(before & (line < FIRST_CELL)).any(axis=1)] = -1
    return np.stack(np.divmod(np.maximum(line - FIRST_CELL, 0), size), axis=-1), n_moves
