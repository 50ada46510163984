"""What records give to controllers: responses, labels, guards, and the tables, made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pilotage.scripts.cmd_bench_guard import guarded_name, table
from pilotage.scripts.cmd_bench_hold import law_word
from pilotage.scripts.controller_fits import (
    auc_of,
    auc_within,
    far_from_object,
    fit_guard,
    response_of,
)
from pilotage.steering.guard import SuccessProbe

SITE = "layers.0.resid:out"


def _moving(condition: str, speeds: np.ndarray, multipliers: np.ndarray):
    along = np.r_[0.0, np.cumsum(speeds)] * 0.1
    return SimpleNamespace(
        condition=condition,
        n_steps=len(speeds),
        trace={"ee_position": np.stack([along, 0 * along, 0 * along], axis=1)},
        agent_trace={"multiplier": multipliers},
    )


def test_a_response_is_of_the_step_that_the_multiplier_was_set_for() -> None:
    rng, records = np.random.default_rng(0), []
    for k in range(3):
        u, v = rng.uniform(0, 2, 15), np.zeros(15)
        for t in range(15):  # the speed in a step answers to that step's multiplier
            v[t] = 0.5 * (v[t - 1] if t else 0.1) + 0.1 * u[t] + 0.02
        records.append(_moving(f"excite-{k}", v, u))
    records.append(_moving("excite-actions-0", np.ones(15), np.ones(15)))  # another response's
    found = response_of(records, "excite")
    assert (found.a, found.b, found.c) == pytest.approx((0.5, 0.1, 0.02), abs=1e-9)
    assert found.n_steps == 3 * 14, "the last step answers too"


def test_far_is_the_distance_of_the_hand_from_the_object_of_the_task() -> None:
    hand = np.array([[0, 0, 0.3], [0, 0, 0.11], [0, 0, 0.05], [0, 0, 0.0]])
    things = np.zeros((4, 2, 3))
    things[:, 1, 0] = 5.0
    record = SimpleNamespace(
        trace={"ee_position": hand, "object_positions": things},
        task=SimpleNamespace(goal={"object": 0}),
    )
    assert far_from_object(record).tolist() == [True, True, False]
    record.task.goal["object"] = 1
    assert far_from_object(record).tolist() == [True, True, True]


def _episode(success: bool, value: float, condition: str = "baseline", length: int = 6):
    noise = np.random.default_rng(int(1000 * abs(value))).normal(0, 0.1, (length, 2))
    return SimpleNamespace(
        success=success,
        condition=condition,
        agent_trace={
            f"state.{SITE}": noise + np.array([value, 0.0]),
            "state.layers.1.resid:out": noise,
        },
    )


def test_auc_counts_pairs_of_a_success_and_a_failure_in_order() -> None:
    probe = SuccessProbe(SITE, torch.tensor([1.0, 0.0]), 0.0)
    records = [_episode(True, 3), _episode(True, 1), _episode(False, 2), _episode(False, -1)]
    assert auc_of(probe, records) == 0.75
    assert auc_within(probe, records) == 0.75
    for record, condition in zip(records, ("a", "b", "b", "a"), strict=True):
        record.condition = condition
    assert auc_within(probe, records) == 0.5, "one pair of two is in order"
    assert auc_within(probe, records[:2]) is None


def test_a_guard_takes_the_layer_that_knows_and_spares_successes() -> None:
    values = np.linspace(1, 3, 12)
    train = [_episode(k % 2 == 0, v if k % 2 == 0 else -v) for k, v in enumerate(values)]
    val = [_episode(True, v) for v in values] + [_episode(False, -v, "fast@2.5") for v in values]
    sites = ["layers.1.resid:out", SITE]
    made = fit_guard(train, val, sites, model_digest="m", source={})
    assert made.guard.probe.site == SITE
    assert made.guard.probe.model_digest == "m"
    assert made.report["_auc_on_val"][SITE] == 1.0
    assert made.report["_lets_go_in_successes"] <= 0.1
    assert made.report["_lets_go_in_failures"] > 0.8
    assert 0.1 < made.guard.threshold < 0.9, "all do as well there: the middle"
    assert made.guard.threshold < made.guard.resume < 1


def test_a_guard_stands_before_the_control() -> None:
    assert guarded_name("fast@2.5") == "fast@2.5:guarded"
    assert guarded_name("fast@2.5:random-matched-1") == "fast@2.5:guarded:random-matched-1"
    assert guarded_name("fast:lqr-0.3") == "fast:lqr-0.3:guarded"
    assert guarded_name("fast:hold-0.3:random-matched") == "fast:hold-0.3:guarded:random-matched"


def _played(name: str, task: str, *, success: bool, error: bool = False, **receipt: object):
    along = np.arange(4) * 0.02
    return SimpleNamespace(
        condition=name,
        task=SimpleNamespace(task_id=task, env="tabletop"),
        end=SimpleNamespace(is_error=error),
        success=success,
        receipt=receipt,
        agent_trace={"dose": np.full(3, 0.5, np.float32)},
        trace={"ee_position": np.stack([along, 0 * along, 0 * along], axis=1)},
    )


def test_the_table_pairs_a_guarded_condition_with_its_own(monkeypatch) -> None:
    monkeypatch.setattr(
        "pilotage.scripts.cmd_bench_guard.episode_metrics", lambda record: {"mean_speed": 0.2}
    )
    went = {"let_go_at": [3], "resumed_at": [], "mean_factor": 0.5}
    stayed = {"let_go_at": [], "resumed_at": [], "mean_factor": 1.0}
    records = [_played("baseline", t, success=True) for t in "abc"]
    records += [_played("x", "a", success=False), _played("x", "b", success=True)]
    records += [_played("x", "c", success=True, error=False)]
    records += [_played("x:guarded", "a", success=True, guard=went)]
    records += [_played("x:guarded", "b", success=True, guard=stayed)]
    records += [_played("x:guarded", "c", success=False, error=True, guard=stayed)]
    base, plain, guarded = table(records, [("x", "x:guarded")])
    assert [r["n"] for r in (base, plain, guarded)] == [2, 2, 2], "c was lost to an error"
    assert guarded["n_errors"] == 1
    assert plain["gain"] == ""
    assert guarded["gain"].startswith("+0.500")
    assert (guarded["let_go"], guarded["came_back"], guarded["factor"]) == (0.5, 0.0, 0.75)
    assert plain["let_go"] == ""


def test_controllers_have_words() -> None:
    assert [law_word(c) for c in ("pid", "lqr")] == ["hold", "lqr"]
    with pytest.raises(KeyError, match="unknown controller 'lqg'"):
        law_word("lqg")
