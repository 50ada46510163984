"""VLN-CE's high-level action, go toward a point, in primitive actions."""

from __future__ import annotations

import math

from pilotage.envs.r2r.continuous import FORWARD, LEFT, RIGHT

from .ground import STEP_M


def go_toward_point(r: float, theta: float, *, turn_deg: int = 15) -> list[int]:
    """The actions of GoTowardPoint: turn by `theta`, the shorter way round, then go `r` metres.

    Both are rounded to whole actions (half of one goes up). `theta` is in radians, clockwise, 0 =
    ahead, as every bearing here; VLN-CE counts it the other way round. Nothing is said of the
    heading afterwards: where a move collides, the rest is carried out all the same.

    Raises ValueError for a distance or angle that is no finite number, a negative distance, or a
    `turn_deg` that is no whole part of 360.
    """
    if not (math.isfinite(r) and math.isfinite(theta) and r >= 0):
        raise ValueError(f"r must be >= 0 and r and theta finite, got r={r}, theta={theta}")
    if turn_deg < 1 or 360 % turn_deg:
        raise ValueError(f"turn_deg must be a whole part of 360, got {turn_deg}")
    circle = 360 // turn_deg
    right = math.floor(theta / math.radians(turn_deg) + 0.5) % circle
    turns = [RIGHT] * right if right <= circle // 2 else [LEFT] * (circle - right)
    return turns + [FORWARD] * math.floor(r / STEP_M + 0.5)
