"""Judges thousands of grid paths in one call. Knows no planner; the rules are `validate`'s."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotage.envs.maze.grid import BLOCKED, DIRECTIONS, MOVES
from pilotage.planners.validate import Fault

FAULTS: tuple[Fault | None, ...] = (None, *Fault)


@dataclass(frozen=True)
class GridVerdicts:
    """What is wrong with B paths; `fault(i)` in words."""

    code: np.ndarray  # uint8 [B], index in FAULTS; 0 is a valid path
    optimal: np.ndarray | None  # bool [B]; None when no distances were given

    @property
    def valid(self) -> np.ndarray:
        """bool [B]"""
        return self.code == 0

    def fault(self, i: int) -> Fault | None:
        return FAULTS[int(self.code[i])]


def check_grid_paths(
    cells: np.ndarray,
    paths: np.ndarray,
    n_moves: np.ndarray,
    starts: np.ndarray,
    goals: np.ndarray,
    *,
    distances: np.ndarray | None = None,
) -> GridVerdicts:
    """Are these walks from start to goal through open sides, one side a move?

    Args:
        cells: uint8 [B, H, W].
        paths: integers [B, L, 2], (row, col); rows after `n_moves` are not looked at.
        n_moves: integers [B]; -1 says that there is no path (EMPTY).
        starts, goals: integers [B, 2].
        distances: integers [B], true least moves from an independent source, -1 for none.

    Raises ValueError for shapes that do not fit, and where a valid path is shorter than the
    distance: then the distance is wrong.
    """
    n, h, w = cells.shape
    paths, n_moves = np.asarray(paths), np.asarray(n_moves)
    if paths.ndim != 3 or paths.shape[::2] != (n, 2) or n_moves.shape != (n,):
        raise ValueError(
            f"paths {paths.shape} and n_moves {n_moves.shape} do not fit {n} mazes; expected "
            f"[{n}, L, 2] and [{n}]"
        )
    length = paths.shape[1]
    if (n_moves >= length).any() or (n_moves < -1).any():
        raise ValueError(f"n_moves must be from -1 to {length - 1}, got {n_moves}")
    steps = np.arange(length)
    used = steps[None] <= n_moves[:, None]
    rows, cols = paths[..., 0], paths[..., 1]
    inside = (rows >= 0) & (rows < h) & (cols >= 0) & (cols < w)
    byte = cells[np.arange(n)[:, None], np.clip(rows, 0, h - 1), np.clip(cols, 0, w - 1)]
    bad_node = used & (~inside | (byte & BLOCKED > 0))
    through = np.zeros((n, max(length - 1, 0)), bool)
    dr, dc = np.diff(rows, axis=1), np.diff(cols, axis=1)
    for side, (row_step, col_step) in zip(DIRECTIONS, MOVES):
        through |= (dr == row_step) & (dc == col_step) & (byte[:, :-1] & side > 0)
    bad_hop = np.zeros_like(bad_node)
    bad_hop[:, 1:] = used[:, 1:] & ~through
    code = np.zeros(n, np.uint8)
    last = np.maximum(n_moves, 0)
    wrong_goal = (paths[np.arange(n), last] != goals).any(axis=1)
    code[wrong_goal] = FAULTS.index(Fault.WRONG_GOAL)
    first_node = np.where(bad_node.any(axis=1), bad_node.argmax(axis=1), length)
    first_hop = np.where(bad_hop.any(axis=1), bad_hop.argmax(axis=1), length)
    code[first_hop < length] = FAULTS.index(Fault.NOT_ADJACENT)
    code[(first_node < length) & (first_node <= first_hop)] = FAULTS.index(Fault.NOT_A_NODE)
    code[(paths[:, 0] != starts).any(axis=1)] = FAULTS.index(Fault.WRONG_START)
    code[n_moves < 0] = FAULTS.index(Fault.EMPTY)
    if distances is None:
        return GridVerdicts(code, None)
    short = (code == 0) & ((n_moves < distances) | (np.asarray(distances) < 0))
    if short.any():
        i = int(np.argmax(short))
        raise ValueError(
            f"maze {i}: a valid path of {n_moves[i]} moves contradicts the distance "
            f"{distances[i]}; check its source"
        )
    return GridVerdicts(code, (code == 0) & (n_moves == distances))
