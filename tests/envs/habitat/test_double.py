"""The double is honest: defaults as documented, ways of known length, refusals of the library."""

from __future__ import annotations

import importlib.machinery
import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

# A floor of 8 m by 6 m and a wall from its north edge that ends 2 m from the south one.
FLOOR = (0.0, -0.1, -6.0, 8.0, 0.0, 0.0)
HALF_WALL = (3.9, 0.0, -6.0, 4.1, 2.5, -2.0)
WHOLE_WALL = (3.9, 0.0, -6.0, 4.1, 2.5, 0.0)
RADIUS = 0.18

# What the library's documentation says of the part that is used.
DEFAULTS: dict[str, dict[str, Any]] = {
    "SimulatorConfiguration": {
        "scene_id": "",
        "gpu_device_id": 0,
        "random_seed": 0,
        "default_agent_id": 0,
        "allow_sliding": True,
        "create_renderer": True,
        "enable_physics": False,
        "navmesh_settings": None,
    },
    "CameraSensorSpec": {"hfov": 90.0, "near": 0.01, "far": 1000.0, "channels": 4},
    "NavMeshSettings": {
        "cell_size": 0.05,
        "cell_height": 0.2,
        "agent_height": 1.5,
        "agent_radius": 0.1,
        "agent_max_climb": 0.2,
        "agent_max_slope": 45.0,
        "region_min_size": 20,
        "region_merge_size": 20,
        "edge_max_len": 12.0,
        "edge_max_error": 1.3,
        "verts_per_poly": 6,
        "detail_sample_dist": 6.0,
        "detail_sample_max_error": 1.0,
        "include_static_objects": False,
    },
    "agent.AgentConfiguration": {"height": 1.5, "radius": 0.1},
}
READ = """
import json, operator, sys
import habitat_sim
wanted = json.loads(sys.argv[1])
made = {name: operator.attrgetter(name)(habitat_sim)() for name in wanted}
print(json.dumps({n: {f: getattr(made[n], f) for f in wanted[n]} for n in wanted}, default=float))
"""


def _simulator(habitat_sim: ModuleType, scene: Path, *, sliding: bool = True) -> Any:
    backend = habitat_sim.SimulatorConfiguration()
    backend.scene_id, backend.allow_sliding = str(scene), sliding
    backend.navmesh_settings = habitat_sim.NavMeshSettings()
    backend.navmesh_settings.agent_radius = RADIUS
    backend.navmesh_settings.cell_size = RADIUS / 4
    agent = habitat_sim.agent.AgentConfiguration()
    return habitat_sim.Simulator(habitat_sim.Configuration(backend, [agent]))


def _path(habitat_sim: ModuleType, start: Any, *ends: Any) -> Any:
    path = habitat_sim.MultiGoalShortestPath()
    path.requested_start = np.array(start, dtype=np.float32)
    path.requested_ends = [np.array(end, dtype=np.float32) for end in ends]
    return path


def _defaults() -> dict[str, dict[str, Any]]:
    command = [sys.executable, "-c", READ, json.dumps({n: list(v) for n, v in DEFAULTS.items()})]
    found = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return json.loads(found.stdout)


@pytest.mark.usefixtures("habitat_sim")
def test_the_double_has_the_documented_defaults() -> None:
    assert _defaults() == DEFAULTS


def test_the_library_has_the_documented_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same question to the library itself, where it is installed."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    folders = [p for p in sys.path if not (Path(p) / "habitat_sim" / "fake_navmesh.py").is_file()]
    if importlib.machinery.PathFinder.find_spec("habitat_sim", folders) is None:
        pytest.skip("needs habitat-sim, which is not installed")
    found = _defaults()
    for name, fields in DEFAULTS.items():
        for field, value in fields.items():
            near = pytest.approx(value, rel=1e-6) if isinstance(value, float) else value
            assert found[name][field] == near, (name, field)


