"""The expert of the continuous world: the shortest known way, followed by turns and moves.

Privileged, and a function of where the agent stands: it turns toward the place over which the way
to the goal is shortest, goes there, and stops within half a metre of the goal, as the follower
does that made VLN-CE's traces.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from pilotage.envs.r2r.continuous import FORWARD, LEFT, RIGHT, STOP
from pilotage.envs.r2r.views import wrapped

from .ground import STEP_M

if TYPE_CHECKING:
    from .vector_env import R2RCEVectorEnv

NEAR_M = 0.5


def expert_actions(world: R2RCEVectorEnv) -> np.ndarray:
    """The next action int64 [n]; 0 for slots that never began.

    Places within a move are passed over: the agent is about to leave them behind.
    """
    actions = np.zeros(world.num_envs, np.int64)
    slots = np.flatnonzero(world.begun)
    if not len(slots):
        return actions
    ground, position = world.ground, world.position[slots]
    whole, hop, near = ground.ways(slots, position, world.place[slots], world.fields)
    whole[hop < STEP_M] = np.inf
    best = whole.argmin(axis=1)
    rows = np.arange(len(slots))
    target = ground.position[near[rows, best]]
    gap = (
        np.where(np.isinf(whole[rows, best])[:, None], world.fields.goal[slots], target) - position
    )
    toward = wrapped(np.arctan2(gap[:, 0], gap[:, 1]) - world.heading[slots])
    turn = np.where(toward > 0, RIGHT, LEFT)
    # a hair more than half a turn, or rounding could turn to and fro for ever
    ahead = np.abs(toward) <= world.turn / 2 + math.radians(0.01)
    going = np.where(ahead, FORWARD, turn)
    actions[slots] = np.where(world.distance[slots] <= NEAR_M, STOP, going)
    return actions
