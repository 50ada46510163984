"""Conditions with an LQR, a guard or a guide: their names, and what an episode makes of them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pilotage.agents.vla.conditions import parse_condition
from pilotage.agents.vla.policy import VLAAgent
from pilotage.episodes.types import Seeds
from pilotage.steering.artefacts import ArtefactError, model_digest
from pilotage.steering.guard import SuccessProbe
from pilotage.steering.guides import GuideFit, fit_guide
from pilotage.steering.vectors import SteeringVector, save_vector

from .tiny import tiny_config, tiny_model, tiny_observations, tiny_task

TEXT = "go to the red cube"
SITE = "layers.1.resid:out"
LQR = {"a": 0.5, "b": 2.0, "c": 3.0, "_r_squared": 0.9}


def _model():
    return tiny_model(replace(tiny_config(), world="tabletop"))


def _agent(folder: Path, **options: Any) -> VLAAgent:
    return VLAAgent(
        _model(), name="tiny", weights_sha256="0" * 64, folder=folder, rows_per_forward=4, **options
    )


def _vector(layer: int) -> SteeringVector:
    direction = torch.randn(32, generator=torch.Generator().manual_seed(layer))
    digest = model_digest(_model().decoder)
    return SteeringVector(f"layers.{layer}.resid:out", direction / direction.norm(), 2.0, digest)


def _write(folder: Path, *, bias: float) -> None:
    """An agent folder: one vector, and a guard whose probe says the same of every state."""
    vector = _vector(1)
    save_vector(vector, folder / "fast.safetensors")
    probe = SuccessProbe(SITE, torch.zeros(32), bias, vector.model_digest)
    probe.save(folder / "success.safetensors")
    spec = {
        "kind": "add",
        "site": SITE,
        "coefficient": 8.0,
        "vector": {"file": "fast.safetensors", "digest": vector.digest},
    }
    guard = {
        "probe": {"file": "success.safetensors", "digest": probe.digest},
        "threshold": 0.5,
        "resume": 0.6,
        "patience": 2,
        "ramp_steps": 2,
        "_auc_on_val": 0.9,
    }
    entry = {"interventions": [spec], "prompt_suffix": "quickly", "action_scale": 2.0}
    full = {**entry, "lqr": LQR, "lqr_actions": {**LQR, "low": 0.1}, "guard": guard}
    clamp = {"kind": "clamp", "site": "layers.1.mlp.down_proj:in", "coefficient": 2.0}
    table = {
        "fast": full,
        "bare": entry,
        "clamped": {**full, "interventions": [{**clamp, "neurons": [1]}]},
    }
    (folder / "conditions.json").write_text(json.dumps(table))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    _write(tmp_path, bias=-1.0)
    return tmp_path


def _play(agent: VLAAgent, names: list[str], n_steps: int = 7, same: bool = True):
    conditions = [parse_condition(name, agent.folder) for name in names]
    agent.prepare(conditions, len(names))
    for slot, condition in enumerate(conditions):
        agent.reset_slot(slot, tiny_task(slot, TEXT), condition, Seeds(0, 0, 0))
    traces = []
    for batch in tiny_observations(agent.model.config, [TEXT] * 5, n_steps):
        # Drawn for five slots whatever their number, so that those of a slot stay the same.
        batch = {key: rows[: len(names)] for key, rows in batch.items()}
        if same:
            for key in ("rgb", "proprio"):
                batch[key][1:] = batch[key][:1]
        actions = agent.act(batch, np.ones(len(names), bool))
        traces.append({**agent.step_trace(), "actions": actions.copy()})
    receipts = [agent.finish_slot(slot) for slot in range(len(names))]
    agent.close()
    return {name: np.stack([t[name] for t in traces]) for name in traces[0]}, receipts


def test_an_lqr_is_named_like_a_hold(folder: Path) -> None:
    spec = parse_condition("fast@0.5:lqr-0.30:random-matched-2", folder).spec
    law = {"law": "lqr", "quantity": "speed", "target": 0.30, "a": 0.5, "b": 2.0, "c": 3.0}
    assert spec["feedback"] == law
    assert spec["interventions"][0]["coefficient"] == 4.0
    assert spec["random_matched_seed"] == 2
    scaled = parse_condition("fast:lqr-0.30:action-scale", folder).spec
    assert scaled == {"feedback": {**law, "low": 0.1}}
    assert "law" not in parse_condition("fast:hold-0.30", folder).spec["feedback"]


def test_a_guard_may_stand_behind_a_hold_and_before_a_control(folder: Path) -> None:
    spec = parse_condition("fast@2:hold-0.30:guarded:random-matched", folder).spec
    assert spec["feedback"]["target"] == 0.30
    assert spec["guard"]["threshold"] == 0.5
    assert "_auc_on_val" not in spec["guard"]
    assert spec["random_matched_seed"] == 0
    assert "guard" not in parse_condition("fast@2", folder).spec


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("bare:lqr-0.3", "has no 'lqr'.*make_controllers.*or use :hold-0.3"),
        ("bare:guarded", "has no 'guard'; make one with"),
        ("fast:guarded:prompt", "a guard lets go of an edit, and there is none"),
        ("fast:guarded:action-scale", "there is none"),
        ("clamped:guarded", "a clamp cannot be guarded"),
        ("clamped:lqr-0.3", "a clamp cannot be held"),
        ("fast:lqr", r"unknown control 'lqr'"),
        ("fast:guarded:hold-0.3", r":hold-TARGET or :lqr-TARGET\]\[:guarded\]"),
    ],
)
def test_what_means_nothing_is_refused_and_says_why(folder: Path, name: str, words: str) -> None:
    with pytest.raises(KeyError, match=words):
        parse_condition(name, folder)


def test_a_guard_lets_go_step_by_step_and_leaves_the_model_as_it_was(folder: Path) -> None:
    trace, receipts = _play(_agent(folder), ["fast:guarded", "fast", "baseline"])
    # p = 0.27 from the second step on; two in a row; two steps to nothing.
    factors = [1, 1, 0.5, 0, 0, 0, 0]
    np.testing.assert_array_equal(trace["guard_factor"][:, 0], np.float32(factors))
    assert np.isnan(trace["guard_probability"][0]).all()
    np.testing.assert_allclose(trace["guard_probability"][1:, 0], 0.2689, atol=1e-3)
    assert np.isnan(trace["guard_factor"][:, 1:]).all(), "no guard in the other slots"
    assert (trace["dose"][:3, 0] > 0).all()
    assert (trace["dose"][3:, 0] == 0).all()
    np.testing.assert_array_equal(trace["actions"][0, 0], trace["actions"][0, 1])
    np.testing.assert_array_equal(trace["actions"][3:, 0], trace["actions"][3:, 2])
    guarded, plain, baseline = receipts
    assert guarded["guard"]["let_go_at"] == [2]
    assert guarded["guard"]["mean_factor"] == pytest.approx(2.5 / 7)
    assert guarded["guard"]["probe"]["file"] == "success.safetensors"
    assert guarded["interventions"][0]["coefficient"] == 8.0, "what is multiplied"
    assert "guard" not in plain
    assert "guard" not in baseline


def test_a_guard_that_sees_success_changes_nothing(folder: Path) -> None:
    _write(folder, bias=3.0)
    trace, _ = _play(_agent(folder), ["fast:guarded", "fast"])
    assert (trace["guard_factor"][:, 0] == 1).all()
    np.testing.assert_array_equal(trace["actions"][:, 0], trace["actions"][:, 1])


def test_a_guard_multiplies_what_a_controller_asks_for(folder: Path) -> None:
    trace, receipts = _play(_agent(folder), ["fast:hold-8:guarded", "fast:hold-8"])
    delivered = trace["multiplier"][:, 0] * trace["guard_factor"][:, 0]
    tokens = tiny_config().n_action_tokens - 1
    edit = receipts[0]["interventions"][0]
    expected = 8.0 * tokens * delivered.sum()
    assert edit["delivered_norm_sum"]["decode"] == pytest.approx(expected, rel=1e-4)
    assert receipts[0]["feedback"]["target"] == 8.0


def test_an_lqr_sets_the_multiplier_that_its_law_says(folder: Path) -> None:
    trace, (held,) = _play(_agent(folder), ["fast:lqr-8"])
    multipliers = trace["multiplier"][:, 0]
    assert multipliers[0] == 0.0
    assert held["feedback"]["law"] == "lqr"
    assert held["feedback"]["n_measured"] == 6
    assert len(held["feedback"]["gain"]) == 2
    assert held["feedback"]["mean_multiplier"] == pytest.approx(multipliers[1:].mean(), rel=1e-5)
    assert len(np.unique(multipliers)) > 2


def test_a_guarded_row_is_as_alone_whatever_its_neighbours(folder: Path) -> None:
    names = ["fast:guarded", "fast:lqr-8:guarded", "baseline", "fast@2", "fast@-1:guarded"]
    together, receipts = _play(_agent(folder), names)
    for slot, name in enumerate(names):
        alone, (receipt,) = _play(_agent(folder), [name])
        np.testing.assert_array_equal(together["actions"][:, slot], alone["actions"][:, 0])
        if slot != 2:
            np.testing.assert_array_equal(together["dose"][:, slot], alone["dose"][:, 0])
        assert receipts[slot] == receipt


def test_a_new_episode_begins_with_a_fresh_guard_and_no_state(folder: Path) -> None:
    agent = _agent(folder)
    first, _ = _play(agent, ["fast:guarded"])
    condition = parse_condition("fast:guarded", folder)
    agent.prepare([condition], 1)
    for _ in range(2):
        agent.reset_slot(0, tiny_task(0, TEXT), condition, Seeds(0, 0, 0))
        factors = []
        for batch in tiny_observations(agent.model.config, [TEXT] * 5, 7):
            batch = {key: rows[:1] for key, rows in batch.items()}
            agent.act(batch, np.ones(1, bool))
            factors.append(agent.step_trace()["guard_factor"][0])
        np.testing.assert_array_equal(factors, first["guard_factor"][:, 0])
    agent.close()


def test_a_probe_of_another_model_is_refused_when_the_run_begins(folder: Path) -> None:
    probe = SuccessProbe(SITE, torch.zeros(32), 0.0, "other")
    probe.save(folder / "success.safetensors")
    table = json.loads((folder / "conditions.json").read_text())
    table["fast"]["guard"]["probe"] = {"file": "success.safetensors"}
    (folder / "conditions.json").write_text(json.dumps(table))
    agent = _agent(folder)
    with pytest.raises(ArtefactError, match="made with the model other"):
        agent.prepare([parse_condition("fast:guarded", folder)], 1)


def test_recorded_states_are_those_a_gate_would_read(folder: Path) -> None:
    """A guided edit delivers the network's value of the state that is recorded beside it."""
    states = np.random.default_rng(0).normal(size=(40, 32))
    guide = fit_guide(
        [_vector(1), _vector(2)],
        states,
        states[:, 0] > 0,
        reads="layers.1.resid:in",
        fit=GuideFit(n_updates=50),
    )
    guide.save(folder / "guide.safetensors")
    reference = {"file": "guide.safetensors", "digest": guide.digest}
    groups = {"token_groups": ["proprio", "action"]}
    edits = [
        {"kind": "guided", "site": s, "coefficient": 8.0, "guide": reference, "selector": groups}
        for s in guide.sites
    ]
    (folder / "conditions.json").write_text(json.dumps({"led": {"interventions": edits}}))
    agent = _agent(folder, record_sites=["layers.0.resid:out"])
    trace, receipts = _play(agent, ["led", "baseline"], same=False)
    recorded = torch.from_numpy(trace["state.layers.0.resid:out"][:, 0])
    for place, site in enumerate(guide.sites):
        edit = receipts[0]["interventions"][place]
        expected = 8.0 * guide.gate(site).value(recorded)
        assert edit["edited_tokens"]["prefill"] == len(recorded)
        assert edit["delivered_norm_sum"]["prefill"] == pytest.approx(
            float(expected.sum()), rel=1e-4
        )
        per_step = tiny_config().n_action_tokens - 1
        assert edit["delivered_norm_sum"]["decode"] == pytest.approx(
            per_step * float(expected.sum()), rel=1e-4
        )
        assert float(expected.std()) > 0.1
