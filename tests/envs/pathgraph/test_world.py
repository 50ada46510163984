"""The path-graph world: its contract, its tasks, and that planners solve it."""

from __future__ import annotations

import dataclasses

import gymnasium as gym
import networkx as nx
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.agents.planner import graph_planner_agent
from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.pathgraph import PathGraphEnv, PathGraphVectorEnv, graph_task, make_tasks
from pilotage.envs.registry import load_world
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent, check_vector_world
from pilotage.episodes.types import BASELINE, EndReason, Task

RING = graph_task(nx.cycle_graph(5, create_using=nx.DiGraph), 0, 2)


def test_the_contract():
    tasks = [RING, *make_tasks("val", 4, families=["star"])]
    small = [graph_task(nx.path_graph(6), k, 5) for k in range(3)]
    tasks = [dataclasses.replace(task, max_steps=6) for task in [*small, *tasks]]
    check_vector_world(lambda n: PathGraphVectorEnv(n, max_nodes=12, expert_actions=True), tasks)


def test_the_single_form_passes_gymnasium_s_checker():
    env = gym.make("pilotage.envs.registration:pilotage/PathGraph-v0", max_nodes=10)
    check_env(env.unwrapped, skip_render_check=True)
    env.close()
    with pytest.raises(ValueError, match="render_mode must be None"):
        PathGraphEnv(render_mode="human")


def test_hops_walls_goal_stop_and_limit():
    env = PathGraphVectorEnv(3, max_nodes=6)
    obs, infos = env.reset(options={"tasks": [RING, RING, dataclasses.replace(RING, max_steps=2)]})
    assert infos["trace"]["distance_to_goal"].ravel().tolist() == [2, 2, 2]
    obs, *_, infos = env.step(np.array([2, 0, 5]))  # to node 1, stop, to node 4: no edge back
    assert obs["node"].tolist() == [1, 0, 0]
    assert infos["trace"]["collision"].ravel().tolist() == [0, 0, 1]
    obs, rewards, terminated, truncated, infos = env.step(np.array([3, 3, 6]))
    assert infos["end_reason"] == ["goal_reached", "agent_stopped", "step_limit"]
    assert rewards.tolist() == [1, 0, 0]
    assert (terminated.tolist(), truncated.tolist()) == ([True, False, False], [False] * 2 + [True])
    assert obs["node"].tolist() == [2, 0, 0]


def test_planner_and_expert_solve_every_family_on_a_shortest_way():
    assert load_world("pathgraph").make_tasks is make_tasks
    tasks = make_tasks("test", 30)
    env = PathGraphVectorEnv(8, expert_actions=True)
    for agent in (graph_planner_agent(), ExpertAgent()):
        records = run_episodes(env, agent, tasks, [BASELINE])
        assert all(r.end == EndReason.GOAL_REACHED for r in records)
        assert [r.n_steps for r in records] == [t.shortest_path_length for t in tasks]


def test_the_contract_of_agents():
    tasks = make_tasks("val", 4, families=["star"])
    check_agent(graph_planner_agent(), lambda n: PathGraphVectorEnv(n, max_nodes=9), tasks)


def test_tasks_are_repeatable_and_splits_do_not_share_pairs():
    seen = {}
    for split in ("train", "val", "test"):
        tasks = make_tasks(split, 60)
        assert [t.task_id for t in make_tasks(split, 30)] == [t.task_id for t in tasks[:30]]
        assert [t.family for t in tasks[:3]] == ["alpine", "blocksworld", "star"]
        for task in tasks:
            graph = nx.DiGraph([tuple(edge) for edge in task.scene["edges"]])
            ends = task.start["node"], task.goal["node"]
            assert nx.shortest_path_length(graph, *ends) == task.shortest_path_length
            assert Task.from_json(task.to_json()).to_json() == task.to_json()
            key = (task.family, str(task.scene["edges"]), ends)
            assert seen.setdefault(key, split) == split


def test_any_networkx_graph_makes_a_task():
    graph = nx.MultiGraph([("home", "shop"), ("home", "shop"), ("shop", "shop"), ("shop", "work")])
    task = graph_task(graph, "home", "work")
    assert task.scene == {"n_nodes": 3, "edges": [[0, 1], [1, 0], [1, 2], [2, 1]]}
    assert task.info["labels"] == ["home", "shop", "work"]
    assert task.shortest_path_length == 2
    with pytest.raises(KeyError, match="goal 'moon' is not one of the graph's 3 nodes"):
        graph_task(graph, "home", "moon")
    with pytest.raises(ValueError, match="both 'home'"):
        graph_task(graph, "home", "home")
    graph.add_node("island")
    with pytest.raises(ValueError, match="no path leads from 'home' to 'island'"):
        graph_task(graph, "home", "island")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"env": "maze"}, "slot 1, task .* is of the world 'maze'"),
        ({"scene": {"n_nodes": 9, "edges": []}}, "has 9 nodes.*max_nodes=9"),
        ({"scene": {"n_nodes": 3, "edges": [[0, 3]]}}, "an edge names a node outside 0 to 2"),
        ({"goal": {"node": 7}}, "goal 7 is outside 0 to 4"),
        ({"goal": {"node": 0}}, "start and goal are both 0"),
    ],
)
def test_a_bad_task_is_refused_before_anything_changes(changes, message):
    env = PathGraphVectorEnv(2, max_nodes=6)
    env.reset(options={"tasks": [RING, RING]})
    before = env.step(np.array([2, 1]))[0]["node"].tolist()
    with pytest.raises(ValueError, match=message):
        env.reset(options={"tasks": [RING, dataclasses.replace(RING, **changes)]})
    assert env.reset(options={"reset_mask": np.zeros(2, bool)})[0]["node"].tolist() == before


def test_bad_requests_are_named():
    for arguments, options, message in [
        (("dev", 1), {}, "split must be one of"),
        (("val", -1), {}, "n and seed must be >= 0"),
        (("val", 1), {"families": ["tree"]}, r"unknown families \['tree'\]"),
    ]:
        with pytest.raises(ValueError, match=message):
            make_tasks(*arguments, **options)
    with pytest.raises(ValueError, match="max_nodes >= 2"):
        PathGraphVectorEnv(1, max_nodes=1)
