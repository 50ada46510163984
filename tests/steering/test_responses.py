"""Identification against systems that are known, and the excitation that it needs."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.steering.laws import setting_from_spec
from pilotage.steering.responses import Excitation, identify

A, B, C = 0.7, 0.12, 0.05


def _episodes(n: int, length: int, noise: float = 0.0) -> list[tuple[np.ndarray, np.ndarray]]:
    rng = np.random.default_rng(3)
    episodes = []
    for _ in range(n):
        u, x = rng.uniform(0, 2, length), np.zeros(length)
        x[0] = rng.uniform(0, 0.5)
        for t in range(length - 1):
            x[t + 1] = A * x[t] + B * u[t] + C + noise * rng.standard_normal()
        episodes.append((x, u))
    return episodes


def test_a_known_system_is_recovered_exactly() -> None:
    found = identify(_episodes(3, 12))
    assert (found.a, found.b, found.c) == pytest.approx((A, B, C), abs=1e-12)
    assert found.n_steps == 3 * 11, "pairs do not cross episodes"
    assert found.residual < 1e-12
    assert found.r_squared == pytest.approx(1.0)


def test_noise_shows_in_the_residual_and_hardly_in_the_system() -> None:
    found = identify(_episodes(40, 60, noise=0.02))
    assert (found.a, found.b, found.c) == pytest.approx((A, B, C), abs=0.02)
    assert found.residual == pytest.approx(0.02, rel=0.05)
    assert 0.5 < found.r_squared < 1.0


def test_a_multiplier_that_never_changes_identifies_nothing() -> None:
    episodes = [(x, np.ones_like(u)) for x, u in _episodes(3, 12)]
    with pytest.raises(ValueError, match="did not vary independently"):
        identify(episodes)


@pytest.mark.parametrize(
    ("x", "u", "words"),
    [
        (np.zeros(4), np.zeros(5), r"episode 0: x has shape \(4,\), u \(5,\)"),
        (np.full(20, np.nan), np.zeros(20), "leave out the steps before the first measurement"),
        (np.zeros(5), np.zeros(5), "needs 8 pairs of steps or more, got 4"),
    ],
)
def test_unusable_episodes_are_refused(x: np.ndarray, u: np.ndarray, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        identify([(x, u)])


def test_no_episodes_are_too_few() -> None:
    with pytest.raises(ValueError, match="got 0; play more"):
        identify([])


def test_excitation_holds_levels_and_measures() -> None:
    setting = Excitation("speed", (0.0, 0.5, 1.0), hold_steps=3, seed=4)
    law = setting.controller(0.1)
    played = [law.step(None if t == 0 else float(t)) for t in range(60)]
    blocks = np.array(played).reshape(20, 3)
    assert (blocks == blocks[:, :1]).all()
    assert set(played) == {0.0, 0.5, 1.0}
    again = setting.controller(0.1)
    assert [again.step(0.0) for _ in range(60)] == played, "whatever is measured"
    receipt = law.receipt()
    assert receipt["n_measured"] == 59
    assert receipt["mean_multiplier"] == pytest.approx(np.mean(played[1:]))
    other = Excitation("speed", (0.0, 0.5, 1.0), hold_steps=3, seed=5).controller(0.1)
    assert [other.step(None) for _ in range(60)] != played


def test_an_excitation_survives_the_round_trip() -> None:
    setting = Excitation("speed", (0.0, 1.0), seed=2)
    assert setting_from_spec(setting.to_spec()) == setting


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"levels": [1.0, 1.0]}, "needs two levels"),
        ({"levels": [0.0, 1.0], "hold_steps": 0}, "hold_steps must be >= 1, got 0"),
        ({}, r"missing \['levels'\]"),
    ],
)
def test_excitations_that_make_no_sense_are_refused(fields: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Excitation.from_spec({"quantity": "speed", **fields})
