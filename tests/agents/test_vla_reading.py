"""What a VLA is pushed to say, against a forward through the model's parts by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from pilotage.agents.vla.conditions import AgentCondition
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.observed import image_of
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.reading import TOP_K, TokenReader, pushes_of
from pilotage.episodes.types import BASELINE, Condition, Seeds
from pilotage.steering.interventions import Intervention

from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

TEXTS = ["go left", "go to the red cube slowly", "right"]
CLAMP = Condition(
    "clamp",
    {
        "interventions": [
            _clamp := {
                "kind": "clamp",
                "site": "layers.1.mlp.down_proj:in",
                "coefficient": 4.0,
                "neurons": [7, 3],
            },
            {**_clamp, "site": "layers.2.mlp.down_proj:in", "neurons": [11]},
        ]
    },
)
CONTROL = Condition("clamp:random-matched", {**CLAMP.spec, "random_matched_seed": 5})
WORDS_ONLY = Condition("told", {"prompt_suffix": "quickly"})
CONDITIONS = [BASELINE, CLAMP, CONTROL, WORDS_ONLY]


def play(
    model: VLAModel,
    observations: Sequence[dict],
    rows: Sequence[tuple[int, Condition]],
    *,
    read_tokens: bool = True,
    narrate: bool = False,
) -> tuple[dict[str, np.ndarray], list[dict]]:
    """Traces `[n, T, ...]` and receipts of slots, each one text under one condition."""
    agent = VLAAgent(
        model,
        name="tiny",
        weights_sha256="0" * 64,
        rows_per_forward=4,
        read_tokens=read_tokens,
        narrate=narrate,
    )
    agent.prepare(CONDITIONS, len(rows))
    order = [text for text, _ in rows]
    for slot, (text, condition) in enumerate(rows):
        agent.reset_slot(slot, tiny_task(text, TEXTS[text]), condition, Seeds(0, 0, 0))
    steps = []
    for batch in observations:
        seen = {
            k: tuple(v[i] for i in order) if k == "instruction" else v[order]
            for k, v in batch.items()
        }
        agent.act(seen, np.ones(len(rows), bool))
        steps.append(agent.step_trace())
    receipts = [agent.finish_slot(slot) for slot in range(len(rows))]
    agent.close()
    return {name: np.stack([s[name] for s in steps], axis=1) for name in steps[0]}, receipts


def by_hand(
    model: VLAModel, observation: dict, row: int, clamps: dict[int, dict[int, float]]
) -> tuple[torch.Tensor, dict[tuple[int, int], float]]:
    """Logits `[L, vocabulary]` after each layer, where the first action token is predicted, of an
    agent without memory; and what each clamped neuron was before. The decoder is walked part by
    part: no cache, no hooks, no padding, one row."""
    config, tokenizer, decoder = model.config, model.tokenizer, model.decoder
    ids = [tokenizer.bos_id, *tokenizer.encode(TEXTS[row]), tokenizer.eos_id]
    picture = torch.from_numpy(image_of(observation, "rgb", config.with_depth)[row : row + 1])
    body = torch.from_numpy(observation["proprio"][row : row + 1])
    seen = model.embed_block([picture], body)
    h = torch.cat([model.embed_ids(torch.tensor([ids])), seen], dim=1)
    blocks = torch.arange(config.max_instruction, config.max_instruction + seen.shape[1])
    positions = torch.cat([torch.arange(len(ids)), blocks])[None]
    angles = decoder.model.rotary_emb(h, positions)
    n = h.shape[1]
    mask = torch.tril(torch.ones(n, n, dtype=torch.bool))[None, None]
    before: dict[tuple[int, int], float] = {}
    logits = []
    for number, layer in enumerate(decoder.model.layers):
        normed = layer.input_layernorm(h)
        h = h + layer.self_attn(normed, position_embeddings=angles, attention_mask=mask)[0]
        normed = layer.post_attention_layernorm(h)
        x = layer.mlp.act_fn(layer.mlp.gate_proj(normed)) * layer.mlp.up_proj(normed)
        for neuron, value in clamps.get(number, {}).items():
            before[number, neuron] = float(x[0, -1, neuron])
            x[..., neuron] = value
        h = h + x @ layer.mlp.down_proj.weight.T
        logits.append(decoder.lm_head(decoder.model.norm(h[0, -1])))
    return torch.stack(logits), before


@torch.inference_mode()
@pytest.mark.parametrize("condition", [BASELINE, CLAMP], ids=lambda c: c.name)
def test_readings_agree_with_a_forward_by_hand(condition: Condition) -> None:
    config = tiny_config()
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=3)
    trace, _ = play(model, observations, [(i, condition) for i in range(3)])
    clamps = {1: {7: 4.0, 3: 4.0}, 2: {11: 4.0}} if condition is CLAMP else {}
    for row in range(3):
        for step, observation in enumerate(observations):
            logits, before = by_hand(model, observation, row, clamps)
            best = logits.topk(TOP_K)
            np.testing.assert_array_equal(trace["top_token_ids"][row, step], best.indices)
            np.testing.assert_allclose(
                trace["top_token_logits"][row, step], best.values, rtol=1e-4, atol=1e-4
            )
            if clamps:
                expected = [before[1, 7], before[1, 3], before[2, 11]]
                found = trace["neuron_activations_before"][row, step]
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
                assert (trace["neuron_activations"][row, step] == 4.0).all()
            else:
                assert np.isnan(trace["neuron_activations"][row, step]).all()
                assert np.isnan(trace["neuron_activations_before"][row, step]).all()


def test_the_clamp_shows_in_the_layers_from_its_own_on() -> None:
    """Layer 0 says the same with and without the clamp, layers 1 and 2 do not; a control moves
    other neurons."""
    config = tiny_config()
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=2)
    trace, receipts = play(model, observations, [(0, BASELINE), (0, CLAMP), (0, CONTROL)])
    plain, steered, _ = trace["top_token_logits"]
    np.testing.assert_array_equal(plain[:, 0], steered[:, 0])
    assert (plain[:, 1:] != steered[:, 1:]).any(axis=-1).all()
    chosen = [{p["neuron"] for p in r["reading"]["pushes"]} for r in receipts]
    assert chosen[0] == set()
    assert chosen[1] == {3, 7, 11}
    assert len(chosen[2]) == 3
    assert not chosen[1] & chosen[2]


def test_the_last_layer_says_the_action_that_is_taken() -> None:
    config = tiny_config(memory_steps=4, sees_past_actions=False)
    model = tiny_model(config)
    first, others = model.tokenizer.first_bin_id, torch.arange(model.tokenizer.vocab_size)
    # Only the four bins that are actions can be said, so the best token is the action.
    others = others[(others < first) | (others >= first + config.n_discrete)]
    model.decoder.lm_head.weight[others] = 0.0
    observations = tiny_observations(config, TEXTS, n_steps=6)
    trace, receipts = play(model, observations, [(i, CLAMP) for i in range(3)], narrate=True)
    said = trace["top_token_ids"][:, :, -1, 0]
    positive = trace["top_token_logits"][:, :, -1, 0] > 0
    assert positive.mean() > 0.5, "the test is empty if no action wins"
    np.testing.assert_array_equal(said[positive] - first, trace["action_bins"][..., 0][positive])
    words = receipts[0]["reading"]["words"]
    assert {words[str(i)] for i in said[0, positive[0]]} <= {f"action {k}" for k in range(4)}


@pytest.mark.parametrize("memory_steps", [1, 4])
def test_reading_changes_nothing_and_slots_stay_invisible(memory_steps: int) -> None:
    config = tiny_config(memory_steps=memory_steps)
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=7)
    rows = [(0, BASELINE), (1, CLAMP), (2, CONTROL), (1, WORDS_ONLY), (0, CLAMP)]
    together, receipts = play(model, observations, rows)
    silent, plain_receipts = play(model, observations, rows, read_tokens=False)
    assert set(silent) == {"action_bins", "dose"}
    for name in silent:
        np.testing.assert_array_equal(silent[name], together[name])
    for with_reading, without in zip(receipts, plain_receipts, strict=True):
        assert {k: v for k, v in with_reading.items() if k != "reading"} == without
    for order in ([3, 1, 0, 4, 2], [1], [4], [2, 2, 1, 1, 0, 0, 2]):
        alone, told = play(model, observations, [rows[i] for i in order])
        for name, values in alone.items():
            assert values.tobytes() == together[name][order].tobytes(), name
        assert told == [receipts[i] for i in order]


def test_a_slot_that_is_used_again_remembers_no_words() -> None:
    config = tiny_config()
    model = tiny_model(config)
    observations = tiny_observations(config, TEXTS, n_steps=1)
    agent = VLAAgent(model, name="tiny", weights_sha256="0" * 64, read_tokens=True)
    agent.prepare(CONDITIONS, 3)
    told = []
    for condition in (CLAMP, BASELINE):
        for slot in range(3):
            agent.reset_slot(slot, tiny_task(slot, TEXTS[slot]), condition, Seeds(0, 0, 0))
        agent.act(observations[0], np.array([True, True, False]))
        told.append([agent.finish_slot(slot)["reading"] for slot in range(3)])
        ids = agent.step_trace()["top_token_ids"]
    agent.close()
    for slot in range(2):
        assert set(told[1][slot]["words"]) == {str(i) for i in np.unique(ids[slot])}
    assert told[1][2] == {"layers": [0, 1, 2], "pushes": [], "words": {}}
    assert len(told[0][2]["pushes"]) == 3  # of the condition, though the slot never acted


def test_pushes_are_read_in_the_vocabulary() -> None:
    model = tiny_model(tiny_config())
    decoder = model.decoder
    rows = decoder.lm_head.weight
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    direction /= direction.norm()
    wide = torch.randn(48, generator=torch.Generator().manual_seed(2))
    wide /= wide.norm()
    down = decoder.model.layers[1].mlp.down_proj.weight
    cases = [
        (Intervention("add", "layers.1.resid:out", 2.0, direction), direction),
        (Intervention("add", "layers.1.resid:out", -2.0, direction), -direction),
        (Intervention("ablate", "layers.1.resid:out", -1.0, direction), direction),
        (Intervention("add", "layers.1.mlp.down_proj:in", 2.0, wide), down @ wide),
    ]
    for intervention, written in cases:
        (push,) = pushes_of(decoder, intervention)
        assert push.neuron is None
        assert list(push.token_ids) == (rows @ written).topk(TOP_K).indices.tolist()
        assert "neuron" not in push.to_json()
    neurons = torch.tensor([9, 2])
    clamp = Intervention("clamp", "layers.1.mlp.down_proj:in", 1.0, neurons=neurons)
    pushes = pushes_of(decoder, clamp)
    assert [p.neuron for p in pushes] == [9, 2]
    for push in pushes:
        expected = (rows @ down[:, push.neuron]).topk(TOP_K).indices.tolist()
        assert push.to_json()["top_token_ids"] == expected


def test_a_run_without_edited_neurons_has_no_neuron_traces() -> None:
    model = tiny_model(tiny_config())
    reader = TokenReader(model.decoder, [AgentCondition("baseline")], n_rows=2)
    assert set(reader.trace(2)) == {"top_token_ids", "top_token_logits"}


def test_no_hook_stays_behind() -> None:
    config = tiny_config()
    model = tiny_model(config)
    play(model, tiny_observations(config, TEXTS, n_steps=1), [(0, CLAMP)])
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks


def testspelling_of_bins_and_words() -> None:
    agent = VLAAgent(tiny_model(tiny_config()), name="tiny", weights_sha256="0" * 64)
    first = agent.model.tokenizer.first_bin_id
    assert [agent.spell(i) for i in (0, 5, first, first + 255)] == [
        "<pad>",
        "go",
        "-1.00",
        "+1.00",
    ]
    discrete = VLAAgent(
        tiny_model(tiny_config(memory_steps=4)), name="tiny", weights_sha256="0" * 64
    )
    assert [discrete.spell(first + i) for i in (0, 3, 4)] == ["action 0", "action 3", "<bin 4>"]
