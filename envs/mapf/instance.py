"""One multi-agent path finding instance: a grid map, starts, and a goal or a list of goals each.

Cells are (row, col), row 0 at the top. Actions are 0 stay, 1 up (row - 1), 2 down, 3 left
(col - 1), 4 right, in the order of POGEMA; one action takes one step, and agents move together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

MOVES = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]], np.int32)  # [action, (row, col)]
MOVES.setflags(write=False)


@dataclass(frozen=True, eq=False)
class MapfInstance:
    """What is asked of a team. Arrays are copied, checked and made read-only.

    With `goal_lists` the instance is lifelong: agent i gets `goal_lists[i][0]` first and the next
    of its list on every arrival (around again at the end); `goals` must then be left out. Goals of
    different agents must differ in a one-shot instance only.

    Raises:
        ValueError: an empty map, a start or goal outside the map or in a wall, two agents with one
            start (or one goal), wrong shapes, more agents than free cells.
        TypeError: a map that is not bool, cells that are not whole numbers.
    """

    free: np.ndarray  # bool [H, W], True = may stand
    starts: np.ndarray  # int32 [N, 2], (row, col)
    goals: np.ndarray  # int32 [N, 2]; the first of each list where there are lists
    goal_lists: tuple[np.ndarray, ...] | None = None  # N of int32 [n_goals, 2]
    name: str = "instance"

    @classmethod
    def one_shot(
        cls, free: ArrayLike, starts: ArrayLike, goals: ArrayLike, *, name: str = "instance"
    ) -> MapfInstance:
        """Each agent goes to its goal and rests there."""
        return cls(np.asarray(free), np.asarray(starts), np.asarray(goals), None, name)

    @classmethod
    def lifelong(
        cls,
        free: ArrayLike,
        starts: ArrayLike,
        goal_lists: Sequence[ArrayLike],
        *,
        name: str = "instance",
    ) -> MapfInstance:
        """Each agent goes through its own list of goals, and around again."""
        lists = tuple(np.asarray(goals) for goals in goal_lists)
        for i, goals in enumerate(lists):
            if goals.ndim != 2 or len(goals) == 0:
                raise ValueError(
                    f"{name}: goal_lists[{i}] has shape {list(goals.shape)}; give at least one "
                    "(row, col)"
                )
        first = [goals[0] for goals in lists]
        return cls(np.asarray(free), np.asarray(starts), np.asarray(first), lists, name)

    def __post_init__(self) -> None:
        free = check_map(self.free, self.name)
        n = len(self.starts)
        n_free = int(free.sum())
        if n < 1:
            raise ValueError(f"{self.name}: there are no agents; give at least one start")
        if n > n_free:
            raise ValueError(
                f"{self.name}: {n} agents do not fit on {n_free} free cells; ask for fewer"
            )
        starts = _check_cells(self.starts, free, n, f"{self.name}: start")
        goals = _check_cells(self.goals, free, n, f"{self.name}: goal")
        _check_distinct(starts, f"{self.name}: start")
        lists = self.goal_lists
        if lists is None:
            _check_distinct(goals, f"{self.name}: goal")
        else:
            if len(lists) != n:
                raise ValueError(
                    f"{self.name}: {len(lists)} goal lists for {n} starts; give one for each"
                )
            lists = tuple(
                _check_cells(each, free, len(each), f"{self.name}: agent {i}, goal")
                for i, each in enumerate(lists)
            )
        for field, value in (("free", free), ("starts", starts), ("goals", goals)):
            object.__setattr__(self, field, value)
        object.__setattr__(self, "goal_lists", lists)

    @property
    def n_agents(self) -> int:
        return len(self.starts)

    @property
    def is_lifelong(self) -> bool:
        return self.goal_lists is not None

    def first_agents(self, n: int) -> MapfInstance:
        """The same map with the first `n` agents, the usual way to make an instance smaller."""
        if not 1 <= n <= self.n_agents:
            raise ValueError(f"{self.name} has {self.n_agents} agents; cannot take {n} of them")
        lists = None if self.goal_lists is None else self.goal_lists[:n]
        return MapfInstance(self.free, self.starts[:n], self.goals[:n], lists, self.name)


def check_map(free: ArrayLike, name: str) -> np.ndarray:
    """A read-only copy of `free`, bool [H, W], after checking it."""
    array = np.asarray(free)
    if array.ndim != 2 or array.size == 0:
        raise ValueError(
            f"{name}: the map has shape {list(array.shape)}, expected [H, W], not empty"
        )
    if array.dtype != bool:
        raise TypeError(f"{name}: the map is {array.dtype}, expected bool with True = may stand")
    if not array.any():
        raise ValueError(f"{name}: the map has no free cell; True means free, not blocked")
    return _frozen(array)


def _check_cells(cells: ArrayLike, free: np.ndarray, n: int, what: str) -> np.ndarray:
    array = np.asarray(cells)
    if array.shape != (n, 2):
        raise ValueError(f"{what}s have shape {list(array.shape)}, expected [{n}, 2], (row, col)")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{what}s are {array.dtype}; give whole numbers (row, col)")
    height, width = free.shape
    inside = ((array >= 0) & (array < (height, width))).all(axis=1)
    if not inside.all():
        i = int(np.argmin(inside))
        raise ValueError(
            f"{what} {i} is {_cell(array[i])}, outside the map of {height} rows and {width} columns"
            "; cells are (row, col), not (x, y)"
        )
    standing = free[array[:, 0], array[:, 1]]
    if not standing.all():
        i = int(np.argmin(standing))
        raise ValueError(f"{what} {i} is {_cell(array[i])}, a wall; choose a free cell")
    return _frozen(array.astype(np.int32))


def _check_distinct(cells: np.ndarray, what: str) -> None:
    seen: dict[tuple[int, int], int] = {}
    for i, (row, col) in enumerate(cells.tolist()):
        if (row, col) in seen:
            raise ValueError(
                f"{what} {i} is ({row}, {col}), the same as {what.rpartition(' ')[2]} "
                f"{seen[row, col]}; every agent needs its own"
            )
        seen[row, col] = i


def _cell(cell: np.ndarray) -> str:
    return f"({int(cell[0])}, {int(cell[1])})"


def _frozen(array: np.ndarray) -> np.ndarray:
    copy = np.array(array)
    copy.setflags(write=False)
    return copy
