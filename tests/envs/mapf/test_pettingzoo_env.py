"""The fleet as a `pettingzoo.ParallelEnv`: PettingZoo's own checks, and the vector world beside."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, MapfVectorEnv, make_tasks, parallel_env, task_of
from pilotage.envs.mapf import pettingzoo_env as module

SMALL = {"n_agents": 3, "max_height": 6, "max_width": 7, "obs_radius": 2}


@pytest.fixture
def _pettingzoo():
    pytest.importorskip("pettingzoo", reason="PettingZoo is not installed")


@pytest.mark.usefixtures("_pettingzoo")
@pytest.mark.parametrize("seed", [0, 1])  # an even seed draws a one-shot team, an odd one lifelong
def test_pettingzoo_finds_nothing_wrong(seed, monkeypatch) -> None:
    """Its conformance test and its determinism test, on a team of each family."""
    from pettingzoo.test import parallel_api_test, parallel_seed_test

    drawn = MapfVectorEnv._draw
    monkeypatch.setattr(MapfVectorEnv, "_draw", lambda env, s: drawn(env, s - s % 2 + seed))
    parallel_api_test(parallel_env(**SMALL), num_cycles=200)
    parallel_seed_test(lambda: parallel_env(**SMALL), num_cycles=60)


@pytest.mark.usefixtures("_pettingzoo")
@pytest.mark.parametrize("lifelong", [False, True])
def test_a_team_moves_as_in_its_slot_of_the_vector_world(lifelong) -> None:
    """Slot 1 of a batch, and the parallel environment: the same observations, rewards and end."""
    (other,) = make_tasks("train", 1, n_agents=3, size=6)
    room = MapfInstance.one_shot(np.ones((2, 3), bool), [[0, 0], [0, 2]], [[1, 2], [0, 0]])
    task = task_of(room, lifelong=lifelong)  # so small that a walk at random arrives
    vector, env = MapfVectorEnv(2, **SMALL), parallel_env(**SMALL)
    whole, _ = vector.reset(seed=[5, 7], options={"tasks": [other, task]})
    seen, infos = env.reset(seed=7, options={"task": task})
    assert env.agents == ["agent_0", "agent_1"]  # the third place is empty
    rng = np.random.default_rng(0)
    total, steps = 0.0, 0
    while True:
        for i, name in enumerate(env.agents):
            assert env.observation_space(name).contains(seen[name])
            for part in ("windows", "xy", "target_xy"):
                np.testing.assert_array_equal(seen[name][part], whole[part][1, i])
        assert env.state_space.contains(env.state())
        assert env.state()[:42].tolist() == whole["walls"][1].ravel().tolist()
        assert env.state()[42:48].tolist() == whole["cells"][1].ravel().tolist()
        assert env.state()[48:].tolist() == whole["goals"][1].ravel().tolist()
        actions, team = rng.integers(0, 5, (2, 3)), list(env.agents)
        whole, reward, terminated, truncated, about = vector.step(actions)
        seen, rewards, ended, cut, infos = env.step({n: actions[1, i] for i, n in enumerate(team)})
        gained = [rewards[n] for n in team]
        assert (sum(gained) if lifelong else min(gained)) == reward[1]
        total, steps = total + reward[1], steps + 1
        assert set(ended.values()) == {terminated[1]}
        assert set(cut.values()) == {truncated[1]}
        assert infos["agent_1"]["goals_reached"] == about["trace"]["goals_reached"][1, 1]
        if not env.agents:
            break
    assert terminated[1] or truncated[1]
    assert infos["agent_0"]["end_reason"] == about["end_reason"][1] != ""
    assert infos["agent_0"]["success"] == about["success"][1]
    assert total > 0  # the walk at random did earn something, so rewards were compared


@pytest.mark.usefixtures("_pettingzoo")
def test_rewards_are_the_agents_own_in_a_lifelong_team_and_shared_in_a_one_shot_team() -> None:
    instance = MapfInstance.one_shot(np.ones((1, 5), bool), [[0, 0], [0, 2]], [[0, 1], [0, 4]])
    env = parallel_env(n_agents=2, max_height=1, max_width=5)
    env.reset(options={"task": task_of(instance, lifelong=True)})
    right = {"agent_0": 4, "agent_1": 4}
    assert env.step(right)[1] == {"agent_0": 1.0, "agent_1": 0.0}
    env.reset(options={"task": task_of(instance)})
    assert env.step(right)[1] == {"agent_0": 0.0, "agent_1": 0.0}
    _, rewards, terminated, truncated, infos = env.step({"agent_0": 0, "agent_1": 4})
    assert rewards == {"agent_0": 1.0, "agent_1": 1.0}
    assert terminated == {"agent_0": True, "agent_1": True}
    assert truncated == {"agent_0": False, "agent_1": False}
    assert infos["agent_1"]["end_reason"] == "goal_reached"
    assert env.agents == []
    with pytest.raises(RuntimeError, match="no episode is under way"):
        env.step({})


@pytest.mark.usefixtures("_pettingzoo")
def test_bad_calls_are_refused_and_nothing_moves() -> None:
    env = parallel_env(**SMALL)
    with pytest.raises(RuntimeError, match="no episode is under way"):
        env.step({})
    with pytest.raises(RuntimeError, match="no state before the first reset"):
        env.state()
    with pytest.raises(ValueError, match="more than the 6 x 7"):
        env.reset(options={"task": make_tasks("train", 1, size=12)[0]})
    env.reset(seed=0)
    before = env.state()
    stay = dict.fromkeys(env.agents, 0)
    with pytest.raises(ValueError, match=r"missing for \['agent_2'\]"):
        env.step({"agent_0": 1, "agent_1": 1})
    with pytest.raises(ValueError, match=r"given for \['agent_9'\]"):
        env.step({**stay, "agent_9": 0})
    for bad in (5, -1, 1.5, "up"):
        with pytest.raises(ValueError, match=f"agent_2: action {bad!r} is none of"):
            env.step({**stay, "agent_2": bad})
    assert env.state().tolist() == before.tolist()


def test_without_pettingzoo_the_error_names_the_extra(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    module._environment_class.cache_clear()
    with pytest.raises(ImportError, match=r"pip install 'pilotage\[pettingzoo\]'"):
        parallel_env()
