"""The world in the episode loop: its contract, its ends, and a planner that plays it."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from pilotage.envs.mapf import (
    MapfInstance,
    MapfVectorEnv,
    instance_of,
    make_tasks,
    task_of,
    validate_paths,
)
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import BASELINE, EndReason
from pilotage.planners.mapf import PibtPolicy


def short(tasks, max_steps=8):
    return [dataclasses.replace(task, max_steps=max_steps) for task in tasks]


def test_the_contract() -> None:
    tasks = short(make_tasks("train", 4, n_agents=3, size=6))
    done = MapfInstance.one_shot(np.ones((2, 2), bool), [[0, 0]], [[0, 1]])
    tasks.append(task_of(done, max_steps=30))
    check_vector_world(
        lambda n: MapfVectorEnv(n, n_agents=3, max_height=6, max_width=7, obs_radius=2),
        tasks,
        expected_ends=(EndReason.STEP_LIMIT, EndReason.GOAL_REACHED),
    )


class PibtAgent:
    """PIBT as an agent that sees the whole map: a joint action a step."""

    agent_id = "pibt@0"
    observation_needs: frozenset[str] = frozenset()

    def manifest(self):
        return {"kind": "pibt"}

    def prepare(self, conditions, n_slots):
        self.policies = [None] * n_slots

    def reset_slot(self, slot, task, condition, seeds):
        self.policies[slot] = None

    def act(self, observations, active):
        actions = np.zeros(observations["cells"].shape[:2], np.int64)
        for slot in np.flatnonzero(active):
            cells, goals = observations["cells"][slot], observations["goals"][slot]
            n = int((cells[:, 0] >= 0).sum())
            if self.policies[slot] is None:
                self.policies[slot] = PibtPolicy(observations["walls"][slot] == 0, n)
            after = self.policies[slot].next_cells(cells[:n], goals[:n])
            moves = (after - cells[:n]).tolist()
            known = [[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]]
            actions[slot, :n] = [known.index(move) for move in moves]
        return actions

    def step_trace(self):
        return {}

    def finish_slot(self, slot):
        return {}


def test_pibt_plays_under_the_episode_loop() -> None:
    """One-shot teams arrive, lifelong teams keep arriving, and the judge agrees with the world."""
    tasks = make_tasks("val", 8, n_agents=8)
    envs = MapfVectorEnv(3, n_agents=9)
    records = run_episodes(envs, PibtAgent(), tasks, [BASELINE], on_error="raise")
    for record in records:
        assert record.success, record.task.task_id
        n = record.task.info["n_agents"]
        assert record.trace["stopped"].sum() == 0  # its joint moves never collide
        if record.task.family == "oneshot":
            assert record.end is EndReason.GOAL_REACHED
            paths = record.trace["cells"][:, :n].transpose(1, 0, 2).astype(int)
            assert validate_paths(instance_of(record.task), paths).success
            assert record.rewards.tolist() == [0.0] * (record.n_steps - 1) + [1.0]
        else:
            assert record.end is EndReason.STEP_LIMIT
            assert record.rewards.sum() == record.trace["goals_reached"][-1].sum() > 30


def test_ends_and_rewards() -> None:
    instance = MapfInstance.one_shot(np.ones((1, 4), bool), [[0, 0], [0, 2]], [[0, 1], [0, 3]])
    env = MapfVectorEnv(2, n_agents=2, max_height=2, max_width=4)
    options = {"tasks": [task_of(instance), task_of(instance, lifelong=True, max_steps=2)]}
    observations, _ = env.reset(seed=0, options=options)
    assert env.observation_space.contains(observations)
    assert observations["walls"][0].tolist() == [[0, 0, 0, 0], [1, 1, 1, 1]]
    assert observations["target_xy"][0].tolist() == [[0, 1], [0, 1]]
    _, rewards, terminated, truncated, infos = env.step(np.array([[4, 4], [4, 4]]))
    assert rewards.tolist() == [1.0, 2.0]
    assert terminated.tolist() == [True, False]
    assert infos["end_reason"] == ["goal_reached", ""]
    _, rewards, terminated, truncated, infos = env.step(np.array([[9, 9], [0, 0]]))
    assert rewards[0] == 0
    assert truncated.tolist() == [False, True]
    assert infos["success"].tolist() == [True, True]
    assert env.live.tolist() == [False, False]


def test_bad_tasks_end_their_own_slot_only() -> None:
    (good,) = make_tasks("train", 1)
    broken = dataclasses.replace(good, scene={**good.scene, "map": ["..", "."]})
    foreign = dataclasses.replace(good, env="rooms")
    env = MapfVectorEnv(3)
    _, infos = env.reset(seed=0, options={"tasks": [broken, foreign, good]})
    assert "equally long rows" in infos["env_error"][0]
    assert "'rooms', not of 'mapf'" in infos["env_error"][1]
    assert infos["env_error"][2] is None
    assert env.live.tolist() == [False, False, True]


def test_bad_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="n_slots must be >= 1"):
        MapfVectorEnv(0)
    env = MapfVectorEnv(2)
    with pytest.raises(ValueError, match="slot 1 is to be reset but"):
        env.reset(options={"tasks": [make_tasks("train", 1)[0], None]})
    with pytest.raises(ValueError, match="reset_mask must be bool"):
        env.reset(options={"reset_mask": np.ones(3, bool)})
    env.reset(seed=1)
    with pytest.raises(ValueError, match="slot 1, agent 3: action 5"):
        env.step(np.where(np.arange(16).reshape(2, 8) == 11, 5, 0))
    with pytest.raises(ValueError, match="expected whole numbers"):
        env.step(np.zeros((2, 8)))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "dev"}, "split must be one of"),
        ({"families": ["x"]}, "unknown families"),
        ({"density": 0.9}, "density=0.9"),
        ({"n_agents": 40}, "too many for a map of 12 x 12"),
    ],
)
def test_bad_task_draws_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_tasks(**({"split": "train", "n": 1} | arguments))


def test_tasks_are_stable_and_round_trip() -> None:
    tasks = make_tasks("test", 6, seed=4)
    assert [t.task_id for t in make_tasks("test", 3, seed=4)] == [t.task_id for t in tasks[:3]]
    assert len({t.task_id for t in tasks}) == 6
    assert {t.family for t in tasks} == {"oneshot", "lifelong"}
    lists = MapfInstance.lifelong(np.ones((1, 3), bool), [[0, 0]], [[[0, 2], [0, 1]]])
    again = instance_of(task_of(lists))
    assert again.goal_lists[0].tolist() == [[0, 2], [0, 1]]
    apart = MapfInstance.one_shot(np.array([[1, 0, 1]], bool), [[0, 0]], [[0, 2]])
    with pytest.raises(ValueError, match="agent 0 cannot reach its goal"):
        task_of(apart)


def test_it_is_found_by_name_and_by_id() -> None:
    world = load_world("mapf")
    assert world.make_tasks("val", 1)[0].env == "mapf"
    env = gym.make("pilotage/Mapf-v0", n_agents=4, disable_env_checker=True)
    observation, _ = env.reset(seed=3)
    assert env.observation_space.contains(observation)
    _, reward, terminated, truncated, info = env.step(np.zeros(4, np.int64))
    assert isinstance(reward, float)
    assert not truncated
    assert info["end_reason"] == ("goal_reached" if terminated else "")
    env.close()
