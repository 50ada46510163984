"""The vector environment: its contract, its determinism, and what the expert reaches in it."""

from __future__ import annotations

import dataclasses
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode

from pilotage.envs.rooms import RoomsVectorEnv, make_tasks
from pilotage.envs.rooms.house import load_house


def _only(n, *pairs):
    """Reset options for some slots: (slot, task) pairs."""
    mask, tasks = np.zeros(n, dtype=bool), [None] * n
    for slot, task in pairs:
        mask[slot], tasks[slot] = True, task
    return {"reset_mask": mask, "tasks": tasks}


def _play(n, rounds, tasks):
    """Noisy expert, 25 steps, of `rounds` = [[(slot, task number), ...]]: number -> rows."""
    env = RoomsVectorEnv(n, expert_actions=True, image_size=24)
    episodes = {}
    for plan in rounds:
        obs, infos = env.reset(options=_only(n, *((s, tasks[i]) for s, i in plan)))
        noise = {i: np.random.default_rng(i) for _, i in plan}
        for i in noise:
            episodes[i] = []
        for _ in range(25):
            actions = np.full(n, 1)
            for s, i in plan:
                values = [v[s] for v in obs.values()] + [v[s] for v in infos["trace"].values()]
                episodes[i].append([np.array(v) for v in values])
                random = noise[i].random() < 0.4
                actions[s] = noise[i].integers(1, 4) if random else obs["expert_action"][s]
            obs, _, _, _, infos = env.step(actions)
    env.close()
    return episodes


def test_an_episode_does_not_depend_on_slots_or_neighbours():
    tasks = [make_tasks("val", 1, seed=s)[0] for s in (5, 6, 7, 8)]  # four houses
    together = _play(4, [[(0, 0), (1, 1), (2, 2), (3, 3)]], tasks)
    # one slot, the house of most bodies first: nothing of it may show in the smaller ones
    size = [len(load_house(t.scene).bodies) for t in tasks]
    assert len(set(size)) > 1
    alone = _play(1, [[(0, i)] for i in sorted(range(4), key=lambda i: -size[i])], tasks)
    mixed = _play(6, [[(5, 2)], [(5, 0), (2, 3)], [(0, 1)]], tasks)
    for other in (alone, mixed):
        for i in range(4):
            for a, b in zip(together[i], other[i]):
                assert all(np.array_equal(u, v) for u, v in zip(a, b))


def _run_expert(tasks, *, noise=0.0, **arguments):
    """Success, path efficiency and touches of the expert over tasks, without pictures."""
    env = RoomsVectorEnv(2, expert_actions=True, image_size=0, **arguments)
    rng = np.random.default_rng(0)
    rows = []
    for a, b in zip(tasks[::2], tasks[1::2]):
        obs, infos = env.reset(options=_only(2, (0, a), (1, b)))
        length, touches = np.zeros(2), np.zeros(2)
        while env.live.any():
            before = infos["trace"]["position"]
            random = rng.random(2) < noise
            actions = np.where(random, rng.integers(1, 4, 2), obs["expert_action"])
            obs, _, _, _, infos = env.step(actions)
            length += np.linalg.norm(infos["trace"]["position"] - before, axis=1)
            touches += infos["trace"]["collision"][:, 0]
        shortest = np.array([a.shortest_path_length, b.shortest_path_length])
        rows += zip(infos["success"], shortest / np.maximum(length, shortest), touches)
    env.close()
    return (np.array(column) for column in zip(*rows))


def test_expert_reaches_every_goal_in_unseen_houses():
    tasks = make_tasks("unseen", 30, seed=6)
    success, efficiency, touches = _run_expert(tasks, success_radius_m=0.25)
    assert success.all()
    assert efficiency.mean() > 0.97
    assert efficiency.min() > 0.85
    assert touches.mean() < 0.5


@pytest.mark.parametrize("sliding", [True, False])
def test_expert_recovers_from_random_actions(sliding):
    tasks = make_tasks("unseen", 16, seed=7)
    success, efficiency, _ = _run_expert(tasks, noise=0.15, sliding=sliding, success_radius_m=0.5)
    assert success.all()
    assert efficiency.mean() > 0.9


@pytest.fixture
def env():
    env = RoomsVectorEnv(3, image_size=16)
    yield env
    env.close()


