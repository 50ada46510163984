"""Feedback conditions of a VLA: names, sensors against the world's own trace, and the episode."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.agents.vla.conditions import AgentCondition, parse_condition
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.sensors import HandHeight, HandSpeed, make_sensor
from pilotage.envs.tabletop import TabletopVectorEnv, make_tasks
from pilotage.episodes.types import Seeds
from pilotage.steering.artefacts import model_digest
from pilotage.steering.vectors import SteeringVector, save_vector

from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

TEXT = "go to the red cube"


def _model():
    return tiny_model(replace(tiny_config(), world="tabletop"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An agent folder with one vector."""
    direction = torch.randn(32, generator=torch.Generator().manual_seed(1))
    vector = SteeringVector(
        "layers.1.resid:out", direction / direction.norm(), 2.0, model_digest(_model().decoder)
    )
    save_vector(vector, tmp_path / "fast.safetensors")
    spec = {
        "kind": "add",
        "site": vector.site,
        "coefficient": 8.0,
        "vector": {"file": "fast.safetensors", "digest": vector.digest},
    }
    table = {"fast": {"interventions": [spec], "prompt_suffix": "quickly", "action_scale": 2.0}}
    (tmp_path / "conditions.json").write_text(json.dumps(table))
    return tmp_path


def _play(folder: Path, names: list[str], n_steps: int = 6):
    model = _model()
    agent = VLAAgent(model, name="tiny", weights_sha256="0" * 64, folder=folder, rows_per_forward=4)
    conditions = [parse_condition(name, folder) for name in names]
    agent.prepare(conditions, len(names))
    for slot, condition in enumerate(conditions):
        agent.reset_slot(slot, tiny_task(slot, TEXT), condition, Seeds(0, 0, 0))
    traces = []
    for batch in tiny_observations(model.config, [TEXT] * len(names), n_steps):
        for key in ("rgb", "proprio"):  # every slot sees the same
            batch[key][1:] = batch[key][:1]
        actions = agent.act(batch, np.ones(len(names), bool))
        traces.append({**agent.step_trace(), "actions": actions.copy()})
    receipts = [agent.finish_slot(slot) for slot in range(len(names))]
    agent.close()
    return traces, receipts


def test_hold_is_read_with_dose_and_control(folder: Path) -> None:
    held = parse_condition("fast@0.5:hold-0.30:random-matched-3", folder)
    assert held.spec["feedback"]["target"] == 0.30
    assert held.spec["feedback"]["quantity"] == "speed"
    assert held.spec["interventions"][0]["coefficient"] == 4.0
    assert held.spec["random_matched_seed"] == 3
    scaled = parse_condition("fast:hold-0.30:action-scale", folder)
    assert "interventions" not in scaled.spec
    assert scaled.spec["feedback"]["start"] == 1.0
    with pytest.raises(KeyError, match="words have no dose"):
        parse_condition("fast:hold-0.30:prompt", folder)


def test_the_multiplier_scales_what_is_delivered_step_by_step(folder: Path) -> None:
    traces, (held, constant) = _play(folder, ["fast:hold-8", "fast"])
    multipliers = np.array([t["multiplier"][0] for t in traces])
    assert np.isnan(traces[0]["multiplier"][1]), "no controller in the other slot"
    assert multipliers[0] == 0.0
    assert len(np.unique(multipliers)) > 2
    # An addition of a unit direction delivers its coefficient, 8 here, at every edited token.
    # What steers the words changes, so they are read at every step (under a constant: once).
    config = tiny_config()
    n_words, n_seen = len(TEXT.split()) + 2, config.n_image_tokens + 1
    tokens = {"prefill": n_words + n_seen, "decode": config.n_action_tokens - 1}
    once = constant["interventions"][0]["edited_tokens"]
    assert once["prefill"] == n_words + len(traces) * n_seen
    for phase, per_step in tokens.items():
        edit = held["interventions"][0]
        assert edit["edited_tokens"][phase] == per_step * np.count_nonzero(multipliers)
        expected = 8.0 * per_step * multipliers.sum()
        assert edit["delivered_norm_sum"][phase] == pytest.approx(expected, rel=1e-4)
    assert edit["coefficient"] == 8.0, "what the multiplier multiplies, not the last step's"
    assert edit["digest"] == constant["interventions"][0]["digest"]
    assert held["feedback"]["target"] == 8.0
    assert held["feedback"]["n_measured"] == len(traces) - 1
    assert "feedback" not in constant


def test_feedback_on_actions_scales_them_and_needs_no_edit(folder: Path) -> None:
    traces, (plain, _) = _play(folder, ["fast:hold-8:action-scale", "fast:prompt"])
    assert plain["feedback"]["mean_multiplier"] > 0
    assert "interventions" not in plain
    for trace in traces:
        multiplier = float(trace["multiplier"][0])
        assert 0.1 <= multiplier <= 5.0
    assert traces[0]["multiplier"][0] == 1.0


def test_an_action_under_feedback_is_multiplied(folder: Path) -> None:
    spec = parse_condition("fast:hold-0.5:action-scale", folder)
    condition = AgentCondition.resolve(spec, _model().decoder, folder)
    edited = condition.edit_action(np.array([0.2, -0.8, 0.0, 0.5], np.float32), 2.0)
    np.testing.assert_allclose(edited, [0.4, -1.0, 0.0, 0.5])


def test_unknown_quantities_and_worlds_say_what_exists() -> None:
    with pytest.raises(KeyError, match=r"unknown quantity 'sped'.*did you mean speed"):
        make_sensor("tabletop", "sped")
    with pytest.raises(KeyError, match=r"world 'rooms'; feedback works in: tabletop"):
        make_sensor("rooms", "speed")


def test_sensors_agree_with_the_trace_of_the_world() -> None:
    envs = TabletopVectorEnv(1)
    tasks = make_tasks("train", 1, families=["reach"], seed=3)
    observations, infos = envs.reset(
        seed=[0], options={"reset_mask": np.ones(1, bool), "tasks": list(tasks)}
    )
    speed, height = HandSpeed(), HandHeight()
    assert speed.measure(observations["proprio"][0]) is None
    rng = np.random.default_rng(0)
    before = infos["trace"]["ee_position"][0].copy()
    for _ in range(5):
        action = rng.uniform(-0.5, 0.5, (1, 7)).astype(np.float32)
        observations, _, _, _, infos = envs.step(action)
        here = infos["trace"]["ee_position"][0].copy()
        assert speed.measure(observations["proprio"][0]) == pytest.approx(
            np.linalg.norm(here - before) / 0.1, abs=1e-4
        )
        assert height.measure(observations["proprio"][0]) == pytest.approx(here[2], abs=1e-5)
        before = here
    envs.close()
