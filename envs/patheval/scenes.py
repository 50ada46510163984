"""Scenes of walls in a square of 80 x 80: rings, waves, mazes, and strips strewn at random.

A wall is a segment (x0, y0, x1, y1) with everything nearer to it than HALF_THICKNESS: a strip with
round ends, as wide as those of the published scenes. All numbers are rounded to two decimals, so
that a text can hold a scene exactly.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

FAMILIES = ("rings", "waves", "mazes", "random")
BOUND = 40.0  # the middle of a robot stays within -BOUND and BOUND in x and y
HALF_THICKNESS = 0.5
START, GOAL = (-36.6031, -36.4332), (36.0982, 36.363)  # as published
_ROOM = 5.0  # no wall is nearer to start and goal
_GAP = (5.0, 8.0)  # free width; the widest robot needs 3


@dataclass(frozen=True, eq=False)
class Scene:
    """walls float64 [S, 4], rounded to two decimals; family and seed say how they were made."""

    family: str
    seed: int
    walls: np.ndarray

    def __post_init__(self) -> None:
        walls = self.walls
        if walls.ndim != 2 or walls.shape[1] != 4 or not np.isfinite(walls).all():
            raise ValueError(f"walls must be finite numbers [S, 4], got shape {list(walls.shape)}")


def make_scene(family: str, seed: int) -> Scene:
    """The scene of a family and a seed. ValueError for an unknown family or a negative seed."""
    if family not in FAMILIES:
        raise ValueError(f"unknown family {family!r} of scenes; known: {FAMILIES}")
    if seed < 0:
        raise ValueError(f"seed must be >= 0, got {seed}")
    rng = np.random.default_rng([41, FAMILIES.index(family), seed])
    walls = np.round(_MAKERS[family](rng), 2)
    ends = np.array([START, GOAL])
    near = distances(ends, walls).min(axis=0) < _ROOM
    return Scene(family, seed, walls[~near])


def distances(points: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """float64 [P, S]: from points [P, 2] to the middle lines of walls [S, 4]."""
    a, b = walls[None, :, :2], walls[None, :, 2:]
    along = b - a
    squared = np.maximum((along**2).sum(-1), 1e-12)
    share = ((points[:, None] - a) * along).sum(-1) / squared
    nearest = a + np.clip(share, 0.0, 1.0)[..., None] * along
    return np.linalg.norm(points[:, None] - nearest, axis=-1)


def _rings(rng: np.random.Generator) -> np.ndarray:
    """Circles about a middle, each with two to four gaps."""
    middle = rng.uniform(-3, 3, 2)
    walls = []
    for radius in np.arange(7.0, 36.0, rng.uniform(6.5, 8.5)):
        n = max(12, int(2 * np.pi * radius / 3))
        angles = np.linspace(0, 2 * np.pi, n + 1)
        around = middle + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        pieces = np.concatenate([around[:-1], around[1:]], -1)
        walls.append(_without_gaps(pieces, int(rng.integers(2, 5)), rng))
    return np.concatenate(walls)


def _waves(rng: np.random.Generator) -> np.ndarray:
    """Waves from side to side, each with two to four gaps."""
    walls = []
    for height in np.arange(-28.0, 30.0, rng.uniform(7.0, 12.0)):
        x = np.linspace(-BOUND, BOUND, 27)
        swing, length, phase = rng.uniform(0.5, 2.5), rng.uniform(20, 60), rng.uniform(0, 6.3)
        line = np.stack([x, height + swing * np.sin(2 * np.pi * x / length + phase)], -1)
        pieces = np.concatenate([line[:-1], line[1:]], -1)
        walls.append(_without_gaps(pieces, int(rng.integers(2, 5)), rng))
    return np.concatenate(walls)


def _mazes(rng: np.random.Generator) -> np.ndarray:
    """The inner walls of a maze of 5 x 5 to 8 x 8 cells that has loops."""
    import torch

    from pilotage.envs.maze.generators import loops
    from pilotage.envs.maze.grid import DOWN, RIGHT

    size = int(rng.integers(5, 9))
    cells = loops(torch.tensor([int(rng.integers(2**62))]), size, size)[0].numpy()
    edge = np.linspace(-BOUND, BOUND, size + 1)
    walls = []
    for row, col in np.ndindex(size, size):
        left, right, top, bottom = edge[col], edge[col + 1], edge[row], edge[row + 1]
        if row + 1 < size and not cells[row, col] & DOWN:
            walls.append((left, bottom, right, bottom))
        if col + 1 < size and not cells[row, col] & RIGHT:
            walls.append((right, top, right, bottom))
    return np.array(walls)


def _random(rng: np.random.Generator) -> np.ndarray:
    """25 to 44 strips of any direction."""
    n = int(rng.integers(25, 45))
    middle = rng.uniform(-36, 36, (n, 2))
    angle, half = rng.uniform(0, np.pi, n), rng.uniform(2, 7, n)
    reach = half[:, None] * np.stack([np.cos(angle), np.sin(angle)], -1)
    return np.concatenate([middle - reach, middle + reach], -1)


def _without_gaps(pieces: np.ndarray, n_gaps: int, rng: np.random.Generator) -> np.ndarray:
    """The pieces [S, 4] of a line that are farther than half a gap from `n_gaps` places on it."""
    places = pieces[rng.choice(len(pieces), n_gaps, replace=False), :2]
    halves = rng.uniform(*_GAP, n_gaps) / 2 + HALF_THICKNESS
    near = distances(places, pieces) < halves[:, None]
    return pieces[~near.any(axis=0)]


_MAKERS: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "rings": _rings,
    "waves": _waves,
    "mazes": _mazes,
    "random": _random,
}
