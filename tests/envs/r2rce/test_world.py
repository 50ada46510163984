"""The continuous world: its contract, moves against dead reckoning, distances against networkx."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.agents.scripted import ExpertAgent
from pilotage.agents.vln.continuous import HandcraftedAgent, RandomContinuousAgent, ReplayAgent
from pilotage.envs.r2r.continuous import replayed
from pilotage.envs.r2rce import R2RCEEnv, R2RCEVectorEnv, make_tasks, split_tasks
from pilotage.envs.r2rce.dataset import R2RCEData
from pilotage.envs.r2rce.walks import walk_of_record
from pilotage.envs.r2rce.waypoints import go_toward_point
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import BASELINE, EndReason, Task
from pilotage.episodes.vln_metrics import vln_metrics


def tasks_of(root: Path, n: int = 4, split: str = "train") -> list[Task]:
    tasks = make_tasks(split, n, data=root)
    return [replace(task, max_steps=8 + k) for k, task in enumerate(tasks)]


@pytest.mark.parametrize("text", [True, False])
@pytest.mark.parametrize("turn", [15, 30])
def test_the_contract_of_a_vector_world(world_root: Path, text: bool, turn: int) -> None:
    """With turns of 30 deg and without sliding as RxR-CE has it."""
    check_vector_world(
        lambda n: R2RCEVectorEnv(
            n,
            text=text,
            expert_actions=True,
            turn_deg=turn,
            sliding=turn == 15,
            data=world_root,
        ),
        tasks_of(world_root),
    )


def test_the_contract_on_published_data(data_path: Any) -> None:
    root = data_path("r2r_ce/R2R_VLNCE_v1-3/val_seen/val_seen.json.gz").parents[3]
    check_vector_world(
        lambda n: R2RCEVectorEnv(n, expert_actions=True, data=root), tasks_of(root, 3, "val_seen")
    )


def test_the_single_environment_passes_gymnasiums_checker(world_root: Path) -> None:
    check_env(R2RCEEnv(data=world_root), skip_render_check=True)


def test_it_is_registered_by_name(world_root: Path) -> None:
    world = load_world("r2rce")
    (task,) = world.make_tasks("train", 1, data=world_root)
    assert task.env == "r2rce"
    single = gym.make("pilotage/R2RCE-v0", data=world_root, disable_env_checker=True)
    observation, _ = single.reset(options={"task": task})
    assert "view_text" in observation
    single.close()


def test_moves_without_collision_are_dead_reckoning(data: R2RCEData) -> None:
    """And those with one are shorter, and never lead off the known ground."""
    tasks = split_tasks("r2rce", "val_seen", data.root)
    envs = R2RCEVectorEnv(6, text=False, data=data.root)
    records = run_episodes(envs, RandomContinuousAgent(), tasks, [BASELINE], frames="none")
    episodes = {e.episode_id: e for e in data.episodes("val_seen")}
    n_free = n_blocked = 0
    for record in records:
        position, collided = record.trace["position"], record.trace["collision"][1:, 0] > 0
        heading = record.trace["heading"][1:, 0]
        step = np.diff(position[:, :2], axis=0)
        forward = record.actions == 1
        wanted = 0.25 * np.stack([np.sin(heading), np.cos(heading)], axis=1)
        free = forward & ~collided
        np.testing.assert_allclose(step[free], wanted[free], atol=1e-9)
        assert (np.linalg.norm(step[collided], axis=1) < 0.25 - 1e-9).all()
        assert not np.any(step[~forward])
        places = envs.data.places(record.task.scene["scan"], envs.ground.link_m)
        assert max(places.nearest(point)[1] for point in position) <= 0.5 + 1e-9
        n_free, n_blocked = n_free + int(free.sum()), n_blocked + int(collided.sum())
        if not collided.any():
            episode = episodes[record.task.info["episode_id"]]
            reckoned = replayed(episode, record.actions)
            np.testing.assert_allclose(reckoned[-1], position[-1, :2], atol=1e-6)
    assert n_free > 50
    assert n_blocked > 10
    envs.close()


def test_without_sliding_a_blocked_move_stays(world_root: Path) -> None:
    tasks = split_tasks("r2rce", "train", world_root)[:6]
    envs = R2RCEVectorEnv(6, text=False, sliding=False, data=world_root)
    records = run_episodes(envs, HandcraftedAgent(), tasks, [BASELINE], frames="none")
    blocked = 0
    for record in records:
        collided = record.trace["collision"][1:, 0] > 0
        assert not np.diff(record.trace["position"], axis=0)[collided].any()
        blocked += int(collided.sum())
    assert blocked > 0
    envs.close()


def test_distances_are_networkxs_over_the_known_places(data: R2RCEData) -> None:
    task = split_tasks("r2rce", "train", data.root)[0]
    envs = R2RCEVectorEnv(1, text=False, data=data.root)
    places = envs.data.places(task.scene["scan"], envs.ground.link_m)
    goal = np.array(task.goal["position"])
    graph = nx.Graph()
    points = np.concatenate([places.position, goal[None]])
    flat = points * [1, 1, 0.5]
    for a, b in itertools.combinations(range(len(points)), 2):
        if np.linalg.norm(flat[a] - flat[b]) <= envs.ground.link_m:
            graph.add_edge(a, b, weight=float(np.linalg.norm(points[a] - points[b])))
    wanted = nx.single_source_dijkstra_path_length(graph, len(points) - 1)
    found = places.distances_to(goal)
    assert set(np.flatnonzero(np.isfinite(found)).tolist()) == set(wanted) - {len(points) - 1}
    for place, length in wanted.items():
        if place < len(found):
            assert found[place] == pytest.approx(length, abs=1e-6)
    _, infos = envs.reset(options={"tasks": [task]})
    straight = np.linalg.norm(goal - np.array(task.start["position"]))
    reset = float(infos["trace"]["distance_to_goal"][0, 0])
    assert straight - 1e-6 <= reset <= 1.5 * task.shortest_path_length + 1
    envs.close()


def test_the_expert_arrives_and_its_replay_walks_the_same(data: R2RCEData) -> None:
    tasks = split_tasks("r2rce", "val_seen", data.root)
    envs = R2RCEVectorEnv(5, text=False, expert_actions=True, data=data.root)
    experts = run_episodes(envs, ExpertAgent(), tasks, [BASELINE], frames="none")
    actions = {r.task.task_id: r.actions.tolist() for r in experts}
    again = run_episodes(envs, ReplayAgent(actions), tasks, [BASELINE], frames="none")
    for one, two in zip(experts, again):
        assert one.end == EndReason.GOAL_REACHED
        assert one.rewards.tolist() == [0.0] * (one.n_steps - 1) + [1.0]
        np.testing.assert_array_equal(one.trace["position"], two.trace["position"])
        walk = walk_of_record(one)
        assert walk is not None
        found = vln_metrics(walk, "vlnce")
        assert found["success"] == 1.0
        assert found["navigation_error"] < 3.0
    envs.close()


def test_the_same_path_in_both_worlds(data: R2RCEData) -> None:
    """A task's trajectory id and instruction name are those of the discrete path."""
    items = {item.instr_id: item for item in data.graphs.items("r2r", "train")}
    for task in split_tasks("r2rce", "train", data.root):
        item = items[task.info["instr_id"]]
        assert item.path_id == task.info["path_id"] == task.info["trajectory_id"]
        assert item.instruction.strip() == task.instruction
        assert len(item.path) == len(task.reference_path)


