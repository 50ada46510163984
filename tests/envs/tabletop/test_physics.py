"""The arm and the objects against closed forms."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import pybullet as pb
import pytest

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.physics import TabletopPhysics
from pilotage.envs.tabletop.robot import rotation_error
from pilotage.envs.tabletop.tasks import make_tasks
from pilotage.episodes.types import Task


@pytest.fixture
def physics() -> Iterator[TabletopPhysics]:
    world = TabletopPhysics()
    yield world
    world.close()


def a_task(shape: str | None = None) -> Task:
    tasks = make_tasks("train", 40, families=["reach"], manners="none", seed=2)
    return next(t for t in tasks if shape in (None, _target(t)["shape"]))


def _target(task: Task) -> dict:
    return task.scene["objects"][task.goal["object"]]


def panda_forward(q: np.ndarray) -> np.ndarray:
    """End effector position by the Denavit-Hartenberg table that Franka publishes (modified DH)."""
    pi = math.pi
    a = (0, 0, 0, 0.0825, -0.0825, 0, 0.088, 0)
    d = (0.333, 0, 0.316, 0, 0.384, 0, 0, 0.107)
    alpha = (0, -pi / 2, pi / 2, pi / 2, -pi / 2, pi / 2, pi / 2, 0)
    theta = (*q, 0.0)
    pose = np.eye(4)
    for ai, di, al, th in zip(a, d, alpha, theta, strict=True):
        ca, sa, ct, st = math.cos(al), math.sin(al), math.cos(th), math.sin(th)
        pose = pose @ np.array(
            [
                [ct, -st, 0, ai],
                [st * ca, ct * ca, -sa, -di * sa],
                [st * sa, ct * sa, ca, di * ca],
                [0, 0, 0, 1],
            ]
        )
    return (pose @ np.array([0, 0, 0.105, 1]))[:3]


def test_end_effector_agrees_with_the_published_kinematics(physics: TabletopPhysics) -> None:
    physics.build(a_task())
    rng = np.random.default_rng(0)
    for _ in range(12):
        physics.step(rng.uniform(-1, 1, 7))
        state = physics.state()
        expected = panda_forward(state.joint_positions[:7])
        np.testing.assert_allclose(state.ee_position, expected, atol=1e-6)


@pytest.mark.parametrize("speed", [0.15, 0.4, 1.0])
@pytest.mark.parametrize("way", [(1, 0, 0), (0, -1, 0), (0, 0, 1), (0.6, 0.0, -0.8)])
def test_an_action_moves_as_far_as_it_says(
    physics: TabletopPhysics, speed: float, way: tuple[float, ...]
) -> None:
    task = a_task()
    task.start["ee_position"] = [0.48, 0.0, 0.28]
    physics.build(task)
    physics.step(np.array([*(speed * np.array(way)), 0, 0, 0, 1]))
    before = physics.state().ee_position
    for _ in range(2):
        physics.step(np.array([*(speed * np.array(way)), 0, 0, 0, 1]))
    moved = physics.state().ee_position - before
    np.testing.assert_allclose(moved, 2 * 0.05 * speed * np.array(way), atol=0.002)


def test_yaw_turns_a_quarter_radian_per_step(physics: TabletopPhysics) -> None:
    physics.build(a_task())
    before = physics.state()
    for _ in range(4):
        physics.step(np.array([0, 0, 0, 0, 0, 1.0, 1]))
    after = physics.state()
    assert after.ee_yaw - before.ee_yaw == pytest.approx(1.0, abs=0.03)
    np.testing.assert_allclose(after.ee_position, before.ee_position, atol=0.003)


def test_no_action_holds_the_pose(physics: TabletopPhysics) -> None:
    physics.build(a_task())
    before = physics.state()
    for _ in range(30):
        physics.step(np.array([0, 0, 0, 0, 0, 0, 1.0]))
    after = physics.state()
    np.testing.assert_allclose(after.ee_position, before.ee_position, atol=0.002)
    np.testing.assert_allclose(after.object_positions, before.object_positions, atol=1e-3)


def test_the_hand_stays_in_its_workspace(physics: TabletopPhysics) -> None:
    physics.build(a_task())
    for corner in ((1, 1, -1), (-1, -1, -1), (-1, 1, 1)):
        for _ in range(20):
            physics.step(np.array([*corner, 0, 0, 0, -1.0]))
            position = physics.state().ee_position
            assert (position > np.array(layout.WORKSPACE_LOW) - 0.02).all()
            assert (position < np.array(layout.WORKSPACE_HIGH) + 0.02).all()
    for _ in range(12):  # and is not stuck
        before = physics.state().ee_position
        physics.step(np.array([0.4, -0.4, -0.2, 0, 0, 0, -1.0]))
        np.testing.assert_allclose(
            physics.state().ee_position - before, [0.02, -0.02, -0.01], atol=0.006
        )


def test_the_gripper_closes_at_the_finger_speed(physics: TabletopPhysics) -> None:
    physics.build(a_task())
    widths = [physics.state().gripper_width]
    for _ in range(4):
        physics.step(np.array([0, 0, 0, 0, 0, 0, -1.0]))
        widths.append(physics.state().gripper_width)
    assert widths[0] == pytest.approx(0.08, abs=1e-3)
    assert widths[-1] == pytest.approx(0.0, abs=1e-3)
    assert min(np.diff(widths)) >= -2 * 0.2 * 0.1 - 1e-3


def test_a_cube_falls_as_galileo_says(physics: TabletopPhysics) -> None:
    task = a_task("cube")
    physics.build(task)
    body = physics.objects[task.goal["object"]]
    here = {"physicsClientId": physics.client}
    pb.resetBasePositionAndOrientation(body, [0.3, 0.6, 0.5], [0, 0, 0, 1], **here)
    pb.changeDynamics(body, -1, linearDamping=0, angularDamping=0, **here)
    pb.resetBaseVelocity(body, [0, 0, 0], [0, 0, 0], **here)
    physics.step(np.zeros(7))
    physics.step(np.zeros(7))
    fallen = 0.5 - pb.getBasePositionAndOrientation(body, **here)[0][2]
    t, dt = 48 / 240, 1 / 240
    assert fallen == pytest.approx(9.81 * (t * t + t * dt) / 2, rel=1e-3)  # semi-implicit Euler


def test_a_pushed_cube_slides_as_coulomb_says(physics: TabletopPhysics) -> None:
    task = a_task("cube")
    physics.build(task)
    body = physics.objects[task.goal["object"]]
    here = {"physicsClientId": physics.client}
    pb.resetBasePositionAndOrientation(body, [0.0, 0.5, 0.023], [0, 0, 0, 1], **here)
    pb.changeDynamics(body, -1, linearDamping=0, **here)
    pb.resetBaseVelocity(body, [0.6, 0, 0], [0, 0, 0], **here)
    for _ in range(5):
        physics.step(np.zeros(7))
    slid = pb.getBasePositionAndOrientation(body, **here)[0][0]
    friction = 0.7 * 0.8  # Bullet multiplies the two coefficients
    assert slid == pytest.approx(0.6**2 / (2 * friction * 9.81), rel=0.1)


def test_rotation_error_turns_one_orientation_into_the_other() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        start, end = (q / np.linalg.norm(q) for q in rng.standard_normal((2, 4)))
        vector = rotation_error(end, start)
        angle = np.linalg.norm(vector)
        turn = pb.getQuaternionFromAxisAngle((vector / angle).tolist(), float(angle))
        _, turned = pb.multiplyTransforms([0, 0, 0], turn, [0, 0, 0], start.tolist())
        assert abs(float(np.dot(turned, end))) == pytest.approx(1.0, abs=1e-6)
        assert angle <= math.pi + 1e-9


def test_a_start_out_of_reach_is_refused(physics: TabletopPhysics) -> None:
    task = a_task()
    task.start["ee_position"] = [2.0, 0.0, 0.3]
    with pytest.raises(ValueError, match="out of reach"):
        physics.build(task)
