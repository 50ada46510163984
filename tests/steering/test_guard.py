"""The guard's states by hand-made sequences, and its probe against scikit-learn and on disk."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from pilotage.steering.artefacts import ArtefactError
from pilotage.steering.guard import Guard, GuardState, SuccessProbe, fit_success_probe

SITE = "layers.1.resid:out"
PROBE = SuccessProbe(SITE, torch.tensor([1.0, 0.0]), 0.0)
OK, BAD = 0.9, 0.1


def _factors(guard: Guard, probabilities: list[float]) -> tuple[list[float], GuardState]:
    state = GuardState(guard)
    factors = []
    for p in probabilities:
        h = [math.log(p / (1 - p)), 5.0]  # the probe reads the first number
        factors.append(state.step(h))
        assert state.probability == pytest.approx(p)
    return factors, state


def test_it_lets_go_after_so_many_steps_in_a_row_and_decays_to_nothing() -> None:
    guard = Guard(PROBE, 0.5, 0.7, patience=3, ramp_steps=4)
    factors, state = _factors(guard, [OK, BAD, BAD, OK, BAD, BAD, BAD, BAD, BAD, BAD, BAD])
    #                                    two do not count: one good step between
    assert factors == [1, 1, 1, 1, 1, 1, 0.75, 0.5, 0.25, 0, 0]
    assert not state.engaged
    receipt = state.receipt()
    assert receipt["let_go_at"] == [6]
    assert receipt["resumed_at"] == []
    assert receipt["mean_factor"] == pytest.approx(np.mean(factors))
    assert receipt["min_probability"] == pytest.approx(BAD)
    assert receipt["n_read"] == 11


def test_it_comes_back_only_above_the_higher_threshold() -> None:
    guard = Guard(PROBE, 0.5, 0.7, patience=1, resume_patience=2, ramp_steps=2)
    between = 0.6
    down, _ = _factors(guard, [BAD, BAD, *[between] * 5])
    assert down == [0.5, 0, 0, 0, 0, 0, 0], "above threshold is not enough"
    factors, state = _factors(guard, [BAD, BAD, BAD, OK, between, OK, OK, OK, between, between])
    assert factors == [0.5, 0, 0, 0, 0, 0, 0.5, 1, 1, 1], "and between is enough to stay"
    assert state.receipt()["let_go_at"] == [0]
    assert state.receipt()["resumed_at"] == [6]


def test_it_may_let_go_again() -> None:
    guard = Guard(PROBE, 0.5, 0.5, patience=1, resume_patience=1, ramp_steps=1)
    factors, state = _factors(guard, [BAD, OK, BAD, OK])
    assert factors == [0, 1, 0, 1]
    assert (state.receipt()["let_go_at"], state.receipt()["resumed_at"]) == ([0, 2], [1, 3])


def test_the_step_before_anything_was_read_is_at_full_dose_and_counts_as_a_step() -> None:
    state = GuardState(Guard(PROBE, 0.5, 0.7, patience=1, ramp_steps=1))
    assert state.step(None) == 1.0
    assert math.isnan(state.probability)
    assert state.step([-3.0, 0.0]) == 0.0
    assert state.receipt()["let_go_at"] == [1]


def test_at_the_thresholds_themselves_it_stays_and_it_returns() -> None:
    state = GuardState(Guard(PROBE, 0.5, 0.75, patience=1, resume_patience=1, ramp_steps=1))
    state.see(0.5)
    assert state.engaged
    state.see(0.49)
    assert not state.engaged
    state.see(0.75)
    assert state.engaged


def test_a_threshold_of_zero_never_lets_go() -> None:
    factors, _ = _factors(Guard(PROBE, 0.0, 0.0, patience=1), [0.001] * 20)
    assert factors == [1.0] * 20


def test_a_probability_that_is_no_number_is_an_error() -> None:
    with pytest.raises(ValueError, match="not a number"):
        GuardState(Guard(PROBE, 0.5, 0.7)).see(math.nan)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"resume": 0.4}, "threshold <= resume <= 1, got 0.5, 0.4"),
        ({"resume": 1.5}, "got 0.5, 1.5"),
        ({"patience": 0}, "patience must be >= 1, got 0"),
        ({"ramp_steps": 0}, "ramp_steps must be >= 1"),
    ],
)
def test_guards_that_make_no_sense_are_refused(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Guard(**{"probe": PROBE, "threshold": 0.5, "resume": 0.7, **fields})


def _made_up_episodes() -> tuple[list[np.ndarray], list[bool]]:
    rng = np.random.default_rng(0)
    outcomes = [bool(i % 2) for i in range(40)]
    episodes = [rng.normal(size=(10, 3)) * [1, 5, 1] + [3.0 if s else 0.0, 0, 20] for s in outcomes]
    return episodes, outcomes


def test_a_probe_says_what_scikit_learn_says() -> None:
    episodes, outcomes = _made_up_episodes()
    probe = fit_success_probe(episodes, outcomes, site=SITE, penalty=1.0)
    states = np.concatenate(episodes)
    scale = states.std(0) + 1e-6
    other = LogisticRegression(C=40.0, max_iter=2000)
    # Every episode has ten steps: weights of a tenth each.
    other.fit((states - states.mean(0)) / scale, np.repeat(outcomes, 10), np.full(400, 0.1))
    expected = other.predict_proba((states - states.mean(0)) / scale)[:, 1]
    found = [probe.probability(h) for h in states]
    np.testing.assert_allclose(found, expected, atol=1e-4)
    right = (np.array(found) > 0.5) == np.repeat(outcomes, 10)
    assert right.mean() > 0.9


def test_a_long_episode_weighs_no_more_than_a_short_one() -> None:
    rng = np.random.default_rng(1)
    good, bad = rng.normal(1, 1, (10, 2)), rng.normal(-1, 1, (10, 2))
    once = fit_success_probe([good, bad], [True, False], site=SITE)
    tiled = fit_success_probe([good, np.tile(bad, (30, 1))], [True, False], site=SITE)
    assert once.probability([0.0, 0.0]) == pytest.approx(0.5, abs=0.2)
    assert tiled.probability([0.0, 0.0]) == pytest.approx(0.5, abs=0.2), (
        "counted by steps, thirty times as many failures would say 1/31"
    )


def test_a_probe_needs_both_outcomes() -> None:
    episodes, _ = _made_up_episodes()
    with pytest.raises(ValueError, match="40 episodes, 40 of 40 outcomes being successes"):
        fit_success_probe(episodes, [True] * 40, site=SITE)


def test_huge_logits_are_probabilities_all_the_same() -> None:
    assert PROBE.probability([-5000.0, 0.0]) == 0.0
    assert PROBE.probability([5000.0, 0.0]) == 1.0
    with pytest.raises(ValueError, match=r"reads 2 numbers, got \(3,\)"):
        PROBE.probability([0.0, 0.0, 0.0])


def test_a_probe_survives_the_disk_and_belongs_to_a_model(tmp_path: Path) -> None:
    made = SuccessProbe(SITE, torch.tensor([0.25, -2.0]), 0.125, "abc", "by hand", {"n": 1})
    path = tmp_path / "p.safetensors"
    made.save(path)
    found = SuccessProbe.load(path, model_digest="abc")
    assert found.digest == made.digest
    assert found.probability([1.0, 0.5]) == made.probability([1.0, 0.5])
    assert (found.site, found.method, found.source) == (SITE, "by hand", {"n": 1})
    with pytest.raises(ArtefactError, match="made with the model abc, this one is xyz"):
        SuccessProbe.load(path, model_digest="xyz")


def test_a_guard_is_read_from_a_spec_with_its_probe(tmp_path: Path) -> None:
    PROBE.save(tmp_path / "p.safetensors")
    spec = {"probe": {"file": "p.safetensors"}, "threshold": 0.2, "resume": 0.4, "patience": 5}
    guard = Guard.from_spec(spec, tmp_path)
    assert (guard.threshold, guard.resume, guard.patience) == (0.2, 0.4, 5)
    assert guard.probe.file == "p.safetensors"
    with pytest.raises(ArtefactError, match="the spec asks for 0000"):
        Guard.from_spec({**spec, "probe": {"file": "p.safetensors", "digest": "0000"}}, tmp_path)
    with pytest.raises(ValueError, match=r"unknown fields \['treshold'\]"):
        Guard.from_spec({**spec, "treshold": 1}, tmp_path)
