"""A mix of logits as a condition: against one masked forward, beside other rows, and in words."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.agents.vla.conditions import parse_condition
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import BASELINE, Condition, Seeds

from .test_vla_policy import _window
from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

TEXTS = ["go left", "go to the red cube slowly", "right"]
MIX = Condition("mix", {"logit_mix": {"layers": [0, 1], "share": 0.7}})
NONE = Condition("none", {"logit_mix": {"layers": [0], "share": 0.0}})


def play(conditions: list[Condition]) -> tuple[np.ndarray, list[dict]]:
    """Bins `[3, T, K]` of slots under these conditions, and the receipts."""
    config = tiny_config()
    agent = VLAAgent(tiny_model(config), name="tiny", weights_sha256="0" * 64, rows_per_forward=4)
    agent.prepare([BASELINE, MIX, NONE], 3)
    for slot, condition in enumerate(conditions):
        agent.reset_slot(slot, tiny_task(slot, TEXTS[slot]), condition, Seeds(0, 0, 0))
    bins = []
    for batch in tiny_observations(config, TEXTS, n_steps=4):
        agent.act(batch, np.ones(3, bool))
        bins.append(agent.step_trace()["action_bins"].astype(np.int64))
    receipts = [agent.finish_slot(slot) for slot in range(3)]
    agent.close()
    return np.stack(bins, axis=1), receipts


def test_acting_agrees_with_the_logits_of_one_forward() -> None:
    bins, receipts = play([MIX] * 3)
    config = tiny_config()
    model = tiny_model(config)
    kept: dict[int, torch.Tensor] = {}
    for i, layer in enumerate(model.decoder.model.layers):
        layer.register_forward_hook(lambda m, a, out, i=i: kept.update({i: out}))
    with torch.no_grad():
        for t, batch in enumerate(tiny_observations(config, TEXTS, n_steps=4)):
            states = model(_window(model, [batch], TEXTS, bins[:, t : t + 1]))["action"][:, 0]
            first = config.max_instruction + config.n_image_tokens
            z = [states]
            for i in (0, 1):
                h = kept[i][0] if isinstance(kept[i], tuple) else kept[i]
                z.append(model.decoder.model.norm(h[:, first : first + config.n_action_tokens]))
            last, low, high = (model.decoder.lm_head(x) for x in z)
            mixed = 0.3 * last + 0.7 * (low + high) / 2
            chosen = mixed[..., model.tokenizer.first_bin_id :].argmax(-1)
            np.testing.assert_array_equal(chosen.numpy(), bins[:, t])
    told = receipts[1]["logit_mix"]
    assert told["planned_tokens"] == told["mixed_tokens"] == 4 * 3
    assert told["mean_kl"] > 0


def test_rows_beside_each_other_are_what_they_are_alone() -> None:
    plain, mixed = play([BASELINE] * 3)[0], play([MIX] * 3)[0]
    assert (plain != mixed).any()
    bins, receipts = play([MIX, BASELINE, NONE])
    np.testing.assert_array_equal(bins[0], mixed[0])
    np.testing.assert_array_equal(bins[1:], plain[1:])
    assert "logit_mix" not in receipts[1]
    assert receipts[2]["logit_mix"]["mixed_tokens"] == 0


def test_a_dose_multiplies_the_share_and_nonsense_is_refused(tmp_path: Path) -> None:
    table = {"sure": {"logit_mix": {"layers": [1], "share": 0.4}}, "odd": {"logit_mix": {}}}
    (tmp_path / "conditions.json").write_text(json.dumps(table))
    spec = parse_condition("sure@0.5", tmp_path).spec
    assert spec["logit_mix"] == {"layers": [1], "share": 0.2}
    agent = VLAAgent(tiny_model(tiny_config()), name="tiny", weights_sha256="0" * 64)
    with pytest.raises(ValueError, match="no layers"):
        agent.prepare([parse_condition("odd", tmp_path)], 1)
    with pytest.raises(ValueError, match="not between 0 and 1"):
        agent.prepare([parse_condition("sure@3", tmp_path)], 1)
