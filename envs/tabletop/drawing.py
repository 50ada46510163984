"""What the cameras see of a tabletop: its primitives, and the poses of the two cameras."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotage.envs.camera import (
    BOX,
    CYLINDER,
    SPHERE,
    Cameras,
    Frames,
    Primitives,
    look_at,
    render,
)
from pilotage.envs.camera.panda import PANDA_PRIMITIVES
from pilotage.envs.camera.pybullet_adapter import (
    LinkShape,
    WorldShapes,
    empty_primitives,
    primitives_from_pybullet,
    rotation_matrices,
)
from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.physics import TabletopPhysics
from pilotage.episodes.types import Task

# Third person: opposite the robot, so that +y is right in the picture and +x comes closer.
EYE = (1.10, 0.0, 0.74)
TARGET = (0.475, 0.0, 0.135)
FOV_Y_DEG = 36.0
# On the hand: above the point between the finger tips and in front of it, looking at a point that
# lies in front of the tips, so that the hand itself fills little of the picture.
WRIST_UP, WRIST_FORWARD, WRIST_TARGET_FORWARD = 0.075, 0.055, 0.020
WRIST_FOV_Y_DEG = 70.0

FIRST_ZONE, TABLE, FIRST_BODY = 0, layout.MAX_ZONES, layout.MAX_ZONES + 1
N_PRIMITIVES = FIRST_BODY + layout.MAX_OBJECTS + len(PANDA_PRIMITIVES)
TABLE_HALF = (0.42, 0.55, 0.02)
TABLE_CENTRE = (0.42, 0.0, -0.02)
# Segment ids: 0 table, 1 robot, 2 + i object i, 10 + j zone j.
SEGMENT_TABLE, SEGMENT_ROBOT, SEGMENT_OBJECT, SEGMENT_ZONE = 0, 1, 2, 10


def object_shape(shape: str, rgb: Sequence[float]) -> LinkShape:
    """The primitive of an object of a scene."""
    size = layout.SHAPES[shape]
    kind = {"ball": SPHERE, "cylinder": CYLINDER}.get(shape, BOX)
    a, b, c = (*size, 0.0, 0.0)[:3]
    red, green, blue = map(float, rgb)
    return LinkShape(-1, kind, (0.0, 0.0, 0.0), (0.0, 0.0, 0.0, 1.0), (a, b, c), (red, green, blue))


class TabletopDrawing:
    """Primitives and cameras of n tabletops, kept in arrays for one batched render call."""

    def __init__(self, n_slots: int) -> None:
        self._prims = empty_primitives(n_slots, N_PRIMITIVES)
        self._shapes: list[WorldShapes | None] = [None] * n_slots
        self._eyes = np.zeros((n_slots, 3), np.float32)
        self._turns = np.tile(np.eye(3, dtype=np.float32), (n_slots, 1, 1))
        self._wrist_eyes = np.zeros((n_slots, 3), np.float32)
        self._wrist_turns = np.tile(np.eye(3, dtype=np.float32), (n_slots, 1, 1))

    def set_scene(
        self, slot: int, physics: TabletopPhysics, task: Task, jitter: np.ndarray
    ) -> None:
        """Shapes and colours of a new episode; `jitter` [2, 3] m moves eye and target."""
        things = task.scene["objects"]
        robot = physics.robot.body
        bodies = [*physics.objects, robot]
        own = {
            b: [object_shape(t["shape"], t["rgb"])] for b, t in zip(bodies, things, strict=False)
        }
        segments = {b: SEGMENT_OBJECT + i for i, b in enumerate(physics.objects)}
        shapes = primitives_from_pybullet(
            physics.client,
            bodies,
            segment_ids=segments | {robot: SEGMENT_ROBOT},
            shapes=own | {robot: PANDA_PRIMITIVES},
        )
        prims = self._prims
        prims.kind[slot] = 0
        shapes.write(prims, slot, first=FIRST_BODY)
        self._shapes[slot] = shapes
        self._fixed_box(slot, TABLE, TABLE_CENTRE, TABLE_HALF, layout.TABLE_COLOR, SEGMENT_TABLE)
        for j, zone in enumerate(task.scene["zones"]):
            half = (layout.ZONE_HALF, layout.ZONE_HALF, layout.ZONE_THICKNESS)
            centre = (*zone["position"], layout.ZONE_THICKNESS)
            row = FIRST_ZONE + j
            self._fixed_box(slot, row, centre, half, zone["rgb"], SEGMENT_ZONE + j)
            if zone["shape"] == "disc":
                prims.kind[slot, row] = CYLINDER
                prims.size[slot, row] = (layout.ZONE_HALF, layout.ZONE_THICKNESS, 0.0)
        eye, target = np.array(EYE) + jitter[0], np.array(TARGET) + jitter[1]
        self._eyes[slot] = eye
        self._turns[slot] = look_at(eye, target)
        self.update(slot)

    def _fixed_box(
        self,
        slot: int,
        row: int,
        centre: Sequence[float],
        half: Sequence[float],
        color: Sequence[float],
        segment: int,
    ) -> None:
        prims = self._prims
        prims.kind[slot, row] = BOX
        prims.position[slot, row] = centre
        prims.rotation[slot, row] = np.eye(3)
        prims.size[slot, row] = half
        prims.color[slot, row] = color
        prims.segment_id[slot, row] = segment

    def update(self, slot: int) -> None:
        """Reads the poses of a slot's bodies."""
        shapes = self._shapes[slot]
        if shapes is None:
            raise RuntimeError(f"slot {slot} has no scene; call set_scene first")
        shapes.update_poses(self._prims, slot, first=FIRST_BODY)

    def update_wrist(self, slot: int, ee_position: np.ndarray, ee_quaternion: np.ndarray) -> None:
        """Moves the hand camera of a slot to where the hand is."""
        hand = rotation_matrices(ee_quaternion[None])[0]
        eye = ee_position + hand @ np.array([WRIST_FORWARD, 0.0, -WRIST_UP])
        self._wrist_eyes[slot] = eye
        target = ee_position + hand @ np.array([WRIST_TARGET_FORWARD, 0.0, 0.0])
        self._wrist_turns[slot] = look_at(eye, target, up=hand @ np.array([-1.0, 0.0, 0.0]))

    def pictures(
        self,
        slots: Sequence[int],
        *,
        height: int,
        width: int,
        camera: str = "front",
        supersample: int = 1,
    ) -> np.ndarray:
        """Pictures of the given slots in one render call: uint8 [len(slots), height, width, 3].

        Args:
            camera: "front" or "wrist".
            supersample: each pixel is the mean of this many squared rays.
        """
        return self._frames(slots, height, width, camera, supersample).rgb

    def segments(
        self, slots: Sequence[int], *, height: int, width: int, camera: str = "front"
    ) -> np.ndarray:
        """What each pixel shows, int32 [len(slots), height, width]: 0 table, 1 robot, 2 + i object
        i, 10 + j zone j, -1 nothing."""
        return self._frames(slots, height, width, camera, 1).segment

    def _frames(
        self, slots: Sequence[int], height: int, width: int, camera: str, supersample: int
    ) -> Frames:
        rows = np.asarray(slots, dtype=np.int64)
        prims = Primitives(**{k: v[rows] for k, v in vars(self._prims).items()})
        eyes, turns, fov = {
            "front": (self._eyes, self._turns, FOV_Y_DEG),
            "wrist": (self._wrist_eyes, self._wrist_turns, WRIST_FOV_Y_DEG),
        }[camera]
        cameras = Cameras(eyes[rows], turns[rows], fov)
        return render(prims, cameras, height=height, width=width, supersample=supersample)
