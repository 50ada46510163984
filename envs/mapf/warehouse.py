"""A plan driven by round robots in a 3-D warehouse: walls as boxes, contacts counted, pictures.

    report = drive(instance, paths, radius=0.3)    # report.contacts: who touched whom, and when
    with Warehouse(instance) as hall:
        hall.place(*poses(paths, 3.5))
        picture = hall.picture(480, 640)

A cell is a square metre and a step a second: x = col, y = -row, z up. A robot drives from the
centre of its cell to the next at constant speed, and turns its nose that way meanwhile. Where a
plan has no vertex and no swapping conflict, the centres of two robots are never closer than
sqrt(1/2) m (one enters a cell at a right angle to the way in which another leaves it), so that
robots of a radius below 0.353 m never touch.

PyBullet only says who overlaps, and draws: robots follow the plan whatever they meet.
"""

from __future__ import annotations

import colorsys
import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.envs.bullet import pybullet as pb
from pilotage.envs.mapf.instance import MapfInstance

RADIUS = 0.3  # m
ROBOT_HEIGHT = 0.25  # m
WALL_HEIGHT = 0.45  # m
TURN_S = 0.3  # of a step: a robot has turned to its new way after it
CHECKS = 10  # a step: how often contacts are looked for
FOV_Y_DEG = 40.0
TILT_DEG = 62.0  # how far below the horizon the camera looks
WALL = -1  # the other one, in a contact with a wall
_FLOOR_RGBA = (0.87, 0.88, 0.90, 1.0)
_WALL_RGBA = (0.36, 0.40, 0.46, 1.0)
_SUN = (-0.4, 0.5, 1.0)


@dataclass(frozen=True)
class DriveReport:
    """What happened on the way."""

    contacts: tuple[tuple[float, int, int], ...]  # s, robot, other robot (or WALL); once a meeting
    closest_m: float  # between the centres of two robots; inf for one robot

    @property
    def n_contacts(self) -> int:
        return len(self.contacts)


def drive(
    instance: MapfInstance, paths: np.ndarray, *, radius: float = RADIUS, checks: int = CHECKS
) -> DriveReport:
    """Drive a plan, int [N, T + 1, 2], and count the contacts; `checks` looks a step.

    Raises:
        ValueError: paths of a wrong shape or that jump, a radius out of range, `checks` < 1.
    """
    if checks < 1:
        raise ValueError(f"checks must be >= 1, got {checks}")
    paths = _checked(instance, paths)
    found: list[tuple[float, int, int]] = []
    closest = math.inf
    touching: set[tuple[int, int]] = set()
    with Warehouse(instance, radius=radius, drawn=False) as hall:
        for k in range((paths.shape[1] - 1) * checks + 1):
            time_s = k / checks
            places, headings = poses(paths, time_s)
            hall.place(places, headings)
            now = hall.touching()
            found += [(time_s, *pair) for pair in sorted(now - touching)]
            touching = now
            closest = min(closest, _closest(places))
    return DriveReport(tuple(found), closest)


