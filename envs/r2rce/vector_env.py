"""R2R-CE as a Gymnasium vector environment: all slots step as array operations, without meshes."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pilotage.envs.r2r.continuous import FORWARD, LEFT, RIGHT, STOP
from pilotage.envs.slots import (
    GOING,
    LIMIT,
    REACHED,
    REASONS,
    STOPPED,
    tasks_to_begin,
    whole_actions,
)
from pilotage.episodes.types import EndReason, Task

from .dataset import shared_data
from .expert import expert_actions as next_actions
from .ground import STEP_M, Fields, Ground
from .observing import Observer, observation_space
from .tasks import make_tasks

N_ACTIONS = 4
KNOWN = "none of 0 stop, 1 forward, 2 left, 3 right"
CLEARANCE_M = 0.5


class R2RCEVectorEnv(gym.vector.VectorEnv):
    """Vision-and-language navigation in continuous space (VLN-CE, arXiv:2004.02857).

    There are no meshes here (Matterport3D's licence keeps them out), so the world is walkable as
    far as it was walked: known places are the points of the expert traces, the reference paths and
    the straight lines along the graph's edges. A move of 0.25 m is borne when it ends within
    `clearance_m` of a known place, which must be near the present one, too; else it is a
    collision. What follows from that:

    - Open floor that nobody crossed is closed; a wall thinner than the clearance between two known
      ways is open, and so is furniture beside them. Collisions are a kind of "off the known ways".
    - The known places hold the paths of the very episodes that are played. An agent feels them
      only by where it collides, but an agent that feels its way has it easier than on a mesh.
    - The height is that of the nearest known place: exact on traces, a ramp between viewpoints
      elsewhere. Distances run over the known places: see `BENCHMARKS.md` beside those of the mesh.
    - Nothing is to be seen but captions, and those belong to the nearest viewpoint.

    So numbers of this world compare agents with each other, not with published ones.

    Actions: 0 stop, 1 forward 0.25 m, 2 left, 3 right (15 deg each, 30 for RxR-CE). A move that
    collides slides, as in VLN-CE: the body goes on in the direction nearest to its heading (in
    steps of 15 deg up to 75) that leads to known ground, by what is left of the move in that
    direction, and stays where there is none. Without `sliding` (RxR-CE) it stays.

    Observations, batched over n slots: see `observing`. Start: the task's. Rewards: 1 for a stop
    that succeeds, else 0. End: a stop (`goal_reached` or `agent_stopped`), or the step limit.

    Infos: `trace` (position [n, 3]; heading, distance_to_goal, collision [n, 1]), `end_reason`,
    `success`, `env_error`.

    Args:
        n_slots: lanes, at least 1.
        expert_actions: add the next action of a shortest way (privileged; see `expert`).
        text: whether there are captions of the nearest viewpoint.
        turn_deg: how far a turn goes; a whole part of 360.
        sliding: whether a move that collides goes on along what stopped it.
        clearance_m: how far from a known place one can stand.
        success_radius_m: to stop closer than this, along the ground, is success.
        data: the data folder, by default the one `PILOTAGE_DATA` names.

    Raises:
        ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    def __init__(
        self,
        n_slots: int,
        *,
        expert_actions: bool = False,
        text: bool = True,
        turn_deg: int = 15,
        sliding: bool = True,
        clearance_m: float = CLEARANCE_M,
        success_radius_m: float = 3.0,
        data: str | Path | None = None,
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots must be >= 1, got {n_slots}")
        if turn_deg < 1 or 360 % turn_deg:
            raise ValueError(f"turn_deg must be a whole part of 360, got {turn_deg}")
        for name, value in (("clearance_m", clearance_m), ("success_radius_m", success_radius_m)):
            if not value > 0:
                raise ValueError(f"{name} must be > 0, got {value}")
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs = n_slots
        self.turn = math.radians(turn_deg)
        self.sliding = sliding
        self.success_radius_m = success_radius_m
        self.data = shared_data(data)
        self.ground = Ground(self.data, clearance_m=clearance_m)
        self.single_action_space = gym.spaces.Discrete(N_ACTIONS)
        self.single_observation_space = observation_space(text, expert_actions)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._observer, self._expert = Observer(self, text=text), expert_actions
        self.tasks: list[Task | None] = [None] * n_slots
        self.scans = [""] * n_slots
        self.begun = np.zeros(n_slots, bool)
        self.start = np.zeros((n_slots, 3))
        self.start_heading = np.zeros(n_slots)
        self.position = np.zeros((n_slots, 3))
        self.turns = np.zeros(n_slots, np.int64)  # to the right, since the start
        self.place = np.zeros(n_slots, np.int64)  # under the agent, in numbers of the ground
        self.fields = Fields(n_slots)
        self.distance = np.zeros(n_slots)  # to the goal, metres
        self.collided = np.zeros(n_slots, bool)
        self.steps = np.zeros(n_slots, np.int64)
        self._limit = np.zeros(n_slots, np.int64)
        self._live = np.zeros(n_slots, bool)
        self._state = np.full(n_slots, GOING)
        self._errors: list[str | None] = [None] * n_slots

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self._live.copy()

    @property
    def heading(self) -> np.ndarray:
        """float64 [n], rad in [0, 2 pi): 0 = +y, clockwise."""
        return (self.start_heading + self.turns * self.turn) % (2 * math.pi)

    # -- reset -------------------------------------------------------------------------------------

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot gets an R2R-CE task of the train split, drawn by its seed (`seed`,
        `seed + 1`, ... for an int). Other slots stay as they are.
        """
        for slot, task in tasks_to_begin(self, seed, options, self._drawn).items():
            try:
                self._begin(slot, task)
            except Exception as error:
                self._errors[slot] = f"{type(error).__name__}: {error}"
                self._live[slot] = False
        return self._observe(), self._infos()

    def _drawn(self, seed: int) -> Task:
        return make_tasks("train", 1, seed=seed, data=self.data.root)[0]

    def _begin(self, slot: int, task: Task) -> None:
        if task.env != "r2rce":
            raise ValueError(
                f"task {task.task_id!r} belongs to the world {task.env!r}, not 'r2rce'"
            )
        scan = task.scene["scan"]
        base, places = self.ground.require(scan), self.data.places(scan, self.ground.link_m)
        start, goal = (np.array(at["position"], float) for at in (task.start, task.goal))
        place, gap = places.nearest(start)
        if gap > self.ground.clearance_m:
            raise ValueError(
                f"task {task.task_id!r} starts {gap:.2f} m from the next known place of scan "
                f"{scan}; a clearance_m above that would do"
            )
        field = places.distances_to(goal)
        if not np.isfinite(field[place]):
            raise ValueError(f"task {task.task_id!r}: there is no known way from start to goal")
        self.fields.put(slot, goal, base, field)
        self.tasks[slot], self.scans[slot], self.begun[slot] = task, scan, True
        self.start[slot] = self.position[slot] = start
        self.start_heading[slot] = float(task.start["heading"])
        self.place[slot] = base + place
        self.turns[slot] = self.steps[slot] = 0
        self._limit[slot] = task.max_steps
        self.collided[slot] = False
        self._live[slot], self._state[slot], self._errors[slot] = True, GOING, None
        self._measure(np.array([slot]))

    # -- step --------------------------------------------------------------------------------------

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        chosen = whole_actions(actions, self._live, N_ACTIONS, KNOWN)
        live = self._live.copy()
        stopped = live & (chosen == STOP)
        self.collided &= ~live
        self.turns += live & (chosen == RIGHT)
        self.turns -= live & (chosen == LEFT)
        self._move(np.flatnonzero(live & (chosen == FORWARD)))
        self.steps[live] += 1
        success = stopped & (self.distance < self.success_radius_m)
        truncated = live & ~stopped & (self.steps >= self._limit)
        self._state[stopped] = STOPPED
        self._state[success] = REACHED
        self._state[truncated] = LIMIT
        self._live &= ~(stopped | truncated)
        rewards = success.astype(np.float64)
        return self._observe(), rewards, stopped, truncated, self._infos()

    def _move(self, slots: np.ndarray) -> None:
        """Go forward in the given slots."""
        if not len(slots):
            return
        position, place, heading = self.position[slots], self.place[slots], self.heading[slots]
        length = np.full((len(slots), 1), STEP_M)
        moves = self.ground.stepped(position, place, heading[:, None], length)
        point, found, gap = (values[:, 0] for values in moves)
        blocked = np.isinf(gap)
        point[blocked], found[blocked] = position[blocked], place[blocked]
        if self.sliding and blocked.any():
            point[blocked], found[blocked] = self.ground.slid(
                position[blocked], place[blocked], heading[blocked]
            )
        self.position[slots], self.place[slots], self.collided[slots] = point, found, blocked
        self._measure(slots)

    def _measure(self, slots: np.ndarray) -> None:
        self.distance[slots] = self.ground.to_goal(
            slots, self.position[slots], self.place[slots], self.fields
        )

    def _observe(self) -> dict[str, Any]:
        observations = self._observer.observe()
        if self._expert:
            observations["expert_action"] = next_actions(self)
        return observations

    def _infos(self) -> dict[str, Any]:
        trace = {
            "position": self.position.copy(),
            "heading": self.heading[:, None],
            "distance_to_goal": self.distance[:, None].copy(),
            "collision": self.collided[:, None].astype(np.float64),
        }
        failed = [error is not None for error in self._errors]
        ends = REASONS[self._state].tolist()
        return {
            "trace": trace,
            "end_reason": [
                EndReason.ENV_ERROR.value if bad else end for bad, end in zip(failed, ends)
            ],
            "success": self._state == REACHED,
            "env_error": list(self._errors),
        }
