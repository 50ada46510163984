"""One house in two simulators: its files, its tasks, ways as long, and the same success."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from pilotage.envs.habitat import HabitatVectorEnv, habitat_task, make_tasks, write_house
from pilotage.envs.habitat.simulation import from_habitat, rotation_of, to_habitat
from pilotage.envs.rooms import RoomsVectorEnv
from pilotage.envs.rooms import make_tasks as rooms_tasks
from pilotage.envs.rooms.house import load_house
from pilotage.scripts import bench_habitat

SPLIT, SEED = "val", 0


def test_frames_turn_back_and_forth() -> None:
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_allclose(from_habitat(to_habitat(points)), points, atol=1e-6)
    # north and up of ours are -z and y there; x stays
    np.testing.assert_allclose(to_habitat(np.eye(3)), [[1, 0, 0], [0, 0, -1], [0, 1, 0]])


@pytest.mark.parametrize("heading", [0.0, 0.7, math.pi / 2, -2.5, math.pi])
def test_a_heading_turns_the_librarys_forward_to_where_it_points(heading: float) -> None:
    """v' = v + 2 u x (u x v + w v) for the quaternion (u, w), from any textbook."""
    x, y, z, w = rotation_of(heading)
    u, forward = np.array([x, y, z]), np.array([0.0, 0.0, -1.0])
    turned = forward + 2 * np.cross(u, np.cross(u, forward) + w * forward)
    expected = [math.cos(heading), math.sin(heading), 0.0]
    np.testing.assert_allclose(from_habitat(turned), expected, atol=1e-9)


def test_a_house_is_written_once_with_its_frame(tmp_path: Path) -> None:
    house = load_house(rooms_tasks(SPLIT, 1, seed=SEED)[0].scene)
    stage = write_house(house, tmp_path)
    content = json.loads(stage.read_text())
    mesh = tmp_path / content["render_asset"]
    assert (content["up"], content["front"]) == ([0, 1, 0], [0, 0, -1])
    assert mesh.read_bytes()[:4] == b"glTF"
    before = {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()}
    assert write_house(house, tmp_path) == stage
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.iterdir()} == before
    assert len(before) == 2


def test_tasks_are_those_of_the_rooms_world() -> None:
    for ours, theirs in zip(make_tasks(SPLIT, 3, seed=1), rooms_tasks(SPLIT, 3, seed=1)):
        assert ours.info["rooms_task"] == theirs.task_id
        assert ours.task_id == f"habitat-{theirs.task_id}"
        assert (ours.scene, ours.start) == (theirs.scene, theirs.start)
        assert [p[:2] for p in ours.goal["points"]] == theirs.goal["points"]
        assert ours.instruction == theirs.instruction
    with pytest.raises(ValueError, match="is for the world 'habitat', not 'rooms'"):
        habitat_task(make_tasks(SPLIT, 1)[0])
    with pytest.raises(ValueError, match="split must be one of"):
        make_tasks("vall", 1)


@pytest.mark.slow
def test_the_way_through_a_door_is_where_the_plan_has_it(
    habitat_sim: ModuleType, house_dir: Path
) -> None:
    envs = HabitatVectorEnv(1, image_size=0, house_dir=house_dir)
    task = rooms_tasks(SPLIT, 1, seed=SEED)[0]
    assert bench_habitat.walk_through_door(envs, task) == pytest.approx(0.2, abs=0.01)
    envs.close()


@pytest.mark.slow
def test_a_house_without_its_frame_has_no_such_way(
    habitat_sim: ModuleType, house_dir: Path, tmp_path: Path
) -> None:
    """The control: the same mesh, taken as z-up, does not have the way through the door."""
    task = rooms_tasks(SPLIT, 1, seed=SEED)[0]
    stage = write_house(load_house(task.scene), tmp_path / "turned")
    content = json.loads(stage.read_text())
    stage.write_text(json.dumps({**content, "up": [0, 0, 1], "front": [0, 1, 0]}))
    envs = HabitatVectorEnv(1, image_size=0, house_dir=tmp_path / "turned")
    with pytest.raises(
        RuntimeError, match=r"off the navigation mesh|can be reached|in habitat-sim"
    ):
        bench_habitat.walk_through_door(envs, task)
    envs.close()
    shutil.rmtree(tmp_path / "turned")


@pytest.mark.slow
def test_ways_are_as_long_and_experts_succeed_in_both(
    habitat_sim: ModuleType, house_dir: Path
) -> None:
    tasks = rooms_tasks(SPLIT, 3, seed=SEED)
    options = {"image_size": 0, "expert_actions": True, "success_radius_m": 0.5}
    habitat_envs = HabitatVectorEnv(1, house_dir=house_dir, **options)
    habitat = bench_habitat.play(habitat_envs, [habitat_task(t) for t in tasks])
    habitat_envs.close()
    rooms_envs = RoomsVectorEnv(1, **options)
    rooms = bench_habitat.play(rooms_envs, tasks)
    rooms_envs.close()
    for here, there in zip(rooms, habitat, strict=True):
        assert there.geodesic_m == pytest.approx(here.geodesic_m, rel=0.02)
        assert here.success
        assert there.success
    lines = bench_habitat.report(rooms, habitat)
    assert "within 2%: 3 of 3" in lines[0]
    assert lines[-1] == "same outcome on 3 of 3 tasks"