def poses(paths: np.ndarray, time_s: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the robots are on their paths, int [N, T + 1, 2]: float [N, 2], (x, y) in metres, and
    headings float [N] in radians from the x axis (east, until a robot first moves)."""
    last = paths.shape[1] - 1
    step = min(int(time_s), max(last - 1, 0))
    part = min(time_s - step, 1.0) if last else 0.0
    before, after = paths[:, step], paths[:, min(step + 1, last)]
    row_col = before + part * (after - before)
    places = np.stack([row_col[:, 1], -row_col[:, 0]], axis=1).astype(float)
    old = _headings(paths[:, : step + 1])
    turn = (_headings(paths[:, : step + 2]) - old + math.pi) % (2 * math.pi) - math.pi
    return places, old + turn * min(part / TURN_S, 1.0)


def _headings(paths: np.ndarray) -> np.ndarray:
    """float [N]: the direction of the last move in paths [N, t, 2]; 0 where there is none."""
    moves = np.diff(paths, axis=1)
    moved = (moves != 0).any(axis=2)
    if moves.shape[1] == 0:
        return np.zeros(len(paths))
    last = moves.shape[1] - 1 - np.argmax(moved[:, ::-1], axis=1)
    move = moves[np.arange(len(paths)), last]  # no move at all: (0, 0), whose direction is 0
    return np.arctan2(-move[:, 0], move[:, 1]).astype(float) * moved.any(axis=1)


def _closest(places: np.ndarray) -> float:
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    return float(apart.min())


def _checked(instance: MapfInstance, paths: np.ndarray) -> np.ndarray:
    paths = np.asarray(paths)
    if paths.ndim != 3 or paths.shape[::2] != (instance.n_agents, 2) or paths.shape[1] < 1:
        raise ValueError(
            f"paths have shape {list(paths.shape)}, expected [{instance.n_agents}, T + 1, 2]"
        )
    jumps = np.abs(np.diff(paths, axis=1)).sum(axis=2) > 1
    if jumps.any():
        agent, step = (int(k) for k in np.argwhere(jumps)[0])
        raise ValueError(f"agent {agent} jumps at step {step + 1}; a robot drives to neighbours")
    return paths


class Warehouse:
    """The hall of an instance in a PyBullet world of its own; use it in a `with` statement.

    Args:
        radius: of the robots, in metres, in (0, 0.5).
        drawn: also make what only pictures need (floor, noses, goals).
    """

    def __init__(
        self, instance: MapfInstance, *, radius: float = RADIUS, drawn: bool = True
    ) -> None:
        if not 0 < radius < 0.5:
            raise ValueError(f"radius must be in (0, 0.5) m, half a cell, got {radius}")
        self.shape = instance.free.shape
        self.radius = radius
        self.client = pb.connect(pb.DIRECT)
        self._here = {"physicsClientId": self.client}
        n = instance.n_agents
        colors = [(*colorsys.hsv_to_rgb(i / n, 0.75, 0.9), 1.0) for i in range(n)]
        self.walls = [self._wall(*bar) for bar in wall_bars(instance.free)]
        self.robots = [self._robot(color, drawn) for color in colors]
        self._number = {body: i for i, body in enumerate(self.robots)}
        if drawn:
            self._floor()
            for (row, col), color in zip(instance.goals.tolist(), colors):
                self._tile(float(col), -float(row), color)
        self.place(*poses(instance.starts[:, None], 0.0))

    def __enter__(self) -> Warehouse:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the world; a second call does nothing."""
        if self.client >= 0:
            pb.disconnect(**self._here)
            self.client = -1

    def place(self, places: np.ndarray, headings: np.ndarray) -> None:
        """Put the robots at (x, y) float [N, 2], with headings float [N]."""
        for body, (x, y), heading in zip(self.robots, places.tolist(), headings.tolist()):
            turned = (0.0, 0.0, math.sin(heading / 2), math.cos(heading / 2))
            pb.resetBasePositionAndOrientation(body, (x, y, ROBOT_HEIGHT / 2), turned, **self._here)

    def touching(self) -> set[tuple[int, int]]:
        """Pairs (i, j) of robots that overlap, i < j, and (i, WALL)."""
        pb.performCollisionDetection(**self._here)
        found = set()
        for point in pb.getContactPoints(**self._here):
            one, two, distance = self._number.get(point[1]), self._number.get(point[2]), point[8]
            if distance >= 0:
                continue  # near, and remembered by PyBullet
            if one is not None and two is not None:
                found.add((min(one, two), max(one, two)))
            elif one is not None or two is not None:
                found.add((one if one is not None else two or 0, WALL))
        return found

    def picture(self, height: int, width: int) -> np.ndarray:
        """uint8 [height, width, 3]: the hall from above in the south, by the software renderer."""
        rows, cols = self.shape
        target = ((cols - 1) / 2, -(rows - 1) / 2, 0.0)
        tilt = math.radians(TILT_DEG)
        tall = rows * math.sin(tilt) + WALL_HEIGHT
        half = max(tall, cols * height / width) / 2
        far = half / math.tan(math.radians(FOV_Y_DEG / 2)) + 0.6 * rows * math.cos(tilt)
        eye = (target[0], target[1] - far * math.cos(tilt), far * math.sin(tilt))
        image = pb.getCameraImage(
            width,
            height,
            pb.computeViewMatrix(eye, target, (0, 0, 1)),
            pb.computeProjectionMatrixFOV(FOV_Y_DEG, width / height, 0.1, 4 * far),
            lightDirection=_SUN,
            shadow=0,
            renderer=pb.ER_TINY_RENDERER,
            **self._here,
        )
        pixels = np.reshape(np.asarray(image[2], np.uint8), (height, width, 4))
        return pixels[..., :3].copy()

    def _wall(self, row: int, col: int, length: int) -> int:
        half = (length / 2, 0.5, WALL_HEIGHT / 2)
        centre = (col + (length - 1) / 2, -float(row), WALL_HEIGHT / 2)
        solid = pb.createCollisionShape(pb.GEOM_BOX, halfExtents=half, **self._here)
        return self._body(0.0, solid, self._box(half, _WALL_RGBA), centre)

    def _robot(self, color: tuple[float, ...], drawn: bool) -> int:
        size = {"radius": self.radius}
        solid = pb.createCollisionShape(pb.GEOM_CYLINDER, **size, height=ROBOT_HEIGHT, **self._here)
        looks = pb.createVisualShape(
            pb.GEOM_CYLINDER, **size, length=ROBOT_HEIGHT, rgbaColor=color, **self._here
        )
        if not drawn:
            return self._body(1.0, solid, looks, (0.0, 0.0, 0.0))
        nose = self._box((self.radius / 2, 0.05, 0.02), (0.1, 0.1, 0.12, 1.0))
        return self._body(
            1.0,
            solid,
            looks,
            (0.0, 0.0, 0.0),
            linkMasses=[0.0],
            linkCollisionShapeIndices=[-1],
            linkVisualShapeIndices=[nose],
            linkPositions=[(self.radius / 2, 0.0, ROBOT_HEIGHT / 2 + 0.02)],
            linkOrientations=[(0, 0, 0, 1)],
            linkInertialFramePositions=[(0, 0, 0)],
            linkInertialFrameOrientations=[(0, 0, 0, 1)],
            linkParentIndices=[0],
            linkJointTypes=[pb.JOINT_FIXED],
            linkJointAxis=[(0, 0, 1)],
        )

    def _floor(self) -> None:
        rows, cols = self.shape
        half = (cols / 2, rows / 2, 0.05)
        centre = ((cols - 1) / 2, -(rows - 1) / 2, -0.06)
        self._body(0.0, -1, self._box(half, _FLOOR_RGBA), centre)

    def _tile(self, x: float, y: float, color: tuple[float, ...]) -> None:
        self._body(0.0, -1, self._box((0.3, 0.3, 0.01), color), (x, y, 0.0))

    def _box(self, half: tuple[float, float, float], color: tuple[float, ...]) -> int:
        return int(
            pb.createVisualShape(pb.GEOM_BOX, halfExtents=half, rgbaColor=color, **self._here)
        )

    def _body(
        self, mass: float, solid: int, looks: int, centre: tuple[float, float, float], **links: Any
    ) -> int:
        return int(pb.createMultiBody(mass, solid, looks, centre, **links, **self._here))


def wall_bars(free: np.ndarray) -> list[tuple[int, int, int]]:
    """(row, first col, length) of the runs of walls in a map, bool [H, W], and of a ring around it:
    what robots could drive into."""
    blocked = np.pad(~free, 1, constant_values=True)
    bars = []
    for row in range(-1, len(free) + 1):
        edges = np.flatnonzero(np.diff(np.concatenate([[0], blocked[row + 1].astype(int), [0]])))
        bars += [
            (row, int(first) - 1, int(end - first)) for first, end in zip(edges[::2], edges[1::2])
        ]
    return bars
