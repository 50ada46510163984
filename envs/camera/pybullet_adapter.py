"""From a PyBullet world to the camera's primitives: shapes once, poses at every step.

shapes = primitives_from_pybullet(client, [robot, table, cube], shapes={robot: PANDA_PRIMITIVES})
prims = empty_primitives(n_worlds, len(shapes))
shapes.write(prims, world)              # after each reset: kinds, sizes, colours, segments
shapes.update_poses(prims, world)       # after each step: positions and rotations
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pilotage.envs.bullet import pybullet
from pilotage.envs.camera.types import BOX, CAPSULE, CYLINDER, NONE, PLANE, SPHERE, Primitives

Triple = tuple[float, float, float]

BASE_LINK = -1
_KINDS = {
    pybullet.GEOM_PLANE: PLANE,
    pybullet.GEOM_BOX: BOX,
    pybullet.GEOM_SPHERE: SPHERE,
    pybullet.GEOM_CYLINDER: CYLINDER,
    pybullet.GEOM_CAPSULE: CAPSULE,
}


@dataclass(frozen=True)
class LinkShape:
    """One primitive fixed to a link.

    `position` (m) and `quaternion` (x, y, z, w) are in the link's URDF frame; `size` is as in
    `Primitives`; `color` is in [0, 1]. Link -1 is the base.
    """

    link: int
    kind: int
    position: Triple
    quaternion: tuple[float, float, float, float]
    size: Triple
    color: Triple


def empty_primitives(n_worlds: int, n_primitives: int) -> Primitives:
    """Arrays [n_worlds, n_primitives, ...] in which every slot is NONE (padding)."""
    b, p = n_worlds, n_primitives
    return Primitives(
        kind=np.full((b, p), NONE, np.int8),
        position=np.zeros((b, p, 3), np.float32),
        rotation=np.tile(np.eye(3, dtype=np.float32), (b, p, 1, 1)),
        size=np.ones((b, p, 3), np.float32),
        color=np.zeros((b, p, 3), np.float32),
        segment_id=np.zeros((b, p), np.int32),
    )


@dataclass
class WorldShapes:
    """The primitives of one PyBullet world, in body order. `len(shapes)` is their number."""

    client: int
    bodies: list[int]
    links: list[list[int]]  # of each body, the links (-1: base) that carry a primitive, ascending
    kind: np.ndarray  # int8 [P]
    size: np.ndarray  # float32 [P, 3]
    color: np.ndarray  # float32 [P, 3]
    segment_id: np.ndarray  # int32 [P]
    frame: np.ndarray  # int64 [P]: index into the link frames, counted through bodies and links
    local_position: np.ndarray  # float64 [P, 3], in the link frame
    local_rotation: np.ndarray  # float64 [P, 3, 3]
    base_frames: dict[int, tuple[np.ndarray, np.ndarray]]  # body -> URDF frame in inertial frame

    def __len__(self) -> int:
        return len(self.kind)

    def write(self, prims: Primitives, world: int, *, first: int = 0) -> None:
        """Put kinds, sizes, colours and segment ids into row `world`, from slot `first` on.

        Later slots become NONE. Poses are not touched: call `update_poses`.

        Raises:
            ValueError: the row has fewer than `first + len(self)` slots.
        """
        end = first + len(self)
        if end > prims.kind.shape[1]:
            raise ValueError(
                f"world {world} needs {end} primitives but the arrays have {prims.kind.shape[1]}: "
                "allocate empty_primitives with more slots"
            )
        prims.kind[world, first:end] = self.kind
        prims.kind[world, end:] = NONE
        prims.size[world, first:end] = self.size
        prims.color[world, first:end] = self.color
        prims.segment_id[world, first:end] = self.segment_id

    def update_poses(self, prims: Primitives, world: int, *, first: int = 0) -> None:
        """Read the bodies' poses from PyBullet into row `world`, from slot `first` on."""
        position, rotation = self._link_frames()
        position, rotation = position[self.frame], rotation[self.frame]
        end = first + len(self)
        turned = (rotation @ self.local_position[..., None])[..., 0]
        prims.position[world, first:end] = position + turned
        prims.rotation[world, first:end] = rotation @ self.local_rotation

    def _link_frames(self) -> tuple[np.ndarray, np.ndarray]:
        """Positions [L, 3] and rotations [L, 3, 3] of the link frames in use, in world axes."""
        positions: list[Sequence[float]] = []
        quaternions: list[Sequence[float]] = []
        bases: list[tuple[int, int]] = []
        for body, links in zip(self.bodies, self.links, strict=True):
            if links and links[0] == BASE_LINK:
                position, quaternion = pybullet.getBasePositionAndOrientation(
                    body, physicsClientId=self.client
                )
                bases.append((len(positions), body))
                positions.append(position)
                quaternions.append(quaternion)
                links = links[1:]
            if links:
                states = pybullet.getLinkStates(
                    body, links, computeForwardKinematics=1, physicsClientId=self.client
                )
                positions.extend(state[4] for state in states)
                quaternions.extend(state[5] for state in states)
        origins = np.array(positions, dtype=np.float64).reshape(-1, 3)
        rotations = rotation_matrices(np.array(quaternions, dtype=np.float64).reshape(-1, 4))
        for row, body in bases:  # PyBullet gives the centre of mass of a base, not its frame
            if body in self.base_frames:
                offset, turn = self.base_frames[body]
                origins[row] += rotations[row] @ offset
                rotations[row] = rotations[row] @ turn
        return origins, rotations


