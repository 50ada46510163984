"""Where furniture is put in a room.

A quarter turn puts an item against any of the four walls; there are no other rotations, so every
box stays aligned with the axes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotage.envs.rooms.catalogue import BUILDERS, WHITE, Part
from pilotage.envs.rooms.layout import Rect
from pilotage.envs.rooms.palette import COLORS, FURNITURE_COLORS, ROOM_FURNITURE

WALL_M = 0.06  # thickness of one room's wall; the wall between two rooms is twice that
PASSAGE_M = 0.62  # free width kept between items, so that a body of radius 0.18 m fits with ease
DOOR_ZONE_M = 1.0  # kept free in front of a door


@dataclass(frozen=True)
class Item:
    """Furniture in its place: `rect` is its footprint; its parts are in house coordinates."""

    category: str
    color: str  # a word of `COLORS`, or "" where the category's colour is not named
    room: int
    rect: Rect
    parts: tuple[Part, ...]

    @property
    def solid(self) -> bool:
        return self.category != "rug"

    @property
    def center(self) -> tuple[float, float]:
        return ((self.rect[0] + self.rect[2]) / 2, (self.rect[1] + self.rect[3]) / 2)


def build_item(category: str, color: str, room: int, rect: Rect, side: int) -> Item:
    """An item that fills `rect`, its back to `side` (0 low y, 1 high x, 2 high y, 3 low x)."""
    width, depth, make = BUILDERS[category]
    parts = []
    for part in make(COLORS[color] if color else WHITE):
        x, y, z = part.center
        x, y = x - width / 2, y - depth / 2
        for _ in range(side):
            x, y = -y, x
        sx, sy, sz = part.size
        if part.shape == "box" and side % 2:
            sx, sy = sy, sx
        cx, cy = (rect[0] + rect[2]) / 2 + x, (rect[1] + rect[3]) / 2 + y
        center = (round(cx, 4), round(cy, 4), round(z, 4))
        size = (round(sx, 4), round(sy, 4), round(sz, 4))
        color_rgb = tuple(round(v, 3) for v in part.color)
        parts.append(Part(part.shape, center, size, color_rgb))  # type: ignore[arg-type]
    return Item(category, color, room, rect, tuple(parts))


def overlaps(a: Rect, b: Rect, gap: float = 0.0) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def _rect_at(cx: float, cy: float, w: float, h: float) -> Rect:
    return (
        round(cx - w / 2, 3),
        round(cy - h / 2, 3),
        round(cx + w / 2, 3),
        round(cy + h / 2, 3),
    )


def _against_wall(rng: np.random.Generator, inner: Rect, w: float, d: float) -> tuple[Rect, int]:
    side = int(rng.integers(4))
    x0, y0, x1, y1 = inner
    gap = 0.02
    if side % 2 == 0:
        cx = rng.uniform(x0 + w / 2 + gap, max(x1 - w / 2 - gap, x0 + w / 2 + gap))
        cy = y0 + d / 2 + gap if side == 0 else y1 - d / 2 - gap
        return _rect_at(cx, cy, w, d), side
    cy = rng.uniform(y0 + w / 2 + gap, max(y1 - w / 2 - gap, y0 + w / 2 + gap))
    cx = x1 - d / 2 - gap if side == 1 else x0 + d / 2 + gap
    return _rect_at(cx, cy, d, w), side


def _in_the_middle(rng: np.random.Generator, inner: Rect, w: float, d: float) -> tuple[Rect, int]:
    side = int(rng.integers(4))
    if side % 2:
        w, d = d, w
    x0, y0, x1, y1 = inner
    cx = rng.uniform(x0 + 0.35 * (x1 - x0), x0 + 0.65 * (x1 - x0))
    cy = rng.uniform(y0 + 0.35 * (y1 - y0), y0 + 0.65 * (y1 - y0))
    return _rect_at(cx, cy, w, d), side


def _fits(rect: Rect, inner: Rect, taken: list[Rect], zones: list[Rect], middle: bool) -> bool:
    margin = PASSAGE_M if middle else 0.0
    inside = (
        rect[0] >= inner[0] + margin
        and rect[1] >= inner[1] + margin
        and rect[2] <= inner[2] - margin
        and rect[3] <= inner[3] - margin
    )
    return (
        inside
        and not any(overlaps(rect, z) for z in zones)
        and not any(overlaps(rect, t, PASSAGE_M) for t in taken)
    )


def furnish(
    rng: np.random.Generator, room: int, room_type: str, rect: Rect, zones: list[Rect]
) -> list[Item]:
    """Items for one room: those its type always has, then extras; what does not fit is left out."""
    always, extras = ROOM_FURNITURE[room_type]
    inner = (rect[0] + WALL_M, rect[1] + WALL_M, rect[2] - WALL_M, rect[3] - WALL_M)
    area = (rect[2] - rect[0]) * (rect[3] - rect[1])
    n_extra = int(np.clip(round(area / 8.0 + rng.uniform(-0.5, 0.5)), 1, 5))
    chosen = rng.permutation(len(extras))[:n_extra]
    items: list[Item] = []
    taken: list[Rect] = []
    rugs: list[Rect] = []
    for category in (*always, *(extras[k] for k in chosen)):
        width, depth, _ = BUILDERS[category]
        words = FURNITURE_COLORS[category]
        color = words[int(rng.integers(len(words)))] if words else ""
        middle = category in ("table", "rug", "ball")
        for _attempt in range(40):
            draw = _in_the_middle if middle else _against_wall
            place, side = draw(rng, inner, width, depth)
            solid = category != "rug"
            if not _fits(place, inner, taken if solid else rugs, zones if solid else [], middle):
                continue
            items.append(build_item(category, color, room, place, side))
            (taken if solid else rugs).append(place)
            if category == "table":
                items += _chairs(rng, room, place, side, inner, taken, zones)
            break
    return items


def _chairs(
    rng: np.random.Generator,
    room: int,
    table: Rect,
    side: int,
    inner: Rect,
    taken: list[Rect],
    zones: list[Rect],
) -> list[Item]:
    """Up to two chairs pushed under the long sides of a table (their backs away from it)."""
    words = FURNITURE_COLORS["chair"]
    color = words[int(rng.integers(len(words)))]
    cx, cy = (table[0] + table[2]) / 2, (table[1] + table[3]) / 2
    chairs = []
    for sign in (-1, 1):
        off = sign * (0.45 + 0.1)
        x, y = (cx, cy + off) if side % 2 == 0 else (cx + off, cy)
        place = _rect_at(x, y, 0.45, 0.45)
        back = {(-1, 0): 0, (1, 0): 2, (-1, 1): 3, (1, 1): 1}[(sign, side % 2)]
        others = [t for t in taken if t != table]
        if _fits(place, inner, others, zones, True):
            chairs.append(build_item("chair", color, room, place, back))
    taken.extend(c.rect for c in chairs)
    return chairs
