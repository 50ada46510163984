"""A double of the part of habitat-sim 0.3.x that the adapter uses. For tests only.

Names, defaults, argument and return types are the library's; ways and collisions are found on the
scene's own bodies (`fake_navmesh`), so that a scene written in wrong axes is a wrong scene here
too. Pictures are a sketch of the distance to the walls: they show that the pose arrives, no more.
What the library does by ending the process is done so here (`os.abort`).
"""

from __future__ import annotations

import enum
import functools
import json
import math
import os
import types
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

__version__ = "0.3.3"
EPS = 1e-5


class SensorType(enum.Enum):
    COLOR = 1
    DEPTH = 2
    SEMANTIC = 4


class Quaternion:
    """The four numbers of numpy-quaternion's `quaternion` that are used."""

    def __init__(self, w: float, x: float, y: float, z: float) -> None:
        self.w, self.x, self.y, self.z = w, x, y, z


class CameraSensorSpec:
    def __init__(self) -> None:
        self.uuid = ""
        self.sensor_type = SensorType.COLOR
        self.resolution: Sequence[int] = [128, 128]
        self._vectors = {"position": np.array([0.0, 1.5, 0.0]), "orientation": np.zeros(3)}
        self.hfov: float = 90.0
        self.near, self.far, self.channels = 0.01, 1000.0, 4

    def _set(self, name: str, value: Any) -> None:
        if not isinstance(value, np.ndarray):
            raise TypeError(f"(): incompatible function arguments: {name} is no Vector3: {value!r}")
        self._vectors[name] = np.asarray(value, dtype=np.float32)

    position = property(lambda s: s._vectors["position"], lambda s, v: s._set("position", v))
    orientation = property(
        lambda s: s._vectors["orientation"], lambda s, v: s._set("orientation", v)
    )


class NavMeshSettings:
    def __init__(self) -> None:
        self.set_defaults()

    def set_defaults(self) -> None:
        self.cell_size, self.cell_height = 0.05, 0.2
        self.agent_height, self.agent_radius = 1.5, 0.1
        self.agent_max_climb, self.agent_max_slope = 0.2, 45.0
        self.region_min_size, self.region_merge_size = 20, 20
        self.edge_max_len, self.edge_max_error = 12.0, 1.3
        self.verts_per_poly, self.detail_sample_dist, self.detail_sample_max_error = 6, 6.0, 1.0
        self.filter_low_hanging_obstacles = self.filter_ledge_spans = True
        self.filter_walkable_low_height_spans, self.include_static_objects = True, False


class SimulatorConfiguration:
    def __init__(self) -> None:
        self.scene_id, self.scene_dataset_config_file = "", "default"
        self.random_seed = self.gpu_device_id = self.default_agent_id = 0
        self.allow_sliding = self.create_renderer = True
        self.enable_physics = False
        self.load_semantic_mesh = self.requires_textures = True
        self.navmesh_settings: NavMeshSettings | None = None


class ActuationSpec:
    def __init__(self, amount: float) -> None:
        self.amount = amount


class ActionSpec:
    def __init__(self, name: str, actuation: ActuationSpec | None = None) -> None:
        self.name, self.actuation = name, actuation


class AgentConfiguration:
    def __init__(self) -> None:
        self.height, self.radius, self.body_type = 1.5, 0.1, "cylinder"
        self.sensor_specifications: list[CameraSensorSpec] = []
        amounts = {"move_forward": 0.25, "turn_left": 10.0, "turn_right": 10.0}
        self.action_space = {k: ActionSpec(k, ActuationSpec(v)) for k, v in amounts.items()}


class AgentState:
    def __init__(self) -> None:
        self.position: Any = np.zeros(3)
        self.rotation: Any = Quaternion(1.0, 0.0, 0.0, 0.0)
        self.sensor_states: dict[str, Any] = {}


class ShortestPath:
    def __init__(self) -> None:
        self.requested_start = self.requested_end = np.zeros(3, dtype=np.float32)
        self.points: list[np.ndarray] = []
        self.geodesic_distance = math.inf


class MultiGoalShortestPath:
    def __init__(self) -> None:
        self.requested_start = np.zeros(3, dtype=np.float32)
        self.requested_ends: list[np.ndarray] = []
        self.points: list[np.ndarray] = []
        self.geodesic_distance = math.inf
        self.closest_end_point_index = -1


