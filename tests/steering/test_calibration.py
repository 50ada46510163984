"""Doses found by halving, against closed forms; what a file remembers of it, and when it warns."""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import optimize, stats

from pilotage.steering import Intervention, load_vector, save_vector
from pilotage.steering.calibration import (
    Calibration,
    CalibrationWarning,
    calibrate,
    natural_range,
)
from pilotage.steering.distributions import divergence
from pilotage.steering.maps import AffineMap, load_map, save_map
from pilotage.steering.operations import turn
from pilotage.steering.vectors import SteeringVector

from .helpers import RESID, unit


@pytest.mark.parametrize("sign", [1, -1])
def test_a_dose_is_found_where_the_divergence_is_what_was_asked_for(sign: int) -> None:
    """Logits a with c added to one of them: KL(p || q) = log(1 + p_4 (e^c - 1)) - c p_4."""
    base = torch.from_numpy(np.random.default_rng(0).normal(size=32))
    push = torch.zeros(32, dtype=torch.float64)
    push[4] = 1.0
    p4 = float(torch.softmax(base, 0)[4])

    def closed(c: float) -> float:
        return math.log1p(p4 * math.expm1(c)) - c * p4

    def measure(c: float) -> float:
        return float(divergence(base, base + c * push))

    target = 0.02
    root = optimize.brentq(lambda c: closed(c) - target, *sorted((sign * 1e-6, sign * 30.0)))
    found = calibrate(measure, target, first=sign * 0.01, limit=100, tolerance=1e-6).check()
    assert found.how == "halving"
    assert found.coefficient == pytest.approx(root, rel=1e-5)
    q = torch.softmax(base + found.coefficient * push, 0).numpy()
    assert stats.entropy(torch.softmax(base, 0).numpy(), q) == pytest.approx(found.reached)
    low, high = found.tried
    assert min(low, high, key=abs) == 0.0
    assert low <= found.coefficient <= high


def test_the_dose_of_a_turn_is_that_of_its_chord() -> None:
    """h at right angles to v: the turn is by atan(c), and ||dh|| / ||h|| = 2 sin(atan(c) / 2)."""
    h, v = torch.zeros(1, 1, 8), torch.zeros(8)
    h[..., 0], v[1] = 3.0, 1.0

    def measure(c: float) -> float:
        return float(turn(h, torch.tensor(c), v).norm() / h.norm())

    found = calibrate(measure, 0.3, first=0.01, limit=100, tolerance=1e-5)
    assert found.coefficient == pytest.approx(math.tan(2 * math.asin(0.15)), rel=1e-3)


def test_where_the_dose_falls_again_the_smallest_coefficient_is_scanned_for() -> None:
    """A hump about 2.4, then a climb: of 1, 2, 4 and 8 the third is below the second."""

    def measure(c: float) -> float:
        return math.exp(-8 * (c - 2.4) ** 2) + 0.02 * c**2

    found = calibrate(measure, 0.5, first=1.0, limit=64).check()
    assert found.how == "scan"
    grid = np.linspace(0, 8, 100_001)
    first = grid[np.argmax(np.exp(-8 * (grid - 2.4) ** 2) + 0.02 * grid**2 >= 0.5)]
    assert found.coefficient == pytest.approx(first, abs=0.01)
    assert found.reached == pytest.approx(0.5, rel=0.02)


def test_what_cannot_be_reached_says_so() -> None:
    short = calibrate(lambda c: 0.5 * (1 - math.exp(-c)), 1.0, first=1.0, limit=50)
    assert (short.how, short.tried) == ("not reached", (0.0, 50.0))
    assert short.coefficient == 50.0
    with pytest.raises(ValueError, match=r"up to a coefficient of 50 .* hardly reaches the output"):
        short.check()
    step = calibrate(lambda c: float(c > 3), 0.5, first=1.0, limit=64)
    assert (step.how, step.reached) == ("jump", 0.0)
    assert step.coefficient == pytest.approx(3.0)
    with pytest.raises(ValueError, match=r"jumps over 0\.5"):
        step.check()
    with pytest.raises(ValueError, match="target > 0"):
        calibrate(lambda c: c, -1.0, first=1.0, limit=64)
    with pytest.raises(ValueError, match="not a number"):
        calibrate(lambda c: math.nan, 1.0, first=1.0, limit=64)


def test_the_natural_range_is_how_far_the_median_may_go() -> None:
    rng = np.random.default_rng(0)
    h = torch.from_numpy(rng.normal(size=(20_000, 4)) * [3, 1, 1, 1] + [5, 0, 0, 0])
    v = torch.tensor([1.0, 0, 0, 0])
    low, high = natural_range("add", h, v) or (0, 0)
    expected = 3 * stats.norm.ppf(0.995)
    assert (low, high) == (pytest.approx(-expected, rel=0.05), pytest.approx(expected, rel=0.05))
    turned = natural_range("add_norm_preserving", h, v) or (0, 0)
    length = float(h.norm(dim=1).median())
    assert turned == (pytest.approx(low / length), pytest.approx(high / length))
    assert natural_range("affine", h, None) is None


FOUND = Calibration(0.5, 0.49, 2.0, (0.0, 4.0), "halving", 9, "kl", "add", (-1.5, 3.0))


def _calibrated() -> SteeringVector:
    return SteeringVector(RESID, unit(32, 1), 2.5, "m", "by hand", calibration=FOUND.to_json())


def test_a_file_remembers_its_calibration(tmp_path: Path) -> None:
    path = tmp_path / "v.safetensors"
    save_vector(_calibrated(), path)
    assert load_vector(path).calibration == FOUND.to_json()
    bare = SteeringVector(RESID, unit(32, 1), 2.5)
    save_vector(bare, path)
    assert load_vector(path).calibration == {}
    assert _calibrated().digest == bare.digest  # how much is asked for is not what it is
    affine = torch.stack((torch.ones(32), torch.ones(32)))
    made = AffineMap(RESID, affine, 1.0, calibration=FOUND.named("norm", "affine").to_json())
    save_map(made, path)
    assert load_map(path).calibration["measure"] == "norm"


@pytest.mark.parametrize(("coefficient", "warns"), [(5.0, True), (-1.0, True), (4.0, False)])
def test_a_coefficient_outside_of_the_calibrated_range_warns(
    coefficient: float, warns: bool, tmp_path: Path
) -> None:
    path = tmp_path / "v.safetensors"
    save_vector(_calibrated(), path)
    spec = {"kind": "add", "site": RESID, "coefficient": coefficient, "vector": str(path)}
    if warns:
        with pytest.warns(CalibrationWarning, match=r"range 0 to 4 .*natural range -1.5 to 3"):
            Intervention.from_spec(spec)
        with pytest.warns(CalibrationWarning, match="v.safetensors"):
            load_vector(path).intervention(coefficient / 2.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        other = {**spec, "kind": "add_norm_preserving"}  # its coefficient means something else
        Intervention.from_spec(spec if not warns else other)
        Intervention.from_spec({**spec, "coefficient": 0.0})
