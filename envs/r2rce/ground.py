"""The ground under all slots: which moves it bears, and how far it is to the goals.

The places of all scans in use lie one behind the other, so that slots in different scans step as
one array operation. A place's number here is its number in the scan plus the scan's offset.
"""

from __future__ import annotations

import numpy as np

from .dataset import R2RCEData
from .places import HEIGHT

STEP_M = 0.25
SLIDES = np.radians([15, -15, 30, -30, 45, -45, 60, -60, 75, -75])


class Ground:
    """Grows as tasks name new scans. `position` is float64 [V, 3], `near` int64 [V, K] in global
    numbers (a place's own number behind the last), `viewpoint` int64 [V] in numbers of the scan's
    graph. Every number is the same, to the bit, whatever else is asked for at the same time.
    """

    def __init__(self, data: R2RCEData, *, clearance_m: float) -> None:
        self.data = data
        self.clearance_m = clearance_m
        self.link_m = 2 * clearance_m  # the ground about two linked places is one piece
        self.offset: dict[str, int] = {}
        self.position = np.zeros((0, 3))
        self.near = np.zeros((0, 1), np.int64)
        self.viewpoint = np.zeros(0, np.int64)
        self._axes = [np.zeros(0)] * 3  # the positions' coordinates, which are quicker to look up

    def require(self, scan: str) -> int:
        """The offset of a scan, which is read if it is new. Raises as the readers do."""
        if scan not in self.offset:
            places = self.data.places(scan, self.link_m)
            base = len(self.position)
            near = places.near + base
            width = max(near.shape[1], self.near.shape[1])
            self.near = np.concatenate([_wide(self.near, width, 0), _wide(near, width, base)])
            self.position = np.concatenate([self.position, places.position])
            self.viewpoint = np.concatenate([self.viewpoint, places.viewpoint])
            self._axes = [np.ascontiguousarray(self.position[:, k]) for k in range(3)]
            self.offset[scan] = base
        return self.offset[scan]

    def stepped(
        self, position: np.ndarray, place: np.ndarray, heading: np.ndarray, length: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where d moves of each of m bodies lead, from points [m, 3] by headings and lengths
        [m, d]: points [m, d, 3], the places under them [m, d], and how far off each is [m, d],
        infinite where no place that is linked to the present one bears it.

        The height becomes that of the place under the new point.
        """
        near = self.near[place]
        x, y, z = (axis[near][:, None] for axis in self._axes)
        ahead_x = position[:, :1] + length * np.sin(heading)
        ahead_y = position[:, 1:2] + length * np.cos(heading)
        up = HEIGHT * (z - position[:, 2, None, None])
        squares = (x - ahead_x[..., None]) ** 2 + (y - ahead_y[..., None]) ** 2 + up * up
        best = squares.argmin(axis=-1)
        found = np.take_along_axis(near, best, axis=1)
        gap = np.sqrt(np.take_along_axis(squares, best[..., None], axis=-1)[..., 0])
        points = np.stack([ahead_x, ahead_y, self._axes[2][found]], axis=-1)
        return points, found, np.where(gap <= self.clearance_m, gap, np.inf)

    def slid(
        self, position: np.ndarray, place: np.ndarray, heading: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Where moves end that the ground did not bear: points [m, 3] and places [m].

        The body goes on along what stopped it: the least of the turns of `SLIDES` that leads to
        ground, to the side with the nearer place, by what is left of the move in that direction.
        Where there is none it stays.
        """
        turned = heading[:, None] + SLIDES
        points, found, gaps = self.stepped(position, place, turned, STEP_M * np.cos(SLIDES))
        best = (gaps + np.arange(len(SLIDES)) // 2 * 100.0).argmin(axis=1)
        rows = np.arange(len(gaps))
        stays = np.isinf(gaps[rows, best])
        point = np.where(stays[:, None], position, points[rows, best])
        return point, np.where(stays, place, found[rows, best])

    def ways(
        self, slots: np.ndarray, position: np.ndarray, place: np.ndarray, fields: Fields
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """From each point [m, 3], over each of the K places that are near: the length of the way
        to the goal of its slot, that to the place alone, and the place; each [m, K]. The way is
        infinite where the place is too far to be linked to the point.
        """
        near = self.near[place]
        x, y, z = (axis[near] - position[:, k, None] for k, axis in enumerate(self._axes))
        hop = np.sqrt(x * x + y * y + z * z)
        whole = fields.rows[slots[:, None], near - fields.base[slots][:, None]] + hop
        return np.where(hop > self.link_m, np.inf, whole), hop, near

    def to_goal(
        self, slots: np.ndarray, position: np.ndarray, place: np.ndarray, fields: Fields
    ) -> np.ndarray:
        """Distances along the ground from points [m, 3] to the goals of their slots [m], metres."""
        whole, _, _ = self.ways(slots, position, place, fields)
        x, y, z = (fields.goal[slots] - position).T
        straight = np.sqrt(x * x + y * y + z * z)
        close = x * x + y * y + HEIGHT * HEIGHT * z * z <= self.clearance_m**2
        return np.minimum(whole.min(axis=1), np.where(close, straight, np.inf))


class Fields:
    """Where the slots' goals are, and how far every place of their scans is from them."""

    def __init__(self, n_slots: int) -> None:
        self.goal = np.zeros((n_slots, 3))
        self.base = np.zeros(n_slots, np.int64)  # offset of the slot's scan
        self.rows = np.zeros((n_slots, 1))  # [n, most places so far], metres

    def put(self, slot: int, goal: np.ndarray, base: int, distances: np.ndarray) -> None:
        more = len(distances) - self.rows.shape[1]
        if more > 0:
            self.rows = np.pad(self.rows, ((0, 0), (0, more)), constant_values=np.inf)
        self.goal[slot], self.base[slot] = goal, base
        self.rows[slot, : len(distances)] = distances


def _wide(near: np.ndarray, width: int, base: int) -> np.ndarray:
    own = np.arange(base, base + len(near))[:, None]
    return np.concatenate([near, np.repeat(own, width - near.shape[1], axis=1)], axis=1)
