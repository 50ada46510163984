"""The floors of the graph world: the contract of an agent, and what each does step by step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotage.agents.vln.floors import RandomWalkAgent, ShortestAgent, StopAgent
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import make_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.testing import check_agent
from pilotage.episodes.types import BASELINE, Condition, Seeds


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(folder)
    return folder


@pytest.mark.parametrize("agent", [StopAgent(), RandomWalkAgent(), ShortestAgent()])
def test_the_contract_of_an_agent(root: Path, agent) -> None:
    mode = "view" if isinstance(agent, RandomWalkAgent) else "panoramic"
    tasks = [replace(t, max_steps=9) for t in make_tasks("train", 3, data=root)]
    check_agent(
        agent,
        lambda n: R2RVectorEnv(n, action_space=mode, expert_actions=True, data=root),
        tasks,
        [BASELINE],
    )


def test_stop_stops_and_shortest_arrives(root: Path) -> None:
    envs = R2RVectorEnv(2, expert_actions=True, data=root)
    tasks = make_tasks("train", 4, data=root)
    for record in run_episodes(envs, StopAgent(), tasks, [BASELINE], frames="none"):
        assert (record.n_steps, record.end.value) == (1, "agent_stopped")
    for record in run_episodes(envs, ShortestAgent(), tasks, [BASELINE], frames="none"):
        assert record.success
        assert record.agent_id == "shortest"
    envs.close()


def test_random_turns_first_then_makes_five_moves(root: Path) -> None:
    """Right up to 11 times, then forward whenever there is a place ahead, five times, then stop."""
    envs = R2RVectorEnv(3, action_space="view", data=root)
    tasks = make_tasks("train", 24, data=root)
    turns = set()
    for record in run_episodes(envs, RandomWalkAgent(), tasks, [BASELINE], frames="none"):
        actions = record.actions.tolist()
        assert set(actions) <= {0, 2, 5}
        assert actions[-1] == 0
        moves = actions.count(5)
        assert moves == 5 or len(actions) == 31
        assert moves <= 5
        turns.add(actions.index(5) if 5 in actions else 30)
        moved = (np.diff(record.trace["viewpoint"][:, 0]) != 0).tolist()
        assert moved == [a == 5 for a in actions]
        assert not record.trace["collision"].any()
    assert len(turns) > 5
    assert max(turns) <= 30
    envs.close()


def test_random_stops_after_its_budget(root: Path) -> None:
    """Where nothing is ever ahead it turns thirty times and stops."""
    agent = RandomWalkAgent()
    agent.prepare([BASELINE], 1)
    agent.reset_slot(0, make_tasks("train", 1, data=root)[0], BASELINE, Seeds(0, 0, 0))
    blocked = {"action_mask": np.array([[1] * 5 + [0] * 16], np.uint8)}
    done = [int(agent.act(blocked, np.array([True]))[0]) for _ in range(32)]
    assert done == [2] * 30 + [0, 0]


def test_a_floor_cannot_be_steered() -> None:
    with pytest.raises(ValueError, match=r"conditions \['fast'\] need one"):
        StopAgent().prepare([Condition("fast", {"interventions": [1]})], 1)
