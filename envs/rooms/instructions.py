"""Route instructions, written from the shortest route and kept only when they fit one place."""

from __future__ import annotations

import math

import numpy as np

from pilotage.envs.rooms import language
from pilotage.envs.rooms.geodesic import GoalField, nav_graph
from pilotage.envs.rooms.house import House
from pilotage.envs.rooms.interpreter import Standing, bearing, enter, interpret
from pilotage.envs.rooms.routes import approach_points, crossings, room_point
from pilotage.episodes.types import Json

MAX_WORDS = 28
MAX_DOORS = 4
PASS_WITHIN_M = 1.3  # a thing is passed when the route comes this near to its centre
_VARIANTS = 6

Written = tuple[str, dict[str, Json], GoalField, int]


def write_instruction(
    rng: np.random.Generator,
    house: House,
    start: tuple[float, float, float],
    held_out: bool,
    min_distance_m: float,
) -> Written | None:
    """A goal in another room and words that lead only there (text, goal, field, clauses)."""
    x, y, heading = start
    home = house.room_at(x, y)
    endpoint = _pick_endpoint(rng, house, home)
    if endpoint is None:
        return None
    kind, index, points = endpoint
    field = nav_graph(house).field(points)
    if not min_distance_m <= field.distance(x, y) < math.inf:
        return None
    path = field.path(x, y)
    steps = crossings(house, path)
    visited = [home, *(c.room for c in steps)]
    if not 1 <= len(steps) <= MAX_DOORS or len(set(visited)) != len(visited):
        return None
    for _ in range(_VARIANTS):
        clauses = _clauses(rng, house, start, path, (kind, index), held_out)
        if clauses is None:
            return None
        text = language.join(rng, clauses)
        fits = len(text.split()) <= MAX_WORDS
        if fits and interpret(house, text, x, y, heading) == {(kind, index)}:
            goal: dict[str, Json] = {"points": points.tolist(), "endpoint": [kind, index]}
            return text, goal, field, len(clauses)
    return None


def _pick_endpoint(
    rng: np.random.Generator, house: House, home: int
) -> tuple[str, int, np.ndarray] | None:
    if rng.random() < 0.2:
        room = int(rng.integers(len(house.rooms)))
        return None if room == home else ("room", room, room_point(house, room))
    item = int(rng.integers(len(house.items)))
    points = approach_points(house, item)
    if house.items[item].room == home or not len(points):
        return None
    return "item", item, points


def _clauses(
    rng: np.random.Generator,
    house: House,
    start: tuple[float, float, float],
    path: np.ndarray,
    endpoint: tuple[str, int],
    held_out: bool,
) -> list[str] | None:
    """One way to say the route; None when a door is in no clear direction and cannot be named."""
    standing = Standing(house.room_at(start[0], start[1]), *start)
    clauses: list[str] = []
    passed = _passed_items(house, path, endpoint)
    for step in crossings(house, path):
        here = [k for k in passed if house.items[k].room == standing.room]
        if here and rng.random() < 0.5:
            thing = _thing(rng, house, here[int(rng.integers(len(here)))])
            clauses.append(language.say(rng, "pass", held_out, thing=thing))
        clauses += _exit(rng, house, standing, step.door, step.room, held_out)
        standing = enter(house, step.door, step.room)
    kind, index = endpoint
    if kind == "room":
        room = house.rooms[index].type
        return [*clauses, language.say(rng, "stop_room", held_out, room=room)]
    thing = _thing(rng, house, index)
    return [*clauses, language.say(rng, "stop_thing", held_out, thing=thing)]


def _thing(rng: np.random.Generator, house: House, index: int) -> str:
    item = house.items[index]
    return f"{item.color} {item.category}".strip() if rng.random() < 0.75 else item.category


def _passed_items(house: House, path: np.ndarray, endpoint: tuple[str, int]) -> list[int]:
    """Solid items that the route comes close to, other than the goal."""
    lengths = np.linalg.norm(np.diff(path, axis=0), axis=1)
    dense = np.concatenate(
        [np.linspace(a, b, max(int(n / 0.1), 2)) for a, b, n in zip(path, path[1:], lengths)]
    )
    near = []
    for k, item in enumerate(house.items):
        gap = np.linalg.norm(dense - np.array(item.center), axis=1).min()
        if item.solid and ("item", k) != endpoint and gap < PASS_WITHIN_M:
            near.append(k)
    return near


def _exit(
    rng: np.random.Generator,
    house: House,
    standing: Standing,
    door: int,
    into: int,
    held_out: bool,
) -> list[str]:
    """Clauses for leaving a room through a door: by side, by what lies behind it, or both."""
    slots = {"room": house.rooms[standing.room].type, "next": house.rooms[into].type}
    angle = bearing(standing.x, standing.y, standing.heading, *house.doors[door].center)
    side = _clear_side(angle)
    kinds = ["exit_to", "exit_to", "exit_from"]
    if side in ("left", "right"):
        kinds += ["exit_side", "exit_side", "exit_side_from", "exit_side_to"]
        slots["side"] = side
    elif side == "ahead":
        kinds += ["exit_ahead", "exit_ahead"]
    elif side == "behind":
        kinds += ["turn_around", "turn_around"]
    kind = kinds[int(rng.integers(len(kinds)))]
    if kind == "turn_around":
        around = language.say(rng, "turn_around", held_out)
        return [around, language.say(rng, "exit_ahead", held_out)]
    return [language.say(rng, kind, held_out, **slots)]


def _clear_side(degrees: float) -> str:
    """The word for a bearing, or "" where people would disagree. Left is positive."""
    size = abs(degrees)
    if size <= 30.0:
        return "ahead"
    if size >= 150.0:
        return "behind"
    if 45.0 <= size <= 135.0:
        return "left" if degrees > 0 else "right"
    return ""
