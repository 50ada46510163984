"""The shell of a house: its rooms, and the floors, walls, door frames and ceiling around them."""

from __future__ import annotations

from dataclasses import dataclass

from pilotage.envs.rooms import palette
from pilotage.envs.rooms.catalogue import Part
from pilotage.envs.rooms.furniture import WALL_M
from pilotage.envs.rooms.layout import Door, Rect

WALL_HEIGHT_M = 2.5
DOOR_HEIGHT_M = 2.05
FRAME_M = 0.09  # width of the trim around a door; it stands 1.5 cm out of the wall


@dataclass(frozen=True)
class Room:
    """A named rectangle. `name` is its type, with a number when the house has two of them."""

    name: str
    type: str
    rect: Rect
    floor_color: palette.Color
    wall_color: palette.Color

    @property
    def center(self) -> tuple[float, float]:
        return ((self.rect[0] + self.rect[2]) / 2, (self.rect[1] + self.rect[3]) / 2)

    def contains(self, x: float, y: float) -> bool:
        x0, y0, x1, y1 = self.rect
        return x0 <= x <= x1 and y0 <= y <= y1


@dataclass(frozen=True)
class Body:
    """One primitive of the house. `group` is floor, wall, lintel, frame, ceiling or furniture (then
    `item` is its index)."""

    name: str
    group: str
    part: Part
    item: int = -1
    solid: bool = True

    @property
    def footprint(self) -> Rect:
        """Bounding rectangle in the floor plane; for round parts the circle's bounding square."""
        (x, y, _), (sx, sy, _) = self.part.center, self.part.size
        if self.part.shape != "box":
            sy = sx
        return (x - sx, y - sy, x + sx, y + sy)


def shell(rooms: list[Room], doors: list[Door]) -> list[Body]:
    """Everything that is not furniture."""
    size = (max(r.rect[2] for r in rooms), max(r.rect[3] for r in rooms))
    return [*_floors(rooms), *_walls(rooms, doors), *_frames(doors), _ceiling(size)]


def _slab(rect: Rect, z0: float, z1: float, color: palette.Color) -> Part:
    x0, y0, x1, y1 = rect
    center = (round((x0 + x1) / 2, 4), round((y0 + y1) / 2, 4), round((z0 + z1) / 2, 4))
    size = (round((x1 - x0) / 2, 4), round((y1 - y0) / 2, 4), round((z1 - z0) / 2, 4))
    return Part("box", center, size, color)


def _floors(rooms: list[Room]) -> list[Body]:
    return [
        Body(f"{r.name}/floor", "floor", _slab(r.rect, -0.1, 0.0, r.floor_color), solid=False)
        for r in rooms
    ]


def _ceiling(size: tuple[float, float]) -> Body:
    part = _slab((0.0, 0.0, *size), WALL_HEIGHT_M, WALL_HEIGHT_M + 0.1, palette.CEILING_COLOR)
    return Body("ceiling", "ceiling", part, solid=False)


def _frames(doors: list[Door]) -> list[Body]:
    """Dark trim around each opening, so that a door can be seen from afar. It does not collide."""
    bodies = []
    for k, door in enumerate(doors):
        at, along = door.center[door.axis], door.center[1 - door.axis]
        half, out = door.width / 2 - 0.005, WALL_M + 0.015
        spans = (
            ("left", along - half - FRAME_M, along - half, 0.0, DOOR_HEIGHT_M),
            ("right", along + half, along + half + FRAME_M, 0.0, DOOR_HEIGHT_M),
            ("top", along - half - FRAME_M, along + half + FRAME_M, DOOR_HEIGHT_M - 0.005, 0.0),
        )
        for label, low, high, z0, z1 in spans:
            z1 = z1 or DOOR_HEIGHT_M + FRAME_M
            rect = (at - out, low, at + out, high)
            if door.axis == 1:
                rect = (low, at - out, high, at + out)
            part = _slab(rect, z0, z1, palette.DOOR_FRAME_COLOR)
            bodies.append(Body(f"door_{k}/{label}", "frame", part, solid=False))
    return bodies


def _walls(rooms: list[Room], doors: list[Door]) -> list[Body]:
    """Each room's own four walls, inside its rectangle, with openings and lintels at its doors."""
    bodies: list[Body] = []
    for i, room in enumerate(rooms):
        x0, y0, x1, y1 = room.rect
        sides = (
            ("south", 1, y0, (x0, y0, x1, y0 + WALL_M)),
            ("north", 1, y1, (x0, y1 - WALL_M, x1, y1)),
            ("west", 0, x0, (x0, y0 + WALL_M, x0 + WALL_M, y1 - WALL_M)),
            ("east", 0, x1, (x1 - WALL_M, y0 + WALL_M, x1, y1 - WALL_M)),
        )
        for label, axis, at, strip in sides:
            own = [d for d in doors if i in d.rooms and d.axis == axis]
            own = [d for d in own if abs(d.center[axis] - at) < 1e-6]
            bodies += _wall(f"{room.name}/{label}", strip, 1 - axis, own, room.wall_color)
    return bodies


def _wall(
    name: str, strip: Rect, along: int, doors: list[Door], color: palette.Color
) -> list[Body]:
    """One side of a room, as boxes between openings. `along` is the axis it runs along."""

    def cut(low: float, high: float) -> Rect:
        values = list(strip)
        values[along], values[along + 2] = low, high
        return tuple(values)  # type: ignore[return-value]

    bodies = []
    at = strip[along]
    for k, door in enumerate(sorted(doors, key=lambda d: d.center[along])):
        low, high = door.center[along] - door.width / 2, door.center[along] + door.width / 2
        part = _slab(cut(at, low), 0.0, WALL_HEIGHT_M, color)
        bodies.append(Body(f"{name}_wall_{k}", "wall", part))
        lintel = _slab(cut(low, high), DOOR_HEIGHT_M, WALL_HEIGHT_M, color)
        bodies.append(Body(f"{name}_lintel_{k}", "lintel", lintel, solid=False))
        at = high
    part = _slab(cut(at, strip[along + 2]), 0.0, WALL_HEIGHT_M, color)
    bodies.append(Body(f"{name}_wall_{len(doors)}", "wall", part))
    return bodies
