"""When a task is done, and how far from that it is."""

from __future__ import annotations

import numpy as np

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.physics import TabletopState
from pilotage.episodes.types import Task


def reach_point(state: TabletopState, task: Task) -> np.ndarray:
    """The point above the target object that "reach" asks for, [3] m."""
    index = task.goal["object"]
    rest = layout.rest_height(task.scene["objects"][index]["shape"])
    return state.object_positions[index] + np.array([0, 0, rest + layout.REACH_ABOVE])


def distance_to_goal(state: TabletopState, task: Task) -> float:
    """Metres that the thing to be moved is away from the goal condition; 0 where it holds.

    For pick_place and put_beside the height above the resting height counts too. The object may
    still be in the gripper at distance 0; `is_success` also asks for its release.
    """
    goal = task.goal
    if goal["kind"] == "reach":
        gap = float(np.linalg.norm(reach_point(state, task) - state.ee_position))
        return max(0.0, gap - goal["threshold"])
    index = goal["object"]
    at = state.object_positions[index]
    raised = float(at[2]) - layout.rest_height(task.scene["objects"][index]["shape"])
    if goal["kind"] == "lift":
        return max(0.0, goal["height"] - raised)
    if goal["kind"] == "put_beside":
        apart = float(np.hypot(*(at - state.object_positions[goal["reference"]])[:2]))
        low, high = goal["ring"]
        flat = max(0.0, low - apart, apart - high)
    else:
        centre = task.scene["zones"][goal["zone"]]["position"]
        flat = max(0.0, float(np.hypot(*(at[:2] - centre))) - goal["threshold"])
    return flat if goal["kind"] == "push" else flat + max(0.0, raised - layout.REST_HEIGHT)


def is_success(state: TabletopState, task: Task) -> bool:
    """True when the goal condition holds now.

    reach and push: the distance is 0. lift: the object is high enough and held.
    pick_place and put_beside: the object lies in its place, at rest, and is let go.
    """
    if distance_to_goal(state, task) > 0.0:
        return False
    kind, index = task.goal["kind"], task.goal["object"]
    if kind == "lift":
        return state.held == index
    if kind in ("pick_place", "put_beside"):
        let_go = state.gripper_command > 0 and state.held != index
        return let_go and float(state.object_speeds[index]) < layout.REST_SPEED
    return True