def test_a_way_around_the_end_of_a_wall_has_the_length_of_a_string(
    habitat_sim: ModuleType, tmp_path: Path, write_scene: Callable[..., Path]
) -> None:
    scene = write_scene(tmp_path / "half.glb", [FLOOR, HALF_WALL])
    with _simulator(habitat_sim, scene) as sim:
        path = _path(habitat_sim, [2.0, 0.0, -4.0], [6.0, 0.0, -4.0])
        assert sim.pathfinder.find_path(path) is True
    # A string around two discs of the body's radius at the wall's corners: two tangents, an arc
    # each, and straight along the wall's end.
    away = math.hypot(1.9, 2.0)
    tangent = math.sqrt(away**2 - RADIUS**2)
    turn = math.pi / 2 - (math.atan2(1.9, 2.0) - math.asin(RADIUS / away))
    string = 2 * (tangent + RADIUS * turn) + 0.2
    assert path.geodesic_distance == pytest.approx(string, rel=0.02)
    assert path.geodesic_distance >= string * 0.995
    assert path.geodesic_distance == pytest.approx(
        sum(np.linalg.norm(b - a) for a, b in zip(path.points, path.points[1:])), rel=1e-5
    )


def test_islands_are_not_connected_and_another_goal_is_taken(
    habitat_sim: ModuleType, tmp_path: Path, write_scene: Callable[..., Path]
) -> None:
    scene = write_scene(tmp_path / "whole.glb", [FLOOR, WHOLE_WALL])
    with _simulator(habitat_sim, scene) as sim:
        assert sim.pathfinder.num_islands == 2
        shut = _path(habitat_sim, [2.0, 0.0, -4.0], [6.0, 0.0, -4.0])
        assert sim.pathfinder.find_path(shut) is False
        assert (shut.geodesic_distance, shut.points) == (math.inf, [])
        open_ = _path(habitat_sim, [2.0, 0.0, -4.0], [6.0, 0.0, -4.0], [2.0, 0.0, -1.0])
        assert sim.pathfinder.find_path(open_) is True
        assert open_.closest_end_point_index == 1
        assert open_.geodesic_distance == pytest.approx(3.0, rel=1e-3)
        assert np.isnan(sim.pathfinder.snap_point(np.array([20.0, 0.0, 0.0]))).all()


def test_a_bare_glb_is_taken_as_z_up(
    habitat_sim: ModuleType, tmp_path: Path, write_scene: Callable[..., Path]
) -> None:
    bare = write_scene(tmp_path / "bare" / "half.glb", [FLOOR, HALF_WALL], stage=False)
    found = np.concatenate(habitat_sim.load_bodies(bare))
    np.testing.assert_allclose(found.min(axis=0), [0.0, -6.0, -2.5], atol=1e-6)
    np.testing.assert_allclose(found.max(axis=0), [8.0, 0.0, 0.1], atol=1e-6)


@pytest.mark.parametrize("sliding", [True, False])
def test_a_step_into_a_wall_slides_or_stops(
    habitat_sim: ModuleType, tmp_path: Path, write_scene: Callable[..., Path], sliding: bool
) -> None:
    scene = write_scene(tmp_path / f"{sliding}.glb", [FLOOR, WHOLE_WALL])
    with _simulator(habitat_sim, scene, sliding=sliding) as sim:
        state = habitat_sim.agent.AgentState()
        edge = 3.9 - RADIUS
        state.position = np.array([edge - 0.08, 0.0, -3.0], dtype=np.float32)
        state.rotation = np.array([0.0, math.sin(-math.pi / 8), 0.0, math.cos(-math.pi / 8)])
        sim.initialize_agent(0, state)
        assert sim.step("move_forward")["collided"] is True
        after = sim.get_agent(0).get_state().position
        assert edge - 0.05 <= after[0] <= edge + 0.05  # within a cell of the wall
        along = -(after[2] + 3.0)
        assert along == pytest.approx(0.25 / math.sqrt(2), abs=0.02) if sliding else along < 0.13


def test_vectors_are_not_lists(habitat_sim: ModuleType) -> None:
    spec = habitat_sim.CameraSensorSpec()
    with pytest.raises(TypeError, match="incompatible function arguments"):
        spec.position = [0.0, 1.25, 0.0]
