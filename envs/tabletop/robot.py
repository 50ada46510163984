"""The arm: a Franka Panda with simple collision shapes, moved by resolved-rate control.

The description is derived at run time from the one that ships with `pybullet_data`: the arm's
collision meshes are dropped and the hand gets boxes, so that loading takes a millisecond or two
and contacts are cheap and repeatable.
"""

from __future__ import annotations

import atexit
import math
import os
import shutil
import tempfile
import xml.etree.ElementTree as ET
from functools import lru_cache
from pathlib import Path

import numpy as np
import pybullet_data

from pilotage.envs.bullet import pybullet as pb
from pilotage.envs.tabletop import layout

ARM_JOINTS = tuple(range(7))
HAND_LINK = 8
FINGER_JOINTS = (9, 10)
MOVING_JOINTS = (*ARM_JOINTS, *FINGER_JOINTS)
EE_LINK = 11  # the point between the finger tips
# Rest posture (rad): the usual Panda "ready" pose, hand pointing down.
HOME = np.array([0.0, -0.35, 0.0, -2.35, 0.0, 2.0, 0.785])
ARM_FORCES = [87.0, 87.0, 87.0, 87.0, 40.0, 40.0, 40.0]  # N m
JOINT_SPEED = 3.0  # rad/s, clamp of the commanded joint velocities
FINGER_FORCE = 25.0  # N
FINGER_SPEED = 0.2  # m/s
FINGER_OPEN = 0.04  # m per finger
POSITION_GAIN = 8.0  # 1/s, pulls the end effector back to its reference
POSTURE_GAIN = 1.0  # 1/s, pulls the elbow to the rest posture in the null space
DAMPING = 0.02  # of the least squares

# Boxes (half extents, centre) in the frame of the link; that of the right finger is turned by pi.
COLLISION_BOXES: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "panda_hand": ((0.0316, 0.1025, 0.0306), (0.0, 0.0, 0.0296)),
    "panda_leftfinger": ((0.0105, 0.0070, 0.0270), (0.0, 0.0075, 0.0270)),
    "panda_rightfinger": ((0.0105, 0.0070, 0.0270), (0.0, -0.0075, 0.0270)),
}


@lru_cache(maxsize=2)
def panda_description(with_meshes: bool = False) -> str:
    """Path of the derived URDF, written once per process to a temporary folder.

    Args:
        with_meshes: keep the visual meshes (slow to load), for PyBullet's own renderer.
    """
    folder = Path(pybullet_data.getDataPath()) / "franka_panda"
    tree = ET.parse(folder / "panda.urdf")
    for link in tree.getroot().iter("link"):
        for part in link.findall("collision"):
            link.remove(part)
        for part in link.findall("visual"):
            if not with_meshes:
                link.remove(part)
        for mesh in link.iter("mesh"):
            mesh.set("filename", str(folder / mesh.attrib["filename"].removeprefix("package://")))
        if link.attrib["name"] in COLLISION_BOXES:
            half, centre = COLLISION_BOXES[link.attrib["name"]]
            collision = ET.SubElement(link, "collision")
            ET.SubElement(collision, "origin", xyz=" ".join(map(str, centre)), rpy="0 0 0")
            geometry = ET.SubElement(collision, "geometry")
            ET.SubElement(geometry, "box", size=" ".join(str(2 * h) for h in half))
    target = _private_folder() / ("panda_meshes.urdf" if with_meshes else "panda.urdf")
    tree.write(target)
    return str(target)


@lru_cache(maxsize=1)
def _private_folder() -> Path:
    """A temporary folder of this process, removed when it ends (not when a fork of it does)."""
    path, owner = tempfile.mkdtemp(prefix="pilotage-tabletop-"), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:
            shutil.rmtree(path, ignore_errors=True)

    atexit.register(remove)
    return Path(path)


def down_quaternion(roll: float, pitch: float, yaw: float) -> tuple[float, ...]:
    """Orientation (x, y, z, w) of a hand that points down, turned by yaw, tilted by roll, pitch."""
    return tuple(pb.getQuaternionFromEuler((math.pi + roll, pitch, yaw)))


