"""Action tokens that are drawn at a temperature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.sampling import ActionSampler
from pilotage.episodes.types import BASELINE, Seeds

from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

LOGITS = torch.tensor([1.0, 0.0, -1.0, 2.0])


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_tokens_come_as_often_as_the_softmax_says(temperature: float) -> None:
    n = 20_000
    sampler = ActionSampler(temperature, 1)
    sampler.reset(0, 7)
    one = torch.ones(1, dtype=torch.bool)
    found = np.array([int(sampler.choose(LOGITS[None], 0, one)[0]) for _ in range(n)])
    wanted = (LOGITS / temperature).softmax(-1).numpy()
    share = np.bincount(found, minlength=4) / n
    assert np.abs(share - wanted).max() < 4 * np.sqrt(0.25 / n)


def test_without_a_temperature_the_likeliest_is_taken() -> None:
    sampler = ActionSampler(0.0, 3)
    live = torch.tensor([True, False, True])
    assert sampler.choose(LOGITS.expand(3, 4), 0, live).tolist() == [3, 3, 3]


def test_an_episode_draws_the_same_whoever_plays_beside_it() -> None:
    """Alone in slot 0, and in slot 5 beside others that come and go."""
    alone, beside = ActionSampler(2.0, 8), ActionSampler(2.0, 8)
    alone.reset(0, 3)
    for slot in range(8):
        beside.reset(slot, 3 if slot == 5 else 100 + slot)
    for step in range(50):
        live = torch.tensor([step % 2 == 0, True, step % 3 == 0, False])  # slots 4 to 7
        first = alone.choose(LOGITS[None], 0, torch.ones(1, dtype=torch.bool))
        second = beside.choose(LOGITS.expand(4, 4), 4, live)
        assert int(first[0]) == int(second[1])


@pytest.mark.parametrize("temperature", [-0.1, float("nan"), float("inf")])
def test_a_temperature_that_is_none_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature"):
        ActionSampler(temperature, 1)


def acted(temperature: float, seed: int) -> list[int]:
    config = replace(tiny_config(memory_steps=4, sees_past_actions=False), temperature=temperature)
    agent = VLAAgent(tiny_model(config), name="tiny", weights_sha256="0" * 64)
    agent.prepare([BASELINE], 2)
    for slot in range(2):
        agent.reset_slot(slot, tiny_task(slot, "go left"), BASELINE, Seeds(0, seed, 0))
    rows = []
    for observations in tiny_observations(config, ["go left"] * 2, 30):
        rows.append(int(agent.act(observations, np.ones(2, bool))[0]))
    return rows


def test_the_agent_acts_by_its_episodes_seed() -> None:
    assert acted(5.0, 1) == acted(5.0, 1)
    assert acted(5.0, 1) != acted(5.0, 2)
    assert acted(0.0, 1) == acted(0.0, 2)
    assert len(set(acted(50.0, 1))) == 4


def test_the_manifest_tells_the_temperature() -> None:
    warm = replace(tiny_config(), temperature=0.5)
    agents = [
        VLAAgent(tiny_model(c), name="t", weights_sha256="0" * 64) for c in (warm, tiny_config())
    ]
    assert agents[0].manifest()["temperature"] == 0.5
    assert "temperature" not in agents[1].manifest()
