"""Prediction files of VLN code bases: a list of `{"instr_id": ..., "trajectory": [...]}`.

A trajectory is a list of `[viewpoint, heading, elevation]` (R2R) or of lists of viewpoints walked
through (the DUET family). REVERIE's have the id of the named object too, as `predObjId` (in raw
files of the DUET family `pred_objid`; null or -1: none). What does not fit the split is an error or
is counted, never left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.episodes.types import Task
from pilotage.episodes.vln_metrics import Walk

from .dataset import R2RData
from .errors import DataError
from .files import field_of, read_json
from .walks import n_jumps, walk_of

ANSWERS = ("predObjId", "pred_objid")
NO_OBJECT = "-1"


@dataclass(frozen=True)
class Matched:
    """Predictions beside the tasks of a split: a walk per task, None where there is none."""

    walks: list[Walk | None]
    n_missing: int
    n_jumps: int  # moves that follow no edge of the graph
    n_with_jumps: int  # trajectories with such a move


def read_predictions(path: Path) -> dict[str, list[str]]:
    """instr_id -> viewpoint ids, the start first. A place held for several views stays repeated.

    Raises DataMissing; DataError for a damaged entry or an id that occurs twice.
    """
    found: dict[str, list[str]] = {}
    for i, entry in enumerate(read_json(path, list)):
        where = f"{path} entry {i}"
        instr_id = field_of(entry, "instr_id", str, where)
        if instr_id in found:
            raise DataError(f"{where}: instruction id {instr_id!r} occurs twice")
        steps = field_of(entry, "trajectory", list, where)
        found[instr_id] = [v for step in steps for v in _viewpoints(step, where)]
        if not found[instr_id]:
            raise DataError(f"{where}: the trajectory of {instr_id!r} is empty")
    return found


def read_answers(path: Path) -> dict[str, str]:
    """instr_id -> id of the object that a prediction of REVERIE names, where it names one.

    Raises DataMissing; DataError for an id that is neither a whole number nor a word.
    """
    found: dict[str, str] = {}
    for i, entry in enumerate(read_json(path, list)):
        where = f"{path} entry {i}"
        instr_id = field_of(entry, "instr_id", str, where)
        for name in ANSWERS:
            if entry.get(name) is not None:
                answer = str(field_of(entry, name, (int, str), where))
                if answer != NO_OBJECT:
                    found[instr_id] = answer
    return found


def _viewpoints(step: Any, where: str) -> Sequence[str]:
    """Viewpoints of one entry: "id", ["id", heading, elevation] or ["id", "id", ...]."""
    if isinstance(step, str):
        return [step]
    if isinstance(step, list) and step and isinstance(step[0], str):
        if all(isinstance(v, str) for v in step):
            return step
        if len(step) == 3 and all(isinstance(v, int | float) for v in step[1:]):
            return step[:1]
    raise DataError(
        f"{where}: {step!r} in the trajectory is neither [viewpoint, heading, elevation] nor a "
        "list of viewpoints"
    )


def match_predictions(
    predictions: Mapping[str, Sequence[str]],
    tasks: Sequence[Task],
    data: R2RData,
    *,
    allow_missing: bool = False,
    answers: Mapping[str, str] | None = None,
) -> Matched:
    """Put trajectories, and answers of `read_answers`, beside the tasks of one family and split.

    Raises DataError when a prediction belongs to no task (another split or data set), does not
    begin at its task's start, names a viewpoint that its scan lacks, or, unless `allow_missing`,
    when a task has no prediction; each with the number of such cases and the first one.
    """
    known = {task.info["instr_id"] for task in tasks}
    strangers = [i for i in predictions if i not in known]
    if strangers:
        raise DataError(
            f"{len(strangers)} of {len(predictions)} predictions are for instructions that this "
            f"split does not have, the first is {strangers[0]!r}: are they for another split?"
        )
    missing = [t.info["instr_id"] for t in tasks if t.info["instr_id"] not in predictions]
    if missing and not allow_missing:
        raise DataError(
            f"{len(missing)} of {len(tasks)} instructions have no prediction, the first is "
            f"{missing[0]!r}; allow missing ones to score the rest and count them"
        )
    walks: list[Walk | None] = []
    jumps = []
    for task in tasks:
        path = predictions.get(task.info["instr_id"])
        if path is None:
            walks.append(None)
            continue
        if path[0] != task.start["viewpoint"]:
            raise DataError(
                f"the trajectory of {task.info['instr_id']!r} begins at {path[0]}, its task at "
                f"{task.start['viewpoint']}"
            )
        named = (answers or {}).get(task.info["instr_id"])
        walks.append(walk_of(task, path, data, answer=named))
        jumps.append(n_jumps(task, path, data))
    return Matched(walks, len(missing), sum(jumps), sum(1 for j in jumps if j))
