"""Houses from a seed: rooms, doors, furniture, and the bodies they are built from.

`make_house(seed)` is a pure function. A task's scene is only the seed, the generator's version and
a digest of the house; `load_house(scene)` builds it again, and refuses when the digest differs.
`house_plan(scene)` gives viewers the floor plan as plain data.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.envs.rooms import furniture, layout, palette
from pilotage.envs.rooms.catalogue import Part
from pilotage.envs.rooms.furniture import WALL_M, Item
from pilotage.envs.rooms.layout import Door, Rect
from pilotage.envs.rooms.structure import Body, Room, shell
from pilotage.episodes.types import Json, digest

HOUSE_VERSION = 1
AGENT_RADIUS_M = 0.18
AGENT_HEIGHT_M = 1.5


@dataclass(frozen=True, eq=False)  # compared and hashed by identity: a house is large
class House:
    """A furnished house: `size` metres in x and y, rooms that tile it, doors, furniture, bodies."""

    seed: int
    size: tuple[float, float]
    rooms: tuple[Room, ...]
    doors: tuple[Door, ...]
    items: tuple[Item, ...]
    bodies: tuple[Body, ...]

    def room_at(self, x: float, y: float) -> int:
        """Index of the room that holds a point (the first one on a shared edge), -1 outside."""
        for i, room in enumerate(self.rooms):
            if room.contains(x, y):
                return i
        return -1

    def doors_of(self, room: int) -> list[int]:
        return [k for k, door in enumerate(self.doors) if room in door.rooms]

    def to_json(self) -> dict[str, Json]:
        """Everything that defines the house, as JSON data."""
        return {
            "version": HOUSE_VERSION,
            "seed": self.seed,
            "size": list(self.size),
            "rooms": [vars(r) for r in self.rooms],
            "doors": [vars(d) for d in self.doors],
            "items": [{**vars(i), "parts": [vars(p) for p in i.parts]} for i in self.items],
        }

    def scene(self) -> dict[str, Json]:
        """The compact JSON that a task carries."""
        return {
            "house_seed": self.seed,
            "version": HOUSE_VERSION,
            "digest": digest(self.to_json())[:16],
        }

    def to_glb(self, path: str | Path) -> None:
        """Write the house as binary glTF 2.0; see `glb.write_glb` for the axes."""
        from pilotage.envs.rooms.glb import write_glb

        write_glb(self, path)


def house_split(seed: int) -> str:
    """train (80 %), val (10 %) or test (10 %), by a hash of the seed: no house is in two splits."""
    word = hashlib.sha256(f"pilotage-rooms-{HOUSE_VERSION}-house-{seed}".encode()).digest()
    share = int.from_bytes(word[:4], "little") / 2**32
    return "train" if share < 0.8 else "val" if share < 0.9 else "test"


@lru_cache(maxsize=512)
def make_house(seed: int) -> House:
    """The house of a seed (>= 0): 4 to 8 rooms, all of them reachable. Cached."""
    if seed < 0:
        raise ValueError(f"house seed must be >= 0, got {seed}")
    from pilotage.envs.rooms.geodesic import rooms_connected

    for attempt in range(100):
        house = _draw(np.random.default_rng([HOUSE_VERSION, seed, attempt]), seed)
        if house is not None and rooms_connected(house):
            return house
    raise ValueError(f"house seed {seed}: no connected house in 100 attempts; use another seed")


def _draw(rng: np.random.Generator, seed: int) -> House | None:
    rects, hallway = layout.plan_rooms(rng)
    types = layout.name_rooms(rng, rects, hallway)
    try:
        doors = layout.place_doors(rng, rects, hallway)
    except ValueError:
        return None
    rooms = []
    for i, (rect, kind) in enumerate(zip(rects, types)):
        number = types[: i + 1].count(kind)
        name = f"{kind} {number}" if types.count(kind) > 1 else kind
        floor, wall = (_jitter(rng, c) for c in palette.ROOM_COLORS[kind])
        rooms.append(Room(name, kind, rect, floor, wall))
    items: list[Item] = []
    for i, room in enumerate(rooms):
        zones = [_door_zone(d, i) for d in doors if i in d.rooms]
        items += furniture.furnish(rng, i, room.type, room.rect, zones)
    return assemble(seed, rooms, doors, items)


def assemble(seed: int, rooms: list[Room], doors: list[Door], items: list[Item]) -> House:
    """A house from its plan: builds the bodies. Also the way to make a house by hand."""
    size = (max(r.rect[2] for r in rooms), max(r.rect[3] for r in rooms))
    bodies = shell(rooms, doors)
    for k, item in enumerate(items):
        name = f"{rooms[item.room].name}/{item.category}_{k}"
        for j, part in enumerate(item.parts):
            bodies.append(Body(f"{name}/{j}", "furniture", part, item=k, solid=item.solid))
    return House(seed, size, tuple(rooms), tuple(doors), tuple(items), tuple(bodies))


def _jitter(rng: np.random.Generator, color: palette.Color) -> palette.Color:
    shifted = np.clip(np.asarray(color) + rng.uniform(-0.04, 0.04, 3), 0.0, 1.0)
    return tuple(round(float(v), 3) for v in shifted)  # type: ignore[return-value]


def _door_zone(door: Door, room: int) -> Rect:
    """The rectangle in `room` in front of a door that furniture leaves free."""
    half, depth = door.width / 2 + 0.1, furniture.DOOR_ZONE_M + WALL_M
    (x, y), low_side = door.center, door.rooms[0] == room
    a, b = (-depth, 0.0) if low_side else (0.0, depth)
    if door.axis == 0:
        return (x + a, y - half, x + b, y + half)
    return (x - half, y + a, x + half, y + b)


def load_house(scene: Json) -> House:
    """The house of a task's scene. Raises ValueError when this generator makes another house."""
    if not isinstance(scene, dict) or "house_seed" not in scene:
        raise ValueError(f"rooms scene must be a dict with 'house_seed', got {scene!r}")
    if scene.get("version") != HOUSE_VERSION:
        raise ValueError(
            f"scene of house generator version {scene.get('version')!r}, this is {HOUSE_VERSION}; "
            "make the tasks again"
        )
    house = make_house(int(scene["house_seed"]))
    if scene.get("digest", None) not in (None, _scene_digest(house.seed)):
        raise ValueError(
            f"house {house.seed} has digest {_scene_digest(house.seed)}, the task expects "
            f"{scene['digest']}; the generator changed, make the tasks again"
        )
    return house


