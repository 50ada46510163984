"""One habitat-sim simulator with one agent, in the frame of the project.

Points are (x, y, z), metres, z up; the library's are (x, z, -y), y up. A heading is in radians,
counter-clockwise from +x; the library's rotation about its +y axis is the heading less pi / 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.envs.habitat.library import load_habitat_sim
from pilotage.envs.habitat.rig import Rig
from pilotage.envs.habitat.scenes import SceneFiles
from pilotage.envs.rooms.expert import FORWARD, FORWARD_M, STOP, TURN_LEFT, TURN_RIGHT
from pilotage.envs.rooms.glb import to_gltf_axes

START_TOLERANCE_M = 0.5  # a start may lie this far off the mesh: it is then moved onto it
_FOLLOWER_RADIUS_M = 0.75 * FORWARD_M  # the library's own default
_WITHIN = 0.9  # of the success radius, where that is smaller
NAMES = {FORWARD: "move_forward", TURN_LEFT: "turn_left", TURN_RIGHT: "turn_right"}
_NUMBERS = {name: number for number, name in NAMES.items()}


def to_habitat(points: np.ndarray) -> np.ndarray:
    """Points [..., 3] of ours in the library's frame: float32, as its vectors are."""
    return to_gltf_axes(np.asarray(points, dtype=np.float64)).astype(np.float32)


def from_habitat(points: Any) -> np.ndarray:
    """Points [..., 3] of the library in our frame, float64."""
    p = np.asarray(points, dtype=np.float64)
    return np.stack([p[..., 0], -p[..., 2], p[..., 1]], axis=-1)


def rotation_of(heading: float) -> np.ndarray:
    """The quaternion [x, y, z, w], float64, of a heading."""
    half = (heading - math.pi / 2) / 2
    return np.array([0.0, math.sin(half), 0.0, math.cos(half)])


@dataclass(frozen=True)
class Settings:
    """What all slots of a world share. `gpu_device` -1 is any EGL device, also a software one."""

    rig: Rig
    sensors: tuple[str, ...]
    image_size: int
    sliding: bool
    gpu_device: int


class Simulation:
    """A simulator in one scene. `close()` it when done.

    Raises HabitatMissing; RuntimeError when the scene has no navigation mesh.
    """

    def __init__(self, settings: Settings, scene: SceneFiles) -> None:
        self.settings, self.scene = settings, scene
        self._library = library = load_habitat_sim()
        backend = library.SimulatorConfiguration()
        backend.scene_id = scene.scene_id
        if scene.dataset_config is not None:
            backend.scene_dataset_config_file = scene.dataset_config
        backend.allow_sliding = settings.sliding
        backend.gpu_device_id = settings.gpu_device
        backend.create_renderer = bool(settings.sensors)
        backend.load_semantic_mesh = "semantic" in settings.sensors
        backend.enable_physics = False
        if scene.builds_navmesh:
            backend.navmesh_settings = settings.rig.navmesh(library)
        agent = settings.rig.agent(library, settings.sensors, settings.image_size)
        self._sim = library.Simulator(library.Configuration(backend, [agent]))
        self._follower: Any = None
        if not self._sim.pathfinder.is_loaded:
            self.close()
            raise RuntimeError(
                f"scene {scene.scene_id!r} has no navigation mesh (.navmesh) beside it; "
                "build_navmesh=True makes one for the agent's body"
            )

    @property
    def position(self) -> np.ndarray:
        """float64 [3]: where the agent stands."""
        return from_habitat(self._sim.get_agent(0).get_state().position)

    @property
    def heading(self) -> float:
        """Radians in [-pi, pi], counter-clockwise from +x."""
        q = self._sim.get_agent(0).get_state().rotation
        return math.remainder(2 * math.atan2(float(q.y), float(q.w)) + math.pi / 2, 2 * math.pi)

    def place(self, position: np.ndarray, heading: float) -> np.ndarray:
        """Put the agent somewhere: where it then stands, float64 [3].

        A place off the navigation mesh is moved onto it. ValueError when the mesh is farther away
        than `START_TOLERANCE_M`.
        """
        wanted = to_habitat(position)
        if not self._sim.pathfinder.is_navigable(wanted):
            snapped = np.array(self._sim.pathfinder.snap_point(wanted), dtype=np.float32)
            away = float(np.linalg.norm(snapped - wanted))
            if not away <= START_TOLERANCE_M:  # also when there is none: NaN
                raise ValueError(
                    f"the start {np.round(position, 3).tolist()} is {away:.2f} m off the "
                    f"navigation mesh of {self.scene.scene_id!r}, more than {START_TOLERANCE_M}; "
                    "is the task from another scene?"
                )
            wanted = snapped
        state = self._library.agent.AgentState()
        state.position, state.rotation = wanted, rotation_of(heading)
        self._sim.initialize_agent(0, state)
        self._follower = None
        return self.position

    def step(self, action: int) -> bool:
        """Do one movement (1 forward, 2 left, 3 right); whether it touched something."""
        return bool(self._sim.step(NAMES[action])["collided"])

    def distance(self, goals: np.ndarray) -> tuple[float, np.ndarray]:
        """Geodesic metres to the nearest of `goals` [g, 3], and the end of the way there, float64
        [3]. (inf, the first goal) when none can be reached."""
        path = self._library.MultiGoalShortestPath()
        path.requested_start = to_habitat(self.position)
        path.requested_ends = list(to_habitat(goals))
        if not self._sim.pathfinder.find_path(path) or not len(path.points):
            return math.inf, np.asarray(goals[0], dtype=np.float64)
        return float(path.geodesic_distance), from_habitat(path.points[-1])

    def islands(self, points: np.ndarray) -> list[int]:
        """The connected part of the mesh that each of `points` [g, 3] lies on."""
        return [int(self._sim.pathfinder.get_island(p)) for p in to_habitat(points)]

    def advise(self, goal: np.ndarray, success_radius_m: float) -> int | None:
        """The greedy follower's next action to `goal` [3]; None when it finds no way on.

        It remembers its own last advices (against turning left and right for ever), so it is asked
        once a step, and made anew by `forget_advice` when its advice was not followed.
        """
        if self._follower is None:
            radius = min(_FOLLOWER_RADIUS_M, _WITHIN * success_radius_m)
            self._follower = self._sim.make_greedy_follower(0, radius)
        try:
            name = self._follower.next_action_along(to_habitat(goal))
        except self._library.errors.GreedyFollowerError:
            self._follower = None
            return None
        return STOP if name is None else _NUMBERS[name]

    def forget_advice(self) -> None:
        """Forget what the follower advised: the agent does something else."""
        self._follower = None

    def pictures(self) -> dict[str, np.ndarray]:
        """What the sensors see: `rgb` uint8 [H, W, 3], `depth` float32 [H, W] in metres along the
        view (0 where there is nothing), `semantic` int32 [H, W]."""
        seen = self._sim.get_sensor_observations()
        frames = {}
        for name in self.settings.sensors:
            frame = np.asarray(seen[name])
            if name == "rgb":
                frames[name] = frame[..., :3].astype(np.uint8)
            else:
                frames[name] = frame.astype(np.float32 if name == "depth" else np.int32)
        return frames

    def close(self) -> None:
        self._follower = None
        if self._sim is not None:
            self._sim.close()
            self._sim = None
