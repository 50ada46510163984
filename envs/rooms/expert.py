"""The scripted expert: a greedy follower of the shortest path, and what it says it does.

It looks a few turns to either side of the next corner of the shortest path and takes the heading
whose forward step brings it closest to the goal (after Habitat's GreedyGeodesicFollower; Savva et
al., ICCV 2019). It is a function of the pose and the goal alone, so it recovers from any state.
"""

from __future__ import annotations

import math

from pilotage.envs.rooms.geodesic import GoalField
from pilotage.envs.rooms.house import House
from pilotage.envs.rooms.routes import crossings
from pilotage.episodes.types import Json

STOP, FORWARD, TURN_LEFT, TURN_RIGHT = 0, 1, 2, 3
FORWARD_M = 0.25
TURN_RAD = math.radians(15.0)
STOP_WITHIN_M = 0.2
_SIDE_TURNS = 3  # headings tried on either side of the way to the next corner
_TURN_COST = 0.0125  # per turn, in forward steps
_BLOCKED_COST = 0.75
_LEAVE_M, _MARGIN_M = 0.03, 0.004  # how a step is tested for touches
_DOOR_NEAR_M = 0.75


def expert_action(field: GoalField, x: float, y: float, heading: float) -> int:
    """The next action (0 stop, 1 forward, 2 left, 3 right) from a pose."""
    anchor, distance = field.next_anchor(x, y)
    if distance < STOP_WITHIN_M or anchor < 0:
        return STOP
    toward = math.atan2(field.anchors[anchor, 1] - y, field.anchors[anchor, 0] - x) - heading
    middle = round(math.remainder(toward, 2 * math.pi) / TURN_RAD)
    best, best_score = 0, -math.inf
    for k in range(middle - _SIDE_TURNS, middle + _SIDE_TURNS + 1):
        turns = (k + 12) % 24 - 12
        score = _score(field, x, y, heading + turns * TURN_RAD, distance) - _TURN_COST * abs(turns)
        if score > best_score + 1e-9:
            best, best_score = turns, score
    if best_score <= 0.0 and distance < 2 * STOP_WITHIN_M:
        return STOP
    return FORWARD if best == 0 else TURN_LEFT if best > 0 else TURN_RIGHT


def _score(field: GoalField, x: float, y: float, heading: float, distance: float) -> float:
    """Forward steps gained by one step along a heading. A step that ends in a touch gains nothing;
    its first centimetres do not count, so that a body that touches a wall may leave it."""
    c, s = math.cos(heading), math.sin(heading)
    begin = (x + _LEAVE_M * c, y + _LEAVE_M * s)
    end = (x + FORWARD_M * c, y + FORWARD_M * s)
    if not field.graph.line_free(begin, end, margin_m=_MARGIN_M):
        return -_BLOCKED_COST
    return (distance - field.distance(*end)) / FORWARD_M


def narrate(house: House, field: GoalField, goal: Json, x: float, y: float, action: int) -> str:
    """A few words on what the expert does and toward what, e.g. "i turn left to the door"."""
    thing = _goal_words(house, goal)
    if action == STOP:
        return f"i stop {'in' if thing in _room_words(house) else 'at'} the {thing}"
    steps = crossings(house, field.path(x, y))
    if action == FORWARD:
        if steps and steps[0].at < _DOOR_NEAR_M:
            return f"i walk into the {house.rooms[steps[0].room].type}"
        if not steps and thing in _room_words(house):
            return f"i walk into the {thing}"
        return f"i walk to the {'door' if steps else thing}"
    side = "left" if action == TURN_LEFT else "right"
    if steps:
        return f"i turn {side} to the door"
    return f"i turn {side}" if thing in _room_words(house) else f"i turn {side} to the {thing}"


def _room_words(house: House) -> set[str]:
    return {room.type for room in house.rooms}


def _goal_words(house: House, goal: Json) -> str:
    """What stands at the goal: furniture by colour and name, a room, or "point"."""
    if "thing" in goal:
        return str(goal["thing"])
    if "endpoint" not in goal:
        return "point"
    kind, index = goal["endpoint"]
    if kind == "room":
        return house.rooms[index].type
    item = house.items[index]
    return f"{item.color} {item.category}".strip()
