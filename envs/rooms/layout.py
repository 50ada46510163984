"""Floor plans: a rectangle cut into named rooms, and the doors that join them.

Rooms tile the house rectangle exactly. Two styles: rooms on both sides of a hallway, and recursive
cuts without a hallway. All coordinates are metres, x and y in the floor plane, rounded to 1 cm.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from pilotage.envs.rooms.palette import REPEATABLE_TYPES, ROOM_TYPES, SMALL_TYPES

Rect = tuple[float, float, float, float]  # x0, y0, x1, y1

MIN_ROOM_SIDE_M = 3.0
DOOR_MARGIN_M = 0.25  # from a door's edge to the nearest corner of either room


@dataclass(frozen=True)
class Door:
    """An opening in the wall that two rooms share. `axis` is the way through: 0 for x, 1 for y."""

    rooms: tuple[int, int]  # the first lies on the smaller-coordinate side
    center: tuple[float, float]
    axis: int
    width: float


def plan_rooms(rng: np.random.Generator) -> tuple[list[Rect], int]:
    """Room rectangles (4-8 of them) and the index of the hallway, or -1."""
    extent = (float(rng.uniform(10.0, 16.0)), float(rng.uniform(10.0, 14.0)))
    if rng.random() < 0.55:
        rects, hallway = _corridor_plan(rng, *extent), 0
    else:
        rects, hallway = _cut_plan(rng, *extent), -1
    if rng.random() < 0.5:
        rects = [(y0, x0, y1, x1) for x0, y0, x1, y1 in rects]
    return [tuple(round(v, 2) for v in r) for r in rects], hallway  # type: ignore[misc]


def _corridor_plan(rng: np.random.Generator, w: float, d: float) -> list[Rect]:
    width = rng.uniform(1.7, 2.4)
    low = rng.uniform(max(3.2, 0.5 * d - 1.5 - width / 2), min(d - 3.2, 0.5 * d + 1.5) - width / 2)
    high = low + width
    least = 2 if w > 11.0 else 1  # no room longer than a hall
    counts = [int(rng.integers(2, 5)), int(rng.integers(least, 4))]
    if rng.random() < 0.5:
        counts.reverse()
    rects: list[Rect] = [(0.0, low, w, high)]
    for count, (y0, y1) in zip(counts, ((0.0, low), (high, d))):
        edges = _split(rng, w, min(count, int(w // 3.2)))
        rects += [(x0, y0, x1, y1) for x0, x1 in pairwise(edges)]
    return rects


def _split(rng: np.random.Generator, length: float, count: int) -> list[float]:
    """Cut [0, length] into `count` pieces, none shorter than the smallest room side."""
    spare = length - count * MIN_ROOM_SIDE_M
    parts = MIN_ROOM_SIDE_M + spare * rng.dirichlet(np.full(count, 4.0))
    return [0.0, *np.cumsum(parts)[:-1].tolist(), length]


def _cut_plan(rng: np.random.Generator, w: float, d: float) -> list[Rect]:
    rects: list[Rect] = [(0.0, 0.0, w, d)]
    for _ in range(int(rng.integers(4, 8)) - 1):
        areas = [(r[2] - r[0]) * (r[3] - r[1]) for r in rects]
        x0, y0, x1, y1 = rects.pop(int(np.argmax(areas)))
        f = rng.uniform(0.36, 0.64)
        if x1 - x0 >= y1 - y0:
            if (x1 - x0) * min(f, 1 - f) < MIN_ROOM_SIDE_M:
                f = 0.5
            cut = x0 + f * (x1 - x0)
            rects += [(x0, y0, cut, y1), (cut, y0, x1, y1)]
        else:
            if (y1 - y0) * min(f, 1 - f) < MIN_ROOM_SIDE_M:
                f = 0.5
            cut = y0 + f * (y1 - y0)
            rects += [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    return rects


def name_rooms(rng: np.random.Generator, rects: list[Rect], hallway: int) -> list[str]:
    """A type for every room; only bedrooms and bathrooms may occur twice."""
    pool = [*ROOM_TYPES, *(REPEATABLE_TYPES if rng.random() < 0.35 else ())]
    types = [""] * len(rects)
    if hallway >= 0:
        types[hallway] = "hallway"
    area = [(r[2] - r[0]) * (r[3] - r[1]) for r in rects]
    for i in sorted((i for i in range(len(rects)) if i != hallway), key=lambda i: area[i]):
        fitting = [t for t in pool if t in SMALL_TYPES] if area[i] < 16.0 else pool
        choice = str((fitting or pool)[int(rng.integers(len(fitting or pool)))])
        pool.remove(choice)
        types[i] = choice
    return types


def shared_edges(rects: list[Rect]) -> list[tuple[int, int, int, float, float, float]]:
    """Pairs of rooms that share a wall: (low room, high room, axis across, wall at, from, to)."""
    found = []
    for i, a in enumerate(rects):
        for j, b in enumerate(rects):
            for axis in (0, 1):
                if abs(a[axis + 2] - b[axis]) > 1e-6:
                    continue
                other = 1 - axis
                low, high = max(a[other], b[other]), min(a[other + 2], b[other + 2])
                if high - low > 2 * DOOR_MARGIN_M + 1.1:
                    found.append((i, j, axis, a[axis + 2], low, high))
    return found


def place_doors(rng: np.random.Generator, rects: list[Rect], hallway: int) -> list[Door]:
    """Doors along a random spanning tree (the hallway is preferred), and now and then one more."""
    edges = shared_edges(rects)
    weights = [rng.random() - (0.7 if hallway in e[:2] else 0.0) for e in edges]
    group = list(range(len(rects)))
    chosen, spare = [], []
    for k in np.argsort(weights, kind="stable"):
        i, j = edges[k][:2]
        if group[i] != group[j]:
            old = group[j]
            group = [group[i] if g == old else g for g in group]
            chosen.append(edges[k])
        else:
            spare.append(edges[k])
    if len(set(group)) > 1:
        raise ValueError(f"rooms {rects} cannot all be joined by doors; draw another plan")
    chosen += [e for e in spare if rng.random() < 0.35][:2]
    return [_door(rng, e) for e in chosen]


def _door(rng: np.random.Generator, edge: tuple[int, int, int, float, float, float]) -> Door:
    i, j, axis, at, low, high = edge
    width = round(float(rng.uniform(0.9, 1.1)), 2)
    reach = DOOR_MARGIN_M + width / 2
    along = round(float(rng.uniform(low + reach, high - reach)), 2)
    return Door((i, j), (at, along) if axis == 0 else (along, at), axis, width)
