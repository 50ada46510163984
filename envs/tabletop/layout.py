"""Sizes, colours, limits and thresholds of the tabletop world. Metres, radians; robot base frame.

The robot stands at the origin with the table top at z = 0, +x pointing away from it (towards the
camera) and z up. Left and right are as seen in the picture: left is -y, right is +y.
"""

from __future__ import annotations

from typing import Any

FAMILIES = ("reach", "push", "lift", "pick_place", "put_beside")

# Time: one env step is 24 physics steps of 1/240 s, that is 10 Hz.
PHYSICS_HZ = 240
SUBSTEPS = 24
CONTROL_EVERY = 6  # physics steps between two updates of the joint velocities
STEP_SECONDS = SUBSTEPS / PHYSICS_HZ

# What an action of 1.0 means.
TRANSLATION_SCALE = 0.05  # metres per env step
ROTATION_SCALE = 0.25  # radians per env step

# Where the commanded end effector may be (the point between the finger tips).
WORKSPACE_LOW = (0.22, -0.42, 0.014)
WORKSPACE_HIGH = (0.78, 0.42, 0.55)
# Centre and half range of its position in the proprioception, metres.
EE_CENTRE = (0.50, 0.0, 0.25)
EE_RANGE = (0.25, 0.35, 0.25)
MAX_REACH = 0.65  # from the shoulder to the wrist; the arm is straight, and stuck, at 0.72
SHOULDER_Z, WRIST_Z, WRIST_INWARD = 0.333, 0.212, 0.088  # the wrist is above the hand, further in
MAX_TILT = 0.20  # roll and pitch away from pointing straight down
MAX_YAW = 1.60

# Where objects may lie, in square cells that decide the splits.
TABLE_LOW = (0.36, -0.225)
TABLE_HIGH = (0.63, 0.225)
CELL = 0.045
CELL_ROWS, CELL_COLUMNS = 6, 10

COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.85, 0.12, 0.10),
    "green": (0.12, 0.62, 0.18),
    "blue": (0.12, 0.25, 0.85),
    "yellow": (0.95, 0.85, 0.10),
    "purple": (0.55, 0.15, 0.65),
    "orange": (0.98, 0.50, 0.05),
    "white": (0.96, 0.96, 0.96),
    "black": (0.07, 0.07, 0.08),
}
TABLE_COLOR = (0.66, 0.58, 0.49)

# Half extents (boxes), radius and half height (cylinder), radius (ball).
SHAPES: dict[str, tuple[float, ...]] = {
    "cube": (0.023, 0.023, 0.023),
    "ball": (0.026,),
    "cylinder": (0.021, 0.030),
    "brick": (0.037, 0.020, 0.019),
}
OBJECT_MASS = 0.08  # kg
ZONE_HALF = 0.055  # half edge of a square zone, radius of a round one
ZONE_THICKNESS = 0.001  # half height, drawn only: zones have no physics
MAX_OBJECTS = 6
MAX_ZONES = 2
MIN_OBJECT_GAP = 0.108  # between centres
MIN_ZONE_GAP = 0.12

# Goal conditions.
REACH_ABOVE = 0.06  # the goal point is this far above the top of the object
REACH_THRESHOLD = 0.035
PUSH_THRESHOLD = 0.045  # centre of the object to centre of the zone
LIFT_HEIGHT = 0.10  # above its resting height
PLACE_THRESHOLD = 0.045
BESIDE_RING = (0.050, 0.130)  # allowed distance between the two centres
BESIDE_DISTANCE = 0.095  # where the expert puts it
REST_HEIGHT = 0.012  # an object this close to its resting height lies on the table
REST_SPEED = 0.05  # m/s

# Generous enough for the slow manner; the same for every manner, so steering is not penalised.
MAX_STEPS = {"reach": 150, "push": 250, "lift": 180, "pick_place": 250, "put_beside": 250}

# Manners: which values each kind has besides the plain one, and where it makes sense.
SPEEDS = ("fast", "normal", "slow")
MANNERS: dict[str, dict[str, Any]] = {
    "reach": {"speed": ("fast", "slow"), "side": ("left", "right")},
    "push": {"speed": ("fast", "slow"), "side": ("left", "right"), "gentle": (True,)},
    "lift": {"speed": ("fast", "slow"), "side": ("left", "right"), "gentle": (True,)},
    "pick_place": {"speed": ("fast", "slow"), "height": ("low", "high"), "gentle": (True,)},
    "put_beside": {"speed": ("fast", "slow"), "height": ("low", "high"), "gentle": (True,)},
}
PLAIN_MANNER: dict[str, Any] = {"speed": "normal", "height": None, "side": None, "gentle": False}


def rest_height(shape: str) -> float:
    """Height of the centre of an object of this shape when it lies on the table, metres."""
    size = SHAPES[shape]
    return {"cube": size[-1], "brick": size[-1], "ball": size[0], "cylinder": size[-1]}[shape]
