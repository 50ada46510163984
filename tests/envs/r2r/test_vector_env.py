"""The vector world: its contract, the same moves as the simulator, and what an agent reads."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.simulator import MatterSim
from pilotage.envs.r2r.single_env import R2REnv
from pilotage.envs.r2r.tasks import make_tasks, split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import BASELINE, EndReason, Task

MODES = ("panoramic", "view")


def short(data: R2RData, n: int = 4) -> list[Task]:
    tasks = make_tasks("train", n, families=["r2r", "reverie", "r4r"], data=data.root)
    return [replace(task, max_steps=6 + k) for k, task in enumerate(tasks)]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("text", [True, False])
def test_the_contract_of_a_vector_world(building: R2RData, mode: Any, text: bool) -> None:
    check_vector_world(
        lambda n: R2RVectorEnv(
            n, action_space=mode, text=text, expert_actions=True, data=building.root
        ),
        short(building),
    )


@pytest.mark.parametrize("mode", MODES)
def test_the_contract_on_published_data(data_path: Any, mode: Any) -> None:
    root = data_path("r2r/R2R_val_seen.json").parents[1]
    tasks = make_tasks("val_seen", 4, families=["r2r", "reverie"], data=root)
    tasks = [replace(task, max_steps=6 + k) for k, task in enumerate(tasks)]
    check_vector_world(lambda n: R2RVectorEnv(n, action_space=mode, data=root), tasks)


def test_the_single_environment_passes_gymnasiums_checker(building: R2RData) -> None:
    check_env(R2REnv(data=building.root), skip_render_check=True)


def test_it_is_registered_by_name(building: R2RData) -> None:
    world = load_world("r2r")
    env = world.make_vector(2, data=building.root)
    assert world.make_tasks("train", 1, data=building.root)[0].env == "r2r"
    env.close()
    single = gym.make("pilotage/R2R-v0", data=building.root, disable_env_checker=True)
    obs, _ = single.reset(options={"task": make_tasks("train", 1, data=building.root)[0]})
    assert "view_text" in obs
    single.close()


@pytest.mark.parametrize("family", ["r2r", "r4r", "reverie"])
@pytest.mark.parametrize("mode", MODES)
def test_the_expert_walks_a_shortest_path_and_stops_there(
    building: R2RData, mode: Any, family: str
) -> None:
    envs = R2RVectorEnv(5, action_space=mode, expert_actions=True, text=False, data=building.root)
    tasks = split_tasks(family, "train", building.root)
    for record in run_episodes(envs, ExpertAgent(), tasks, [BASELINE], frames="none"):
        assert record.end == EndReason.GOAL_REACHED
        assert record.rewards.tolist() == [0.0] * (record.n_steps - 1) + [1.0]
        steps = np.linalg.norm(np.diff(record.trace["position"], axis=0), axis=1)
        assert steps.sum() == pytest.approx(record.task.shortest_path_length)
        assert not record.trace["collision"].any()
        assert record.trace["distance_to_goal"][-1] == 0.0
    envs.close()


def test_view_actions_move_like_the_simulator(building: R2RData) -> None:
    """300 random actions in lockstep with `MatterSim`: place, angles, places to go to."""
    task = replace(make_tasks("train", 1, data=building.root)[0], max_steps=1000)
    envs = R2RVectorEnv(1, action_space="view", data=building.root)
    obs, infos = envs.reset(options={"tasks": [task]})
    sim = MatterSim(building.graph)
    sim.setCameraResolution(640, 480)
    sim.setCameraVFOV(math.radians(60))
    sim.setDiscretizedViewingAngles(True)
    start = [[task.scene["scan"]], [task.start["viewpoint"]], [task.start["heading"]], [0.0]]
    sim.newEpisode(*start)
    turns = {1: (-1.0, 0.0), 2: (1.0, 0.0), 3: (0.0, 1.0), 4: (0.0, -1.0)}
    rng = np.random.default_rng(0)
    moved = 0
    for _ in range(300):
        state = sim.getState()[0]
        places = state.navigableLocations[1:]
        assert obs["viewpoint"][0] == state.location.viewpointId
        assert obs["pose"][0] == pytest.approx([state.heading, state.elevation], abs=1e-6)
        assert obs["candidate_ids"][0].split() == [p.viewpointId for p in places]
        expected = [[p.rel_heading, p.rel_elevation, p.rel_distance] for p in places]
        np.testing.assert_allclose(
            obs["candidates"][0, : len(places)], np.reshape(expected, (-1, 3)), atol=1e-5
        )
        assert (obs["candidates"][0, len(places) :] == 0).all()
        assert obs["action_mask"][0].sum() == 5 + len(places)
        assert infos["trace"]["viewpoint"][0, 0] == state.location.ix
        action = int(rng.integers(1, 5 + 2 * bool(places)))
        if action >= 5:
            action = 5 + int(rng.integers(len(places)))
            sim.makeAction([action - 4], [0.0], [0.0])
            moved += 1
        else:
            turn, tilt = turns[action]
            sim.makeAction([0], [turn], [tilt])
        obs, _, _, _, infos = envs.step(np.array([action]))
    assert moved > 20
    envs.close()


def test_panoramic_moves_look_the_way_they_went(building: R2RData) -> None:
    task = make_tasks("train", 1, data=building.root)[0]
    envs = R2RVectorEnv(1, data=building.root)
    obs, infos = envs.reset(options={"tasks": [task]})
    ids = obs["candidate_ids"][0].split()
    before = infos["trace"]["position"][0]
    for k, (heading, elevation, distance) in enumerate(obs["candidates"][0, : len(ids)]):
        envs.reset(options={"tasks": [task]})
        after, _, _, _, infos = envs.step(np.array([k + 1]))
        assert after["viewpoint"][0] == ids[k]
        gap = infos["trace"]["position"][0] - before
        assert distance == pytest.approx(np.linalg.norm(gap), abs=1e-5)
        bearing = math.atan2(gap[0], gap[1])
        start = float(obs["pose"][0, 0])
        assert math.remainder(bearing - start - heading, 2 * math.pi) == pytest.approx(0, abs=1e-5)
        assert elevation == pytest.approx(math.atan2(gap[2], math.hypot(gap[0], gap[1])), abs=1e-5)
        looks = float(after["pose"][0, 0])  # the nearest of 12 headings
        assert abs(math.remainder(looks - bearing, 2 * math.pi)) <= math.radians(15) + 1e-6
    envs.close()


def test_a_choice_behind_the_last_candidate_does_nothing_and_is_counted(building: R2RData) -> None:
    task = make_tasks("train", 1, data=building.root)[0]
    for mode in MODES:
        envs = R2RVectorEnv(1, action_space=mode, data=building.root)  # type: ignore[arg-type]
        obs, _ = envs.reset(options={"tasks": [task]})
        last = int(envs.single_action_space.n) - 1
        assert obs["action_mask"][0, last] == 0
        after, _, _, _, infos = envs.step(np.array([last]))
        assert infos["trace"]["collision"][0, 0] == 1
        assert after["viewpoint"] == obs["viewpoint"]
        first = int(np.flatnonzero(obs["action_mask"][0])[1])
        _, _, _, _, infos = envs.step(np.array([first]))
        assert infos["trace"]["collision"][0, 0] == 0
        envs.close()


def test_success_is_strictly_within_the_radius_of_the_graph_distance(building: R2RData) -> None:
    task = make_tasks("train", 1, data=building.root)[0]
    distance = task.shortest_path_length
    for radius, end in [
        (distance, EndReason.AGENT_STOPPED),
        (distance + 1e-9, EndReason.GOAL_REACHED),
    ]:
        envs = R2RVectorEnv(1, success_radius_m=radius, data=building.root)
        envs.reset(options={"tasks": [task]})
        _, rewards, terminated, _, infos = envs.step(np.array([0]))
        assert terminated[0]
        assert infos["end_reason"] == [end.value]
        assert rewards[0] == infos["success"][0] == (end == EndReason.GOAL_REACHED)
        envs.close()


def test_reverie_succeeds_where_the_object_is_seen_and_only_there(building: R2RData) -> None:
    """Two metres away but out of sight is a failure."""
    task = split_tasks("reverie", "train", building.root)[0]
    assert task.goal["seen_from"] == [task.goal["viewpoint"]]
    envs = R2RVectorEnv(1, expert_actions=True, data=building.root, success_radius_m=100.0)
    obs, _ = envs.reset(options={"tasks": [task]})
    while obs["candidate_ids"][0].split()[obs["expert_action"][0] - 1] != task.goal["viewpoint"]:
        obs, *_ = envs.step(obs["expert_action"])
    _, _, _, _, infos = envs.step(np.array([0]))
    assert infos["end_reason"] == ["agent_stopped"]
    envs.close()


def test_texts_belong_to_the_place_and_the_direction(building: R2RData) -> None:
    """The invented captions say the sector: `... wall k.` lies around 45 deg * k."""
    envs = R2RVectorEnv(3, data=building.root)
    obs, _ = envs.reset(options={"tasks": make_tasks("train", 3, data=building.root)})
    for slot in range(3):
        heading = math.degrees(obs["pose"][slot, 0])
        ahead = round(heading / 45) % 8
        assert f"wall {ahead}." in obs["view_text"][slot]
        lines = obs["panorama_text"][slot].split("\n")
        assert len(lines) == 8
        assert lines[0].startswith("ahead: ")
        assert lines[2].startswith("right: ")
        for k, line in enumerate(lines):
            assert f"wall {(ahead + k) % 8}." in line
        texts = obs["candidate_text"][slot].split("\n")
        assert len(texts) == len(obs["candidate_ids"][slot].split())
        for text, (rel, _, _) in zip(texts, obs["candidates"][slot]):
            sector = int(text.split("wall ")[1][0])
            gap = math.remainder(math.degrees(rel) + heading - 45 * sector, 360)
            assert abs(gap) <= 22.5 + 15  # the view is 15 deg off at most, its sector 22.5
    envs.close()


def test_objects_come_from_the_lists_or_from_the_boxes(building: R2RData) -> None:
    tasks = make_tasks("train", 1, data=building.root)
    texts = {}
    for objects in ("captions", "boxes", "none"):
        envs = R2RVectorEnv(1, objects=objects, data=building.root)  # type: ignore[arg-type]
        texts[objects] = envs.reset(options={"tasks": tasks})[0]["panorama_text"][0]
        envs.close()
    number = int(tasks[0].start["viewpoint"].rpartition("-")[2]) + 1
    assert "objects" not in texts["none"]
    assert "objects: " in texts["captions"]
    assert f" #{number}" in texts["boxes"]
    assert f" #{number}" not in texts["captions"]
    assert "bed#frame" not in "".join(texts.values())


def test_the_heading_of_a_task_is_rounded_as_the_simulator_does(building: R2RData) -> None:
    task = make_tasks("train", 1, data=building.root)[0]
    envs = R2RVectorEnv(1, data=building.root)
    for degrees, expected in [(14.9, 0), (15.1, 30), (346, 0), (-20, 330)]:
        start = {**task.start, "heading": math.radians(degrees)}
        obs, _ = envs.reset(options={"tasks": [replace(task, start=start)]})
        assert math.degrees(obs["pose"][0, 0]) == pytest.approx(expected, abs=1e-4)
    envs.close()


def test_a_broken_task_ends_its_own_slot_only(building: R2RData) -> None:
    good = make_tasks("train", 1, data=building.root)[0]
    bad = {
        "'nowhere' is not in the graph": replace(
            good, start={"viewpoint": "nowhere", "heading": 0}
        ),
        "is not there": replace(good, scene={"scan": "missing"}),
        "belongs to the world 'rooms'": replace(good, env="rooms"),
    }
    for message, task in bad.items():
        envs = R2RVectorEnv(2, data=building.root)
        obs, infos = envs.reset(options={"tasks": [task, good]})
        assert infos["end_reason"] == ["env_error", ""]
        assert message in infos["env_error"][0]
        assert obs["viewpoint"][1] == good.start["viewpoint"]
        _, _, terminated, truncated, infos = envs.step(np.array([0, 1]))
        assert not terminated[0]
        assert not truncated[0]
        assert infos["env_error"][1] is None
        envs.close()
    single = R2REnv(data=building.root)
    with pytest.raises(RuntimeError, match="belongs to the world 'rooms'"):
        single.reset(options={"task": replace(good, env="rooms")})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n_slots": 0}, "n_slots must be >= 1"),
        ({"action_space": "pano"}, 'action_space must be "panoramic" or "view"'),
        ({"objects": "all"}, "objects must be"),
        ({"success_radius_m": 0.0}, "success_radius_m must be > 0"),
    ],
)
def test_wrong_options_are_refused(building: R2RData, options: dict, message: str) -> None:
    arguments: dict[str, Any] = {"n_slots": 1, "data": building.root} | options
    with pytest.raises(ValueError, match=message):
        R2RVectorEnv(**arguments)
