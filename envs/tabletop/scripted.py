"""The scripted expert: a function of the present state and the task, without memory.

What to do next is read off the geometry (where is the hand, is the object held, how high is it),
so the expert recovers from whatever happened before, and a policy that sees only the present can
imitate it. The manner shapes it: speed caps the length of the translation, height sets how high
an object is carried, side adds a waypoint, gentle slows it near the object.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.envs.tabletop import grammar, layout
from pilotage.envs.tabletop.goals import reach_point
from pilotage.envs.tabletop.physics import TabletopState
from pilotage.episodes.types import Task

SPEED_CAPS = {"fast": 1.0, "normal": 0.40, "slow": 0.15}  # of TRANSLATION_SCALE per env step
CARRY_HEIGHTS = {"low": 0.06, None: 0.14, "high": 0.25}  # metres under the carried object
SIDE_SIGNS = {"left": -1.0, "right": 1.0}  # of y
GAIN = 0.9  # share of the remaining way per step, before the cap
GENTLE_FACTOR = 0.45  # of the speed cap, near the object or the table
GENTLE_RANGE = 0.09  # metres
HOVER = 0.11  # height of the hand above the object before it goes down
SIDE_REACH = 0.13  # metres to the side of the object
TRAVEL_Z = 0.13  # height of the hand on its way to push
GRASP_XY, GRASP_Z, GRASP_YAW = 0.012, 0.011, 0.30  # where closing begins
TURN_TIP, TURN_RIM = 0.20, 0.50  # rad to turn at which it may be down, and must be up
TURN_HEIGHT = 0.07  # of the hand above the object while it turns
YAW_LIMIT = 1.55  # rad, of the hand; a little inside what it can turn
CLOSING_XY, CLOSING_Z = 0.020, 0.016  # where closing, once begun, goes on
MIN_GRASP_Z = 0.018
PUSH_Z = 0.022  # height of the hand that pushes
PUSH_BELOW = 0.016  # it is low enough when at most this far above
PUSH_TIP, PUSH_RIM = 0.010, 0.040  # metres beside the line through object and zone: it goes on
# at full speed; it must leave the table
FINGER_RADIUS = 0.012
RUN_UP = 0.040  # gap to the object before the push begins
BRAKE_RANGE = 0.05  # metres before a delicate target where the cap starts to shrink
BRAKE_SHARE = 0.5  # of the cap, left at such a target
SPOT_XY, RELEASE_Z = 0.028, 0.010  # a carried object over its spot; low enough to let go


@dataclass(frozen=True)
class Cone:
    """How to come down on a place: metres to the side at which the hand may be down (tip) and must
    be up (rim), and how far below its height it only climbs."""

    tip: float
    rim: float
    climb: float


GRASP_CONE = Cone(0.012, 0.055, 0.03)
SPOT_CONE = Cone(0.020, 0.090, 0.06)  # a place on the table is hit less exactly than an object
PUSH_CONE = Cone(0.025, 0.120, 0.09)


@dataclass(frozen=True)
class Move:
    """What the expert wants now: go to a point, with the gripper so, and how to tell it."""

    target: np.ndarray  # [3] m
    gripper: float  # +1 open, -1 close
    verb: str  # "move", "push it", "carry it", ...
    near: float = 1.0  # metres to what must not be bumped into, for gentle
    yaw: float = 0.0  # wanted hand yaw, rad
    brake: bool = False  # slow down towards the target


def expert(state: TabletopState, task: Task) -> tuple[np.ndarray, str]:
    """The expert's next action and its narration.

    Args:
        state: the present state.
        task: family, goal and `info["manner"]`.

    Returns:
        action float32 [7] in [-1, 1], and a sentence such as "i move left slowly".
    """
    manner = task.info["manner"]
    move = _PLANS[task.family](state, task, manner)
    action = _action(state, move, manner)
    return action, narrate(state, task, action, move)


def narrate(state: TabletopState, task: Task, action: np.ndarray, move: Move | None = None) -> str:
    """What `action` does in this state, in the first person; the speed word follows the manner."""
    manner = task.info["manner"]
    move = _PLANS[task.family](state, task, manner) if move is None else move
    gentle = bool(manner["gentle"]) and move.near < GENTLE_RANGE
    return grammar.narration(_verb(state, action, move.verb), speed=manner["speed"], gentle=gentle)


def _verb(state: TabletopState, action: np.ndarray, verb: str) -> str:
    closes = action[6] < 0 < state.gripper_command
    if closes or (verb == "grasp" and state.held < 0):
        return "close the gripper"
    if action[6] > 0 > state.gripper_command:
        return "open the gripper"
    verb = "move" if verb == "grasp" else verb
    way = np.asarray(action[:3], dtype=np.float64)
    axis = int(np.argmax(np.abs(way)))
    if abs(way[axis]) < 0.02:
        return "turn the gripper" if abs(float(action[5])) > 0.1 else "wait"
    if axis == 2:
        names = {"carry it": ("lift it", "lower it")}.get(verb, ("move up", "move down"))
        return names[0] if way[2] > 0 else names[1]
    return f"{verb} {grammar.DIRECTIONS[axis, 1 if way[axis] > 0 else -1]}"


def _action(state: TabletopState, move: Move, manner: dict[str, Any]) -> np.ndarray:
    way = move.target - state.ee_position
    remaining = float(np.linalg.norm(way))
    cap = SPEED_CAPS[manner["speed"]]
    if move.brake:
        cap *= BRAKE_SHARE + (1 - BRAKE_SHARE) * min(1.0, remaining / BRAKE_RANGE)
    if manner["gentle"] and move.near < GENTLE_RANGE:
        cap = max(0.08, cap * GENTLE_FACTOR)
    action = np.zeros(7, dtype=np.float32)
    wanted = GAIN * way / layout.TRANSLATION_SCALE
    length = float(np.linalg.norm(wanted))
    action[:3] = wanted * min(1.0, cap / length) if length > 0 else 0.0
    turn = (move.yaw - state.ee_yaw) / layout.ROTATION_SCALE
    action[5] = np.clip(0.8 * turn, -0.5, 0.5)
    action[6] = move.gripper
    return action


# Approaching


def _via_side(state: TabletopState, point: np.ndarray, side: str | None) -> np.ndarray:
    """Where to go now in order to arrive at `point` from the wanted side.

    Inside a wedge that opens to that side: straight to the point. Else: to a waypoint at that
    side; coming from the other side, over a hill so as not to pass by the point itself.
    """
    if side is None:
        return point
    sign = SIDE_SIGNS[side]
    offset = state.ee_position - point
    aside = sign * float(offset[1])
    across = math.hypot(float(offset[0]), max(0.0, abs(float(offset[2])) - 0.02))
    if aside > -0.012 and across <= 0.5 * max(aside, 0.0) + 0.02:
        return point
    waypoint = point + np.array([0.0, sign * SIDE_REACH, 0.0])
    if aside < 0.06:
        waypoint[2] += 0.10
        if float(offset[2]) < 0.06 and abs(float(offset[0])) < 0.09:
            return np.array([*state.ee_position[:2], waypoint[2] + 0.02])
    return waypoint


def _reach(state: TabletopState, task: Task, manner: dict[str, Any]) -> Move:
    point = reach_point(state, task)
    gap = float(np.linalg.norm(point - state.ee_position))
    return Move(_via_side(state, point, manner["side"]), 1.0, "move", near=gap)


def _down_a_cone(
    state: TabletopState, point: np.ndarray, rise: float, cone: Cone, *, lowest: float = 0.0
) -> np.ndarray:
    """Where to go in order to come down on `point` [3] from `rise` metres above it.

    The height to be at grows with the distance to the side, and the hand moves sideways the less
    the further it is below it. What to do thus changes little from one place to the next: a policy
    that sees the distance a centimetre wrong does nearly the right thing. (With a threshold, "go
    down" on one side of it and "go up" on the other, such a policy goes up and down for ever.)
    """
    way = point[:2] - state.ee_position[:2]
    apart = float(np.hypot(*way))
    height = rise * float(np.clip((apart - cone.tip) / (cone.rim - cone.tip), 0.0, 1.0))
    z = float(point[2]) + max(height, lowest)
    below = z - float(state.ee_position[2])
    share = float(np.clip(1.0 - below / cone.climb, 0.0, 1.0))
    return np.array([*(state.ee_position[:2] + share * way), z])


# Grasping


def _grasp_yaw(state: TabletopState, task: Task, index: int) -> float:
    """The yaw nearest to the hand's that fits the object's sides, of those it can have."""
    shape = task.scene["objects"][index]["shape"]
    if shape in ("ball", "cylinder"):
        return float(np.clip(state.ee_yaw, -YAW_LIMIT, YAW_LIMIT))
    yaw = _yaw_of(state.object_quaternions[index])
    period = math.pi / 2 if shape == "cube" else math.pi
    nearest = state.ee_yaw + math.remainder(yaw - state.ee_yaw, period)
    if abs(nearest) > YAW_LIMIT:
        nearest = math.remainder(yaw, period)
    return float(nearest)


def _pick(state: TabletopState, task: Task, manner: dict[str, Any]) -> Move:
    """Get hold of the target object (it is not held now)."""
    index = task.goal["object"]
    at = state.object_positions[index]
    yaw = _grasp_yaw(state, task, index)
    grasp = np.array([at[0], at[1], max(MIN_GRASP_Z, float(at[2]))])
    off = state.ee_position - grasp
    apart = math.hypot(off[0], off[1])
    turn = abs(state.ee_yaw - yaw)
    turned = turn < GRASP_YAW
    near = float(np.linalg.norm(off))
    missed = state.gripper_command < 0 and state.gripper_width < 0.02
    closing = state.gripper_command < 0 and not missed
    reach_xy, reach_z = (CLOSING_XY, CLOSING_Z) if closing else (GRASP_XY, GRASP_Z)
    if apart < reach_xy and abs(off[2]) < reach_z and (turned or closing):
        return Move(grasp, 1.0 if missed else -1.0, "grasp", near, yaw, brake=True)
    is_open = state.gripper_command > 0 and state.gripper_width > 0.07
    if apart > GRASP_CONE.rim or off[2] > HOVER + 0.03:
        hover = grasp + np.array([0, 0, HOVER])
        waypoint = _via_side(state, hover, manner["side"])
        if waypoint is not hover:
            return Move(waypoint, 1.0, "move", near, yaw)
    lowest = TURN_HEIGHT * float(np.clip((turn - TURN_TIP) / (TURN_RIM - TURN_TIP), 0.0, 1.0))
    if not is_open and off[2] > 0.03:
        lowest = max(lowest, min(HOVER, float(off[2])))  # open first
    down = _down_a_cone(state, grasp, HOVER, GRASP_CONE, lowest=lowest)
    return Move(down, 1.0, "move", near, yaw, brake=apart < GRASP_CONE.rim)


def _lift(state: TabletopState, task: Task, manner: dict[str, Any]) -> Move:
    if state.held != task.goal["object"]:
        return _pick(state, task, manner)
    up = state.ee_position + np.array([0, 0, 0.15])
    at = state.object_positions[state.held]
    rest = layout.rest_height(task.scene["objects"][state.held]["shape"])
    return Move(up, -1.0, "carry it", near=float(at[2]) - rest, yaw=state.ee_yaw)


# Carrying


def _carry(state: TabletopState, task: Task, manner: dict[str, Any], spot: np.ndarray) -> Move:
    """Bring the held object over `spot` [2] at the manner's height, lower it, let it go."""
    index = task.goal["object"]
    at = state.object_positions[index]
    rest = layout.rest_height(task.scene["objects"][index]["shape"])
    raised = float(at[2]) - rest
    way = spot - at[:2]
    apart = float(np.hypot(*way))
    here = state.ee_position
    height = CARRY_HEIGHTS[manner["height"]]
    yaw = state.ee_yaw
    if raised < RELEASE_Z and apart < SPOT_XY:
        return Move(here, 1.0, "carry it", near=0.0, yaw=yaw)
    point = np.array([here[0] + way[0], here[1] + way[1], here[2] - raised + 0.002])
    goal = _down_a_cone(state, point, height, SPOT_CONE)
    lowering = apart < SPOT_CONE.rim
    return Move(goal, -1.0, "carry it", near=raised if lowering else 1.0, yaw=yaw, brake=lowering)


def _pick_place(state: TabletopState, task: Task, manner: dict[str, Any]) -> Move:
    if state.held != task.goal["object"]:
        return _pick(state, task, manner)
    spot = np.array(task.scene["zones"][task.goal["zone"]]["position"])
    return _carry(state, task, manner, spot)


def _put_beside(state: TabletopState, task: Task, manner: dict[str, Any]) -> Move:
    index = task.goal["object"]
    if state.held != index:
        return _pick(state, task, manner)
    other = state.object_positions[task.goal["reference"]][:2]
    way = state.object_positions[index][:2] - other
    apart = max(1e-6, float(np.hypot(*way)))
    return _carry(state, task, manner, other + way * (layout.BESIDE_DISTANCE / apart))


# Pushing


def _yaw_of(quaternion: np.ndarray) -> float:
    x, y, z, w = quaternion
    return math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def _extent(state: TabletopState, task: Task, index: int, ahead: np.ndarray) -> float:
    """How far the object reaches from its centre along the direction `ahead` [2], metres."""
    shape = task.scene["objects"][index]["shape"]
    size = layout.SHAPES[shape]
    if shape in ("ball", "cylinder"):
        return size[0]
    angle = math.atan2(ahead[1], ahead[0]) - _yaw_of(state.object_quaternions[index])
    return abs(math.cos(angle)) * size[0] + abs(math.sin(angle)) * size[1]


def _push(state: TabletopState, task: Task, manner: dict[str, Any]) -> Move:
    index = task.goal["object"]
    at = state.object_positions[index][:2]
    way = np.array(task.scene["zones"][task.goal["zone"]]["position"]) - at
    remaining = max(1e-6, float(np.hypot(*way)))
    ahead = way / remaining
    off = state.ee_position[:2] - at
    along = float(off @ ahead)
    lateral = off - along * ahead
    aside = float(np.hypot(*lateral))
    near = float(np.hypot(*off))
    height = float(state.ee_position[2]) - PUSH_Z
    contact = _extent(state, task, index, ahead) + FINGER_RADIUS
    is_behind = along < -0.6 * contact  # a brick turns while it is pushed, so not to the millimetre
    if is_behind and height < PUSH_BELOW and aside < PUSH_RIM and -along < contact + 2.5 * RUN_UP:
        # Aim past the object along the line to the zone, and steer back onto that line first.
        share = float(np.clip((PUSH_RIM - aside) / (PUSH_RIM - PUSH_TIP), 0.0, 1.0))
        onward = share * (max(0.03, remaining) - 0.02 - along)
        goal = state.ee_position[:2] + onward * ahead - 3.0 * lateral
        touches = aside < PUSH_TIP and -along < contact + 0.008
        verb = "push it" if touches else "move"
        return Move(np.array([*goal, PUSH_Z]), -1.0, verb, near=near, brake=remaining < 0.08)
    behind = at - (contact + RUN_UP) * ahead
    apart = float(np.hypot(*(state.ee_position[:2] - behind)))
    if apart > PUSH_CONE.rim or state.ee_position[2] > TRAVEL_Z + 0.03:
        travel = np.array([*behind, TRAVEL_Z])
        waypoint = _via_side(state, travel, manner["side"])
        if waypoint is not travel and state.ee_position[2] > 0.11:
            return Move(waypoint, -1.0, "move", near=near)
    down = _down_a_cone(state, np.array([*behind, PUSH_Z]), TRAVEL_Z - PUSH_Z, PUSH_CONE)
    return Move(down, -1.0, "move", near=near, brake=apart < PUSH_CONE.rim)


_PLANS = {
    "reach": _reach,
    "push": _push,
    "lift": _lift,
    "pick_place": _pick_place,
    "put_beside": _put_beside,
}
