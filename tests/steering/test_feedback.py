"""The PID controller against the closed form of its loop, its bounds, and its refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pilotage.steering.feedback import Controller, Setpoint

DT = 0.1


def _closed_loop(setpoint: Setpoint, gain: float, offset: float, n: int) -> np.ndarray:
    """What is measured when the quantity is offset + gain * multiplier, one step later."""
    controller = Controller(setpoint, DT)
    measured: list[float] = []
    multiplier = controller.step(None)
    for _ in range(n):
        measured.append(offset + gain * multiplier)
        multiplier = controller.step(measured[-1])
    return np.array(measured)


def test_pure_integral_action_converges_geometrically_as_the_closed_form_says() -> None:
    target, gain, ki = 0.3, 0.2, 4.0
    setpoint = Setpoint("speed", target, kp=0.0, ki=ki, low=-50, high=50)
    found = _closed_loop(setpoint, gain, 0.1, 40)
    ratio = 1 - ki * DT * gain / target  # of one error to the one before
    expected = target + (0.1 - target) * ratio ** np.arange(40)
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_proportional_action_alone_leaves_the_known_offset() -> None:
    target, gain, kp = 0.3, 0.2, 0.5
    found = _closed_loop(Setpoint("speed", target, kp=kp, ki=0.0, low=-9, high=9), gain, 0.1, 60)
    loop = kp * gain / target
    assert found[-1] == pytest.approx((0.1 + loop * target) / (1 + loop))


def test_a_quantity_that_falls_with_the_multiplier_is_held_with_the_other_sign() -> None:
    target, gain, ki = 0.1, -0.06, 2.0
    found = _closed_loop(Setpoint("speed", target, kp=0.0, ki=ki, sign=-1, high=9), gain, 0.2, 60)
    ratio = 1 - ki * DT * abs(gain) / target
    np.testing.assert_allclose(found, target + 0.1 * ratio ** np.arange(60), rtol=1e-9)
    wrong = _closed_loop(Setpoint("speed", target, kp=0.0, ki=ki, high=9), gain, 0.2, 60)
    assert (wrong == 0.2).all(), "with the wrong sign it never leaves its bound"


def test_the_derivative_is_of_the_measurement_and_damps_it() -> None:
    controller = Controller(Setpoint("speed", 2.0, kp=0.0, ki=0.0, kd=1.0, low=-9, high=9), DT)
    assert controller.step(1.0) == 0.0
    assert controller.step(1.5) == pytest.approx(-1.0 * 0.5 / (2.0 * DT))
    assert controller.step(1.5) == 0.0


def test_the_multiplier_stays_in_bounds_and_the_integral_does_not_wind_up() -> None:
    setpoint = Setpoint("speed", 1.0, kp=0.0, ki=5.0, low=0.0, high=1.0)
    controller = Controller(setpoint, DT)
    controller.step(None)
    for _ in range(200):  # far too slow: the multiplier is at its bound for a long time
        assert 0.0 <= controller.step(0.2) <= 1.0
    after = [controller.step(2.0) for _ in range(3)]
    assert after == pytest.approx([0.5, 0.0, 0.0]), "an integral that wound up would stay at 1"
    assert controller.receipt()["share_at_bound"] > 0.9


def test_a_receipt_says_what_was_commanded_and_what_came_of_it() -> None:
    controller = Controller(Setpoint("speed", 1.0), DT)
    for measured in (None, 0.5, 1.5):
        controller.step(measured)
    receipt = controller.receipt()
    assert receipt["target"] == 1.0
    assert receipt["n_measured"] == 2
    assert receipt["mean_measured"] == 1.0
    assert receipt["mean_multiplier"] == pytest.approx(np.mean(controller.multipliers[1:]))
    # 0.25 + 0.25 after the slow step, 0.25 + 0 - 0.5 * 0.5 (the lower bound) after the fast one
    assert controller.multipliers == pytest.approx([0.0, 0.5, 0.0])
    assert receipt["share_at_bound"] == 0.5, "the step before anything was measured does not count"


def test_a_spec_survives_the_round_trip() -> None:
    setpoint = Setpoint("height", 0.2, kp=1.0, high=3.0)
    assert Setpoint.from_spec(setpoint.to_spec()) == setpoint


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"target": 0.0}, "target must be > 0, got 0.0"),
        ({"target": math.nan}, "target is nan"),
        ({"target": 1.0, "ki": -1.0}, "gains must be >= 0.*set sign to -1"),
        ({"target": 1.0, "low": 1.0, "high": 1.0, "start": 1.0}, "low < high"),
        ({"target": 1.0, "start": 3.0}, "low <= start <= high"),
        ({"target": 1.0, "sign": 0.5}, "sign must be 1 or -1, got 0.5"),
        ({"target": 1.0, "kp": None}, "kp is None, not a number"),
        ({"target": 1.0, "gain": 2.0}, r"unknown fields \['gain'\]"),
        ({}, r"missing \['target'\]"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Setpoint.from_spec({"quantity": "speed", **fields})


def test_a_sensor_that_says_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="the sensor says nan"):
        Controller(Setpoint("speed", 1.0), DT).step(math.nan)
