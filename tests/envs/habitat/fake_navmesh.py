"""A flat navigation mesh for the double of habitat-sim, made from the bodies of a scene.

Cells of the floor that a body covers between the climb and the height of the agent are blocked;
what is nearer to one than the radius is taken away, as Recast does; the rest may be walked. Ways
are shortest on a grid of 16 directions and then pulled straight, so they are about one per cent
longer than the shortest. Nothing of this comes from `pilotage.envs.rooms`: a house that was written
wrongly has wrong ways here.

It is flat (one level: the lowest that has much floor), and takes every body as convex. y is up;
rows run along z, columns along x.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import ndimage
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra
from scipy.spatial import ConvexHull, QhullError

SNAP_BOX = (2.0, 4.0, 2.0)  # half extents within which a point is moved onto the mesh, m
_HALF = [(0, 1), (1, 0), (1, 1), (1, -1), (1, 2), (2, 1), (1, -2), (2, -1)]  # of 16 directions
_SAMPLES = 4  # per cell, where a straight line is looked at


class FlatNavMesh:
    """`bodies` are vertices float64 [v, 3] in metres; `settings` like `NavMeshSettings`."""

    def __init__(self, bodies: Sequence[np.ndarray], settings: Any) -> None:
        self.cell = float(settings.cell_size)
        self.level = _floor_level(bodies)
        everything = np.concatenate(list(bodies))
        low, high = everything.min(axis=0), everything.max(axis=0)
        self.corner = np.array([low[0], self.level, low[2]]) - [self.cell, 0.0, self.cell]
        columns, rows = np.ceil((high - self.corner)[[0, 2]] / self.cell).astype(int) + 1
        floor, blocked = np.zeros((2, rows, columns), dtype=bool)
        for body in bodies:
            bottom, top = body[:, 1].min() - self.level, body[:, 1].max() - self.level
            if abs(top) < 0.05:
                self._paint(floor, body)
            if bottom < settings.agent_height and top > settings.agent_max_climb:
                self._paint(blocked, body)
        reach = math.ceil(np.float32(settings.agent_radius) / np.float32(settings.cell_size))
        self.free = ndimage.distance_transform_edt(floor & ~blocked) >= reach
        self.islands = ndimage.label(self.free)[0] - 1
        self.obstacle_m = ndimage.distance_transform_edt(self.free) * self.cell
        self._number = np.full(self.free.shape, -1)
        self._number[self.free] = np.arange(int(self.free.sum()))
        self._cells = np.argwhere(self.free)
        self._graph = self._edges()
        self._fields: dict[tuple[int, int], np.ndarray] = {}

    def _paint(self, grid: np.ndarray, body: np.ndarray) -> None:
        """Set every cell that a convex body meets, seen from above."""
        flat = (body - self.corner)[:, [2, 0]] / self.cell
        try:
            flat = flat[ConvexHull(flat).vertices]
        except QhullError:  # a plane seen from its edge
            flat = np.stack([flat.min(axis=0), flat.max(axis=0)])
        low, high = np.floor(flat.min(axis=0)).astype(int), np.floor(flat.max(axis=0)).astype(int)
        rows, columns = np.mgrid[low[0] : high[0] + 1, low[1] : high[1] + 1]
        meets = np.ones(rows.shape, dtype=bool)
        for a, b in zip(flat, np.roll(flat, -1, axis=0)):
            n = np.array([a[1] - b[1], b[0] - a[0]])
            spans = flat @ n
            middle = (rows + 0.5) * n[0] + (columns + 0.5) * n[1]
            reach = 0.5 * np.abs(n).sum()
            meets &= (middle + reach >= spans.min()) & (middle - reach <= spans.max())
        grid[low[0] : high[0] + 1, low[1] : high[1] + 1] |= meets

    def _edges(self) -> Any:
        """The grid of 16 directions over free cells, [n, n]; both ends must see each other."""
        ones, others = [], []
        for step in _HALF:
            ends = self._cells + step
            inside = ((ends >= 0) & (ends < self.free.shape)).all(axis=1)
            a, b = self._cells[inside], ends[inside]
            good = self.free[b[:, 0], b[:, 1]]
            good[good] = self._sees(a[good] + 0.5, b[good] + 0.5)
            ones.append(self._number[a[good, 0], a[good, 1]])
            others.append(self._number[b[good, 0], b[good, 1]])
        one, other = np.concatenate(ones), np.concatenate(others)
        lengths = np.linalg.norm(self._cells[one] - self._cells[other], axis=1)
        return coo_matrix((lengths, (one, other)), shape=(len(self._cells),) * 2).tocsr()

    def _sees(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """bool [m]: whether all of each line a[m, 2] - b[m, 2] (in cells) lies over free cells."""
        if not len(a):
            return np.zeros(0, dtype=bool)
        n = math.ceil(_SAMPLES * float(np.abs(b - a).max())) + 1
        at = a + np.linspace(0.0, 1.0, n)[:, None, None] * (b - a)
        rows, columns = np.floor(at).astype(int).transpose(2, 0, 1)
        return self.free[rows, columns].all(axis=0)

    def cell_of(self, point: np.ndarray) -> tuple[int, int] | None:
        """The free cell below or above a point; None where there is none."""
        row, column = np.floor(self._flat(point)).astype(int).tolist()
        inside = 0 <= row < self.free.shape[0] and 0 <= column < self.free.shape[1]
        return (row, column) if inside and self.free[row, column] else None

    def _flat(self, point: np.ndarray) -> np.ndarray:
        """(row, column) of a point, in cells."""
        return (np.asarray(point) - self.corner)[[2, 0]] / self.cell

    def _point(self, flat: np.ndarray) -> np.ndarray:
        row, column = np.asarray(flat) * self.cell
        return np.array([self.corner[0] + column, self.level, self.corner[2] + row])

    def snap(self, point: np.ndarray) -> np.ndarray:
        """The nearest place on the mesh within the snap box; NaN where there is none."""
        if abs(point[1] - self.level) <= SNAP_BOX[1]:
            if self.cell_of(point):
                return np.array([point[0], self.level, point[2]])
            away = np.abs((self._cells + 0.5 - self._flat(point)) * self.cell)
            near = np.where((away <= SNAP_BOX[0]).all(axis=1), np.hypot(*away.T), np.inf)
            if len(near) and np.isfinite(near.min()):
                return self._point(self._cells[near.argmin()] + 0.5)
        return np.full(3, np.nan)

    def island(self, point: np.ndarray) -> int:
        place = self.snap(point)
        cell = self.cell_of(place) if np.isfinite(place).all() else None
        return int(self.islands[cell]) if cell else -1

    def way(self, start: np.ndarray, end: np.ndarray) -> list[np.ndarray]:
        """The corners of the way between two places, snapped; [] when there is none."""
        a, b = self.snap(start), self.snap(end)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            return []
        here, there = self.cell_of(a), self.cell_of(b)
        if here is None or there is None or self.islands[here] != self.islands[there]:
            return []
        corners = self._field(there)
        chain, cell = [self._flat(a)], self._number[here]
        while corners[cell] != cell:
            cell = corners[cell]
            chain.append(self._cells[cell] + 0.5)
        chain = [*chain[: max(1, len(chain) - 1)], self._flat(b)]
        kept = [chain[0]]
        while kept[-1] is not chain[-1]:
            k = next(i for i, c in enumerate(chain) if c is kept[-1])
            seen = self._sees(np.tile(chain[k], (len(chain) - k - 1, 1)), np.array(chain[k + 1 :]))
            kept.append(
                chain[k + 1 + int(np.flatnonzero(seen)[-1])] if seen.any() else chain[k + 1]
            )
        return [a, *(self._point(c) for c in kept[1:-1]), b]

    def _field(self, goal: tuple[int, int]) -> np.ndarray:
        """For every free cell the number of the next corner of its way to a cell."""
        if goal in self._fields:
            return self._fields[goal]
        root = self._number[goal]
        _, before = dijkstra(self._graph, directed=False, indices=root, return_predecessors=True)
        corners = np.arange(len(before))
        wave = np.flatnonzero(before == root)
        corners[wave] = root
        children = np.argsort(before, kind="stable")
        first = np.searchsorted(before[children], np.arange(len(before) + 1))
        while len(wave):
            many = first[wave + 1] - first[wave]
            behind = np.repeat(np.cumsum(many) - many, many)
            wave = children[np.repeat(first[wave], many) + np.arange(many.sum()) - behind]
            parent = before[wave]
            far = corners[parent]
            seen = self._sees(self._cells[wave] + 0.5, self._cells[far] + 0.5)
            corners[wave] = np.where(seen, far, parent)
        self._fields[goal] = corners
        return corners

    def slide(self, start: np.ndarray, end: np.ndarray, *, sliding: bool) -> np.ndarray:
        """Where one gets to that goes straight from start to end; at the edge on along an axis."""
        at, goal = self._flat(self.snap(start)), self._flat(end)
        at = self._until_edge(at, goal)
        if sliding:
            sides = [
                self._until_edge(at, np.array(to)) for to in ((goal[0], at[1]), (at[0], goal[1]))
            ]
            at = max(sides, key=lambda side: float(np.abs(side - at).max()))
        return self._point(at)

    def _until_edge(self, at: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The last free place on the straight line."""
        n = math.ceil(5 * _SAMPLES * float(np.abs(goal - at).max())) + 1
        places = at + np.linspace(0.0, 1.0, n)[:, None] * (goal - at)
        cells = np.clip(np.floor(places).astype(int), 0, np.array(self.free.shape) - 1)
        shut = np.flatnonzero(~self.free[cells[:, 0], cells[:, 1]])
        return places[max(0, shut[0] - 1)] if len(shut) else places[-1]


def _floor_level(bodies: Sequence[np.ndarray]) -> float:
    """The lowest height at which bodies end above with at least half of the most area."""
    areas: dict[float, float] = {}
    for body in bodies:
        width, _, depth = np.ptp(body, axis=0)
        top = round(float(body[:, 1].max()), 3)
        areas[top] = areas.get(top, 0.0) + float(width * depth)
    most = max(areas.values())
    return min(height for height, area in areas.items() if area >= most / 2)
