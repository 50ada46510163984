"""The habitat world on the double: contract, ends, sensors, and what is refused and how."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.envs.habitat import HabitatEnv, HabitatVectorEnv, Rig, make_tasks
from pilotage.envs.registry import load_world
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import EndReason, Task

pytestmark = pytest.mark.usefixtures("habitat_sim")

# Two rooms of 4 m by 6 m side by side; the wall between them has a door of 1 m at z = -3.
FLOOR = (0.0, -0.1, -6.0, 8.0, 0.0, 0.0)
WALLS = [(3.9, 0.0, -6.0, 4.1, 2.5, -3.5), (3.9, 0.0, -2.5, 4.1, 2.5, 0.0)]
WHOLE_WALL = (3.9, 0.0, -6.0, 4.1, 2.5, 0.0)


def scene_task(**fields: Any) -> Task:
    """From the middle of the west room, looking east, through the door to the east one."""
    task = Task(
        task_id="two-rooms",
        env="habitat",
        split="val",
        family="pointnav",
        instruction="go to the goal point",
        max_steps=60,
        scene={"scene_id": "two/rooms.stage_config.json"},
        start={"position": [2.0, 3.0, 0.0], "heading": 0.0},
        goal={"points": [[6.0, 3.0, 0.0]], "success_radius_m": 0.2},
        shortest_path_length=4.0,
    )
    return replace(task, **fields)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory, write_scene: Callable[..., Path]) -> Path:
    root = tmp_path_factory.mktemp("scenes")
    write_scene(root / "two" / "rooms.glb", [FLOOR, *WALLS])
    write_scene(root / "two" / "shut.glb", [FLOOR, WHOLE_WALL])
    return root


@pytest.fixture
def make(scenes: Path, house_dir: Path) -> Callable[..., HabitatVectorEnv]:
    def world(n_slots: int = 1, **arguments: Any) -> HabitatVectorEnv:
        places = {"scenes_dir": scenes, "house_dir": house_dir, "build_navmesh": True}
        return HabitatVectorEnv(n_slots, **{**places, "image_size": 0, **arguments})

    return world


def begin(envs: HabitatVectorEnv, *tasks: Task) -> tuple[dict[str, Any], dict[str, Any]]:
    return envs.reset(options={"tasks": list(tasks)})


@pytest.mark.slow
def test_the_contract_of_a_vector_world(make: Callable[..., HabitatVectorEnv]) -> None:
    house = [replace(t, max_steps=5) for t in make_tasks("val", 2, families=["instruction"])]
    tasks = [scene_task(max_steps=8), *house, scene_task(task_id="other", max_steps=6)]
    check_vector_world(
        lambda n: make(n, expert_actions=True, image_size=6, sensors=("semantic", "rgb", "depth")),
        tasks,
    )


def test_every_simulator_is_closed(
    make: Callable[..., HabitatVectorEnv], habitat_sim: ModuleType, house_dir: Path
) -> None:
    before = habitat_sim.Simulator.open_now
    envs = make(2)
    begin(envs, scene_task(), scene_task())
    assert habitat_sim.Simulator.open_now == before + 2
    shut = scene_task(scene={"scene_id": "two/shut.stage_config.json"})
    begin(envs, shut, scene_task())  # another scene: the slot's last simulator goes
    assert habitat_sim.Simulator.open_now == before + 2
    envs.close()
    assert habitat_sim.Simulator.open_now == before


def test_the_follower_goes_straight_through_the_door(
    make: Callable[..., HabitatVectorEnv],
) -> None:
    envs = make(expert_actions=True)
    obs, infos = begin(envs, scene_task())
    assert obs["goal"][0] == pytest.approx([0.4, 1.0, 0.0], abs=1e-6)
    actions, distances = [], [float(infos["trace"]["distance_to_goal"][0, 0])]
    while envs.live[0]:
        actions.append(int(obs["expert_action"][0]))
        obs, rewards, _, _, infos = envs.step(obs["expert_action"])
        distances.append(float(infos["trace"]["distance_to_goal"][0, 0]))
        progress = distances[-2] - distances[-1]
        bonus = 2.5 if actions[-1] == 0 else 0.0
        assert rewards[0] == pytest.approx(progress - 0.01 + bonus, abs=1e-9)
    assert actions == [1] * 16 + [0]  # 4 m, a quarter of a metre each; the last is within 0.19 m
    assert infos["end_reason"] == [EndReason.GOAL_REACHED]
    assert distances[0] == pytest.approx(4.0, rel=1e-4)
    assert infos["trace"]["position"][0] == pytest.approx([6.0, 3.0, 0.0], abs=1e-4)


def test_turns_are_of_fifteen_degrees_and_left_is_counter_clockwise(
    make: Callable[..., HabitatVectorEnv],
) -> None:
    envs = make()
    begin(envs, scene_task())
    for _ in range(6):
        _, _, _, _, infos = envs.step(np.array([2]))
    assert infos["trace"]["heading"][0, 0] == pytest.approx(math.pi / 2)
    assert envs.lanes[0].simulation is not None
    assert envs.lanes[0].simulation.heading == pytest.approx(math.pi / 2)
    _, _, _, _, infos = envs.step(np.array([1]))  # north is +y here and -z there
    assert infos["trace"]["position"][0] == pytest.approx([2.0, 3.25, 0.0], abs=1e-4)
    _, _, _, _, infos = envs.step(np.array([3]))
    assert infos["trace"]["heading"][0, 0] == pytest.approx(math.pi / 2 - math.radians(15))


@pytest.mark.parametrize("sliding", [True, False])
def test_sliding_goes_on_along_a_wall(make: Callable[..., HabitatVectorEnv], sliding: bool) -> None:
    envs = make(sliding=sliding, collision_limit=3)
    start = {"position": [3.6, 1.0, 0.0], "heading": math.radians(45)}
    begin(envs, scene_task(start=start))
    for _ in range(3):
        _, _, terminated, _, infos = envs.step(np.array([1]))
        assert infos["trace"]["collision"][0, 0] == 1.0
    moved = float(infos["trace"]["position"][0, 1]) - 1.0
    assert moved > 0.4 if sliding else moved < 0.3
    assert (bool(terminated[0]), infos["end_reason"]) == (True, [EndReason.COLLISION_LIMIT])


def test_success_is_within_the_radius_that_is_asked(
    make: Callable[..., HabitatVectorEnv],
) -> None:
    near = scene_task(start={"position": [5.5, 3.0, 0.0], "heading": 0.0})
    for radius, success in ((None, False), (0.45, False), (0.55, True)):
        envs = make(success_radius_m=radius)
        begin(envs, near)
        _, _, _, _, infos = envs.step(np.array([0]))
        assert bool(infos["success"][0]) is success
        reason = EndReason.GOAL_REACHED if success else EndReason.AGENT_STOPPED
        assert infos["end_reason"] == [reason]


def test_the_nearest_of_several_goals_counts(make: Callable[..., HabitatVectorEnv]) -> None:
    goals = [[6.0, 3.0, 0.0], [2.0, 4.5, 0.0], [7.0, 1.0, 0.0]]
    task = scene_task(goal={"points": goals, "success_radius_m": 0.2}, family="objectnav")
    envs = make(expert_actions=True)
    obs, infos = begin(envs, task)
    assert infos["trace"]["distance_to_goal"][0, 0] == pytest.approx(1.5, rel=1e-3)
    while envs.live[0]:
        obs, _, _, _, infos = envs.step(obs["expert_action"])
    assert infos["success"][0]
    assert infos["trace"]["position"][0, :2] == pytest.approx([2.0, 4.5], abs=0.2)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scene": {"scene_id": "two/gone.glb"}}, r"SceneMissing: the scene 'two/gone.glb' is not"),
        ({"scene": {"seed": 3}}, r"ValueError: a habitat scene is a dict with 'scene_id'"),
        ({"env": "rooms"}, "is for the world 'rooms', not 'habitat'"),
        (
            {"start": {"position": [20.0, 3.0, 0.0], "heading": 0.0}},
            r"the start \[20.0, 3.0, 0.0\] is nan m off",
        ),
        (
            {"start": {"position": [8.9, 3.0, 0.0], "heading": 0.0}},
            r"is 1.\d\d m off the navigation mesh",
        ),
        (
            {"scene": {"scene_id": "two/shut.stage_config.json"}},
            r"none of the 1 goals can be reached from \[2.0, 3.0, 0.0\]: it lies on part (0|1) of "
            r"the navigation mesh, they on \[(0|1)\]",
        ),
        (
            {"goal": {"points": [[30.0, 3.0, 0.0]], "success_radius_m": 0.2}},
            r"they on \[-1\] \(-1: off the mesh\)",
        ),
    ],
)
def test_a_task_that_cannot_be_begun_ends_its_slot_alone(
    make: Callable[..., HabitatVectorEnv], fields: dict[str, Any], message: str
) -> None:
    envs = make(2)
    _, infos = begin(envs, scene_task(**fields), scene_task())
    assert infos["end_reason"] == [EndReason.ENV_ERROR, ""]
    assert infos["env_error"][1] is None
    assert re.search(message, infos["env_error"][0])
    assert envs.live.tolist() == [False, True]
    _, infos = begin(envs, scene_task(), scene_task())  # the slot can be used again
    assert infos["env_error"] == [None, None]


def test_a_scene_without_a_navigation_mesh_is_refused(
    make: Callable[..., HabitatVectorEnv], scenes: Path
) -> None:
    envs = make(build_navmesh=False)
    _, infos = begin(envs, scene_task())
    assert (
        "has no navigation mesh (.navmesh) beside it; build_navmesh=True" in (infos["env_error"][0])
    )


def test_a_data_set_that_is_not_there_is_named(make: Callable[..., HabitatVectorEnv]) -> None:
    envs = make(dataset_config="gone.scene_dataset_config.json")
    _, infos = begin(envs, scene_task())
    assert (
        "gone.scene_dataset_config.json is not there; check dataset_config"
        in (infos["env_error"][0])
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sensors": ("rgb", "detph")}, r"unknown sensor 'detph' \(did you mean depth\?\); there"),
        ({"sensors": ()}, "at least one"),
        ({"sensors": ("rgb", "rgb")}, "must be different"),
        ({"n_slots": 0}, "n_slots must be >= 1"),
        ({"image_size": -1}, "image_size must be >= 0"),
        ({"success_radius_m": 0.0}, "success_radius_m must be > 0"),
        ({"collision_limit": 0}, "collision_limit must be None or >= 1"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HabitatVectorEnv(**{"n_slots": 1, "image_size": 0, **arguments})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"radius_m": 0.0}, "radius_m must be finite and > 0"),
        ({"eye_height_m": math.nan}, "eye_height_m must be finite"),
        ({"hfov_deg": 180.0}, "hfov_deg must lie between"),
        ({"eye_pitch_deg": 91.0}, "eye_pitch_deg must lie in"),
    ],
)
def test_a_body_that_cannot_be_is_refused(fields: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Rig(**fields)


def test_sensors_are_as_asked(
    make: Callable[..., HabitatVectorEnv], habitat_sim: ModuleType
) -> None:
    envs = make(image_size=8, sensors=("depth", "semantic"))
    obs, _ = begin(envs, scene_task())
    assert "rgb" not in obs
    assert (obs["depth"].shape, obs["depth"].dtype) == ((1, 8, 8), np.float32)
    assert (obs["semantic"].shape, obs["semantic"].dtype) == ((1, 8, 8), np.int32)
    # the middle columns see through the door to the far wall, the outer ones the near wall
    assert obs["depth"][0, 2, 3] > 4.0 > obs["depth"][0, 2, 0]
    assert np.array_equal(envs.segments(0), obs["semantic"][0])
    with pytest.raises(ValueError, match="make the world with the sensor 'rgb'"):
        envs.frame(0)
    with pytest.raises(ValueError, match="'semantic'"):
        make().segments(0)
    simulator = envs.lanes[0].simulation._sim  # type: ignore[union-attr]
    camera = simulator.config.agents[0].sensor_specifications[0]
    assert camera.position.tolist() == [0.0, 1.25, 0.0]
    assert camera.orientation[0] == pytest.approx(-math.radians(15))  # looking down


def test_without_pictures_nothing_is_drawn(make: Callable[..., HabitatVectorEnv]) -> None:
    envs = make()
    obs, _ = begin(envs, scene_task())
    assert obs["rgb"].shape == (1, 0, 0, 3)
    simulator = envs.lanes[0].simulation._sim  # type: ignore[union-attr]
    assert simulator.config.sim_cfg.create_renderer is False


def test_the_single_world(
    make: Callable[..., HabitatVectorEnv], scenes: Path, house_dir: Path
) -> None:
    options = {"scenes_dir": scenes, "house_dir": house_dir, "build_navmesh": True}
    single = HabitatEnv(render_mode="rgb_array", image_size=8, **options)
    obs, _ = single.reset(options={"task": scene_task()})
    assert single.observation_space.contains(obs)
    picture = single.render()
    assert picture is not None
    assert np.array_equal(picture, obs["rgb"])
    _, reward, *_ = single.step(1)
    assert reward == pytest.approx(0.24, abs=1e-3)
    with pytest.raises(RuntimeError, match="SceneMissing"):
        single.reset(options={"task": scene_task(scene={"scene_id": "gone.glb"})})
    single.close()


def test_the_world_has_a_name_and_an_id() -> None:
    spec = load_world("habitat")
    assert spec.make_tasks is make_tasks
    assert gym.spec(spec.gym_id).entry_point == "pilotage.envs.habitat:HabitatEnv"


@pytest.mark.slow
def test_gymnasium_accepts_the_single_world(house_dir: Path) -> None:
    check_env(HabitatEnv(image_size=8, house_dir=house_dir), skip_render_check=True)