def rotation_matrices(quaternions: np.ndarray) -> np.ndarray:
    """Rotation matrices [N, 3, 3] of unit quaternions [N, 4] in the order (x, y, z, w)."""
    x, y, z, w = quaternions.T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def primitives_from_pybullet(
    client: int,
    body_ids: Sequence[int],
    *,
    colors: Mapping[int, Sequence[float]] | None = None,
    segment_ids: Mapping[int, int] | None = None,
    shapes: Mapping[int, Iterable[LinkShape]] | None = None,
) -> WorldShapes:
    """Read what bodies look like.

    Every link shows its visual shapes; one whose visual is a mesh shows its collision shapes, if
    those are primitives. Shapes with alpha 0 are left out.

    Args:
        client: PyBullet's physicsClientId.
        body_ids: bodies to show, in the order of the primitives.
        colors: body -> rgb in [0, 1], instead of the colours PyBullet knows.
        segment_ids: body -> segment id; by default the body's index in `body_ids`.
        shapes: body -> primitives to show instead of the body's own (see `PANDA_PRIMITIVES`).

    Raises:
        ValueError: a body has a mesh that nothing replaces, or a shape the camera does not know.
    """
    colors, segment_ids, shapes = colors or {}, segment_ids or {}, shapes or {}
    rows: list[LinkShape] = []
    frame: list[int] = []
    segment: list[int] = []
    links: list[list[int]] = []
    for order, body in enumerate(body_ids):
        mine = list(shapes[body]) if body in shapes else _own_shapes(client, body)
        if body in colors:
            mine = [replace(shape, color=_triple(colors[body])) for shape in mine]
        used = sorted({shape.link for shape in mine})
        first = sum(map(len, links))
        rows += mine
        frame += [first + used.index(shape.link) for shape in mine]
        segment += [segment_ids.get(body, order)] * len(mine)
        links.append(used)
    return WorldShapes(
        client=client,
        bodies=list(body_ids),
        links=links,
        kind=np.array([shape.kind for shape in rows], np.int8),
        size=np.array([shape.size for shape in rows], np.float32).reshape(-1, 3),
        color=np.array([shape.color for shape in rows], np.float32).reshape(-1, 3),
        segment_id=np.array(segment, np.int32),
        frame=np.array(frame, np.int64),
        local_position=np.array([shape.position for shape in rows], np.float64).reshape(-1, 3),
        local_rotation=rotation_matrices(
            np.array([shape.quaternion for shape in rows], np.float64).reshape(-1, 4)
        ),
        base_frames=_base_frames(client, body_ids),
    )


def _base_frames(client: int, body_ids: Sequence[int]) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """The base's URDF frame in its inertial frame, for the bodies where the two differ."""
    frames = {}
    for body in body_ids:
        offset, turn = _inertial_frame(client, body, BASE_LINK)
        if offset.any() or not np.array_equal(turn, np.eye(3)):
            frames[body] = (-turn.T @ offset, turn.T)
    return frames


def _own_shapes(client: int, body: int) -> list[LinkShape]:
    """The body's visual shapes, link by link; the collision shapes of links that show a mesh."""
    by_link: dict[int, list[tuple]] = {}
    for data in pybullet.getVisualShapeData(body, physicsClientId=client):
        by_link.setdefault(data[1], []).append(data)
    shapes = []
    for link in sorted(by_link):
        visuals = by_link[link]
        if all(data[2] in _KINDS for data in visuals):
            shapes += [
                _shape(body, link, data[2], data[3], data[5], data[6], data[7][:3])
                for data in visuals
                if data[7][3] > 0
            ]
        else:
            shapes += _collision_shapes(client, body, link, visuals[0][7][:3])
    return shapes


def _collision_shapes(client: int, body: int, link: int, color: tuple) -> list[LinkShape]:
    offset, turn = _inertial_frame(client, body, link)
    shapes = []
    for data in pybullet.getCollisionShapeData(body, link, physicsClientId=client):
        position = offset + turn @ np.array(data[5])  # PyBullet gives it in the inertial frame
        _, inertial = pybullet.getDynamicsInfo(body, link, physicsClientId=client)[3:5]
        _, quaternion = pybullet.multiplyTransforms((0, 0, 0), inertial, (0, 0, 0), data[6])
        shapes.append(_shape(body, link, data[2], data[3], position, quaternion, color))
    return shapes


def _shape(
    body: int,
    link: int,
    geometry: int,
    dimensions: Sequence[float],
    position: Sequence[float] | np.ndarray,
    quaternion: Sequence[float],
    color: Sequence[float],
) -> LinkShape:
    if geometry not in _KINDS:
        raise ValueError(
            f"body {body}, link {link} has a shape of PyBullet type {geometry} (such as a mesh) "
            "that the camera cannot draw: give its primitives in shapes={body: [LinkShape(...)]}"
        )
    kind = _KINDS[geometry]
    d0, d1, d2 = dimensions
    size = {
        PLANE: (0.0, 0.0, 0.0),
        BOX: (d0 / 2, d1 / 2, d2 / 2),  # PyBullet gives full edges
        SPHERE: (d0, 0.0, 0.0),
        CYLINDER: (d1, d0 / 2, 0.0),  # PyBullet gives (length, radius)
        CAPSULE: (d1, d0 / 2, 0.0),
    }[kind]
    x, y, z, w = quaternion
    return LinkShape(link, kind, _triple(position), (x, y, z, w), size, _triple(color))


def _triple(values: Sequence[float] | np.ndarray) -> Triple:
    x, y, z = (float(value) for value in values)
    return x, y, z


def _inertial_frame(client: int, body: int, link: int) -> tuple[np.ndarray, np.ndarray]:
    """Position [3] and rotation [3, 3] of a link's inertial frame in its URDF frame."""
    info = pybullet.getDynamicsInfo(body, link, physicsClientId=client)
    return np.array(info[3]), rotation_matrices(np.array([info[4]], dtype=np.float64))[0]
