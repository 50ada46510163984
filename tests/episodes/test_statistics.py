"""Intervals and tests against scipy, coverage by simulation, and a comparison made by hand."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from pilotage.episodes.comparison import Comparison, compare
from pilotage.episodes.statistics import mcnemar_exact, paired_bootstrap, wilson_interval
from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task


@given(n=st.integers(1, 300), share=st.floats(0, 1), confidence=st.floats(0.5, 0.999))
def test_wilson_agrees_with_scipy(n: int, share: float, confidence: float) -> None:
    k = round(share * n)
    expected = stats.binomtest(k, n).proportion_ci(confidence, method="wilson")
    found = wilson_interval(k, n, confidence=confidence)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    assert 0 <= found.low <= found.estimate == k / n <= found.high <= 1


def test_wilson_at_the_edges() -> None:
    assert wilson_interval(0, 10).low == 0.0
    assert wilson_interval(10, 10).high == 1.0
    assert math.isnan(wilson_interval(0, 0).estimate)
    with pytest.raises(ValueError, match=r"0\.\.n=3, got 4"):
        wilson_interval(4, 3)
    with pytest.raises(ValueError, match="confidence must be inside"):
        wilson_interval(1, 3, confidence=95)


@given(b=st.integers(0, 200), c=st.integers(0, 200))
def test_mcnemar_agrees_with_the_binomial_test(b: int, c: int) -> None:
    expected = stats.binomtest(b, b + c, 0.5).pvalue if b + c else 1.0
    assert mcnemar_exact(b, c) == pytest.approx(expected, rel=1e-9)
    assert mcnemar_exact(b, c) == mcnemar_exact(c, b)


def test_mcnemar_by_hand() -> None:
    assert mcnemar_exact(0, 5) == 2 / 32
    assert mcnemar_exact(1, 3) == 2 * (1 + 4) / 16
    assert mcnemar_exact(5000, 4000) < 1e-20
    with pytest.raises(ValueError, match="counts must be >= 0"):
        mcnemar_exact(-1, 2)


@pytest.mark.parametrize("method", ["percentile", "bca"])
def test_the_bootstrap_agrees_with_scipy(method: Any) -> None:
    """Skewed data, so that the two methods differ by more than the tolerance."""
    data = np.random.default_rng(1).exponential(size=30) ** 2
    found = paired_bootstrap(data, n_resamples=40_000, method=method)
    rng = np.random.default_rng(5)
    expected = stats.bootstrap(
        (data,), np.mean, n_resamples=40_000, method=method, rng=rng
    ).confidence_interval
    assert found.estimate == pytest.approx(data.mean())
    assert found.low == pytest.approx(expected.low, rel=0.02)
    assert found.high == pytest.approx(expected.high, rel=0.02)
    other = paired_bootstrap(
        data, n_resamples=40_000, method="bca" if method == "percentile" else "percentile"
    )
    assert abs(other.high - found.high) > 0.05 * found.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(300):
        found = paired_bootstrap(rng.normal(0.3, 1, 40), n_resamples=500, seed=trial)
        covered += found.low <= 0.3 <= found.high
    assert 0.90 <= covered / 300 <= 0.98


def test_clusters_widen_the_interval_as_much_as_they_should() -> None:
    """Ten copies of each value say no more than one copy: the same interval, up to resampling."""
    data = np.random.default_rng(3).normal(size=40)
    once = paired_bootstrap(data)
    copies, labels = np.repeat(data, 10), np.repeat(np.arange(40), 10).tolist()
    clustered = paired_bootstrap(copies, clusters=labels)
    naive = paired_bootstrap(copies)
    assert clustered.estimate == pytest.approx(once.estimate)
    assert (clustered.low, clustered.high) == pytest.approx((once.low, once.high))
    assert naive.high - naive.low < 0.5 * (once.high - once.low)


def test_unequal_clusters_weigh_by_their_size() -> None:
    found = paired_bootstrap(np.array([1.0, 1.0, 1.0, 5.0]), clusters=["a", "a", "a", "b"])
    assert found.estimate == 2.0
    assert (found.low, found.high) == (1.0, 5.0)


@settings(max_examples=30)
@given(st.lists(st.floats(-5, 5), min_size=1, max_size=12), st.floats(-3, 3), st.floats(0.1, 4))
def test_the_bootstrap_is_seeded_and_moves_with_the_data(
    values: list[float], shift: float, scale: float
) -> None:
    data = np.array(values)
    found = paired_bootstrap(data, n_resamples=200)
    assert found == paired_bootstrap(data, n_resamples=200)
    moved = paired_bootstrap(scale * data + shift, n_resamples=200)
    for name in ("estimate", "low", "high"):
        expected = scale * getattr(found, name) + shift
        assert getattr(moved, name) == pytest.approx(expected, abs=1e-8)
    assert found.low <= found.estimate + 1e-12
    assert found.estimate <= found.high + 1e-12


def test_degenerate_and_wrong_input() -> None:
    assert paired_bootstrap(np.full(9, 0.25), method="bca") == paired_bootstrap(np.array([0.25]))
    assert math.isnan(paired_bootstrap(np.array([])).low)
    with pytest.raises(ValueError, match="finite numbers"):
        paired_bootstrap(np.array([1.0, math.nan]))
    with pytest.raises(ValueError, match="2 labels for 3 differences"):
        paired_bootstrap(np.zeros(3), clusters=["a", "b"])
    with pytest.raises(ValueError, match="method must be"):
        paired_bootstrap(np.zeros(3), method="magic")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="n_resamples must be"):
        paired_bootstrap(np.zeros(3), n_resamples=0)


# -- compare ---------------------------------------------------------------------------------------


def episode(
    task: int, condition: str, success: bool, *, error: bool = False, seed: int = 0, **kwargs: Any
) -> EpisodeRecord:
    """One that walks `length` metres in one step."""
    length = kwargs.pop("length", 1.0)
    end = EndReason.AGENT_ERROR if error else EndReason.STEP_LIMIT
    return EpisodeRecord(
        task=Task(f"t{task}", "w", "val", "reach", "go", 9, {}, [], [], 1.0),
        condition=condition,
        seeds=Seeds(seed, seed, seed),
        agent_id="a",
        end=end,
        success=success and not error,
        actions=np.zeros((1, 2)),
        rewards=np.zeros(1),
        trace={"ee_position": np.array([[0, 0, 0], [length, 0, 0]], float)},
        receipt=kwargs.pop("receipt", {}),
        error="x" if error else None,
        **kwargs,
    )


def compared(*more: EpisodeRecord, **kwargs: Any) -> Comparison:
    """Ten tasks; the baseline solves 0..7, `slow` solves 0..3 and 8, and walks half as far."""
    receipt = {"interventions": [{"mean_dose": 0.1}]}
    records = [episode(i, "baseline", i < 8, length=1.0 + i) for i in range(10)]
    records += [
        episode(i, "slow", i < 4 or i == 8, length=0.5 + i / 2, receipt=receipt) for i in range(10)
    ]
    return compare([*records, *more], **kwargs)


def test_a_comparison_worked_out_by_hand() -> None:
    found = compared()
    assert [row.condition for row in found.rows] == ["baseline", "slow"]
    slow = found.row("slow")
    assert (slow.n, slow.n_errors, slow.n_successes, slow.n_pairs) == (10, 0, 5, 10)
    assert (slow.n_unpaired, slow.n_baseline_unpaired) == (0, 0)
    assert slow.success_rate.estimate == 0.5
    assert slow.delta_success.estimate == pytest.approx(-0.3)
    assert slow.delta_success.low < -0.3 < slow.delta_success.high
    assert slow.mcnemar_p == pytest.approx(stats.binomtest(1, 5).pvalue)
    assert slow.mean_dose == pytest.approx(0.1)
    assert found.row("baseline").mean_dose == 0.0
    walked = slow.metrics["path_length"]
    assert walked.mean == pytest.approx(2.75)
    assert walked.delta.estimate == pytest.approx(-2.75)
    assert walked.relative == pytest.approx(-0.5)
    assert -3.8 < walked.delta.low < -2.75 < walked.delta.high < -1.7
    assert slow.metrics["mean_speed"].mean == pytest.approx(27.5)
    assert (slow.metrics["jerk"].n, slow.metrics["jerk"].n_missing) == (0, 10)
    own = found.row("baseline")
    assert (own.delta_success.low, own.delta_success.high, own.mcnemar_p) == (0, 0, 1)


def test_pairing_is_what_narrows_the_interval() -> None:
    """Halving every path is certain per pair, though paths differ much between tasks."""
    walked = compared().row("slow").metrics["path_length"]
    ratios = compared(metrics=["path_length"]).row("slow").metrics
    assert list(ratios) == ["path_length"]
    lengths = 1.0 + np.arange(10)
    unpaired_sd = math.sqrt((lengths.var() + (lengths / 2).var()) / 10)
    assert walked.delta.high - walked.delta.low < 0.7 * 2 * 1.96 * unpaired_sd


def test_errors_and_missing_partners_are_counted_and_left_out() -> None:
    plain = compared().row("slow")
    found = compared(
        episode(10, "slow", True, error=True, length=1e6),  # an error, and so ...
        episode(10, "baseline", True, length=1e6),  # ... one without a partner
        episode(11, "slow", True),
        episode(12, "slow", True),
    ).row("slow")
    assert (found.n, found.n_errors, found.n_pairs) == (13, 1, 10)
    assert (found.n_unpaired, found.n_baseline_unpaired) == (2, 1)
    assert found.success_rate.estimate == pytest.approx(7 / 12)
    assert found.delta_success == plain.delta_success
    assert found.metrics["path_length"].delta == plain.metrics["path_length"].delta
    assert found.ends == {"step_limit": 12, "agent_error": 1}


def test_pairs_share_task_and_seeds() -> None:
    records = [
        episode(0, "baseline", True, seed=1),
        episode(0, "slow", True, seed=2),
        episode(1, "slow", True, seed=1),
    ]
    row = compare(records).row("slow")
    assert (row.n_pairs, row.n_unpaired, row.n_baseline_unpaired) == (0, 2, 1)
    assert math.isnan(row.mcnemar_p)
    assert math.isnan(row.delta_success.estimate)


def test_repeats_of_a_task_are_one_cluster() -> None:
    rng = np.random.default_rng(0)
    lengths = rng.uniform(1, 3, 12)

    def played(n_repeats: int) -> Comparison:
        records = []
        for task, length in enumerate(lengths):
            for seed in range(n_repeats):
                records.append(episode(task, "baseline", True, seed=seed))
                records.append(episode(task, "fast", True, seed=seed, length=length))
        return compare(records, metrics=["path_length"])

    once, often = (played(n).row("fast").metrics["path_length"].delta for n in (1, 8))
    assert (often.low, often.high) == pytest.approx((once.low, once.high))


def test_wrong_comparisons_are_refused() -> None:
    with pytest.raises(ValueError, match=r"no episode of the baseline 'base'.*'baseline', 'slow'"):
        compared(baseline="base")
    with pytest.raises(ValueError, match="occurs twice"):
        compared(episode(0, "slow", True))
    with pytest.raises(ValueError, match=r"no episode has the metrics \['speed'\]; known are"):
        compared(metrics=["speed"])
    with pytest.raises(KeyError, match="no condition 'fast'"):
        compared().row("fast")