def test_spaces_hold_what_comes_out(env):
    obs, infos = env.reset(seed=4)
    assert env.metadata["autoreset_mode"] == AutoresetMode.DISABLED
    assert env.observation_space.contains(obs)
    assert obs["rgb"].shape == (3, 16, 16, 3)
    assert obs["depth"].max() <= 10.0
    assert infos["trace"]["position"].shape == (3, 3)
    obs, rewards, terminated, truncated, infos = env.step(np.array([1, 2, 3]))
    assert env.observation_space.contains(obs)
    assert rewards.dtype == np.float64
    assert terminated.dtype == truncated.dtype == bool
    assert infos["end_reason"] == [""] * 3
    again, _ = RoomsVectorEnv(3, image_size=16).reset(seed=4)
    assert again["instruction"] == obs["instruction"]


def test_turns_and_steps_do_what_they_say(env):
    tasks = make_tasks("train", 3, seed=1)
    _, infos = env.reset(options=_only(3, *enumerate(tasks)))
    start = {k: v.copy() for k, v in infos["trace"].items()}
    obs, _, _, _, infos = env.step(np.array([1, 2, 3]))
    turned = infos["trace"]["heading"] - start["heading"]
    wrapped = np.remainder(turned[:, 0] + math.pi, 2 * math.pi) - math.pi
    assert wrapped == pytest.approx([0.0, math.radians(15), -math.radians(15)], abs=1e-9)
    if not infos["trace"]["collision"][0, 0]:
        moved = infos["trace"]["position"][0] - start["position"][0]
        heading = start["heading"][0, 0]
        assert moved == pytest.approx([0.25 * math.cos(heading), 0.25 * math.sin(heading), 0.0])
        assert obs["proprio"][0] == pytest.approx([0, 1, 0.025, 0], abs=1e-6)
    assert obs["proprio"][1, :2] == pytest.approx([math.sin(0.2618), math.cos(0.2618)], abs=1e-4)
    for _ in range(23):
        _, _, _, _, infos = env.step(np.array([2, 2, 3]))
    assert infos["trace"]["heading"][1] == start["heading"][1]  # a full turn, exactly


def test_goal_vector_points_at_the_point(env):
    task = make_tasks("train", 1, seed=1, families=["pointnav"])[0]
    obs, infos = env.reset(options=_only(3, (1, task)))
    ahead, left = task.goal["ahead_left_m"]
    far = math.hypot(ahead, left)
    assert obs["goal"][1] == pytest.approx([far / 10, ahead / far, left / far], abs=1e-4)
    assert not obs["goal"][[0, 2]].any()
    assert infos["trace"]["distance_to_goal"][1, 0] == pytest.approx(task.shortest_path_length)


def test_ended_and_empty_slots_are_frozen(env):
    task = make_tasks("train", 1, seed=1)[0]
    before, _ = env.reset(options=_only(3, (2, task)))
    assert before["instruction"][:2] == ("", "")
    _, rewards, terminated, _, infos = env.step(np.array([1, 1, 0]))
    assert terminated.tolist() == [False, False, True]
    assert infos["end_reason"] == ["", "", "agent_stopped"]
    assert rewards[2] == pytest.approx(-0.01)
    after, rewards, terminated, truncated, infos = env.step(np.array([1, 1, 99]))
    assert not rewards.any()
    assert not (terminated | truncated).any()
    assert np.array_equal(after["rgb"], before["rgb"])
    assert infos["end_reason"][2] == "agent_stopped"


def test_step_limit_collision_limit_and_success():
    task = make_tasks("train", 1, seed=1)[0]
    short = dataclasses.replace(task, max_steps=4)
    env = RoomsVectorEnv(1, image_size=0)
    env.reset(options=_only(1, (0, short)))
    ends = [env.step(np.array([2])) for _ in range(4)]
    assert [bool(e[3][0]) for e in ends] == [False, False, False, True]
    assert ends[-1][4]["end_reason"] == ["step_limit"]

    env = RoomsVectorEnv(1, image_size=0, collision_limit=3, sliding=False)
    env.reset(options=_only(1, (0, task)))
    touches = 0
    while env.live.any():
        _, _, terminated, _, infos = env.step(np.array([1]))
        touches += int(infos["trace"]["collision"][0, 0])
    assert touches == 3
    assert terminated[0]
    assert infos["end_reason"] == ["collision_limit"]

    x, y = task.goal["points"][0]
    there = dataclasses.replace(task, start={"position": [x, y, 0.0], "heading": 0.0})
    env.reset(options=_only(1, (0, there)))
    _, rewards, terminated, _, infos = env.step(np.array([0]))
    assert infos["success"].tolist() == [True]
    assert infos["end_reason"] == ["goal_reached"]
    assert rewards[0] == pytest.approx(2.49)


