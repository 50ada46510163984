"""What a monitor records, against the training forward; rows that know nothing of each other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.model import VLAModel, Window
from pilotage.agents.vla.observed import image_of
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.skipping import skip_voids
from pilotage.episodes.types import BASELINE, Condition, Seeds
from pilotage.steering.captures import capture
from pilotage.steering.trajectories import trajectory_signals

from .tiny import tiny_config, tiny_demos, tiny_model, tiny_observations, tiny_task

TEXTS = ["go left", "go to the red cube slowly", "right"]
CLAMP = Condition(
    "clamp",
    {
        "interventions": [
            {
                "kind": "clamp",
                "site": "layers.1.mlp.down_proj:in",
                "coefficient": 4.0,
                "neurons": [7, 3],
            }
        ]
    },
)


def play(
    model: VLAModel,
    observations: Sequence[dict],
    rows: Sequence[tuple[int, Condition]],
    *,
    monitor: bool = True,
    again: int | None = None,
) -> dict[str, np.ndarray]:
    """Traces `[n, T, ...]` of slots, each one text under one condition. again: the step before
    which every slot begins a new episode."""
    agent = VLAAgent(
        model, name="tiny", weights_sha256="0" * 64, rows_per_forward=4, monitor=monitor
    )
    agent.prepare([BASELINE, CLAMP], len(rows))
    order = [text for text, _ in rows]
    steps = []
    for t, batch in enumerate(observations):
        if t in (0, again):
            for slot, (text, condition) in enumerate(rows):
                task = tiny_task(text, TEXTS[text])
                agent.reset_slot(slot, task, condition, Seeds(0, 0, 0))
        seen: dict[str, Any] = {
            k: tuple(v[i] for i in order) if k == "instruction" else v[order]
            for k, v in batch.items()
        }
        agent.act(seen, np.ones(len(rows), bool))
        steps.append(agent.step_trace())
    agent.close()
    return {name: np.stack([s[name] for s in steps], axis=1) for name in steps[0]}


def window_of(model: VLAModel, observations: Sequence[dict], bins: np.ndarray) -> Window:
    """The env steps of one row, each as a window of its own, with the actions that were taken."""
    c, tokenizer = model.config, model.tokenizer
    n = len(observations)
    words = tokenizer.padded(TEXTS[0], c.max_instruction, start_id=tokenizer.bos_id)
    pictures = np.stack([image_of(o, "rgb", c.with_depth)[0] for o in observations])
    return Window(
        instruction=torch.from_numpy(np.tile(words, (n, 1))),
        images=[torch.from_numpy(pictures)[:, None]],
        proprio=torch.from_numpy(np.stack([o["proprio"][0] for o in observations]))[:, None],
        actions=torch.from_numpy(bins.astype(np.int64))[:, None],
        valid=torch.ones(n, 1, dtype=torch.bool),
        first_step=torch.zeros(n, dtype=torch.long),
        narration_step=torch.zeros(n, 0, dtype=torch.long),
        narration=torch.zeros(n, 0, c.max_narration, dtype=torch.long),
        aux=torch.zeros(n, 1, 2),
    )


@torch.inference_mode()
def test_what_is_recorded_is_what_the_training_forward_computes() -> None:
    config = tiny_config()
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=4)
    trace = {name: rows[0] for name, rows in play(model, observations, [(0, BASELINE)]).items()}
    k, n_layers = config.n_action_tokens, config.n_layers
    names = ["layers.0.resid:in", *(f"layers.{n}.resid:out" for n in range(n_layers))]
    window = window_of(model, observations, trace["action_bins"])
    with capture(model.decoder, names) as seen:
        states = model(window)["action"][:, 0]
    length = config.max_instruction + config.block_size
    streams = torch.stack(
        [seen.activations(n).view(4, length, -1)[:, -k - 1 : -1] for n in names], dim=2
    )  # [T, K, L + 1, d]
    np.testing.assert_allclose(trace["stream_norms"], streams.norm(dim=-1), rtol=1e-4)
    moves = (streams[:, :, 1:] - streams[:, :, :-1]).norm(dim=-1)
    np.testing.assert_allclose(trace["stream_moves"], moves, rtol=1e-3, atol=1e-4)
    head, first = model.decoder.lm_head, model.tokenizer.first_bin_id
    read = head(model.decoder.model.norm(streams[:, :, 1:]))[..., first : first + config.n_bins]
    np.testing.assert_array_equal(trace["lens_bins"], read.argmax(-1))
    np.testing.assert_array_equal(trace["lens_bins"][..., -1], trace["action_bins"])
    final = head(states)[..., first : first + config.n_bins]
    spread = torch.distributions.Categorical(logits=final).entropy()
    np.testing.assert_allclose(trace["action_entropy"], spread, rtol=1e-3, atol=1e-4)
    best = final.sort(-1).values
    np.testing.assert_allclose(
        trace["action_margin"], best[..., -1] - best[..., -2], rtol=1e-3, atol=1e-3
    )
    np.testing.assert_allclose(
        trace["depth_signals"], trajectory_signals(streams[:, 0]), rtol=1e-3, atol=1e-4
    )
    through_time = trajectory_signals(streams[:, 0].transpose(0, 1))
    np.testing.assert_allclose(trace["time_signals"][-1], through_time, rtol=1e-3, atol=1e-4)
    assert np.isnan(trace["time_signals"][0]).all()


def test_a_monitor_changes_nothing_and_rows_know_nothing_of_each_other() -> None:
    config = tiny_config()
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=3)
    rows = [(0, BASELINE), (1, CLAMP), (2, BASELINE), (1, BASELINE), (0, CLAMP)]
    together = play(model, observations, rows)
    silent = play(model, observations, rows, monitor=False)
    assert set(silent) < set(together)
    for name, values in silent.items():
        np.testing.assert_array_equal(values, together[name])
    for slot, row in enumerate(rows):
        alone = play(model, observations, [row])
        for name, values in alone.items():
            np.testing.assert_array_equal(values[0], together[name][slot])
    plain, clamped = together["stream_norms"][[3, 1]]
    np.testing.assert_array_equal(plain[:, 0, :2], clamped[:, 0, :2])
    assert (plain[:, :, 2:] != clamped[:, :, 2:]).all(), "the clamp is in what layer 1 does"


def test_a_new_episode_is_a_new_trajectory() -> None:
    config = tiny_config(memory_steps=4, sees_past_actions=False)
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=6)
    whole = play(model, observations, [(0, BASELINE), (1, BASELINE)], again=3)
    second = play(model, observations[3:], [(0, BASELINE), (1, BASELINE)])
    np.testing.assert_array_equal(whole["time_signals"][:, 3:], second["time_signals"])
    assert np.isnan(whole["time_signals"][:, 3]).all()
    assert whole["lens_bins"].max() < config.n_discrete
    np.testing.assert_array_equal(whole["lens_bins"][..., -1], whole["action_bins"])


def test_skipping_a_block_that_does_nothing_changes_no_action() -> None:
    model = tiny_model(tiny_config())
    block = model.decoder.model.layers[2]
    block.self_attn.o_proj.weight.zero_()
    block.mlp.down_proj.weight.zero_()
    found, shares = skip_voids(model, tiny_demos(), n_steps=70)
    ways = {way.name: way for way in found}
    assert ways["block 2"].same.mean() == 1.0
    assert ways["block 2"].apart.mean() == 0.0
    assert ways["block 0"].same.mean() < 0.9
    assert ways["voids"].skipped == ways["random"].skipped == ways["voids, read out"].skipped
    assert shares["prefill"][2] == shares["decode"][2] == 1.0
    assert len(ways["voids"].same) == 70
