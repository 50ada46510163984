"""One lane of the tabletop vector environment: an episode from its start to its end reason."""

from __future__ import annotations

import numpy as np

from pilotage.envs.tabletop import goals, layout
from pilotage.envs.tabletop.observations import ACTION_SIZE, proprio
from pilotage.envs.tabletop.physics import TabletopPhysics, TabletopState
from pilotage.envs.tabletop.scripted import expert
from pilotage.episodes.types import EndReason, Task

TRACE_SHAPES: dict[str, tuple[int, ...]] = {
    "ee_position": (3,),  # m
    "ee_quaternion": (4,),  # x, y, z, w
    "gripper_width": (1,),  # m
    "joint_positions": (9,),  # seven angles (rad), two finger openings (m)
    "object_positions": (layout.MAX_OBJECTS, 3),  # m, in the order of the scene, zeros after
    "object_quaternions": (layout.MAX_OBJECTS, 4),
    "distance_to_goal": (1,),  # m
    "held": (1,),  # 1 while both fingers hold the target object
}


class TabletopSlot:
    """State of one lane. An exception inside becomes `error` and ends the episode."""

    def __init__(self, *, with_meshes: bool) -> None:
        self.physics = TabletopPhysics(with_meshes=with_meshes)
        self._clear()

    def _clear(self) -> None:
        self.task: Task | None = None
        self.state: TabletopState | None = None
        self.instruction = ""
        self.steps = 0
        self.success = False
        self.end_reason = ""
        self.error: str | None = None
        self.distance = 0.0
        self.expert_action = np.zeros(ACTION_SIZE, np.float32)
        self.narration = ""

    @property
    def is_live(self) -> bool:
        """Started and not ended."""
        return self.task is not None and not self.end_reason

    def start(self, task: Task, *, with_expert: bool) -> bool:
        """Begins an episode; False when that failed (see `error`)."""
        self._clear()
        self.task, self.instruction = task, task.instruction
        try:
            self.physics.build(task)
            self.read(task, with_expert)
        except Exception as error:  # one slot's failure must not end the others
            self._fail(error)
        return self.error is None

    def step(self, action: np.ndarray, *, with_expert: bool) -> None:
        """One env step with a checked action [7]."""
        task = self.task
        if task is None:
            raise RuntimeError("step of a slot that has no task; reset it first")
        try:
            self.physics.step(action)
            self.steps += 1
            state = self.read(task, with_expert)
            self.success = goals.is_success(state, task)
        except Exception as error:
            self._fail(error)
            return
        if self.success:
            self.end_reason = EndReason.GOAL_REACHED.value
        elif self.steps >= task.max_steps:
            self.end_reason = EndReason.STEP_LIMIT.value

    def read(self, task: Task, with_expert: bool) -> TabletopState:
        """Reads the physics into `state`, `distance` and the expert's advice."""
        state = self.physics.state()
        if (
            not np.isfinite(state.object_positions).all()
            or not np.isfinite(state.ee_position).all()
        ):
            raise FloatingPointError("the physics gave a position that is not finite")
        self.state = state
        self.distance = goals.distance_to_goal(state, task)
        if with_expert:
            self.expert_action, self.narration = expert(state, task)
        return state

    def _fail(self, error: Exception) -> None:
        self.error = f"{type(error).__name__}: {error}"
        self.end_reason = EndReason.ENV_ERROR.value
        self.success = False

    def write(self, proprio_row: np.ndarray, trace_rows: dict[str, np.ndarray]) -> None:
        """Writes the present state into rows of the batch arrays."""
        state, task = self.state, self.task
        if state is None or task is None:
            raise RuntimeError("write of a slot that has no state; reset it first")
        proprio_row[:] = proprio(state)
        trace_rows["ee_position"][:] = state.ee_position
        trace_rows["ee_quaternion"][:] = state.ee_quaternion
        trace_rows["gripper_width"][:] = state.gripper_width
        trace_rows["joint_positions"][:] = state.joint_positions
        for name, values in (
            ("object_positions", state.object_positions),
            ("object_quaternions", state.object_quaternions),
        ):
            trace_rows[name][:] = 0.0
            trace_rows[name][: len(values)] = values
        trace_rows["distance_to_goal"][:] = self.distance
        trace_rows["held"][:] = float(state.held == task.goal["object"])