@lru_cache(maxsize=4096)
def _scene_digest(seed: int) -> str:
    return str(make_house(seed).scene()["digest"])


def house_plan(scene: Json) -> dict[str, Any]:
    """The floor plan for viewers, as plain data in metres and RGB in [0, 1].

    `size` [w, d]; `rooms` [{name, rect, color}]; `walls` [[x0, y0, x1, y1]] (rectangles); `doors`
    [{center, axis, width, rooms}]; `furniture` [{name, category, color_name, color, room, rect,
    shapes}], where `shapes` are {"shape": "box" | "circle", "rect" | "center" + "radius", "color"}.
    """
    house = load_house(scene)
    return {
        "size": list(house.size),
        "rooms": [
            {"name": r.name, "rect": list(r.rect), "color": list(r.floor_color)}
            for r in house.rooms
        ],
        "walls": [list(b.footprint) for b in house.bodies if b.group == "wall"],
        "doors": [
            {
                "center": list(d.center),
                "axis": d.axis,
                "width": d.width,
                "rooms": [house.rooms[i].name for i in d.rooms],
            }
            for d in house.doors
        ],
        "furniture": [_plan_item(house, item) for item in house.items],
    }


def _plan_item(house: House, item: Item) -> dict[str, Any]:
    name = f"{item.color} {item.category}".strip()
    return {
        "name": name,
        "category": item.category,
        "color_name": item.color,
        "color": list(item.parts[1 if item.category == "plant" else 0].color),
        "room": house.rooms[item.room].name,
        "rect": list(item.rect),
        "shapes": [_plan_shape(p) for p in sorted(item.parts, key=lambda p: p.center[2])],
    }


def _plan_shape(part: Part) -> dict[str, Any]:
    x, y, _ = part.center
    if part.shape == "box":
        sx, sy, _ = part.size
        return {"shape": "box", "rect": [x - sx, y - sy, x + sx, y + sy], "color": list(part.color)}
    return {
        "shape": "circle",
        "center": [x, y],
        "radius": part.size[0],
        "color": list(part.color),
    }
