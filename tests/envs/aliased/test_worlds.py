"""The worlds of aliased rooms: contracts, moves and ways against networkx, the game's rules."""

from __future__ import annotations

import dataclasses
import itertools

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.agents.scripted import ExpertAgent, RandomAgent
from pilotage.envs.aliased import (
    AliasedRoomEnv,
    AliasedRoomVectorEnv,
    PlanningGameVectorEnv,
    game_task,
    make_game_tasks,
    make_tasks,
    room_task,
)
from pilotage.envs.pathgraph.aliased import AliasedRoom
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import BASELINE, EndReason, Task

LEFT, RIGHT, UP, DOWN = range(1, 5)
ROOM = AliasedRoom(np.array([[0, 1, 0], [2, 0, 1]]))
# cells 0 1 2 / 3 4 5; the walk goes right, up (a wall), down, right: 0 1 1 4 5
TASK = room_task(ROOM, 0, [1, 2, 3, 1], 2)
TORUS = AliasedRoom(np.arange(9).reshape(3, 3), wraps=True)
GAME = game_task(TORUS, 0, [2, 4, 2, 4, 2, 4], 8)


def test_the_contracts():
    tasks = [dataclasses.replace(t, max_steps=7) for t in make_tasks("val", 5, walk_length=30)]
    world = AliasedRoomVectorEnv
    check_vector_world(lambda n: world(n, walk_length=40, expert_actions=True), [TASK, *tasks])
    games = make_game_tasks("val", 4, n_steps=9)
    check_vector_world(lambda n: PlanningGameVectorEnv(n, expert_actions=True), [GAME, *games])


@pytest.mark.parametrize("name", ["AliasedRoom", "PlanningGame"])
def test_the_single_forms_pass_gymnasium_s_checker(name):
    env = gym.make(f"pilotage.envs.registration:pilotage/{name}-v0")
    check_env(env.unwrapped, skip_render_check=True)
    env.close()
    with pytest.raises(ValueError, match="render_mode must be None"):
        AliasedRoomEnv(render_mode="human")


def test_the_single_form_starts_the_task_that_it_is_given():
    env = AliasedRoomEnv(walk_length=5)
    obs, _ = env.reset(options={"task": TASK})
    assert (obs["symbol"], obs["goal_step"]) == (1, 2)
    assert env.step(LEFT)[0]["symbol"] == 0


def test_the_walk_is_shown_and_walls_goal_stop_and_limit_hold():
    env = AliasedRoomVectorEnv(3, walk_length=7)
    obs, infos = env.reset(options={"tasks": [TASK, TASK, dataclasses.replace(TASK, max_steps=2)]})
    assert obs["walk_symbols"][0].tolist() == [0, 1, 1, 0, 1, -1, -1]
    assert obs["walk_actions"][0].tolist() == [RIGHT, UP, DOWN, RIGHT, -1, -1]
    assert obs["goal_step"].tolist() == [2, 2, 2]  # seen in cell 1; the agent is in cell 5
    assert infos["trace"]["distance_to_goal"].ravel().tolist() == [2, 2, 2]
    obs, *_, infos = env.step(np.array([LEFT, 0, DOWN]))
    assert obs["symbol"].tolist() == [0, 1, 1]
    assert infos["trace"]["position"].tolist() == [[1, 1, 0], [2, 1, 0], [2, 1, 0]]
    assert infos["trace"]["collision"].ravel().tolist() == [0, 0, 1]
    _, rewards, terminated, truncated, infos = env.step(np.array([UP, UP, UP]))
    assert infos["end_reason"] == ["goal_reached", "agent_stopped", "step_limit"]
    assert rewards.tolist() == [1, 0, 0]
    assert infos["success"].tolist() == [True, False, False]
    assert (terminated.tolist(), truncated.tolist()) == ([True, False, False], [False] * 2 + [True])


