"""A literal reader of route instructions: every place where a sentence can end in a house.

It knows nothing of how sentences are made. It cuts the words into clauses, keeps every door and
object that fits each of them, and returns all endpoints; one is left of an unambiguous sentence.
Where "left" turns into "ahead" is a matter of taste, so its sectors are wider than a careful
speaker's and overlap: a door near a border fits both words.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from pilotage.envs.rooms.house import House
from pilotage.envs.rooms.palette import CATEGORIES, COLORS, ROOM_COLORS

Endpoint = tuple[str, int]  # ("item", index) or ("room", index)

# bearing in degrees, left positive: (low, high) that a word may mean
SECTORS = {"left": (20.0, 160.0), "right": (-160.0, -20.0), "ahead": (-50.0, 50.0)}
STEP_INSIDE_M = 0.5  # where one stands after a door

_ROOM = "|".join(sorted(ROOM_COLORS, key=len, reverse=True))
_THING = rf"(?:(?P<color>{'|'.join(COLORS)}) )?(?P<category>{'|'.join(CATEGORIES)})"


@dataclass(frozen=True)
class Clause:
    """A part of an instruction, and the index of its first word in it."""

    words: str
    first: int

    @property
    def kind(self) -> str:
        """ "stop", "turn", "pass", or "door", which leads into another room."""
        if re.match(r"(stop|wait)\b", self.words):
            return "stop"
        if self.words == "turn around":
            return "turn"
        return "pass" if re.search(r"\b(pass|past)\b", self.words) else "door"


@dataclass(frozen=True)
class Standing:
    """One way to have understood the words so far."""

    room: int
    x: float
    y: float
    heading: float
    came_by: int = -1  # door just used: nobody is sent straight back through it

    def turned_around(self) -> Standing:
        return Standing(self.room, self.x, self.y, self.heading + math.pi, -1)


def interpret(house: House, text: str, x: float, y: float, heading: float) -> set[Endpoint]:
    """All endpoints of a route instruction read from a start pose (metres, radians).

    Raises:
        ValueError: a clause is not understood, or the sentence does not end with stopping.
    """
    standings = {Standing(house.room_at(x, y), x, y, heading)}
    clauses = clauses_of(text)
    for k, clause in enumerate(clauses):
        if clause.kind == "stop":
            if k + 1 < len(clauses):
                raise ValueError(f"{text!r} goes on after {clause.words!r}")
            return {e for s in standings for e in _endings(house, clause.words, s)}
        standings = {n for s in standings for n in _follow(house, clause, s)}
    raise ValueError(f"{text!r} does not say where to stop")


def clauses_of(text: str) -> list[Clause]:
    """The clauses between "then", "and then" and "and"."""
    found, first = [], 0
    for k, part in enumerate(re.split(r"( (?:and then|then|and) )", text)):
        if k % 2 == 0:  # what stands between two joining words
            found.append(Clause(part, first))
        first += len(part.split())
    return found


def _follow(house: House, clause: Clause, at: Standing) -> list[Standing]:
    if clause.kind == "turn":
        return [at.turned_around()]
    if clause.kind == "pass":
        return [at] if _things(house, clause.words, at.room) else []
    return _through_a_door(house, clause.words, at)


def _through_a_door(house: House, clause: str, at: Standing) -> list[Standing]:
    source = re.search(rf"\b(?:leave|exit|out of) the (?P<room>{_ROOM})\b", clause)
    target = re.search(rf"\b(?:into|enter) the (?P<room>{_ROOM})\b", clause)
    side = re.search(r"\b(left|right|ahead)\b", clause)
    if not (source or target or side or re.search(r"\bdoor\b", clause)):
        raise ValueError(f"clause {clause!r} is not understood")
    if source and house.rooms[at.room].type != source["room"]:
        return []
    found = []
    for k in house.doors_of(at.room):
        door = house.doors[k]
        beyond = door.rooms[1] if door.rooms[0] == at.room else door.rooms[0]
        if k == at.came_by:
            continue
        if target and house.rooms[beyond].type != target["room"]:
            continue
        if side and not _in_sector(side[1], bearing(at.x, at.y, at.heading, *door.center)):
            continue
        found.append(enter(house, k, beyond))
    return found


def enter(house: House, door_index: int, room: int) -> Standing:
    """Standing half a metre inside `room`, having come through a door."""
    door = house.doors[door_index]
    sign = 1.0 if door.rooms[1] == room else -1.0
    spot = list(door.center)
    spot[door.axis] += sign * STEP_INSIDE_M
    heading = math.atan2(sign, 0.0) if door.axis == 1 else math.atan2(0.0, sign)
    return Standing(room, spot[0], spot[1], heading, door_index)


def bearing(x: float, y: float, heading: float, to_x: float, to_y: float) -> float:
    """Degrees in (-180, 180] from the heading to a point, left positive."""
    angle = math.degrees(math.atan2(to_y - y, to_x - x) - heading)
    return 180.0 - (180.0 - angle) % 360.0


def _in_sector(word: str, degrees: float) -> bool:
    low, high = SECTORS[word]
    return low <= degrees <= high


def _things(house: House, clause: str, room: int) -> list[int]:
    """Items of a room that a clause may name."""
    named = re.search(rf"\b{_THING}\b", clause)
    if not named:
        raise ValueError(f"clause {clause!r} names no furniture")
    return [
        k
        for k, item in enumerate(house.items)
        if item.room == room
        and item.category == named["category"]
        and named["color"] in (None, item.color)
    ]


def _endings(house: House, clause: str, at: Standing) -> list[Endpoint]:
    place = re.search(rf"\bin (?:the middle of )?the (?P<room>{_ROOM})\b", clause)
    if place:
        return [("room", at.room)] if house.rooms[at.room].type == place["room"] else []
    return [("item", k) for k in _things(house, clause, at.room)]
