"""The body of the agent among the walls: PyBullet answers where it touches, and it slides or stops.

The agent is an upright cylinder that is placed, not pushed: a forward move is cut into advances
that are certainly free (every obstacle is convex, so the plane through its nearest point bounds how
far the body may go), and at a contact the rest of the move is projected along the obstacle, as on a
navigation mesh with sliding (Savva et al., Habitat, ICCV 2019).
"""

from __future__ import annotations

import math

import numpy as np

from pilotage.envs.bullet import pybullet
from pilotage.envs.rooms.geodesic import nav_graph
from pilotage.envs.rooms.house import AGENT_HEIGHT_M, AGENT_RADIUS_M, House

SKIN_M = 1e-3  # the body stops this far from what it touches
_MAX_ADVANCES = 12
_WALL_HALF_HEIGHT_M = 1.25
_MAX_SHAPES = 16  # of one compound body in PyBullet
_CHUNK_CELL_M = 3.5
_TANGENT = 0.02  # moves this close to parallel do not run into a wall: normals are that exact
_ROTATION = (0.0, 0.0, 0.0, 1.0)


def _chunks(boxes: np.ndarray) -> list[np.ndarray]:
    """Row numbers of `boxes`, neighbours together, no more than one PyBullet body can hold."""
    cells = np.floor((boxes[:, :2] + boxes[:, 2:]) / 2 / _CHUNK_CELL_M)
    order = np.lexsort((cells[:, 1], cells[:, 0]))
    return [order[k : k + _MAX_SHAPES] for k in range(0, len(order), _MAX_SHAPES)]


class AgentPhysics:
    """One PyBullet client with one house in it. `close()` it when done."""

    def __init__(self) -> None:
        self._client = pybullet.connect(pybullet.DIRECT)
        if self._client < 0:
            raise RuntimeError("PyBullet gave no physics client; close some environments first")
        self._house: House | None = None
        self._agent = -1
        self._ids: list[int] = []
        self._bounds = np.zeros((0, 4))

    def load(self, house: House) -> None:
        """Make `house` the world. The client is emptied first: nothing of the last one remains."""
        if house is self._house:
            return
        self._house = None
        c = self._client
        pybullet.resetSimulation(physicsClientId=c)
        graph = nav_graph(house)
        r = graph.circles[:, 2:]
        round_boxes = np.hstack([graph.circles[:, :2] - r, graph.circles[:, :2] + r])
        boxes = np.concatenate([graph.rects, round_boxes])
        is_round = np.arange(len(boxes)) >= len(graph.rects)
        bounds, self._ids = [], []
        for rows in _chunks(boxes):
            self._ids.append(self._place_all(boxes[rows], is_round[rows]))
            bounds.append([*boxes[rows, :2].min(axis=0), *boxes[rows, 2:].max(axis=0)])
        self._bounds = np.array(bounds)
        shape = pybullet.createCollisionShape(
            pybullet.GEOM_CYLINDER, radius=AGENT_RADIUS_M, height=AGENT_HEIGHT_M, physicsClientId=c
        )
        self._agent = pybullet.createMultiBody(0.0, shape, physicsClientId=c)
        self._house = house

    def _place_all(self, boxes: np.ndarray, is_round: np.ndarray) -> int:
        """One body out of boxes and upright cylinders, given by their bounds `[k, 4]` in plan."""
        half = (boxes[:, 2:] - boxes[:, :2]) / 2
        center = (boxes[:, 2:] + boxes[:, :2]) / 2
        shape = pybullet.createCollisionShapeArray(
            shapeTypes=[pybullet.GEOM_CYLINDER if k else pybullet.GEOM_BOX for k in is_round],
            radii=half[:, 0].tolist(),
            halfExtents=[[x, y, _WALL_HALF_HEIGHT_M] for x, y in half.tolist()],
            lengths=[2 * _WALL_HALF_HEIGHT_M] * len(boxes),
            collisionFramePositions=[[x, y, _WALL_HALF_HEIGHT_M] for x, y in center.tolist()],
            physicsClientId=self._client,
        )
        return pybullet.createMultiBody(0.0, shape, physicsClientId=self._client)

    def contacts(self, x: float, y: float, reach_m: float) -> list[tuple[float, float, float]]:
        """Obstacles within `reach_m` of a body at (x, y): (gap, normal x, normal y), sorted.

        Normals are horizontal unit vectors from the obstacle to the body; a gap below 0 is overlap.
        """
        far = AGENT_RADIUS_M + reach_m
        b = self._bounds
        near = (b[:, 0] < x + far) & (b[:, 2] > x - far)
        near &= (b[:, 1] < y + far) & (b[:, 3] > y - far)
        rows = np.flatnonzero(near)
        if not len(rows):
            return []
        c = self._client
        where = (x, y, _WALL_HALF_HEIGHT_M)
        pybullet.resetBasePositionAndOrientation(self._agent, where, _ROTATION, physicsClientId=c)
        found = []
        for k in rows:
            for hit in pybullet.getClosestPoints(
                self._agent, self._ids[k], reach_m, physicsClientId=c
            ):
                nx, ny, _ = hit[7]
                size = math.hypot(nx, ny)
                if size > 1e-6:
                    found.append((hit[8], nx / size, ny / size))
        return sorted(found)

    def move(
        self, x: float, y: float, heading: float, distance: float, *, sliding: bool
    ) -> tuple[float, float, bool]:
        """Go `distance` metres along `heading` from (x, y): the new place, and if it touched."""
        ux, uy, left, touched = math.cos(heading), math.sin(heading), distance, False
        for _ in range(_MAX_ADVANCES):
            free, blocking = left, None
            for gap, nx, ny in self.contacts(x, y, left + SKIN_M):
                closing = -(ux * nx + uy * ny)
                if closing > _TANGENT and max(gap - SKIN_M, 0.0) / closing < free:
                    free, blocking = max(gap - SKIN_M, 0.0) / closing, (nx, ny)
            x, y, left = x + ux * free, y + uy * free, left - free
            if blocking is None or left < 1e-6:
                break
            if free > 1e-4:
                continue  # the plane was only a bound: look again from here
            touched = True
            along = ux * -blocking[1] + uy * blocking[0]
            if not sliding or abs(along) < _TANGENT:
                break
            ux, uy = (
                math.copysign(1.0, along) * -blocking[1],
                math.copysign(1.0, along) * blocking[0],
            )
            left *= abs(along)
            if self._closes_in(x, y, ux, uy):
                break
        return *self._pushed_out(x, y), touched

    def _pushed_out(self, x: float, y: float) -> tuple[float, float]:
        """The place, moved out of what it overlaps (a fraction of a millimetre after a slide)."""
        for gap, nx, ny in self.contacts(x, y, SKIN_M):
            if gap < 0.0:
                x, y = x - gap * nx, y - gap * ny
        return x, y

    def _closes_in(self, x: float, y: float, ux: float, uy: float) -> bool:
        """Whether going along (ux, uy) runs at once into another touched obstacle (a corner)."""
        return any(
            ux * nx + uy * ny < -_TANGENT
            for gap, nx, ny in self.contacts(x, y, 2 * SKIN_M)
            if gap <= SKIN_M + 1e-4
        )

    def close(self) -> None:
        if self._client >= 0 and pybullet.isConnected(self._client):
            pybullet.disconnect(self._client)
        self._client = -1
        self._house = None