class GreedyFollowerError(RuntimeError):
    pass


class PathFinder:
    def __init__(self) -> None:
        self._mesh: Any = None

    @property
    def is_loaded(self) -> bool:
        return self._mesh is not None

    @property
    def num_islands(self) -> int:
        return int(self._mesh.islands.max()) + 1

    def find_path(self, path: ShortestPath | MultiGoalShortestPath) -> bool:
        many = isinstance(path, MultiGoalShortestPath)
        ends = path.requested_ends if isinstance(path, MultiGoalShortestPath) else None
        path.points, path.geodesic_distance = [], math.inf
        for k, end in enumerate([path.requested_end] if ends is None else ends):  # type: ignore[union-attr]
            way = self._mesh.way(_vector(path.requested_start), _vector(end))
            length = _length(way)
            if way and length < path.geodesic_distance:
                path.points = [np.asarray(p, dtype=np.float32) for p in way]
                path.geodesic_distance = length
                if many:
                    path.closest_end_point_index = k  # type: ignore[union-attr]
        return math.isfinite(path.geodesic_distance)

    def snap_point(self, point: np.ndarray, island_index: int = -1) -> np.ndarray:
        return self._mesh.snap(_vector(point)).astype(np.float32)

    def is_navigable(self, pt: np.ndarray, max_y_delta: float = 0.5) -> bool:
        at, wanted = self._mesh.snap(_vector(pt)), _vector(pt)
        flat = math.hypot(at[0] - wanted[0], at[2] - wanted[2])
        return bool(abs(at[1] - wanted[1]) <= max_y_delta and flat <= 1e-2)

    def get_island(self, point: np.ndarray) -> int:
        return self._mesh.island(_vector(point))

    def distance_to_closest_obstacle(self, pt: np.ndarray, max_search_radius: float = 2.0) -> float:
        cell = self._mesh.cell_of(_vector(pt))
        return min(float(self._mesh.obstacle_m[cell]) if cell else 0.0, max_search_radius)

    def try_step(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return self._mesh.slide(_vector(start), _vector(end), sliding=True).astype(np.float32)

    def try_step_no_sliding(self, start: np.ndarray, end: np.ndarray) -> np.ndarray:
        return self._mesh.slide(_vector(start), _vector(end), sliding=False).astype(np.float32)


class Agent:
    """The pose is a position and a turn about +y."""

    def __init__(self, config: AgentConfiguration, sim: Simulator) -> None:
        self.agent_config, self._sim = config, sim
        self.position, self.yaw = np.zeros(3), 0.0

    def get_state(self) -> AgentState:
        state = AgentState()
        state.position = self.position.astype(np.float32)
        half = self.yaw / 2
        state.rotation = Quaternion(math.cos(half), 0.0, math.sin(half), 0.0)
        return state

    state = property(get_state)

    def set_state(self, state: AgentState) -> None:
        if not np.isfinite(state.position).all():
            raise ValueError(f"{state.position} contains non-finite values which are forbidden")
        x, y, z, w = _coefficients(state.rotation)
        if not math.isclose(math.hypot(x, y, z, w), 1.0, rel_tol=1e-4):
            raise ValueError(f"{state.rotation} is not a unit length vector")
        self.position, self.yaw = _vector(state.position), 2 * math.atan2(y, w)

    def act(self, action_id: str) -> bool:
        assert action_id in self.agent_config.action_space, f"No action {action_id}"
        action = self.agent_config.action_space[action_id]
        assert action.actuation is not None
        if action.name == "move_forward":
            before = self.position
            self.position, collided = self._sim._forward(before, self.yaw, action.actuation.amount)
            return collided
        sign = 1 if action.name == "turn_left" else -1
        self.yaw = math.remainder(self.yaw + sign * math.radians(action.actuation.amount), math.tau)
        return False


class GreedyGeodesicFollower:
    """Candidates are n turns and a step; the first action of the best is advised."""

    def __init__(self, sim: Simulator, agent: Agent, goal_radius: float | None) -> None:
        self._sim, self._agent = sim, agent
        space = agent.agent_config.action_space
        self._forward = space["move_forward"].actuation.amount  # type: ignore[union-attr]
        self._turn = math.radians(space["turn_left"].actuation.amount)  # type: ignore[union-attr]
        self.goal_radius = 0.75 * self._forward if goal_radius is None else goal_radius
        self.history: list[str] = []

    def next_action_along(self, goal_pos: np.ndarray) -> str | None:
        before = self._distance(self._agent.position, goal_pos)
        if not math.isfinite(before):
            raise GreedyFollowerError()
        if before < self.goal_radius:
            return None
        best, advice = -0.25, ""
        for n in range(math.ceil(math.pi / self._turn)):
            for sign, name in ((1, "turn_left"), (-1, "turn_right")):
                yaw = self._agent.yaw + sign * n * self._turn
                end, collided = self._sim._forward(self._agent.position, yaw, self._forward)
                near = self._sim.pathfinder.distance_to_closest_obstacle(end) < 0.2
                gain = (before - self._distance(end, goal_pos)) / self._forward
                score = gain - 0.0125 * n - 0.25 * collided - 0.05 * near
                if score > best:
                    best, advice = score, name if n else "move_forward"
            if best > 0.99:
                break
        if not advice:
            raise GreedyFollowerError()
        self.history.append(advice)
        return advice

    def _distance(self, start: np.ndarray, end: np.ndarray) -> float:
        path = ShortestPath()
        path.requested_start, path.requested_end = start, end
        self._sim.pathfinder.find_path(path)
        return path.geodesic_distance

    def reset(self) -> None:
        self.history = []


class Configuration:
    def __init__(self, sim_cfg: SimulatorConfiguration, agents: list[AgentConfiguration]) -> None:
        self.sim_cfg, self.agents = sim_cfg, agents


class Simulator:
    open_now = 0  # simulators that were not closed: the library leaks their memory

    def __init__(self, config: Configuration) -> None:
        sensors = [s for agent in config.agents for s in agent.sensor_specifications]
        backend = config.sim_cfg
        backend.create_renderer = bool(sensors)
        if backend.create_renderer and backend.gpu_device_id >= 0:
            os.write(2, b"unable to find CUDA device among EGL devices\n")
            os.abort()
        self.config, self.pathfinder = config, PathFinder()
        if backend.scene_id != "NONE":
            if not Path(backend.scene_id).is_file():
                raise SystemError(f"{backend.scene_id}: the library would end the process here")
            settings = backend.navmesh_settings
            saved = Path(backend.scene_id).with_suffix(".navmesh")
            if settings is None and saved.is_file():
                settings = NavMeshSettings()
            if settings is not None:
                self.pathfinder._mesh = navmesh(backend.scene_id, tuple(vars(settings).items()))
        self.agents = [Agent(agent, self) for agent in config.agents]
        self._closed = False
        Simulator.open_now += 1

    def __enter__(self) -> Simulator:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, destroy: bool = True) -> None:
        Simulator.open_now -= not self._closed
        self._closed = True

    def get_agent(self, agent_id: int) -> Agent:
        return self.agents[agent_id]

    def initialize_agent(self, agent_id: int, initial_state: AgentState | None = None) -> Agent:
        agent = self.get_agent(agent_id)
        agent.set_state(initial_state or AgentState())
        return agent

    def make_greedy_follower(
        self, agent_id: int | None = None, goal_radius: float | None = None
    ) -> GreedyGeodesicFollower:
        return GreedyGeodesicFollower(self, self.get_agent(agent_id or 0), goal_radius)

    def step_filter(self, start_pos: np.ndarray, end_pos: np.ndarray) -> np.ndarray:
        if not self.pathfinder.is_loaded:
            return end_pos
        if self.config.sim_cfg.allow_sliding:
            return self.pathfinder.try_step(start_pos, end_pos)
        return self.pathfinder.try_step_no_sliding(start_pos, end_pos)

    def _forward(self, start: np.ndarray, yaw: float, amount: float) -> tuple[np.ndarray, bool]:
        end = start + amount * np.array([-math.sin(yaw), 0.0, -math.cos(yaw)])
        after = np.asarray(self.step_filter(start, end), dtype=np.float64)
        moved, wanted = float(((after - start) ** 2).sum()), float(((end - start) ** 2).sum())
        return after, moved + EPS < wanted

    def step(self, action: str) -> dict[str, Any]:
        collided = self.get_agent(0).act(action)
        return {**self.get_sensor_observations(), "collided": collided}

    def get_sensor_observations(self, agent_ids: int = 0) -> dict[str, Any]:
        agent = self.get_agent(agent_ids)
        return {s.uuid: self._draw(s, agent) for s in agent.agent_config.sensor_specifications}

    def _draw(self, spec: CameraSensorSpec, agent: Agent) -> np.ndarray:
        """Columns as far as the edge of the mesh is; floor where that is nearer."""
        height, width = spec.resolution
        tangents = math.tan(math.radians(spec.hfov) / 2) * (
            2 * (np.arange(width) + 0.5) / width - 1
        )
        far = np.array([self._range(agent, math.atan(t)) for t in tangents])
        pitch = float(spec.orientation[0])
        angles = math.pi / 4 * (1 - 2 * (np.arange(height) + 0.5) / height) + pitch
        floor = np.where(angles < -1e-3, spec.position[1] / np.tan(np.maximum(-angles, 1e-3)), 1e3)
        depth = np.minimum(far[None, :], floor[:, None]).astype(np.float32)
        if spec.sensor_type is SensorType.DEPTH:
            return depth
        wall = far[None, :] < floor[:, None]
        if spec.sensor_type is SensorType.SEMANTIC:
            return np.where(wall, 1, 2).astype(np.uint32)
        grey = (255 / (1 + depth)).astype(np.uint8)
        return np.stack([grey, grey, np.where(wall, 200, 50), np.full_like(grey, 255)], -1).astype(
            np.uint8
        )

    def _range(self, agent: Agent, right: float) -> float:
        """Metres along the view to the edge of the mesh, in a direction `right` of it."""
        if not self.pathfinder.is_loaded:
            return 1.0
        yaw = agent.yaw - right
        end = agent.position + 15.0 * np.array([-math.sin(yaw), 0.0, -math.cos(yaw)])
        hit = self.pathfinder.try_step_no_sliding(agent.position, end)
        return float(np.linalg.norm(hit - agent.position)) * math.cos(right)


