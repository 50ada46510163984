"""How `bench experiment` chooses a dose and tabulates, on curves and episodes made by hand."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

from pilotage.agents.vla.conditions import AgentCondition
from pilotage.episodes.types import Condition
from pilotage.scripts.cmd_bench_experiment import SCALING, Settings, experiment, planned
from pilotage.scripts.experiment_choice import (
    Choice,
    Point,
    choose,
    load_choices,
    points,
    save_choices,
)
from pilotage.scripts.experiment_concepts import CONCEPTS, as_settings, measure
from pilotage.scripts.experiment_edits import OFFSET, Doses, Edit, check_methods, make_edits
from pilotage.scripts.experiment_table import Line, table


def _record(name, task, path, *, success=True, error=False, dose=None):
    """An episode whose hand goes along `path`, a list of (x, y, z), 0.1 s apart."""
    trace = {"ee_position": np.array(path, float)}
    return SimpleNamespace(
        condition=name,
        task=SimpleNamespace(task_id=task, env="tabletop"),
        end=SimpleNamespace(is_error=error, value="step_limit"),
        success=success,
        n_steps=len(path) - 1,
        trace=trace,
        agent_trace={} if dose is None else {"dose": np.array([dose])},
    )


def _line(speed, n=4):
    """A path along x at a speed in m/s."""
    return [(0.1 * speed * t, 0.0, 0.0) for t in range(n + 1)]


# The rule


def _curve(*successes, n=20):
    return [Point(float(k + 1), n, s) for k, s in enumerate(successes)]


def test_the_largest_dose_that_keeps_success_is_chosen_whatever_lies_below() -> None:
    found = choose(_curve(20, 15, 19, 18), Point(0.0, 20, 20))
    assert (found.dose, found.kept) == (3.0, True)  # 19 of 20 is 0.95 of 20 of 20, not less
    assert [p.n_successes for p in found.curve] == [20, 15, 19, 18]


def test_the_order_of_the_grid_plays_no_part() -> None:
    curve = _curve(20, 19, 10)
    assert choose(curve[::-1], Point(0.0, 20, 20)).dose == 2.0


def test_where_no_dose_keeps_it_the_smallest_is_taken_and_marked() -> None:
    found = choose(_curve(18, 17, 10)[::-1], Point(0.0, 20, 20))
    assert (found.dose, found.kept) == (1.0, False)


def test_what_is_kept_is_a_share_of_the_baselines_success_not_of_all_tasks() -> None:
    assert choose(_curve(10, 9), Point(0.0, 20, 10)).dose == 1.0
    assert choose(_curve(10, 11), Point(0.0, 20, 10)).dose == 2.0


@pytest.mark.parametrize(
    ("curve", "baseline", "words"),
    [
        ([], Point(0, 4, 4), "distinct and positive"),
        ([Point(1, 4, 4), Point(1, 4, 3)], Point(0, 4, 4), "distinct and positive"),
        ([Point(0, 4, 4)], Point(0, 4, 4), "distinct and positive"),
        ([Point(1, 3, 3)], Point(0, 4, 4), "as many episodes as the baseline"),
        ([Point(1, 0, 0)], Point(0, 0, 0), "at least 1"),
        ([Point(1, 4, 4)], Point(0, 4, 0), "--val-episodes"),
    ],
)
def test_curves_of_which_nothing_can_be_chosen_are_refused(curve, baseline, words) -> None:
    with pytest.raises(ValueError, match=words):
        choose(curve, baseline)


def test_a_val_task_lost_to_an_error_counts_in_no_point() -> None:
    records = [
        _record("baseline", "a", _line(0.2)),
        _record("baseline", "b", _line(0.2)),
        _record("x@1", "a", _line(0.2), success=False),
        _record("x@1", "b", _line(0.2), error=True),
    ]
    curve, baseline = points(records, {"x@1": 1.0})
    assert curve == [Point(1.0, 1, 0)]
    assert baseline == Point(0.0, 1, 1)


def test_choices_are_frozen_and_other_settings_refused(tmp_path: Path) -> None:
    path = tmp_path / "choices.json"
    assert load_choices(path, {"seed": 0}) is None
    chosen = {"x": Choice(1.75, False, (Point(1.75, 8, 7),))}
    save_choices(path, {"seed": 0}, chosen)
    assert load_choices(path, {"seed": 0}) == chosen
    with pytest.raises(ValueError, match=r"seed was 0, now 1.*--out"):
        load_choices(path, {"seed": 1})
    path.write_text('{"chosen": {}}')
    with pytest.raises(ValueError, match="is damaged"):
        load_choices(path, {"seed": 0})


# What is played


def _edit(method, twin):
    spec = {"kind": "add", "site": "layers.0.resid:out", "coefficient": 1.0}
    return Edit(method, [spec], [1.0, 2.0], [2.0, 4.0], twin)


def test_edits_of_one_kind_and_dose_share_a_control_of_their_norm() -> None:
    edits = {e.method: e for e in (_edit("a", "a"), _edit("b", "a"), _edit("c", "a"))}
    choices = {"a": Choice(1.0, True), "b": Choice(2.0, True), "c": Choice(2.0, False)}
    choices[SCALING] = Choice(2.3, True)
    conditions, lines = planned(edits, choices, CONCEPTS["fast"], seed=5)
    by_name = {c.name: c.spec for c in conditions}
    assert list(by_name) == [
        *("baseline", "prompt", SCALING, "a", "b", "c", "a@1:random", "a@2:random")
    ]
    for line in lines[3:]:
        spec, twin = by_name[line.condition], by_name[line.control]
        assert twin["interventions"] == spec["interventions"]  # the norm with them
        assert twin["random_matched_seed"] == 5
        assert spec["interventions"][0]["coefficient"] == line.coefficient
    assert [line.coefficient for line in lines[3:]] == [2.0, 4.0, 4.0]
    assert [line.kept for line in lines[3:]] == [True, True, False]
    assert by_name[SCALING] == {"action_scale": 2.3}
    assert by_name["prompt"] == {"prompt_suffix": "quickly"}


def test_an_offset_is_a_control_and_has_none_and_takes_the_place_of_scaling() -> None:
    offset = Edit(OFFSET, [], [0.1], [0.1], "", [0.0, 0.0, -1.0])
    chosen = {OFFSET: Choice(0.1, True)}
    conditions, lines = planned({OFFSET: offset}, chosen, CONCEPTS["low"], seed=0)
    assert [c.name for c in conditions] == ["baseline", "prompt", OFFSET]
    assert conditions[-1].spec == {"action_offset": [0.0, 0.0, -0.1]}
    assert lines[-1] == Line(OFFSET, 0.1, None, True)


def test_an_offset_of_actions_is_added_and_clipped() -> None:
    spec = {"action_offset": [0.0, 0.5, -0.5], "action_scale": 2.0}
    condition = AgentCondition.resolve(Condition("x", spec), nn.Identity())
    action = np.array([0.1, 0.4, 0.1, 0.9, 0.0, 0.0, 1.0], np.float32)
    np.testing.assert_allclose(condition.edit_action(action), [0.2, 1, -0.3, 0.9, 0, 0, 1])
    np.testing.assert_allclose(action[1], 0.4)
    for bad in ([0.1, 0.2], [0.1, 0.2, float("nan")], 0.1, ["up", 0, 0]):
        with pytest.raises(ValueError, match="three numbers"):
            AgentCondition.resolve(Condition("x", {"action_offset": bad}), nn.Identity())


def test_edits_are_fitted_once_and_read_later(tmp_path: Path) -> None:
    def make(seed):
        more = {"agent": "nobody", "layer": 0, "pairs": 2, "quiet": True}
        return make_edits(tmp_path, CONCEPTS["fast"], ["a"], Doses(), seed=seed, **more)

    edit = _edit("a", "a")
    settings = {
        **as_settings(CONCEPTS["fast"]),
        **{"agent": "nobody", "layer": 0, "pairs": 2, "seed": 0, "methods": ["a"]},
        **{"norms": [1.0, 1.75, 2.75], "activations": [3, 10, 20], "offsets": [0.05, 0.1, 0.2]},
    }
    text = json.dumps({"settings": settings, "edits": [asdict(edit)]})
    (tmp_path / "edits.json").write_text(text)
    assert make(seed=0) == {"a": edit}  # nobody cannot be fitted to
    with pytest.raises(ValueError, match="seed was 0, now 1"):
        make(seed=1)


# How it is measured


def test_quantities_are_in_metres_and_left_is_negative() -> None:
    path = [(0.0, -0.1, 0.0)] * 10 + [(0.0, -0.3, 0.2)] * 10
    record = _record("baseline", "a", path)
    assert measure(record, CONCEPTS["left"]) == pytest.approx(-0.2)
    assert measure(record, CONCEPTS["high"]) == pytest.approx(0.2)
    assert measure(_record("x", "a", _line(0.3)), CONCEPTS["slow"]) == pytest.approx(0.3)
    spike = [(0, 0, 0.1)] * 99 + [(0, 0, 9.0)]  # one step is not where the hand was
    assert measure(_record("x", "a", spike), CONCEPTS["low"]) == pytest.approx(0.1)


def test_a_turn_to_the_left_is_positive_also_over_the_seam() -> None:
    heading = np.array([3.0, 3.1, -3.1, -3.0])[:, None]
    record = SimpleNamespace(trace={"heading": heading})
    whole = (2 * np.pi - 6.0) / 3
    assert measure(record, CONCEPTS["rooms-left"]) == pytest.approx(whole)
    still = SimpleNamespace(trace={"heading": heading[:1]})
    assert np.isnan(measure(still, CONCEPTS["rooms-left"]))


def _speeds(**speeds):
    """Episodes of conditions over tasks, by lists of speeds; None is an error."""
    return [
        _record(name, f"t{k}", _line(v or 0.1), error=v is None, dose=0.4 if name == "x" else None)
        for name, values in speeds.items()
        for k, v in enumerate(values)
    ]


LINES = [Line("baseline"), Line("prompt"), Line("x", 8.87, "r", False)]


def test_a_row_has_its_change_its_share_and_its_control_beside_it() -> None:
    records = _speeds(
        baseline=[0.1, 0.2, 0.3], prompt=[0.3, 0.4, 0.5], x=[0.2, 0.3, 0.4], r=[0.1, 0.2, 0.24]
    )
    base, prompt, row = table(records, LINES, CONCEPTS["fast"])
    assert (base["change"], base["share"], base["random_change"]) == ("", "", "")
    assert prompt["share"] == "+1.00 (+1.00, +1.00)"
    assert row["speed_m_s"] == pytest.approx(0.3)
    assert row["change"] == "+0.1000 (+0.1000, +0.1000)"
    assert row["share"] == "+0.50 (+0.50, +0.50)"
    # Means of resampled tasks: none of them has the third, or all three are it.
    assert row["random_change"] == "-0.0200 (-0.0600, +0.0000)"
    assert (row["dose"], row["coefficient"], row["val"]) == ("0.400", 8.87, "no")
    json.dumps([base, prompt, row], allow_nan=False)


def test_only_tasks_finished_by_all_count_and_errors_are_counted_apart() -> None:
    records = _speeds(
        baseline=[0.1, 9.0, 0.1, 9.0], prompt=[0.3, 9.0, 0.3], x=[0.2, None, 0.2], r=[0.1, 9.0, 0.1]
    )
    _, _, row = table(records, LINES, CONCEPTS["fast"])
    assert (row["n"], row["n_errors"], row["speed_m_s"]) == (2, 1, pytest.approx(0.2))
    with pytest.raises(ValueError, match="the same command"):
        table(_speeds(baseline=[0.1], prompt=[0.2], x=[0.1]), LINES, CONCEPTS["fast"])


def test_there_is_no_share_of_words_that_do_nothing() -> None:
    records = _speeds(
        baseline=[0.2, 0.2, 0.2], prompt=[0.1, 0.2, 0.3], x=[0.3, 0.3, 0.3], r=[0.2, 0.2, 0.2]
    )
    _, prompt, row = table(records, LINES, CONCEPTS["fast"])
    assert prompt["share"] == row["share"] == ""
    assert row["change"] == "+0.1000 (+0.1000, +0.1000)"


def test_success_kept_is_over_the_baselines() -> None:
    records = _speeds(baseline=[0.2] * 4, prompt=[0.3] * 4, x=[0.2] * 4, r=[0.2] * 4)
    for record in records:
        record.success = (record.condition, record.task.task_id) not in {
            *(("baseline", "t0"), ("x", "t0"), ("x", "t1"), ("r", "t0"), ("r", "t1"), ("r", "t2"))
        }
    _, _, row = table(records, LINES, CONCEPTS["fast"])
    assert row["success"].startswith("0.500 (")
    assert row["kept"] == pytest.approx(2 / 3, abs=1e-3)
    assert row["random_success"] == "0.250"


# Bad input


def test_unknown_words_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    out = tmp_path / "out"
    settings = Settings("nano", 1, 1, (), (), 0, 2, Doses(), out, 1, 0, True)
    with pytest.raises(KeyError, match=r"unknown concept 'fats'.*fast"):
        experiment(settings, ["fats"])
    with pytest.raises(KeyError, match=r"unknown method 'clam'.*clamp"):
        check_methods(["clam"])
    assert not out.exists()
    assert check_methods(["clamp"]) == ["mean-difference", "clamp"]