def test_a_waypoint_in_primitive_actions() -> None:
    """Turns the shorter way; what is done by hand: 90 deg to the right is six turns of 15 deg."""
    assert go_toward_point(1.0, math.pi / 2) == [3] * 6 + [1] * 4
    assert go_toward_point(0.5, math.radians(-30), turn_deg=30) == [2, 1, 1]
    assert go_toward_point(0.0, math.radians(350)) == [2]
    assert go_toward_point(0.12, 0.0) == []
    assert go_toward_point(0.125, math.pi) == [3] * 12 + [1]
    for wrong in ((-1.0, 0.0), (math.nan, 0.0), (1.0, math.inf)):
        with pytest.raises(ValueError, match="r must be >= 0"):
            go_toward_point(*wrong)
    with pytest.raises(ValueError, match="whole part of 360, got 25"):
        go_toward_point(1.0, 0.0, turn_deg=25)


def test_what_cannot_be_played_is_refused(world_root: Path) -> None:
    with pytest.raises(ValueError, match="turn_deg must be a whole part of 360, got 25"):
        R2RCEVectorEnv(1, turn_deg=25, data=world_root)
    with pytest.raises(ValueError, match=r"clearance_m must be > 0, got 0"):
        R2RCEVectorEnv(1, clearance_m=0, data=world_root)
    with pytest.raises(KeyError, match="unknown family 'r2r'"):
        make_tasks("train", 1, families=["r2r"], data=world_root)
    (task,) = tasks_of(world_root, 1)
    far = replace(task, start={**task.start, "position": [99.0, 0.0, 0.0]})
    envs = R2RCEVectorEnv(2, text=False, data=world_root)
    _, infos = envs.reset(options={"tasks": [far, replace(task, env="r2r")]})
    assert "from the next known place" in infos["env_error"][0]
    assert "belongs to the world 'r2r'" in infos["env_error"][1]
    with pytest.raises(ValueError, match="no recorded actions for task"):
        run_episodes(envs, ReplayAgent({}), [task], [BASELINE], on_error="raise")
    envs.close()
