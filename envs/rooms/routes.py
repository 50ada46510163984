"""Routes through a house: which doors a path crosses, and places to stand near furniture."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pilotage.envs.rooms.geodesic import NavGraph, nav_graph
from pilotage.envs.rooms.house import AGENT_RADIUS_M, House

APPROACH_M = AGENT_RADIUS_M + 0.15  # from an item's edge to where one stands beside it


@dataclass(frozen=True)
class Crossing:
    """A path goes through `door` into `room`, `at` metres after its start."""

    door: int
    room: int
    at: float


def crossings(house: House, path: np.ndarray) -> list[Crossing]:
    """Doors that a path `[p, 2]` goes through, in order."""
    found = []
    travelled = 0.0
    for a, b in pairwise(path):
        length = float(np.hypot(*(b - a)))
        for k, door in enumerate(house.doors):
            along = 1 - door.axis
            before, after = (float(p[door.axis]) - door.center[door.axis] for p in (a, b))
            if (before < 0) == (after < 0):
                continue
            t = before / (before - after)
            where = float(a[along] + t * (b[along] - a[along]))
            if abs(where - door.center[along]) <= door.width / 2:
                room = door.rooms[1] if after >= 0 else door.rooms[0]
                found.append(Crossing(k, room, travelled + t * length))
        travelled += length
    return sorted(found, key=lambda c: c.at)


def rooms_along(house: House, path: np.ndarray) -> list[int]:
    """The rooms that a path `[p, 2]` goes through, in order: where it begins, then one a door."""
    x, y = path[0]
    return [house.room_at(float(x), float(y)), *(c.room for c in crossings(house, path))]


def path_length(path: np.ndarray) -> float:
    return float(np.linalg.norm(np.diff(path, axis=0), axis=1).sum())


def approach_points(house: House, item_index: int) -> np.ndarray:
    """Free places beside an item, in its own room, `[k, 2]`; empty when there is none."""
    item = house.items[item_index]
    graph = nav_graph(house)
    x0, y0, x1, y1 = item.rect
    (cx, cy), d = item.center, APPROACH_M
    spots = [(cx, y0 - d), (x1 + d, cy), (cx, y1 + d), (x0 - d, cy)]
    near = d / math.sqrt(2)
    spots += [(x, y) for x in (x0 - near, x1 + near) for y in (y0 - near, y1 + near)]
    if not item.solid:
        spots.append((cx, cy))
    room = house.rooms[item.room]
    return np.array(
        [
            (round(x, 4), round(y, 4))
            for x, y in spots
            if room.contains(x, y) and graph.clearance(x, y) > 0.03
        ]
    ).reshape(-1, 2)


def room_point(house: House, room: int) -> np.ndarray:
    """The free place nearest the centre of a room, `[1, 2]`."""
    graph = nav_graph(house)
    cx, cy = house.rooms[room].center
    for radius in np.arange(0.0, 3.0, 0.15):
        for angle in np.arange(0.0, 2 * math.pi, math.pi / 8):
            x, y = cx + radius * math.cos(angle), cy + radius * math.sin(angle)
            if house.rooms[room].contains(x, y) and graph.clearance(x, y) > 0.05:
                return np.array([[round(x, 4), round(y, 4)]])
    raise ValueError(f"room {house.rooms[room].name!r} has no free place near its centre")


def random_place(
    rng: np.random.Generator, house: House, graph: NavGraph
) -> tuple[float, float, float]:
    """A free pose: x, y (10 cm clear of everything) and a heading that is a multiple of 15 deg."""
    for _ in range(1000):
        x = round(float(rng.uniform(0.0, house.size[0])), 3)
        y = round(float(rng.uniform(0.0, house.size[1])), 3)
        if graph.clearance(x, y) > 0.1:
            return x, y, round(math.radians(15.0 * int(rng.integers(24))), 6)
    raise ValueError(f"house {house.seed} has no free place in 1000 draws")