@functools.lru_cache(maxsize=8)
def navmesh(scene_id: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    from .fake_navmesh import FlatNavMesh

    return FlatNavMesh(load_bodies(Path(scene_id)), types.SimpleNamespace(**dict(settings)))


def load_bodies(path: Path) -> list[np.ndarray]:
    """Vertices float64 [v, 3] of every body, y up. A stage description says which way a mesh is up;
    a bare .glb is taken as z-up and turned: (x, y, z) -> (x, z, -y)."""
    import trimesh

    turned, mesh = path.suffix == ".glb", path
    if path.name.endswith(".stage_config.json"):
        stage = json.loads(path.read_text())
        frame = [*stage.get("up", [0, 1, 0]), *stage.get("front", [0, 0, -1])]
        if frame not in ([0, 1, 0, 0, 0, -1], [0, 0, 1, 0, 1, 0]):
            raise NotImplementedError(f"up and front {frame}")
        turned, mesh = frame[2] == 1, path.parent / stage["render_asset"]
    scene = trimesh.load(mesh, force="scene")
    bodies = []
    for node in scene.graph.nodes_geometry:
        transform, name = scene.graph[node]
        found = scene.geometry[name].vertices @ transform[:3, :3].T + transform[:3, 3]
        x, y, z = np.asarray(found, dtype=np.float64).T
        bodies.append(np.stack([x, z, -y] if turned else [x, y, z], axis=1))
    return bodies


def _vector(point: Any) -> np.ndarray:
    if isinstance(point, list | tuple):
        raise TypeError(f"(): incompatible function arguments: no Vector3: {point!r}")
    return np.asarray(point, dtype=np.float32).astype(np.float64)


def _coefficients(rotation: Any) -> tuple[float, float, float, float]:
    if isinstance(rotation, Quaternion):
        return rotation.x, rotation.y, rotation.z, rotation.w
    x, y, z, w = (float(v) for v in rotation)
    return x, y, z, w


def _length(points: Sequence[np.ndarray]) -> float:
    return float(sum(np.linalg.norm(b - a) for a, b in pairwise(points)))


agent = types.SimpleNamespace(
    ActionSpec=ActionSpec,
    ActuationSpec=ActuationSpec,
    AgentConfiguration=AgentConfiguration,
    AgentState=AgentState,
)
errors = types.SimpleNamespace(GreedyFollowerError=GreedyFollowerError)
