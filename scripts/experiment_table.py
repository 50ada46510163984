"""The table of `pilotage bench experiment`: one row a condition, its random control beside it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.episodes.statistics import Interval, paired_bootstrap, wilson_interval
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_bench_steering import share_of_prompt
from pilotage.scripts.experiment_concepts import Concept, measure

BASELINE, PROMPT = "baseline", "prompt"
OF_CONTROLS = ("random_change", "random_success", "val")  # columns of rows that have a control


@dataclass(frozen=True)
class Line:
    """What a row is about. condition: whose episodes; control: its random control's, none for what
    is a control itself. kept: whether the dose kept enough success on val; None: none was chosen.
    """

    condition: str
    coefficient: float | None = None
    control: str | None = None
    kept: bool | None = None


@dataclass(frozen=True)
class _Scored:
    """Episodes of the tasks that every condition finished without an error, in one order."""

    values: Mapping[str, np.ndarray]  # condition -> float64 [n], the concept's quantity
    solved: Mapping[str, np.ndarray]  # condition -> bool [n]
    doses: Mapping[str, float]
    errors: Mapping[str, int]


def table(
    records: Sequence[EpisodeRecord], lines: Sequence[Line], concept: Concept
) -> list[dict[str, Any]]:
    """Rows over the tasks that every condition has finished and none has lost to an error.

    success: with its Wilson interval; kept: over the baseline's. change: the paired difference of
    the quantity to the baseline, with its bootstrap interval. share: the change over the prompt's,
    resampled together; blank where the prompt's own interval holds 0, for then there is nothing to
    take a share of. random_*: of the matched random control. dose: delivered ||dh||/||h||.
    val: "no" where not even the smallest dose of the grid kept enough success on val.

    Raises ValueError where no task is finished under all conditions.
    """
    names = {line.condition for line in lines} | {line.control for line in lines if line.control}
    scored = _scored(records, sorted(names | {BASELINE}), concept)
    told = PROMPT in scored.values and _differs(_change(scored, PROMPT))
    base = scored.solved[BASELINE].mean()
    rows = []
    for line in lines:
        rate = _rate(scored, line.condition)
        row: dict[str, Any] = {
            "concept": concept.name,
            "method": line.condition,
            "coefficient": "" if line.coefficient is None else line.coefficient,
            "n": len(scored.solved[line.condition]),
            "n_errors": scored.errors[line.condition],
            "success": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
            "kept": round(rate.estimate / base, 3) if base else "",
            concept.measured: round(float(scored.values[line.condition].mean()), 4),
        }
        own = _effect(scored, line.condition, told)
        twin = _effect(scored, line.control, told) if line.control else dict.fromkeys(own, "")
        row |= {**own, "random_change": twin["change"]}
        row["random_success"] = (
            f"{_rate(scored, line.control).estimate:.3f}" if line.control else ""
        )
        dose = scored.doses.get(line.condition)
        row["dose"] = f"{dose:.3f}" if dose else ""
        row["val"] = "no" if line.kept is False else ""
        rows.append(row)
    return rows


def _scored(records: Sequence[EpisodeRecord], names: Sequence[str], concept: Concept) -> _Scored:
    by = {(r.condition, r.task.task_id): r for r in records}
    ids = dict.fromkeys(r.task.task_id for r in records)
    whole = [i for i in ids if all((n, i) in by and not by[n, i].end.is_error for n in names)]
    measured = {n: np.array([measure(by[n, i], concept) for i in whole]) for n in names}
    finite = np.all([np.isfinite(v) for v in measured.values()], axis=0)
    whole = [i for i, use in zip(whole, finite, strict=True) if use]
    if not whole:
        raise ValueError(
            f"{concept.name}: no task is finished under all of {len(names)} conditions; go on with "
            "the same command"
        )
    doses = {
        name: [np.mean(by[name, i].agent_trace["dose"]) for i in whole]
        for name in names
        if all("dose" in by[name, i].agent_trace for i in whole)
    }
    return _Scored(
        {name: v[finite] for name, v in measured.items()},
        {name: np.array([bool(by[name, i].success) for i in whole]) for name in names},
        {name: float(np.mean(d)) for name, d in doses.items()},
        {n: sum(r.condition == n and r.end.is_error for r in records) for n in names},
    )


def _rate(scored: _Scored, name: str) -> Interval:
    return wilson_interval(int(scored.solved[name].sum()), len(scored.solved[name]))


def _change(scored: _Scored, name: str) -> Interval:
    return paired_bootstrap(scored.values[name] - scored.values[BASELINE])


def _differs(change: Interval) -> bool:
    return change.low > 0 or change.high < 0


def _effect(scored: _Scored, name: str, told: bool) -> dict[str, str]:
    """The change and the share as text, blank for the baseline itself."""
    if name == BASELINE:
        return {"change": "", "share": ""}
    change = _change(scored, name)
    found = {"change": f"{change.estimate:+.4f} ({change.low:+.4f}, {change.high:+.4f})"}
    share = share_of_prompt(dict(scored.values), name, PROMPT) if told else None
    found["share"] = "" if share is None else f"{share[0]:+.2f} ({share[1]:+.2f}, {share[2]:+.2f})"
    return found