@pytest.mark.parametrize("wraps", [False, True])
def test_moves_are_those_of_networkx_s_grid(wraps):
    room = AliasedRoom(np.zeros((3, 5), np.int64), wraps)
    grid = nx.grid_2d_graph(3, 5, periodic=wraps)
    ends = room.transitions()
    for row, column in itertools.product(range(3), range(5)):
        cell = row * 5 + column
        near = {r * 5 + c for r, c in grid[row, column]}
        assert set(ends[cell].tolist()) - {cell} == near
    there_and_back = ends[ends[:, [0, 1, 2, 3]], [1, 0, 3, 2]]
    if wraps:
        assert (there_and_back == np.arange(15)[:, None]).all()


def test_the_expert_takes_a_shortest_way_in_every_family():
    assert load_world("aliased").make_tasks is make_tasks
    tasks = make_tasks("test", 20, walk_length=60)
    env = AliasedRoomVectorEnv(4, walk_length=60, expert_actions=True)
    records = run_episodes(env, ExpertAgent(), tasks, [BASELINE])
    assert all(r.end == EndReason.GOAL_REACHED for r in records)
    grid = nx.grid_2d_graph(4, 4)
    for record in records:
        ends = [(int(y), int(x)) for x, y, _ in record.trace["position"][[0, -1]]]
        assert record.n_steps == nx.shortest_path_length(grid, *ends)
        assert record.n_steps == record.task.shortest_path_length


def test_the_game_is_the_published_one():
    """Against its rules, written down once more: positions modulo 4, collecting at the goal."""
    steps = {0: (0, 0), LEFT: (0, -1), RIGHT: (0, 1), UP: (-1, 0), DOWN: (1, 0)}
    assert load_world("planning-game").make_tasks is make_game_tasks
    rng = np.random.default_rng(0)
    task = make_game_tasks("test", 1)[0]
    labels, goals = np.array(task.scene["symbols"]), [divmod(g, 4) for g in task.goal["cells"]]
    assert sorted(labels.ravel().tolist()) == list(range(16))
    env = PlanningGameVectorEnv(1, expert_actions=True)
    obs, _ = env.reset(options={"tasks": [task]})
    row, column = divmod(task.start["cell"], 4)
    total = 0
    for step in range(1, 101):
        action = int(rng.integers(5) if rng.random() < 0.3 else obs["expert_action"][0])
        paid = action == 0 and (row, column) == goals[total]
        row, column = (row + steps[action][0]) % 4, (column + steps[action][1]) % 4
        total += paid
        obs, rewards, terminated, truncated, _ = env.step(np.array([action]))
        assert obs["symbol"][0] == labels[row, column]
        assert obs["goal_symbol"][0] == labels[goals[total]]
        assert rewards[0] == paid
        assert (terminated[0], truncated[0]) == (False, step == 100)
    assert total >= 10


def test_one_who_knows_the_labels_collects_as_many_as_the_ways_allow():
    def apart(a: int, b: int) -> int:
        return sum(min((x - y) % 4, (y - x) % 4) for x, y in zip(divmod(a, 4), divmod(b, 4)))

    tasks = make_game_tasks("test", 40, families=["torus"])
    env = PlanningGameVectorEnv(8, expert_actions=True)
    records = run_episodes(env, ExpertAgent(), tasks, [BASELINE])
    for task, record in zip(tasks, records):
        cells = [task.start["cell"], *task.goal["cells"]]
        ways = np.cumsum([apart(a, b) + 1 for a, b in itertools.pairwise(cells)])
        assert record.rewards.sum() == (ways <= 100).sum() == record.trace["collected"][-1, 0]
        assert record.success
        assert record.end == EndReason.STEP_LIMIT


def test_random_play_of_the_game_is_worth_about_one_reward():
    """0.96 a game of 100 steps; five standard errors of 150 games are 0.4."""
    tasks = make_game_tasks("test", 150, families=["torus"])
    env = PlanningGameVectorEnv(64)
    agent = RandomAgent(env.single_action_space, stop_probability=1 / 5)
    rewards = [r.rewards.sum() for r in run_episodes(env, agent, tasks, [BASELINE])]
    assert abs(np.mean(rewards) - 0.96) < 0.4


