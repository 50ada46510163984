"""One tabletop in one PyBullet client: built from a task, stepped by actions, read as a state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.envs.bullet import pybullet as pb
from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.robot import FINGER_JOINTS, Panda
from pilotage.episodes.types import Task


@dataclass(frozen=True)
class TabletopState:
    """What is true of a tabletop at one moment. k objects; metres, radians, robot base frame."""

    ee_position: np.ndarray  # [3]
    ee_quaternion: np.ndarray  # [4] x, y, z, w
    ee_yaw: float
    gripper_width: float
    gripper_command: float  # +1 open, -1 closed
    joint_positions: np.ndarray  # [9]
    object_positions: np.ndarray  # [k, 3]
    object_quaternions: np.ndarray  # [k, 4]
    object_speeds: np.ndarray  # [k] m/s
    held: int  # index of the object that both fingers touch, -1 for none


class TabletopPhysics:
    """A PyBullet world (DIRECT). `build` starts every episode from an empty world."""

    def __init__(self, *, with_meshes: bool = False) -> None:
        self._with_meshes = with_meshes
        self._client = -1
        self.objects: list[int] = []

    @property
    def client(self) -> int:
        """PyBullet's id of this world, -1 before `build`."""
        return self._client

    def build(self, task: Task) -> None:
        """Throws the old world away and builds the task's; nothing survives from before."""
        self.close()
        self._client = pb.connect(pb.DIRECT)
        if self._client < 0:
            raise RuntimeError("PyBullet gave no DIRECT connection; close unused environments")
        pb.setPhysicsEngineParameter(
            fixedTimeStep=1.0 / layout.PHYSICS_HZ,
            numSolverIterations=60,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        pb.setGravity(0, 0, -9.81, physicsClientId=self._client)
        self.painted = False  # see tiny.py
        self.table = self._add_table()
        self.robot = Panda(self._client, with_meshes=self._with_meshes)
        self.robot.place(np.array(task.start["ee_position"]), task.start["ee_yaw"])
        self.objects = [self._add_object(thing) for thing in task.scene["objects"]]
        self._advance(np.zeros(7), substeps=layout.CONTROL_EVERY)

    def _add_table(self) -> int:
        shape = pb.createCollisionShape(
            pb.GEOM_BOX, halfExtents=[0.6, 0.8, 0.05], physicsClientId=self._client
        )
        table = pb.createMultiBody(
            0, shape, basePosition=[0.45, 0, -0.05], physicsClientId=self._client
        )
        pb.changeDynamics(table, -1, lateralFriction=0.7, physicsClientId=self._client)
        return int(table)

    def _add_object(self, thing: Mapping[str, Any]) -> int:
        size = layout.SHAPES[thing["shape"]]
        here = {"physicsClientId": self._client}
        if thing["shape"] == "ball":
            shape = pb.createCollisionShape(pb.GEOM_SPHERE, radius=size[0], **here)
        elif thing["shape"] == "cylinder":
            shape = pb.createCollisionShape(
                pb.GEOM_CYLINDER, radius=size[0], height=2 * size[1], **here
            )
        else:
            shape = pb.createCollisionShape(pb.GEOM_BOX, halfExtents=list(size), **here)
        position = [*thing["position"], layout.rest_height(thing["shape"])]
        body = pb.createMultiBody(
            layout.OBJECT_MASS,
            shape,
            basePosition=position,
            baseOrientation=pb.getQuaternionFromEuler([0, 0, thing["yaw"]]),
            **here,
        )
        pb.changeDynamics(body, -1, lateralFriction=0.8, spinningFriction=0.005, **here)
        if thing["shape"] == "ball":
            pb.changeDynamics(
                body, -1, rollingFriction=0.003, linearDamping=0.6, angularDamping=0.9, **here
            )
        return int(body)

    def step(self, action: np.ndarray) -> None:
        """One env step (0.1 s) with an action [7] in [-1, 1]."""
        self._advance(np.asarray(action, dtype=np.float64), substeps=layout.SUBSTEPS)

    def _advance(self, action: np.ndarray, *, substeps: int) -> None:
        start, _ = self.robot.pose()
        goal, turned = self.robot.start_motion(action)
        seconds = substeps / layout.PHYSICS_HZ
        velocity = (goal - start) / seconds
        for done in range(0, substeps, layout.CONTROL_EVERY):
            part = done / substeps
            self.robot.track(start + part * (goal - start), velocity, turned, seconds * (1 - part))
            for _ in range(layout.CONTROL_EVERY):
                pb.stepSimulation(physicsClientId=self._client)

    def state(self) -> TabletopState:
        """Reads the world; every array is fresh."""
        position, quaternion = self.robot.pose()
        joints = self.robot.joint_positions()
        here = {"physicsClientId": self._client}
        poses = [pb.getBasePositionAndOrientation(body, **here) for body in self.objects]
        speeds = [np.linalg.norm(pb.getBaseVelocity(body, **here)[0]) for body in self.objects]
        return TabletopState(
            ee_position=position,
            ee_quaternion=quaternion,
            ee_yaw=_yaw_of_hand(quaternion),
            gripper_width=float(joints[7:].sum()),
            gripper_command=self.robot.gripper_command,
            joint_positions=joints,
            object_positions=np.array([p for p, _ in poses]),
            object_quaternions=np.array([q for _, q in poses]),
            object_speeds=np.array(speeds, dtype=np.float64),
            held=self._held(),
        )

    def _held(self) -> int:
        """The object that both fingers touch while the gripper is told to close."""
        if self.robot.gripper_command > 0:
            return -1
        here = {"physicsClientId": self._client}
        touched = [
            {c[2] for c in pb.getContactPoints(self.robot.body, linkIndexA=finger, **here)}
            for finger in FINGER_JOINTS
        ]
        both = touched[0] & touched[1]
        return next((i for i, body in enumerate(self.objects) if body in both), -1)

    def close(self) -> None:
        """Frees the client; `build` may be called again."""
        if self._client >= 0:
            pb.disconnect(physicsClientId=self._client)
            self._client = -1


def _yaw_of_hand(quaternion: np.ndarray) -> float:
    """Yaw (rad) of a hand that points roughly down: direction of its x axis in the plane."""
    x, y, z, w = quaternion
    return float(np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z)))
