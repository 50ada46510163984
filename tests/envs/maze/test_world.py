"""The world: its contract, its tasks, what an agent sees, and that an expert reaches the goal."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.maze import MazeEnv, MazeVectorEnv, make_tasks, maze_task, read_tokens, to_graph
from pilotage.envs.maze.grid import AGENT, BLOCKED, GOAL, from_rows
from pilotage.envs.maze.splits import SPLITS, layout_hash, split_of
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import BASELINE, EndReason, Task

# rows: S . G over a closed row; the way is two moves to the right
CORRIDOR = maze_task(
    from_rows(["8c4", "000"]), np.array([[0, 0], [0, 1], [0, 2]]), split="train", family="dfs"
)


@pytest.mark.parametrize(
    "options",
    [
        {"view": "full", "expert_actions": True},
        {"view": "local", "radius": 1},
        {"view": "text"},
    ],
)
def test_the_contract(options):
    tasks = [*make_tasks("val", 5, size=4), CORRIDOR]
    tasks = [dataclasses.replace(task, max_steps=8) for task in tasks]
    check_vector_world(
        lambda n: MazeVectorEnv(n, max_size=5, **options),
        tasks,
        expected_ends=[EndReason.STEP_LIMIT],
    )


def test_the_single_form_passes_gymnasium_s_checker():
    for view in ("full", "local", "text"):
        env = gym.make(
            "pilotage.envs.registration:pilotage/Maze-v0", max_size=4, view=view, render_mode="ansi"
        )
        check_env(env.unwrapped, skip_render_check=view != "full")
        env.reset(seed=1)
        assert env.render().count("G") == 1
        env.close()
    with pytest.raises(ValueError, match="render_mode must be None or 'ansi'"):
        MazeEnv(render_mode="human")


def test_the_world_has_its_name():
    spec = load_world("maze")
    assert isinstance(spec.make_vector(2, max_size=4), MazeVectorEnv)
    assert spec.make_tasks("val", 1, size=3)[0].env == "maze"


def test_moves_walls_goal_stop_and_limit():
    env = MazeVectorEnv(3, max_size=(2, 3))
    short = dataclasses.replace(CORRIDOR, max_steps=2)
    obs, infos = env.reset(options={"tasks": [CORRIDOR, CORRIDOR, short]})
    assert obs["position"].tolist() == [[0, 0]] * 3
    assert infos["trace"]["distance_to_goal"].tolist() == [[2]] * 3
    obs, rewards, terminated, truncated, infos = env.step(np.array([4, 0, 2]))
    assert obs["position"].tolist() == [[0, 1], [0, 0], [0, 0]]
    assert infos["trace"]["collision"].tolist() == [[0], [0], [1]]
    assert infos["trace"]["position"][0].tolist() == [1, 0, 0]
    assert (rewards.tolist(), terminated.tolist()) == ([0, 0, 0], [False, True, False])
    obs, rewards, terminated, truncated, infos = env.step(np.array([4, 4, 1]))
    assert infos["end_reason"] == ["goal_reached", "agent_stopped", "step_limit"]
    assert infos["success"].tolist() == [True, False, False]
    assert rewards.tolist() == [1, 0, 0]
    assert terminated.tolist() == [True, False, False]
    assert truncated.tolist() == [False, False, True]
    assert not env.live.any()


def test_views_show_the_same_maze():
    tasks = make_tasks("train", 5, size=(4, 6))
    full, local, text = (
        MazeVectorEnv(5, max_size=(4, 6), view=view) for view in ("full", "local", "text")
    )
    seen, near, words = (env.reset(options={"tasks": tasks})[0] for env in (full, local, text))
    for i, task in enumerate(tasks):
        maze = from_rows(task.scene["rows"])
        (r, c), (gr, gc) = task.start["cell"], task.goal["cell"]
        assert np.array_equal(seen["cells"][i] & ~np.uint8(AGENT | GOAL), maze)
        assert np.argwhere(seen["cells"][i] & AGENT).tolist() == [[r, c]]
        assert np.argwhere(seen["cells"][i] & GOAL).tolist() == [[gr, gc]]
        assert near["cells"][i][2, 2] == seen["cells"][i][r, c]
        for dr in range(-2, 3):
            for dc in range(-2, 3):
                inside = 0 <= r + dr < 4 and 0 <= c + dc < 6
                expected = seen["cells"][i][r + dr, c + dc] if inside else BLOCKED
                assert near["cells"][i][2 + dr, 2 + dc] == expected
        read = read_tokens(words["text"][i], shape=(4, 6))
        assert np.array_equal(read.cells & 15, maze & 15)
        assert (list(read.start), list(read.goal)) == ([r, c], [gr, gc])


def test_the_expert_takes_a_shortest_way_everywhere():
    tasks = make_tasks("test", 10, size=6)
    env = MazeVectorEnv(4, max_size=7, expert_actions=True)
    records = run_episodes(env, ExpertAgent(), tasks, [BASELINE])
    assert all(r.end == EndReason.GOAL_REACHED for r in records)
    assert [r.n_steps for r in records] == [t.shortest_path_length for t in tasks]


def test_tasks_are_what_networkx_says_and_keep_to_their_split():
    layouts = {}
    for split in SPLITS:
        tasks = make_tasks(split, 15, size=(5, 6))
        for task in tasks:
            maze = from_rows(task.scene["rows"])
            layouts.setdefault(int(layout_hash(maze[None])[0]), set()).add(split)
            assert SPLITS[split_of(maze[None])[0]] == split
            graph = to_graph(maze)
            ends = tuple(task.start["cell"]), tuple(task.goal["cell"])
            assert nx.shortest_path_length(graph, *ends) == task.shortest_path_length
            way = [(int(y), int(x)) for x, y, _ in task.reference_path]
            assert (way[0], way[-1]) == ends
            assert nx.is_path(graph, way)
            assert Task.from_json(task.to_json()) == task
    assert all(len(splits) == 1 for splits in layouts.values())


def test_task_k_does_not_depend_on_the_others():
    long = make_tasks("val", 12, seed=3, size=4)
    assert make_tasks("val", 7, seed=3, size=4) == long[:7]
    assert [t.family for t in long[:5]] == ["dfs", "wilson", "percolation", "loops", "astar"]
    assert make_tasks("val", 1, seed=4, size=4) != long[:1]
    assert make_tasks("val", 0) == []


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        (("dev", 1), {}, "split must be one of"),
        (("val", -1), {}, "n and seed must be >= 0"),
        (("val", 1), {"families": ["prim"]}, r"unknown families \['prim'\]"),
        (("val", 1), {"size": 1}, "at least 2 x 2, got 1 x 1"),
        (("val", 1), {"size": 2, "families": ["astar"]}, "take a larger size"),
    ],
)
def test_bad_task_requests_are_named(arguments, options, message, monkeypatch):
    monkeypatch.setattr("pilotage.envs.maze.tasks._ROUNDS", 2)
    with pytest.raises(ValueError, match=message):
        make_tasks(*arguments, **options)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "rooms"}, "slot 1, task .* is of the world 'rooms'"),
        ({"scene": {"rows": ["8c4", "00x"]}}, "maze row 1"),
        ({"scene": {"rows": ["8cc4", "0000"]}}, r"has 2 x 4 cells.*max_size=\(2, 4\)"),
        ({"goal": {"cell": [0, 0]}}, "start and goal are both"),
        ({"goal": {"cell": [5, 0]}}, r"goal \(5, 0\) is blocked or outside"),
    ],
)
def test_a_bad_task_is_refused_before_anything_changes(changes, message):
    env = MazeVectorEnv(2, max_size=(2, 3))
    env.reset(options={"tasks": [CORRIDOR, CORRIDOR]})
    before = env.step(np.array([4, 1]))[0]["cells"].tobytes()
    bad = dataclasses.replace(CORRIDOR, **changes)
    with pytest.raises(ValueError, match=message):
        env.reset(options={"tasks": [CORRIDOR, bad]})
    mask = {"reset_mask": np.zeros(2, bool)}
    assert env.reset(options=mask)[0]["cells"].tobytes() == before


def test_bad_arguments_are_named():
    for options, message in [
        ({"view": "sonar"}, "view must be one of"),
        ({"max_size": 1}, "at least 2 x 2"),
        ({"radius": 0}, "radius must be >= 1"),
    ]:
        with pytest.raises(ValueError, match=message):
            MazeVectorEnv(1, **options)
    with pytest.raises(ValueError, match="n_slots"):
        MazeVectorEnv(0)