@pytest.mark.parametrize("make", [make_tasks, make_game_tasks])
def test_tasks_are_repeatable_and_splits_do_not_share_rooms(make):
    seen: dict[str, str] = {}
    for split in ("train", "val", "test"):
        tasks = make(split, 20)
        assert [t.task_id for t in make(split, 10)] == [t.task_id for t in tasks[:10]]
        assert len({str(t.scene) for t in tasks}) == 20
        assert make(split, 1, seed=1)[0].task_id != tasks[0].task_id
        for task in tasks:
            assert seen.setdefault(str(task.scene), split) == split == task.split
            assert Task.from_json(task.to_json()).to_json() == task.to_json()
    assert len(seen) == 60


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "maze"}, "slot 1, task .* is of the world 'maze', expected 'aliased'"),
        ({"scene": {"symbols": [[0]], "wraps": False}}, r"slot 1.*at least 2 cells"),
        ({"scene": {"symbols": [[0] * 65], "wraps": False}}, "has 65 cells.*max_cells=65"),
        ({"scene": {"symbols": [[0, 40]], "wraps": False}}, "has 41 symbols.*max_symbols=41"),
        ({"start": {"cell": 6, "walk": [0]}}, "start cell 6 is outside 0 to 5"),
        ({"start": {"cell": 0, "walk": [0, 4]}}, "walk action 4 is outside 0 to 3"),
        ({"start": {"cell": 0, "walk": [0] * 9}}, "a walk of 10 observations.*walk_length=10"),
        ({"goal": {"step": 5}}, "goal step 5 is outside 0 to 4"),
        ({"goal": {"step": 4}}, "the walk ends at the goal, cell 5"),
    ],
)
def test_a_bad_task_is_refused_before_anything_changes(changes, message):
    env = AliasedRoomVectorEnv(2, walk_length=6)
    env.reset(options={"tasks": [TASK, TASK]})
    before = env.step(np.array([LEFT, LEFT]))[0]["symbol"].tolist()
    with pytest.raises(ValueError, match=message):
        env.reset(options={"tasks": [TASK, dataclasses.replace(TASK, **changes)]})
    assert env.reset(options={"reset_mask": np.zeros(2, bool)})[0]["symbol"].tolist() == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "aliased"}, "slot 0, task .* of the world 'aliased', expected 'planning-game'"),
        ({"goal": {"cells": [1, 9, 1, 2, 1]}}, "cell 9 is outside 0 to 8"),
        ({"goal": {"cells": [0, 1, 0, 1, 0]}}, "a goal is the cell that the agent is in"),
        ({"max_steps": 12}, "6 goals, but 12 steps may need 7"),
    ],
)
def test_a_bad_game_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        PlanningGameVectorEnv(1).reset(options={"tasks": [dataclasses.replace(GAME, **changes)]})


def test_bad_requests_are_named():
    for make in (make_tasks, make_game_tasks):
        for arguments, options, message in [
            (("dev", 1), {}, "split must be one of"),
            (("val", -1), {}, "n and seed must be >= 0"),
            (("val", 1), {"families": ["tree"]}, r"unknown families \['tree'\]"),
        ]:
            with pytest.raises(ValueError, match=message):
                make(*arguments, **options)
    with pytest.raises(ValueError, match="no 1 x 2 room with 1 symbols is in split 'val'"):
        make_tasks("val", 1, families=["aliased"], size=(1, 2), n_symbols=1)
    with pytest.raises(ValueError, match="the walk ends where its step 0 was, in cell 0"):
        room_task(ROOM, 0, [0, 0], 0)
    with pytest.raises(ValueError, match="walk_length must be >= 2, got 1"):
        AliasedRoomVectorEnv(1, walk_length=1)
    with pytest.raises(ValueError, match="max_cells must be >= 1, got 0"):
        PlanningGameVectorEnv(1, max_cells=0)
    env = PlanningGameVectorEnv(1)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="slot 0: action 5 is none of 0 collect, 1 left"):
        env.step(np.array([5]))
