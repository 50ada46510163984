"""Rollouts under sampled actions: one start, other draws, whoever plays beside them."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.presets import preset
from pilotage.agents.vla.rollouts import Rollouts, roll_out
from pilotage.envs.tabletop import vocabulary
from pilotage.scripts.opening import make_tasks, open_world

SITES = ["layers.0.resid:out", "layers.2.resid:out"]


@pytest.fixture(scope="module")
def agent() -> VLAAgent:
    torch.manual_seed(0)
    config = replace(
        preset("tabletop", "nano", vocabulary(), aux_dim=0), d_model=48, d_ff=64, vision_width=16
    )
    return VLAAgent(VLAModel(config), name="random", weights_sha256="0" * 64, rows_per_forward=2)


def play(agent: VLAAgent, temperature: float, n_slots: int) -> Rollouts:
    tasks = make_tasks("tabletop", "train", 2, seed=3, families=["reach"], manners="none")
    tasks = [replace(task, max_steps=3) for task in tasks]
    envs = open_world("tabletop", n_slots, for_agent="random")
    try:
        return roll_out(agent, envs, tasks, n=2, temperature=temperature, sites=SITES)
    finally:
        envs.close()


def test_rollouts_of_a_start_differ_by_what_was_drawn_only(agent: VLAAgent) -> None:
    cold, hot = play(agent, 1e-6, 4), play(agent, 3.0, 4)
    assert cold.tasks == hot.tasks
    assert len(set(cold.tasks)) == 2
    assert cold.steps == [3] * 4
    assert cold.successes == [False] * 4
    pair = [i for i, task in enumerate(cold.tasks) if task == cold.tasks[0]]
    for site in SITES:
        a, b = cold.activations[site][pair]
        assert torch.equal(a, b)  # nearly greedy: the start, world and noise are the same
        a, b = hot.activations[site][pair]
        assert not torch.allclose(a, b, atol=1e-4)
        assert cold.activations[site].shape == (4, 48)
    assert agent.config.temperature == 0.0  # the agent itself stays greedy
    alone = play(agent, 3.0, 1)
    for site in SITES:
        torch.testing.assert_close(alone.activations[site], hot.activations[site])


def test_rollouts_that_would_all_be_the_same_are_refused(agent: VLAAgent) -> None:
    for n, temperature in ((1, 1.0), (4, 0.0)):
        with pytest.raises(ValueError, match="all episodes of a task are the same"):
            roll_out(agent, None, [], n=n, temperature=temperature, sites=SITES)
