"""What each category of furniture is built from.

An item is drawn in its own frame: x along the wall, y from the wall into the room (the back is at
y = 0), z up, metres.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from pilotage.envs.rooms.palette import COLORS, Color


@dataclass(frozen=True)
class Part:
    """One primitive of an item, `size` as the camera has it (half extents; radius, half length)."""

    shape: str  # "box", "cylinder" (upright) or "sphere"
    center: tuple[float, float, float]
    size: tuple[float, float, float]
    color: Color


def _box(x0: float, x1: float, y0: float, y1: float, z0: float, z1: float, color: Color) -> Part:
    center = ((x0 + x1) / 2, (y0 + y1) / 2, (z0 + z1) / 2)
    return Part("box", center, ((x1 - x0) / 2, (y1 - y0) / 2, (z1 - z0) / 2), color)


def _rod(x: float, y: float, radius: float, z0: float, z1: float, color: Color) -> Part:
    return Part("cylinder", (x, y, (z0 + z1) / 2), (radius, (z1 - z0) / 2, 0.0), color)


def _ball(x: float, y: float, z: float, radius: float, color: Color) -> Part:
    return Part("sphere", (x, y, z), (radius, 0.0, 0.0), color)


def _shade(color: Color, factor: float) -> Color:
    return (color[0] * factor, color[1] * factor, color[2] * factor)


WHITE, BLACK, BROWN, GREY = COLORS["white"], COLORS["black"], COLORS["brown"], (0.5, 0.5, 0.52)
LEAF, WATER = COLORS["green"], (0.45, 0.75, 0.95)


def _sofa(c: Color, w: float = 1.9) -> list[Part]:
    d = _shade(c, 0.85)
    return [
        _box(0, w, 0.0, 0.85, 0.05, 0.42, c),
        _box(0, w, 0.0, 0.24, 0.42, 0.88, d),
        _box(0, 0.2, 0.24, 0.85, 0.42, 0.62, d),
        _box(w - 0.2, w, 0.24, 0.85, 0.42, 0.62, d),
    ]


def _bed(c: Color) -> list[Part]:
    return [
        _box(0, 1.5, 0.0, 2.0, 0.0, 0.28, BROWN),
        _box(0.03, 1.47, 0.06, 1.97, 0.28, 0.52, c),
        _box(0.2, 1.3, 0.1, 0.48, 0.52, 0.64, WHITE),
        _box(0, 1.5, 0.0, 0.06, 0.28, 0.95, BROWN),
    ]


def _table(c: Color) -> list[Part]:
    legs = [_rod(x, y, 0.04, 0, 0.7, _shade(c, 0.8)) for x in (0.1, 1.4) for y in (0.1, 0.8)]
    return [_box(0, 1.5, 0, 0.9, 0.7, 0.76, c), *legs]


def _chair(c: Color) -> list[Part]:
    d = _shade(c, 0.85)
    return [
        _box(0, 0.45, 0, 0.45, 0.42, 0.48, c),
        _box(0, 0.45, 0, 0.06, 0.48, 0.95, d),
        _box(0.0, 0.06, 0.02, 0.43, 0, 0.42, d),
        _box(0.39, 0.45, 0.02, 0.43, 0, 0.42, d),
    ]


def _desk(c: Color) -> list[Part]:
    return [
        _box(0, 1.4, 0, 0.7, 0.68, 0.74, c),
        _box(0.02, 0.08, 0.03, 0.67, 0, 0.68, _shade(c, 0.8)),
        _box(1.32, 1.38, 0.03, 0.67, 0, 0.68, _shade(c, 0.8)),
        _box(0.4, 1.0, 0.12, 0.17, 0.86, 1.24, BLACK),
        _box(0.65, 0.75, 0.12, 0.17, 0.74, 0.86, BLACK),
    ]


def _cabinet(c: Color) -> list[Part]:
    return [
        _box(0, 1.1, 0, 0.55, 0, 1.35, c),
        _box(0.53, 0.57, 0.55, 0.57, 0.1, 1.25, BLACK),
    ]


def _shelf(c: Color) -> list[Part]:
    books = [COLORS["red"], COLORS["blue"], COLORS["yellow"]]
    rows = [
        _box(0.08, 0.98, 0.32, 0.36, 0.2 + 0.55 * k, 0.5 + 0.55 * k, b) for k, b in enumerate(books)
    ]
    return [_box(0, 1.06, 0, 0.34, 0, 1.85, c), *rows]


def _fridge(c: Color) -> list[Part]:
    return [
        _box(0, 0.75, 0, 0.7, 0, 1.85, c),
        _box(0.62, 0.67, 0.7, 0.74, 0.8, 1.6, GREY),
        _box(0, 0.75, 0.7, 0.71, 1.18, 1.21, GREY),
    ]


def _lamp(c: Color) -> list[Part]:
    return [
        _rod(0.2, 0.2, 0.16, 0, 0.04, BLACK),
        _rod(0.2, 0.2, 0.03, 0.04, 1.25, BLACK),
        _rod(0.2, 0.2, 0.2, 1.2, 1.5, c),
    ]


def _plant(_: Color) -> list[Part]:
    return [
        _rod(0.3, 0.3, 0.19, 0, 0.38, (0.62, 0.32, 0.18)),
        _ball(0.3, 0.3, 0.66, 0.3, LEAF),
        _ball(0.3, 0.3, 1.05, 0.22, _shade(LEAF, 0.8)),
        _ball(0.3, 0.3, 1.33, 0.14, LEAF),
    ]


def _stove(_: Color) -> list[Part]:
    rings = [_rod(x, y, 0.1, 0.92, 0.93, COLORS["red"]) for x in (0.17, 0.48) for y in (0.18, 0.46)]
    return [
        _box(0, 0.65, 0, 0.62, 0, 0.88, GREY),
        _box(0, 0.65, 0, 0.62, 0.88, 0.92, BLACK),
        _box(0.1, 0.55, 0.62, 0.635, 0.2, 0.6, BLACK),
        *rings,
    ]


def _sink(_: Color) -> list[Part]:
    return [
        _box(0, 0.8, 0, 0.55, 0, 0.85, WHITE),
        _box(0.12, 0.68, 0.1, 0.5, 0.85, 0.86, WATER),
        _rod(0.4, 0.06, 0.025, 0.85, 1.12, GREY),
    ]


def _toilet(_: Color) -> list[Part]:
    return [
        _box(0, 0.46, 0, 0.2, 0.3, 0.85, WHITE),
        _rod(0.23, 0.42, 0.22, 0, 0.42, WHITE),
        _rod(0.23, 0.42, 0.14, 0.42, 0.43, GREY),
    ]


def _bath(_: Color) -> list[Part]:
    return [
        _box(0, 1.6, 0, 0.75, 0, 0.55, WHITE),
        _box(0.1, 1.5, 0.1, 0.65, 0.55, 0.56, WATER),
    ]


def _television(_: Color) -> list[Part]:
    return [
        _box(0, 1.4, 0, 0.4, 0, 0.45, BROWN),
        _box(0.05, 1.35, 0.12, 0.18, 0.5, 1.25, BLACK),
        _box(0.6, 0.8, 0.12, 0.18, 0.45, 0.5, BLACK),
    ]


def _washer(_: Color) -> list[Part]:
    return [
        _box(0, 0.65, 0, 0.6, 0, 0.9, WHITE),
        _ball(0.325, 0.49, 0.45, 0.2, (0.25, 0.3, 0.38)),
    ]


BUILDERS: dict[str, tuple[float, float, Callable[[Color], list[Part]]]] = {
    # category: width along the wall, depth, parts
    "sofa": (1.9, 0.85, _sofa),
    "armchair": (0.95, 0.85, lambda c: _sofa(c, 0.95)),
    "bed": (1.5, 2.0, _bed),
    "table": (1.5, 0.9, _table),
    "chair": (0.45, 0.45, _chair),
    "desk": (1.4, 0.7, _desk),
    "cabinet": (1.1, 0.57, _cabinet),
    "shelf": (1.06, 0.36, _shelf),
    "fridge": (0.75, 0.74, _fridge),
    "lamp": (0.4, 0.4, _lamp),
    "rug": (1.8, 1.3, lambda c: [_box(0, 1.8, 0, 1.3, 0.0, 0.012, c)]),
    "ball": (0.5, 0.5, lambda c: [_ball(0.25, 0.25, 0.25, 0.25, c)]),
    "crate": (0.55, 0.55, lambda c: [_box(0, 0.55, 0, 0.55, 0, 0.55, c)]),
    "plant": (0.6, 0.6, _plant),
    "stove": (0.65, 0.635, _stove),
    "sink": (0.8, 0.55, _sink),
    "toilet": (0.46, 0.64, _toilet),
    "bath": (1.6, 0.75, _bath),
    "television": (1.4, 0.4, _television),
    "washer": (0.65, 0.69, _washer),
}