@pytest.mark.parametrize(("more", "reached"), [(-0.01, False), (0.01, True)])
def test_the_success_radius_decides(more, reached):
    task = make_tasks("train", 1, seed=1)[0]
    radius = task.shortest_path_length + more
    env = RoomsVectorEnv(1, image_size=0, success_radius_m=radius)
    env.reset(options=_only(1, (0, task)))
    _, _, terminated, _, infos = env.step(np.array([0]))
    assert terminated[0]
    assert infos["success"].tolist() == [reached]
    assert infos["end_reason"] == ["goal_reached" if reached else "agent_stopped"]


@pytest.mark.parametrize("bad", [4, -1, 1.5, math.nan, math.inf])
def test_bad_actions_name_slot_and_value(env, bad):
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"slot 1.*" + re_escape(bad)):
        env.step(np.array([1, bad, 1]))


def re_escape(value):
    return str(value).replace(".", r"\.").replace("-", r"\-")


def test_a_broken_task_ends_its_own_slot_only(env):
    good = make_tasks("train", 1, seed=1)[0]
    old = dataclasses.replace(good, scene={**good.scene, "digest": "0" * 16})
    foreign = dataclasses.replace(good, env="tabletop")
    _, infos = env.reset(options=_only(3, (0, old), (1, foreign), (2, good)))
    assert "digest" in infos["env_error"][0]
    assert "tabletop" in infos["env_error"][1]
    assert infos["env_error"][2] is None
    assert infos["end_reason"] == ["env_error", "env_error", ""]
    assert env.live.tolist() == [False, False, True]
    env.step(np.array([1, 1, 1]))
    _, infos = env.reset(options=_only(3, (0, good)))
    assert infos["env_error"][0] is None


def test_bad_arguments_are_refused():
    for bad in (
        {"n_slots": 0},
        {"n_slots": 1, "image_size": -1},
        {"n_slots": 1, "success_radius_m": 0.0},
        {"n_slots": 1, "collision_limit": 0},
    ):
        with pytest.raises(ValueError, match=str(next(reversed(bad)))):
            RoomsVectorEnv(**bad)
    env = RoomsVectorEnv(2, image_size=0)
    with pytest.raises(ValueError, match="reset_mask"):
        env.reset(options={"reset_mask": np.ones(3, dtype=bool), "tasks": [None, None]})
    with pytest.raises(ValueError, match="None"):
        env.reset(options={"reset_mask": np.ones(2, dtype=bool), "tasks": [None, None]})
    with pytest.raises(ValueError, match="shape"):
        env.step(np.array([1]))


def test_without_odometry_nothing_is_told():
    task = make_tasks("train", 1, seed=1, families=["pointnav"])[0]
    env = RoomsVectorEnv(1, image_size=0, odometry=False)
    first, _ = env.reset(options=_only(1, (0, task)))
    obs, *_ = env.step(np.array([2]))
    obs, *_ = env.step(np.array([1]))
    assert not obs["proprio"].any()
    assert np.array_equal(obs["goal"], first["goal"])


def test_narration_says_what_is_done():
    task = make_tasks("val", 1, seed=2, families=["instruction"])[0]
    env = RoomsVectorEnv(1, expert_actions=True, image_size=0)
    obs, infos = env.reset(options=_only(1, (0, task)))
    verbs = {0: "i stop", 1: "i walk", 2: "i turn left", 3: "i turn right"}
    while env.live.any():
        action = int(obs["expert_action"][0])
        assert infos["narration"][0].startswith(verbs[action])
        obs, _, _, _, infos = env.step(obs["expert_action"])
    assert infos["success"][0]


def test_single_environment_passes_the_checker():
    name = "pilotage-test/Rooms-v0"
    gym.register(name, "pilotage.envs.rooms:RoomsEnv")
    env = gym.make(name, render_mode="rgb_array", image_size=16, disable_env_checker=True)
    check_env(env.unwrapped)
    obs, info = env.reset(seed=3)
    task = make_tasks("val", 1)[0]
    assert env.observation_space.contains(obs)
    obs, info = env.reset(options={"task": task})
    assert obs["instruction"] == task.instruction
    assert info["end_reason"] == ""
    frame = env.render()
    assert frame.shape == (256, 512, 3)
    assert frame.std() > 10
    with pytest.raises(RuntimeError, match="digest"):
        env.reset(
            options={"task": dataclasses.replace(task, scene={**task.scene, "digest": "0" * 16})}
        )
    env.close()
