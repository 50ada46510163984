"""The LQR: its gain against closed forms, its loop on simulated plants, its refusals."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from pilotage.steering.laws import setting_from_spec
from pilotage.steering.lqr import LqrController, LqrSetpoint, riccati_gain

TARGET = 0.3
Plant = Callable[[float, float], float]  # (quantity, multiplier) -> the quantity one step later


def _setpoint(**changes: float) -> LqrSetpoint:
    fields = {"a": 0.6, "b": 0.2, "c": 0.04, "low": -50.0, "high": 50.0, **changes}
    return LqrSetpoint("speed", TARGET, **fields)


def _play(setpoint: LqrSetpoint, plant: Plant, n: int, x: float = 0.1) -> np.ndarray:
    controller = setpoint.controller(0.1)
    measured = [x]
    for _ in range(n):
        measured.append(plant(measured[-1], controller.step(measured[-1])))
    return np.array(measured)


@pytest.mark.parametrize("a", [0.3, 0.95, 1.4])
@pytest.mark.parametrize(("q", "r"), [(1.0, 0.3), (0.2, 5.0)])
def test_the_scalar_gain_is_the_root_of_the_quadratic(a: float, q: float, r: float) -> None:
    b = -0.7
    # P b^2 P - P (q b^2 + r (a^2 - 1)) - q r = 0, the scalar Riccati equation written out
    half = (q * b**2 + r * (a**2 - 1)) / (2 * b**2)
    p = half + math.sqrt(half**2 + q * r / b**2)
    expected = a * b * p / (r + b**2 * p)
    found = riccati_gain([[a]], [[b]], [[q]], [[r]])
    assert found.shape == (1, 1)
    assert found[0, 0] == pytest.approx(expected, rel=1e-9)


def test_the_gain_is_the_limit_of_the_finite_horizon() -> None:
    setpoint = _setpoint()
    a = np.array([[setpoint.a, 0.0], [1.0, 1.0]])
    b = np.array([[setpoint.b / TARGET], [0.0]])
    q, p = np.diag([1.0, setpoint.integral]), np.zeros((2, 2))
    for _ in range(3000):  # dynamic programming, backwards
        k = (b.T @ p @ a) / (setpoint.effort + b.T @ p @ b)
        p = q + a.T @ p @ (a - b @ k)
    np.testing.assert_allclose(setpoint.gain, k[0], rtol=1e-9)


def test_no_other_gain_costs_less() -> None:
    setpoint = _setpoint()

    def cost(gain: np.ndarray) -> float:
        total, e, i = 0.0, 1.0, 0.0
        for _ in range(400):
            v = -float(gain @ (e, i))
            total += e**2 + setpoint.integral * i**2 + setpoint.effort * v**2
            e, i = setpoint.a * e + setpoint.b / TARGET * v, i + e
        return total

    best = cost(setpoint.gain)
    for change in ((0.05, 0), (-0.05, 0), (0, 0.02), (0, -0.02)):
        assert cost(setpoint.gain + change) > best


def test_with_the_right_model_it_rests_at_the_feedforward_multiplier() -> None:
    setpoint = _setpoint()
    found = _play(setpoint, lambda x, u: 0.6 * x + 0.2 * u + 0.04, 1, x=TARGET)
    assert found[1] == pytest.approx(TARGET, rel=1e-12)
    assert setpoint.feedforward == pytest.approx((0.4 * TARGET - 0.04) / 0.2)


@pytest.mark.parametrize("plant", [(0.6, 0.2, -0.1), (0.5, 0.13, 0.09), (0.75, 0.3, 0.0)])
def test_a_wrong_model_leaves_no_offset(plant: tuple[float, float, float]) -> None:
    a, b, c = plant
    found = _play(_setpoint(), lambda x, u: a * x + b * u + c, 300)
    assert found[-1] == pytest.approx(TARGET, abs=1e-6)
    assert abs(found[3] - TARGET) > 1e-3, "it was off before"


def test_without_the_sum_of_errors_the_wrong_model_would_leave_one() -> None:
    setpoint = _setpoint(integral=1e-12)
    found = _play(setpoint, lambda x, u: 0.6 * x + 0.2 * u - 0.1, 100)
    assert abs(found[-1] - TARGET) > 0.02


def test_a_quantity_that_falls_as_the_multiplier_grows_needs_no_sign() -> None:
    setpoint = _setpoint(b=-0.2, c=0.3)
    found = _play(setpoint, lambda x, u: 0.6 * x - 0.2 * u + 0.25, 300)
    assert found[-1] == pytest.approx(TARGET, abs=1e-6)


def test_the_sum_does_not_wind_up_while_the_command_is_out_of_reach() -> None:
    setpoint = _setpoint(low=0.0, high=1.0)
    controller = LqrController(setpoint)
    for _ in range(300):
        multiplier = controller.step(0.01)  # far too slow, whatever it does
        assert 0.0 <= multiplier <= 1.0
    assert controller.receipt()["share_at_bound"] == 1.0
    after = [controller.step(1.5 * TARGET) for _ in range(12)]
    assert after[-1] < 0.5, "a sum that wound up would keep it at its upper bound"


def test_before_anything_is_measured_it_starts_where_it_is_told() -> None:
    controller = _setpoint(start=0.7).controller(0.1)
    assert controller.step(None) == 0.7
    assert controller.receipt()["n_measured"] == 0


def test_the_same_measurements_give_the_same_multipliers() -> None:
    one, two = LqrController(_setpoint()), LqrController(_setpoint())
    for measured in (None, 0.1, 0.5, 0.3):
        assert one.step(measured) == two.step(measured)


def test_a_spec_survives_the_round_trip_and_says_its_law() -> None:
    setpoint = _setpoint(effort=1.5)
    assert setpoint.to_spec()["law"] == "lqr"
    assert setting_from_spec(setpoint.to_spec()) == setpoint
    with pytest.raises(ValueError, match="unknown feedback law 'pd'; there are: pid, lqr, excite"):
        setting_from_spec({"law": "pd"})


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"b": 0.0}, "b is 0: the multiplier does nothing"),
        ({"effort": 0.0}, "effort must be > 0, got 0.0"),
        ({"integral": -1.0}, "integral must be > 0, got -1.0"),
        ({"a": math.nan}, "a is nan"),
        ({"low": 1.0, "high": 1.0, "start": 1.0}, "low < high"),
        ({"gain": 1.0}, r"unknown fields \['gain'\]"),
    ],
)
def test_what_makes_no_sense_is_refused(fields: dict[str, float], words: str) -> None:
    spec = {"quantity": "speed", "target": TARGET, "a": 0.6, "b": 0.2, "c": 0.0, **fields}
    with pytest.raises(ValueError, match=words):
        LqrSetpoint.from_spec(spec)


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ValueError, match=r"missing \['a', 'b', 'c'\]"):
        LqrSetpoint.from_spec({"quantity": "speed", "target": TARGET})


def test_what_cannot_be_stabilised_has_no_gain() -> None:
    with pytest.raises(ValueError, match="no stabilising LQR"):
        riccati_gain([[2.0]], [[0.0]], [[1.0]], [[1.0]])


def test_a_sensor_that_says_nan_is_an_error() -> None:
    with pytest.raises(ValueError, match="the sensor says nan"):
        LqrController(_setpoint()).step(math.nan)