def rotation_error(target: np.ndarray, current: np.ndarray) -> np.ndarray:
    """Rotation vector [3] (rad, world frame) that turns quaternion `current` into `target`."""
    tx, ty, tz, tw = target
    cx, cy, cz, cw = current
    w = tw * cw + tx * cx + ty * cy + tz * cz
    vector = np.array(
        [
            cw * tx - tw * cx - (ty * cz - tz * cy),
            cw * ty - tw * cy - (tz * cx - tx * cz),
            cw * tz - tw * cz - (tx * cy - ty * cx),
        ]
    )
    if w < 0:
        w, vector = -w, -vector
    sine = math.sqrt(float(vector @ vector))
    return vector * (2.0 * math.atan2(sine, w) / sine) if sine > 1e-12 else 2.0 * vector


def into_workspace(position: np.ndarray) -> np.ndarray:
    """The nearest point [3] (m) in the workspace box, pulled inwards until it is in reach."""
    x, y, z = np.clip(position, layout.WORKSPACE_LOW, layout.WORKSPACE_HIGH)
    drop = z + layout.WRIST_Z - layout.SHOULDER_Z
    radius = layout.WRIST_INWARD + math.sqrt(layout.MAX_REACH**2 - drop * drop)
    shrink = min(1.0, radius / math.hypot(x, y))
    return np.array([x * shrink, y * shrink, z])


