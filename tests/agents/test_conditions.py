"""Conditions: their names, their controls, and rows under different conditions in one batch."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.agents.vla.conditions import AgentCondition, parse_condition
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import BASELINE, Condition, Seeds
from pilotage.steering.artefacts import ArtefactError, model_digest
from pilotage.steering.vectors import SteeringVector, save_vector

from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

TEXTS = ["go left", "go to the red cube slowly", "right"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent folder with a vector and a table of conditions."""
    model = tiny_model(tiny_config())
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    vector = SteeringVector(
        "layers.1.resid:out", direction / direction.norm(), 2.0, model_digest(model.decoder)
    )
    save_vector(vector, tmp_path / "fast.safetensors")
    spec = {
        "kind": "add",
        "site": vector.site,
        "coefficient": 8.0,
        "vector": {"file": "fast.safetensors", "digest": vector.digest},
    }
    table = {
        "fast": {"interventions": [spec], "prompt_suffix": "quickly", "action_scale": 2.0},
        "bare": {"interventions": [spec]},
        "clamp": {"interventions": [{**spec, "kind": "clamp"}]},
        "_note": "not a condition",
    }
    (tmp_path / "conditions.json").write_text(json.dumps(table))
    return tmp_path


def test_a_dose_multiplies_the_coefficient(folder: Path) -> None:
    condition = parse_condition("fast@0.5", folder)
    assert condition.name == "fast@0.5"
    assert condition.spec["interventions"][0]["coefficient"] == 4.0


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("fsat", "did you mean fast.*baseline, fast, bare, clamp"),
        ("fast:nothing", "unknown control 'nothing'.*random-matched, prompt, action-scale"),
        ("bare:prompt", "has no prompt_suffix"),
        ("fast@:prompt", "is not NAME"),
        ("_note", "unknown condition"),
        ("fast@0.5.1", r"'fast@0\.5\.1' is not NAME.*hold-TARGET"),
        ("fast:hold-0.3.0", r"is not NAME"),
        ("fast@3:action-scale", "action-scale takes no dose"),
        ("fast@3:hold-0.3:action-scale", "action-scale takes no dose"),
        ("clamp:hold-0.3", "a clamp cannot be held"),
    ],
)
def test_a_wrong_name_lists_what_exists(folder: Path, text: str, words: str) -> None:
    with pytest.raises(KeyError, match=words):
        parse_condition(text, folder)


def test_counterparts_edit_words_and_actions(folder: Path) -> None:
    decoder = tiny_model(tiny_config()).decoder
    prompt = AgentCondition.resolve(parse_condition("fast:prompt", folder), decoder, folder)
    assert prompt.edit_instruction("go left") == "go left quickly"
    assert not prompt.interventions
    scale = AgentCondition.resolve(parse_condition("fast:action-scale", folder), decoder, folder)
    edited = scale.edit_action(np.array([0.2, -0.8, 0.0, 0.5], np.float32))
    np.testing.assert_allclose(edited, [0.4, -1.0, 0.0, 0.5])


def test_random_controls_differ_by_seed_and_are_orthogonal(folder: Path) -> None:
    decoder = tiny_model(tiny_config()).decoder
    target, first, second = (
        AgentCondition.resolve(parse_condition(name, folder), decoder, folder).interventions[0]
        for name in ("fast", "fast:random-matched", "fast:random-matched-7")
    )
    assert abs(float(first.direction @ target.direction)) < 1e-6
    assert abs(float(first.direction @ second.direction)) < 0.9
    assert first.coefficient == target.coefficient


def test_unknown_fields_of_a_spec_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown fields.*dose"):
        AgentCondition.resolve(Condition("x", {"dose": 1}), tiny_model(tiny_config()).decoder)


def _play(folder: Path, names: list[str], texts: list[str], seed: int = 0, *, reread: bool = False):
    model = tiny_model(tiny_config(), seed)
    agent = VLAAgent(model, name="tiny", weights_sha256="0" * 64, folder=folder, rows_per_forward=4)
    conditions = [BASELINE if n == "baseline" else parse_condition(n, folder) for n in names]
    agent.prepare(_unique(conditions), len(names))
    for slot, condition in enumerate(conditions):
        agent.reset_slot(slot, tiny_task(slot, texts[slot]), condition, Seeds(0, 0, 0))
    bins, doses = [], []
    for batch in tiny_observations(model.config, texts, n_steps=4):
        if reread:
            for slot, text in enumerate(texts):
                agent._read_instruction(slot, text)
        agent.act(batch, np.ones(len(names), bool))
        trace = agent.step_trace()
        bins.append(trace["action_bins"].astype(np.int64))
        doses.append(trace.get("dose", np.zeros(len(names))))
    receipts = [agent.finish_slot(slot) for slot in range(len(names))]
    agent.close()
    return np.stack(bins, 1), np.stack(doses, 1), receipts


def _unique(conditions: list[Condition]) -> list[Condition]:
    return list({c.name: c for c in conditions}.values())


def test_rows_under_different_conditions_equal_rows_run_alone(folder: Path) -> None:
    names = ["baseline", "fast", "fast:random-matched"]
    texts = [TEXTS[1]] * 3
    mixed, doses, receipts = _play(folder, names, texts)
    for row, name in enumerate(names):
        alone, _, _ = _play(folder, [name] * 3, texts)
        np.testing.assert_array_equal(mixed[row], alone[row])
    assert not np.array_equal(mixed[0], mixed[1]), "steering must do something"
    assert (doses[0] == 0).all()
    assert (doses[1:] > 0).all()
    assert receipts[0] == {}


def test_the_receipt_counts_every_token_of_the_episode(folder: Path) -> None:
    _, _, (receipt,) = _play(folder, ["fast"], [TEXTS[1]])
    config = tiny_config()
    n_words = len(TEXTS[1].split()) + 2  # with <bos> and <eos>
    prefill = n_words + 4 * (config.n_image_tokens + 1)  # the words are read once
    decode = 4 * (config.n_action_tokens - 1)
    (entry,) = receipt["interventions"]
    assert entry["edited_tokens"] == entry["planned_tokens"]
    assert entry["edited_tokens"] == {"prefill": prefill, "decode": decode}


@pytest.mark.parametrize(
    ("selector", "feedback", "changes"),
    [
        ({}, {}, False),
        ({"env_steps": [1, 3]}, {}, True),
        ({"env_steps": [1, 3], "token_groups": ["image", "action"]}, {}, False),
        ({}, {"feedback": {"quantity": "speed", "target": 8.0}}, True),
    ],
)
def test_words_are_read_again_only_where_what_steers_them_changes(
    folder: Path, selector: dict, feedback: dict, changes: bool
) -> None:
    table = json.loads((folder / "conditions.json").read_text())
    spec = {**table["fast"]["interventions"][0], "selector": selector}
    (folder / "conditions.json").write_text(
        json.dumps({"timed": {"interventions": [spec]}, "fast": table["fast"]})
    )
    condition = Condition("timed", {"interventions": [spec], **feedback})
    decoder = tiny_model(tiny_config()).decoder
    assert AgentCondition.resolve(condition, decoder, folder).changes_over_time is changes
    if not feedback:
        once, _, _ = _play(folder, ["timed", "fast"], [TEXTS[1]] * 2)
        often, _, _ = _play(folder, ["timed", "fast"], [TEXTS[1]] * 2, reread=True)
        np.testing.assert_array_equal(once, often)


def test_a_vector_of_another_model_is_refused(folder: Path) -> None:
    with pytest.raises(ArtefactError, match=r"fast\.safetensors"):
        _play(folder, ["fast"], [TEXTS[0]], seed=9)
