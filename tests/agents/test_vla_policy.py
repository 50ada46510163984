"""The acting path (cache, slots) against the training path (one masked forward)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from pilotage.agents.vla.model import VLAModel, Window
from pilotage.agents.vla.observed import image_of
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import BASELINE, Seeds

from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

TEXTS = ["go left", "go to the red cube slowly", "right"]


def _play(
    model: VLAModel,
    observations: list[dict],
    texts: list[str],
    order: list[int],
    *,
    narrate: bool = False,
    said: list | None = None,
) -> np.ndarray:
    """Bins int64 [n, T, K] of an agent with slots in `order`; its narrations go into `said`."""
    agent = VLAAgent(
        model, name="tiny", weights_sha256="0" * 64, rows_per_forward=4, narrate=narrate
    )
    agent.prepare([BASELINE], len(order))
    for slot, i in enumerate(order):
        agent.reset_slot(slot, tiny_task(i, texts[i]), BASELINE, Seeds(0, 0, 0))
    bins = []
    for batch in observations:
        rows = {
            k: tuple(v[i] for i in order) if k == "instruction" else v[order]
            for k, v in batch.items()
        }
        agent.act(rows, np.ones(len(order), bool))
        bins.append(agent.step_trace()["action_bins"].astype(np.int64))
    if said is not None:
        said += [agent.finish_slot(slot)["narration"] for slot in range(len(order))]
    return np.stack(bins, axis=1)


def _window(model: VLAModel, observations: list[dict], texts: list[str], bins: np.ndarray):
    c, tokenizer = model.config, model.tokenizer
    n, n_steps = bins.shape[:2]
    words = [tokenizer.padded(t, c.max_instruction, start_id=tokenizer.bos_id) for t in texts]
    told = tokenizer.padded("go left", c.max_narration, start_id=tokenizer.say_id)
    frames = [image_of(o, "rgb", c.with_depth) for o in observations]
    return Window(
        instruction=torch.from_numpy(np.stack(words)),
        images=[torch.from_numpy(np.stack(frames, axis=1))],
        proprio=torch.from_numpy(np.stack([o["proprio"] for o in observations], axis=1)),
        actions=torch.from_numpy(bins),
        valid=torch.ones(n, n_steps, dtype=torch.bool),
        first_step=torch.zeros(n, dtype=torch.long),
        narration_step=torch.zeros(n, 2, dtype=torch.long),
        narration=torch.from_numpy(np.tile(told, (n, 2, 1))),
        aux=torch.zeros(n, n_steps, 2),
    )


@pytest.mark.parametrize(("memory_steps", "past_actions"), [(1, True), (6, True), (6, False)])
def test_acting_agrees_with_the_training_forward(memory_steps: int, past_actions: bool) -> None:
    config = tiny_config(memory_steps=memory_steps, sees_past_actions=past_actions)
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=5)
    bins = _play(model, observations, TEXTS, [0, 1, 2])
    assert len(np.unique(bins)) > 2, "the test is empty if every choice is the same"
    states = model(_window(model, observations, TEXTS, bins))["action"]
    logits = model.decoder.lm_head(states)[..., model.tokenizer.first_bin_id :]
    if config.n_discrete:
        logits = logits[..., : config.n_discrete]
    np.testing.assert_array_equal(logits.argmax(-1).numpy(), bins)


def test_a_full_ring_forgets_what_the_window_forgets() -> None:
    """After the ring of 4 steps has wrapped, acting equals a window of the last 4 steps.

    One layer, where keys do not carry what their own neighbours saw, so the two are exactly equal.
    """
    config = replace(tiny_config(memory_steps=4), n_layers=1)
    model = tiny_model(config, seed=3)
    observations = tiny_observations(config, TEXTS, n_steps=11, seed=5)
    bins = _play(model, observations, TEXTS, [0, 1, 2])
    first = model.tokenizer.first_bin_id
    for last in range(3, 11):
        seen = slice(last - 3, last + 1)
        window = _window(model, observations[seen], TEXTS, bins[:, seen])
        window.first_step += last - 3
        states = model(window)["action"][:, -1]
        logits = model.decoder.lm_head(states)[..., first : first + config.n_discrete]
        np.testing.assert_array_equal(logits.argmax(-1).numpy(), bins[:, last])


def test_narration_does_not_change_the_actions() -> None:
    config = tiny_config(memory_steps=6)
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=3)
    bins = np.zeros((3, 3, 1), np.int64)
    window = _window(model, observations, TEXTS, bins)
    before = model(window)["action"]
    other = model.tokenizer.padded("slowly", config.max_narration, start_id=model.tokenizer.say_id)
    window.narration = torch.from_numpy(np.tile(other, (3, 2, 1)))
    assert torch.equal(before, model(window)["action"])


def test_new_words_in_an_episode_replace_the_old_ones_whole() -> None:
    config = tiny_config()
    model = tiny_model(config)
    long, short = TEXTS[1], TEXTS[2]
    observations = tiny_observations(config, [long], n_steps=6)
    for batch in observations[3:]:
        batch["instruction"] = (short,)
    changed = _play(model, observations, [long], [0])[:, 3:]
    later = _play(model, observations[3:], [short], [0])
    np.testing.assert_array_equal(changed, later)
    unchanged = _play(model, tiny_observations(config, [long], n_steps=6), [long], [0])[:, 3:]
    assert not np.array_equal(changed, unchanged), "the words must matter"


@pytest.mark.parametrize("memory_steps", [1, 4])
def test_a_slot_does_not_depend_on_its_neighbours(memory_steps: int) -> None:
    config = tiny_config(memory_steps=memory_steps)
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=7)
    together = _play(model, observations, TEXTS, [0, 1, 2])
    for order in ([2, 0, 1], [1], [2, 1, 0, 0, 1, 2, 0]):
        alone = _play(model, observations, TEXTS, order)
        np.testing.assert_array_equal(alone, together[order])


@pytest.mark.parametrize(("memory_steps", "past_actions"), [(1, True), (3, True), (3, False)])
def test_an_agent_that_speaks_acts_the_same(memory_steps: int, past_actions: bool) -> None:
    config = tiny_config(memory_steps=memory_steps, sees_past_actions=past_actions)
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=8)
    said: list[list[str]] = []
    silent = _play(model, observations, TEXTS, [0, 1, 2])
    speaking = _play(model, observations, TEXTS, [0, 1, 2], narrate=True, said=said)
    np.testing.assert_array_equal(speaking, silent)
    assert [len(texts) for texts in said] == [8, 8, 8]
    alone: list[list[str]] = []
    _play(model, observations, TEXTS, [1], narrate=True, said=alone)
    assert alone[0] == said[1]


@pytest.mark.parametrize(("memory_steps", "past_actions"), [(1, True), (6, False), (6, True)])
def test_narration_agrees_with_the_training_forward(memory_steps: int, past_actions: bool) -> None:
    config = tiny_config(memory_steps=memory_steps, sees_past_actions=past_actions)
    model = tiny_model(config, seed=2)
    observations = tiny_observations(config, TEXTS, n_steps=4)
    said: list[list[str]] = []
    bins = _play(model, observations, TEXTS, [0, 1, 2], narrate=True, said=said)
    tokenizer = model.tokenizer
    for row, texts in enumerate(said):
        spoken = texts[-1]
        window = _window(model, observations, TEXTS, bins)
        ids = [tokenizer.say_id, *(tokenizer.encode(spoken) if spoken else [])]
        ids = (ids + [tokenizer.eos_id] * config.max_narration)[: config.max_narration]
        window.narration = torch.tensor(ids).expand(3, 2, -1).clone()
        window.narration_step = torch.full((3, 2), 3)
        states = model(window)["narration"][row, 0]
        best = model.next_word(states).tolist()
        assert tokenizer.decode(best[: config.max_narration - 1]) == spoken