class Panda:
    """The arm in one physics client.

    Between two env steps it keeps only the commanded orientation and the gripper command: the
    position reference starts anew from where the hand really is.
    """

    def __init__(self, client: int, *, with_meshes: bool = False) -> None:
        self.client = client
        flags = pb.URDF_USE_INERTIA_FROM_FILE
        self.body = pb.loadURDF(
            panda_description(with_meshes),
            useFixedBase=True,
            flags=flags,
            physicsClientId=client,
        )
        for finger in FINGER_JOINTS:
            pb.changeDynamics(
                self.body,
                finger,
                lateralFriction=1.6,
                spinningFriction=0.02,
                rollingFriction=0.001,
                physicsClientId=client,
            )
        self._pair_fingers()
        self.tilt_yaw = np.zeros(3)  # commanded roll, pitch, yaw
        self.gripper_command = 1.0

    def _pair_fingers(self) -> None:
        """A gear keeps the two fingers symmetric, as in the real hand."""
        gear = pb.createConstraint(
            self.body,
            FINGER_JOINTS[0],
            self.body,
            FINGER_JOINTS[1],
            jointType=pb.JOINT_GEAR,
            jointAxis=[1, 0, 0],
            parentFramePosition=[0, 0, 0],
            childFramePosition=[0, 0, 0],
            physicsClientId=self.client,
        )
        pb.changeConstraint(gear, gearRatio=-1, erp=0.1, maxForce=50, physicsClientId=self.client)

    def place(self, position: np.ndarray, yaw: float) -> None:
        """Puts the arm at rest with the end effector at `position` (m), pointing down, open.

        Raises:
            ValueError: the pose is out of reach.
        """
        self.tilt_yaw = np.array([0.0, 0.0, yaw])
        target = np.array(down_quaternion(0.0, 0.0, yaw))
        q = HOME.copy()
        q[0] = math.atan2(position[1], position[0])
        for _ in range(60):
            self._set_joints(q)
            at, turned = self.pose()
            twist = np.concatenate([position - at, rotation_error(target, turned)])
            if float(np.abs(twist).max()) < 1e-6:
                break
            q = q + self._joint_motion(q, twist, posture=0.05)
        else:
            if float(np.abs(twist).max()) > 1e-3:
                raise ValueError(f"end effector position {position.tolist()} m is out of reach")
        self._hold_fingers()
        self.gripper_command = 1.0

    def _set_joints(self, q: np.ndarray) -> None:
        for joint, angle in zip(ARM_JOINTS, q, strict=True):
            pb.resetJointState(self.body, joint, angle, 0.0, physicsClientId=self.client)

    def _hold_fingers(self) -> None:
        for finger in FINGER_JOINTS:
            pb.resetJointState(self.body, finger, FINGER_OPEN, 0.0, physicsClientId=self.client)

    def pose(self) -> tuple[np.ndarray, np.ndarray]:
        """Position [3] (m) and quaternion [4] (x, y, z, w) of the end effector."""
        state = pb.getLinkState(
            self.body, EE_LINK, computeForwardKinematics=1, physicsClientId=self.client
        )
        return np.array(state[4]), np.array(state[5])

    def joint_positions(self) -> np.ndarray:
        """Seven arm angles (rad), then two finger openings (m): [9]."""
        states = pb.getJointStates(self.body, MOVING_JOINTS, physicsClientId=self.client)
        return np.array([s[0] for s in states])

    def gripper_width(self) -> float:
        """Distance between the fingers, metres."""
        return float(self.joint_positions()[7:].sum())

    def _joint_motion(self, q: np.ndarray, twist: np.ndarray, posture: float) -> np.ndarray:
        """Damped least squares with the posture pulled in the null space; [7]."""
        full = [*q.tolist(), 0.0, 0.0] if len(q) == 7 else q.tolist()
        zeros = [0.0] * 9
        linear, angular = pb.calculateJacobian(
            self.body, EE_LINK, [0.0, 0.0, 0.0], full, zeros, zeros, physicsClientId=self.client
        )
        jacobian = np.array(linear + angular)[:, :7]
        damped = jacobian @ jacobian.T
        damped[np.diag_indices(6)] += DAMPING**2
        pull = posture * (HOME - q[:7])
        pull[0] = 0.0
        return pull + jacobian.T @ np.linalg.solve(damped, twist - jacobian @ pull)

    def start_motion(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Reads an action [7]; returns this step's goal position [3] (m) and quaternion [4]."""
        at, _ = self.pose()
        goal = at + layout.TRANSLATION_SCALE * action[:3]
        goal = into_workspace(goal)
        tilt_yaw = self.tilt_yaw + layout.ROTATION_SCALE * action[3:6]
        limit = np.array([layout.MAX_TILT, layout.MAX_TILT, layout.MAX_YAW])
        self.tilt_yaw = np.clip(tilt_yaw, -limit, limit)
        if action[6] != 0.0:
            self.gripper_command = 1.0 if action[6] > 0 else -1.0
        opening = FINGER_OPEN if self.gripper_command > 0 else 0.0
        for finger in FINGER_JOINTS:
            pb.setJointMotorControl2(
                self.body,
                finger,
                pb.POSITION_CONTROL,
                targetPosition=opening,
                force=FINGER_FORCE,
                maxVelocity=FINGER_SPEED,
                physicsClientId=self.client,
            )
        return goal, np.array(down_quaternion(*self.tilt_yaw))

    def track(
        self, reference: np.ndarray, velocity: np.ndarray, target: np.ndarray, seconds_left: float
    ) -> None:
        """Sets joint velocities for the next few physics steps.

        Args:
            reference: where the end effector should be now [3], m.
            velocity: feed-forward [3], m/s.
            target: orientation [4] to reach when `seconds_left` have passed.
        """
        at, turned = self.pose()
        linear = velocity + POSITION_GAIN * (reference - at)
        angular = rotation_error(target, turned) / max(seconds_left, 0.05)
        speeds = self._joint_motion(
            self.joint_positions(), np.concatenate([linear, angular]), POSTURE_GAIN
        )
        pb.setJointMotorControlArray(
            self.body,
            ARM_JOINTS,
            pb.VELOCITY_CONTROL,
            targetVelocities=np.clip(speeds, -JOINT_SPEED, JOINT_SPEED).tolist(),
            forces=ARM_FORCES,
            physicsClientId=self.client,
        )
