"""One slot of the rooms world: a house, an agent in it, and the rules of an episode."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pilotage.envs.rooms.expert import (
    FORWARD,
    FORWARD_M,
    STOP,
    TURN_LEFT,
    TURN_RAD,
    expert_action,
    narrate,
)
from pilotage.envs.rooms.geodesic import GoalField, nav_graph
from pilotage.envs.rooms.house import House, load_house
from pilotage.envs.rooms.physics import AgentPhysics
from pilotage.episodes.types import EndReason, Json, Task

SLACK_REWARD = -0.01
SUCCESS_REWARD = 2.5


@dataclass(frozen=True)
class Rules:
    """What may differ between runs: sliding along walls, when it counts, when to give up."""

    success_radius_m: float = 3.0
    sliding: bool = True
    collision_limit: int | None = None
    odometry: bool = True

    def __post_init__(self) -> None:
        if not self.success_radius_m > 0:
            raise ValueError(f"success_radius_m must be > 0, got {self.success_radius_m}")
        if self.collision_limit is not None and self.collision_limit < 1:
            raise ValueError(
                f"collision_limit must be None or >= 1, got {self.collision_limit}; None never ends"
            )


class Lane:
    """The state of one slot. Everything in it is set by `reset`, so nothing outlives an episode."""

    def __init__(self, rules: Rules) -> None:
        self.rules = rules
        self._physics: AgentPhysics | None = None
        self.task: Task | None = None  # None until a reset has succeeded

    @property
    def physics(self) -> AgentPhysics:
        if self._physics is None:
            self._physics = AgentPhysics()
        return self._physics

    def reset(self, task: Task) -> None:
        """Begin an episode. Raises ValueError for a task of another world or another generator."""
        self.task = None
        if task.env != "rooms":
            raise ValueError(f"task {task.task_id!r} is for the world {task.env!r}, not 'rooms'")
        self.house: House = load_house(task.scene)
        self.field: GoalField = goal_field(self.house, task)
        self.physics.load(self.house)
        self.x, self.y = (float(v) for v in task.start["position"][:2])
        self.start_heading = float(task.start["heading"])
        self.turns = 0  # left minus right: the heading is exact after any number of turns
        self.start = (self.x, self.y)
        self.distance = self._measure()
        self.collided = False
        self.n_collisions = 0
        self.n_steps = 0
        self.end = ""
        self.success = False
        self.task = task

    @property
    def heading(self) -> float:
        """Radians in [-pi, pi], counter-clockwise from +x."""
        return math.remainder(self.start_heading + (self.turns % 24) * TURN_RAD, 2 * math.pi)

    def _measure(self) -> float:
        distance = self.field.distance(self.x, self.y)
        if not math.isfinite(distance):
            raise RuntimeError(f"no free path to the goal from ({self.x:.3f}, {self.y:.3f})")
        return distance

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Do one action: reward, terminated, truncated. The reward is metres gained, less 0.01 a
        step, plus 2.5 for stopping within the success radius."""
        if self.task is None:
            raise RuntimeError("step before reset")
        self.collided = False
        if action == FORWARD:
            self.x, self.y, self.collided = self.physics.move(
                self.x, self.y, self.heading, FORWARD_M, sliding=self.rules.sliding
            )
            self.n_collisions += int(self.collided)
        elif action != STOP:
            self.turns += 1 if action == TURN_LEFT else -1
        self.n_steps += 1
        before, self.distance = self.distance, self._measure()
        reward = before - self.distance + SLACK_REWARD
        if action == STOP:
            self.success = self.distance < self.rules.success_radius_m
            reward += SUCCESS_REWARD * self.success
            end = EndReason.GOAL_REACHED if self.success else EndReason.AGENT_STOPPED
        elif self.n_collisions >= (self.rules.collision_limit or math.inf):
            end = EndReason.COLLISION_LIMIT
        elif self.n_steps >= self.task.max_steps:
            end = EndReason.STEP_LIMIT
        else:
            return reward, False, False
        self.end = end.value
        truncated = end is EndReason.STEP_LIMIT
        return reward, not truncated, truncated

    def proprio(self) -> np.ndarray:
        """float32 [4]: sine and cosine of the heading since the start, and metres gone ahead and to
        the left in the start frame, divided by 10. Noiseless odometry; zeros when switched off."""
        if not self.rules.odometry:
            return np.zeros(4, dtype=np.float32)
        turned = (self.turns % 24) * TURN_RAD
        ahead, left = into_frame(*self.start, self.start_heading, self.x, self.y)
        return np.array(
            [math.sin(turned), math.cos(turned), ahead / 10, left / 10], dtype=np.float32
        )

    def goal_vector(self) -> np.ndarray:
        """float32 [3]: distance / 10, cosine and sine of the bearing to a pointnav task's point,
        from where the agent is (from the start without odometry); zeros in other families."""
        if self.task is None or self.task.family != "pointnav":
            return np.zeros(3, dtype=np.float32)
        x, y, heading = self.x, self.y, self.heading
        if not self.rules.odometry:
            (x, y), heading = self.start, self.start_heading
        ahead, left = into_frame(x, y, heading, *self.task.goal["points"][0][:2])
        far = max(math.hypot(ahead, left), 1e-6)
        return np.array([far / 10, ahead / far, left / far], dtype=np.float32)

    def expert(self) -> tuple[int, str]:
        """The scripted expert's next action and its words. Privileged: it knows the house."""
        return self._expert_toward(self.field, self.task.goal if self.task else {})

    def expert_for(self, task: Task) -> tuple[int, str]:
        """What the expert would do and say here, were `task` (of the same house) the task."""
        return self._expert_toward(goal_field(self.house, task), task.goal)

    def _expert_toward(self, field: GoalField, goal: Json) -> tuple[int, str]:
        action = expert_action(field, self.x, self.y, self.heading)
        return action, narrate(self.house, field, goal, self.x, self.y, action)

    def close(self) -> None:
        if self._physics is not None:
            self._physics.close()
            self._physics = None


def goal_field(house: House, task: Task) -> GoalField:
    """Distances to the places at which a task in this house may end. Cached."""
    return _field_to(house, tuple(tuple(map(float, point[:2])) for point in task.goal["points"]))


@lru_cache(maxsize=2048)
def _field_to(house: House, points: tuple[tuple[float, ...], ...]) -> GoalField:
    return nav_graph(house).field(np.array(points))


def into_frame(x: float, y: float, heading: float, to_x: float, to_y: float) -> tuple[float, float]:
    """Metres ahead and to the left of a pose at which a point lies."""
    dx, dy = to_x - x, to_y - y
    c, s = math.cos(heading), math.sin(heading)
    return c * dx + s * dy, c * dy - s * dx
