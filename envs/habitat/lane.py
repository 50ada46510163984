"""One slot of the habitat world: the rules are the rooms world's, the ground is habitat-sim's."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from pilotage.envs.habitat.scenes import SceneFiles
from pilotage.envs.habitat.simulation import Settings, Simulation
from pilotage.envs.rooms.expert import FORWARD, STOP, TURN_LEFT, TURN_RIGHT
from pilotage.envs.rooms.lane import Lane, Rules
from pilotage.episodes.types import Json, Task

_WORDS = {STOP: "i stop", TURN_LEFT: "i turn left", TURN_RIGHT: "i turn right"}


class HabitatLane(Lane):
    """The state of one slot. Steps, rewards and ends are those of `pilotage.envs.rooms.lane.Lane`.

    Args:
        rules: `success_radius_m` counts only where `own_radius` is False.
        own_radius: success is within what the task says (`goal["success_radius_m"]`).
        files_of: the files of a task's scene.
    """

    def __init__(
        self,
        rules: Rules,
        settings: Settings,
        *,
        own_radius: bool,
        files_of: Callable[[Json], SceneFiles],
    ) -> None:
        super().__init__(rules)
        self._own_radius, self._settings, self._files_of = own_radius, settings, files_of
        self.simulation: Simulation | None = None
        self.z = 0.0

    def reset(self, task: Task) -> None:
        """Begin an episode.

        Raises ValueError for a task of another world or a start off the mesh, SceneMissing,
        RuntimeError for a scene without a navigation mesh or a goal that cannot be reached.
        """
        self.task = None
        if task.env != "habitat":
            raise ValueError(f"task {task.task_id!r} is for the world {task.env!r}, not 'habitat'")
        if self._own_radius:
            radius = float(task.goal["success_radius_m"])
            self.rules = replace(self.rules, success_radius_m=radius)
        simulation = self._open(self._files_of(task.scene))
        self._goals = np.array(task.goal["points"], dtype=np.float64).reshape(-1, 3)
        self.start_heading = float(task.start["heading"])
        start = simulation.place(np.array(task.start["position"]), self.start_heading)
        self.x, self.y, self.z = start.tolist()
        self.turns = 0
        self.start = (self.x, self.y)
        self._advice: int | None = None
        self.distance = self._measure()
        self.collided, self.success, self.end = False, False, ""
        self.n_collisions = self.n_steps = 0
        self.task = task

    def _open(self, scene: SceneFiles) -> Simulation:
        """The simulator of a scene; the last one is kept while its scene stays the same."""
        if self.simulation is None or self.simulation.scene != scene:
            self.close()
            self.simulation = Simulation(self._settings, scene)
        return self.simulation

    def _ground(self) -> Simulation:
        if self.simulation is None:
            raise RuntimeError("step before reset")
        return self.simulation

    def _measure(self) -> float:
        ground = self._ground()
        distance, self._nearest = ground.distance(self._goals)
        if not math.isfinite(distance):
            here = np.array([self.x, self.y, self.z])
            raise RuntimeError(
                f"none of the {len(self._goals)} goals can be reached from "
                f"{np.round(here, 3).tolist()}: it lies on part {ground.islands(here[None])[0]} of "
                f"the navigation mesh, they on {sorted(set(ground.islands(self._goals)))} (-1: off "
                "the mesh)"
            )
        return distance

    def step(self, action: int) -> tuple[float, bool, bool]:
        """Do one action; see the rooms world."""
        if action != self._advice:
            self._ground().forget_advice()
        if action in (TURN_LEFT, TURN_RIGHT):
            self._ground().step(action)
        return super().step(action)

    @property
    def physics(self) -> Any:
        """What the rooms world's rules ask to move the body: this slot itself."""
        return self

    def move(self, *_: float, sliding: bool) -> tuple[float, float, bool]:
        """One step forward in the simulator (which knows the pose, the length and whether to
        slide): the new place, and if it touched."""
        ground = self._ground()
        touched = ground.step(FORWARD)
        x, y, self.z = ground.position.tolist()
        return x, y, touched

    def expert(self) -> tuple[int, str]:
        """The greedy follower's next action, and words for it. Where it finds no way on it stops,
        as habitat-lab's does. Privileged: it knows the navigation mesh."""
        advice = self._ground().advise(self._nearest, self.rules.success_radius_m)
        self._advice = advice
        if advice is None:
            return STOP, "i find no way on"
        return advice, _WORDS.get(advice, "i walk")

    def close(self) -> None:
        if self.simulation is not None:
            self.simulation.close()
            self.simulation = None
