"""VLN metrics: one number worked out by hand per rule, and an independent implementation beside."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from pilotage.episodes.metrics import navigation_metrics
from pilotage.episodes.metrics_paths import dtw
from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task
from pilotage.episodes.vln_conventions import VLN_CONVENTIONS, ForcedStop
from pilotage.episodes.vln_metrics import (
    VLN_METRICS,
    Walk,
    dtw_of_costs,
    stopped_early,
    vln_metrics,
)
from pilotage.episodes.vln_summary import convention_matrix, end_histogram, vln_summary

NAMES = ("r2r", "duet", "habitat", "vlnce", "etpnav", "navid", "internnav", "vlnpe")


def walk(points: Any, to_goal: Any, **fields: Any) -> Walk:
    """On the x axis; the goal at x = 10, the reference straight there in two moves."""
    positions = np.array([[x, 0.0, 0.0] for x in points])
    reference = np.array([[0.0, 0, 0], [5, 0, 0], [10, 0, 0]])
    known: dict[str, Any] = {
        "goal": np.array([10.0, 0, 0]),
        "reference": reference,
        "shortest_m": 10.0,
        "stopped": True,
    }
    return Walk(positions, np.array(to_goal, float), **(known | fields))


def test_the_eight_conventions_exist_and_name_their_source() -> None:
    assert tuple(VLN_CONVENTIONS) == NAMES
    assert all(c.source for c in VLN_CONVENTIONS.values())
    with pytest.raises(KeyError, match="did you mean habitat"):
        vln_metrics(walk([0], [10]), "habitt")


def test_a_perfect_walk_is_perfect_in_every_convention() -> None:
    for name in NAMES:
        found = vln_metrics(walk([0, 5, 10], [10, 5, 0]), name)
        expected = dict.fromkeys(VLN_METRICS, 1.0)
        expected |= {"navigation_error": 0.0, "oracle_error": 0.0, "path_length": 10.0}
        assert found == pytest.approx(expected), name


def test_naming_the_object_is_weighed_by_the_length_of_the_way() -> None:
    """10 m straight; walked: 5 m back and forth and on, 20 m. The annotated path has 16 m."""
    there = walk([0, 5, 0, 10], [10, 5, 10, 0], reference_m=16.0, succeeds=np.zeros(4, bool))
    for grounded, rgs, straight, annotated in ((True, 1, 0.5, 0.8), (False, 0, 0, 0)):
        found = vln_metrics(replace(there, grounded=grounded), "r2r")
        # the place does not see the object: success has no part in it
        assert (found["success"], found["rgs"], found["rgspl"]) == (0, rgs, straight)
        duet = vln_metrics(replace(there, grounded=grounded), "duet")
        assert (duet["rgs"], duet["rgspl"]) == pytest.approx((rgs, annotated))
    unstopped = replace(there, grounded=True, stopped=False)
    assert [vln_metrics(unstopped, name)["rgs"] for name in ("duet", "habitat")] == [1, 0]
    assert "rgs" not in vln_metrics(there, "r2r")


def test_a_stop_exactly_at_the_radius_counts_for_one_code_base_only() -> None:
    at = walk([0, 7], [10, 3.0])
    assert [n for n in NAMES if vln_metrics(at, n)["success"]] == ["etpnav"]
    assert [n for n in NAMES if vln_metrics(at, n)["oracle_success"]] == ["etpnav"]


def test_standing_at_the_goal_without_a_stop_counts_where_no_stop_is_asked() -> None:
    never = walk([0, 5, 10], [10, 5, 0], stopped=False)
    succeed = [n for n in NAMES if vln_metrics(never, n)["success"]]
    assert succeed == ["r2r", "duet", "etpnav", "vlnpe"]


def test_the_shortest_length_of_spl_is_the_conventions_own() -> None:
    """TL = 20; the episode says 10, the distance at reset is 8, the reference is 10 + 6 long."""
    there = walk([0, 10, 5, 10], [8, 0, 5, 0], reference_m=16.0)
    spl = {name: vln_metrics(there, name)["spl"] for name in NAMES}
    assert spl["r2r"] == spl["vlnpe"] == pytest.approx(10 / 20)
    assert spl["duet"] == pytest.approx(16 / 20)
    for name in ("habitat", "vlnce", "etpnav", "navid", "internnav"):
        assert spl[name] == pytest.approx(8 / 20)


def test_given_distances_replace_the_straight_ones() -> None:
    """Along a graph the two moves are 6 and 7 long, and far from the reference."""
    bent = walk(
        [0, 5, 10],
        [13, 7, 0],
        hops=np.array([6.0, 7.0]),
        to_reference=np.array([[0.0, 6, 13], [6, 0, 7], [13, 7, 0]]) + 1.0,
        reference_m=13.0,
    )
    found = vln_metrics(bent, "r2r")
    assert found["path_length"] == 13.0
    assert found["ndtw"] == pytest.approx(math.exp(-3 / 9))  # 1 + 1 + 1 over 3 points, 3 m
    coverage = math.exp(-1 / 3)
    length_score = 13 * coverage / (13 * coverage + 13 - 13 * coverage)
    assert found["cls"] == pytest.approx(coverage * length_score)
    assert vln_metrics(bent, "vlnpe")["path_length"] == 10.0  # straight lines, whatever is given


def test_what_is_called_ndtw_in_vlnpe_is_one_for_standing_still() -> None:
    stands = walk([0], [10])
    assert vln_metrics(stands, "vlnpe")["ndtw"] == 1.0
    # every reference point is matched to the start: (0 + 5 + 10) / (3 points * 3 m)
    assert vln_metrics(stands, "vlnce")["ndtw"] == pytest.approx(math.exp(-15 / 9))
    # by hand: distances 0 and 2 from the reference, exp(0) and exp(-4 / 18), their mean
    beside = replace(stands, positions=np.array([[0.0, 0, 9], [5, 2, 9]]), to_goal=np.ones(2))
    assert vln_metrics(beside, "vlnpe")["ndtw"] == pytest.approx((1 + math.exp(-4 / 18)) / 2)


def test_vlnpe_looks_from_above_at_distance_and_length() -> None:
    """3 m below the goal: far along the graph, at the goal in the plane."""
    below = replace(
        walk([0, 10], [10, 30]), positions=np.array([[0.0, 0, 0], [10, 0, -3]]), stopped=False
    )
    found = vln_metrics(below, "vlnpe")
    assert (found["success"], found["navigation_error"], found["path_length"]) == (1, 0, 10)
    assert vln_metrics(below, "etpnav")["success"] == 0


def test_turning_on_the_spot_changes_ndtw_only_where_repeats_are_kept() -> None:
    """Off the reference by 2 m at one point; held there for three steps."""
    off = replace(
        walk([0, 5, 5, 5, 10], [10, 5, 5, 5, 0]),
        positions=np.array([[0.0, 0, 0], [5, 2, 0], [5, 2, 0], [5, 2, 0], [10, 0, 0]]),
    )
    for name in ("r2r", "duet", "vlnce", "navid", "internnav"):
        assert vln_metrics(off, name)["ndtw"] == pytest.approx(math.exp(-2 / 9)), name
    for name in ("habitat", "etpnav"):
        assert vln_metrics(off, name)["ndtw"] == pytest.approx(math.exp(-6 / 9)), name


def test_the_evaluator_of_navid_stops_an_agent_that_makes_no_progress() -> None:
    """It passes the goal, stands near it for 26 steps, and leaves: forced to stop there."""
    x = [0, 9, *[9] * 26, 0]
    leaves = walk(x, [10 - v for v in x], stopped=False)
    assert vln_metrics(leaves, "navid")["success"] == 1.0
    assert vln_metrics(leaves, "navid")["path_length"] == 9.0
    assert vln_metrics(leaves, "habitat")["success"] == 0.0
    shorter = walk([0, 9, *[9] * 25, 0], [10 - v for v in [0, 9, *[9] * 25, 0]], stopped=False)
    assert vln_metrics(shorter, "navid")["success"] == 0.0  # 25 idle steps are allowed
    long = walk([k * 0.01 for k in range(500)], [10 - k * 0.01 for k in range(500)])
    assert len(stopped_early(long, ForcedStop(25, 400)).positions) == 401
    assert len(stopped_early(long, ForcedStop(25, 600)).positions) == 500


def test_an_unreachable_goal_is_nan_even_for_a_failure_but_not_in_r2r() -> None:
    lost = walk([0, 1], [math.inf, math.inf], shortest_m=10.0)
    assert math.isnan(vln_metrics(lost, "habitat")["spl"])
    assert vln_metrics(lost, "r2r")["spl"] == 0.0
    assert math.isinf(vln_metrics(lost, "habitat")["navigation_error"])


def test_start_at_the_goal_is_undefined_but_where_a_floor_or_a_rule_says_otherwise() -> None:
    home = walk([10], [0], shortest_m=0.0)
    spl = {name: vln_metrics(home, name)["spl"] for name in NAMES}
    assert spl["duet"] == 1.0  # the reference is 10 m long
    assert spl["vlnpe"] == 0.0
    for name in ("r2r", "habitat", "vlnce", "etpnav", "navid", "internnav"):
        assert math.isnan(spl[name]), name


def test_success_can_be_a_matter_of_sight() -> None:
    sees = walk([0, 5, 10], [10, 5, 0], succeeds=np.array([False, True, False]))
    found = vln_metrics(sees, "r2r")
    assert (found["success"], found["oracle_success"], found["navigation_error"]) == (0, 1, 0)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"hops": np.ones(3)}, r"hops has shape \[3\], expected \(1,\)"),
        ({"to_reference": np.ones((2, 2))}, "to_reference has shape"),
        ({"succeeds": np.ones(1, bool)}, "succeeds has shape"),
        ({"reference": np.zeros((0, 3))}, "at least one point and a reference"),
    ],
)
def test_a_walk_that_contradicts_itself_is_refused(fields: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        walk([0, 5], [10, 5], **fields)


def test_a_radius_must_be_positive() -> None:
    with pytest.raises(ValueError, match="success_radius_m must be > 0"):
        vln_metrics(walk([0], [10]), "r2r", success_radius_m=0.0)


points = npst.arrays(float, st.tuples(st.integers(1, 7), st.just(3)), elements=st.floats(-9, 9))


@given(points, points)
def test_dtw_of_costs_equals_the_diagonal_implementation(p: np.ndarray, r: np.ndarray) -> None:
    costs = np.linalg.norm(p[:, None] - r[None], axis=-1)
    assert dtw_of_costs(costs) == pytest.approx(dtw(p, r), abs=1e-9)


@given(points, points, st.booleans())
def test_records_are_scored_alike_by_the_older_implementation(
    p: np.ndarray, r: np.ndarray, stopped: bool
) -> None:
    """`metrics.navigation_metrics`, written apart from this, where both define a value."""
    to_goal = np.linalg.norm(p - r[-1], axis=1)
    length = float(sum(np.linalg.norm(b - a) for a, b in pairwise(r)))
    shortest = float(np.linalg.norm(p[0] - r[-1]))
    task = Task("t", "x", "val", "f", "go", 9, {}, {}, {}, shortest, r.tolist())
    record = EpisodeRecord(
        task,
        "baseline",
        Seeds(0, 0, 0),
        "a",
        EndReason.AGENT_STOPPED if stopped else EndReason.STEP_LIMIT,
        success=False,
        actions=np.zeros(len(p) - 1),
        rewards=np.zeros(len(p) - 1),
        trace={"position": p, "distance_to_goal": to_goal[:, None]},
    )
    ours = Walk(p, to_goal, r[-1], r, shortest, stopped)
    for name in ("habitat", "vlnce", "r2r", "duet"):
        theirs = navigation_metrics(record, convention=name)
        for metric, value in vln_metrics(ours, name).items():
            if metric == "ndtw" and name in ("r2r", "duet"):
                continue  # repeats are dropped here, kept there
            if metric == "sdtw" and name in ("r2r", "duet"):
                continue
            if math.isnan(value) or (shortest == 0 and metric in ("spl", "soft_spl")):
                continue
            if name == "duet" and metric in ("spl", "soft_spl") and length < 0.01:
                continue
            assert value == pytest.approx(theirs[metric], abs=1e-9), (name, metric)


# -- summaries -------------------------------------------------------------------------------------


def scores(spl: list[float], ne: list[float]) -> list[dict[str, float] | None]:
    return [
        dict.fromkeys(VLN_METRICS, 1.0) | {"spl": s, "navigation_error": n} for s, n in zip(spl, ne)
    ]


def test_the_policy_for_nan_and_infinity_is_the_conventions_own() -> None:
    values = scores([1.0, math.nan, 0.5, math.nan], [2.0, math.inf, 4.0, 6.0])
    kept = vln_summary(values, "habitat")
    assert math.isnan(kept.mean("spl"))
    assert math.isinf(kept.mean("navigation_error"))
    zeroed = vln_summary(values, "navid")
    assert zeroed.mean("spl") == pytest.approx(1.5 / 4)
    assert zeroed.mean("navigation_error") == pytest.approx(12 / 4)  # too good
    mixed = vln_summary(values, "internnav")
    assert mixed.mean("spl") == pytest.approx(1.5 / 4)
    assert mixed.mean("navigation_error") == pytest.approx(12 / 3)  # left out
    assert mixed.metrics["navigation_error"].n_used == 3
    for summary in (kept, zeroed, mixed):
        assert (summary.n_total, summary.n_scored, summary.n_nan, summary.n_inf) == (4, 4, 2, 1)
        assert (summary.metrics["spl"].n_nan, summary.metrics["navigation_error"].n_inf) == (2, 1)


def test_an_episode_without_a_score_is_counted_and_not_averaged() -> None:
    values = [*scores([1.0, 0.0], [1.0, 1.0]), None, None]
    summary = vln_summary(values, "r2r", clusters=["a", "b", "c", "c"])
    assert (summary.n_total, summary.n_scored) == (4, 2)
    assert summary.mean("spl") == 0.5
    assert summary.cells()["n_total"] == 4
    nothing = vln_summary([None], "r2r")
    assert math.isnan(nothing.mean("spl"))


def test_intervals_draw_whole_scenes() -> None:
    """Two scenes, all 1 and all 0: every resample has a mean of 0, 1/2 or 1. Many episodes drawn
    one by one would give a narrow interval."""
    values = scores([1.0] * 100 + [0.0] * 100, [1.0] * 200)
    clustered = vln_summary(values, "r2r", clusters=["a"] * 100 + ["b"] * 100).metrics["spl"]
    single = vln_summary(values, "r2r").metrics["spl"]
    assert (clustered.interval.low, clustered.interval.high) == (0.0, 1.0)
    assert 0.4 < single.interval.low < single.interval.high < 0.6
    with pytest.raises(ValueError, match="clusters has 1 labels for 200 episodes"):
        vln_summary(values, "r2r", clusters=["a"])


def test_the_matrix_has_a_row_per_convention_on_the_same_walks() -> None:
    walks = [walk([0, 7], [10, 3.0]), walk([0, 10], [10, 0], stopped=False), None]
    rows = convention_matrix(walks, names=("success",))
    assert [r.convention for r in rows] == list(NAMES)
    rate = {r.convention: r.mean("success") for r in rows}
    assert rate == {
        **dict.fromkeys(("r2r", "duet", "vlnpe"), 0.5),
        **dict.fromkeys(("habitat", "vlnce", "navid", "internnav"), 0.0),
        "etpnav": 1.0,
    }
    assert {(r.n_total, r.n_scored) for r in rows} == {(3, 2)}


def test_every_end_reason_is_in_the_histogram() -> None:
    counts = end_histogram(["agent_stopped", EndReason.STEP_LIMIT, "agent_stopped"])
    assert counts["agent_stopped"] == 2
    assert counts["step_limit"] == 1
    assert counts["env_error"] == 0
    assert list(counts) == [reason.value for reason in EndReason]
    with pytest.raises(ValueError, match="gave_up"):
        end_histogram(["gave_up"])
