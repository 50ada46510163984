"""Which coefficient of an edit is taken to the test split: the rule, and what it chose.

The largest of the grid that keeps `KEEP` of the baseline's success on val tasks. The effect plays
no part in it, so that a grid cannot be tuned to the effect; where none keeps it the smallest is
taken, and the table says so.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pilotage.episodes.files import write_atomically
from pilotage.episodes.types import EpisodeRecord

KEEP = 0.95  # of the baseline's success


@dataclass(frozen=True)
class Point:
    """What a dose did on val: successes of n episodes."""

    dose: float
    n: int
    n_successes: int


@dataclass(frozen=True)
class Choice:
    """dose: of the grid. kept: whether it keeps the success that the rule asks for."""

    dose: float
    kept: bool
    curve: tuple[Point, ...] = ()


def choose(curve: Sequence[Point], baseline: Point, keep: float = KEEP) -> Choice:
    """The largest dose whose success is at least `keep` times the baseline's, else the smallest.

    Raises ValueError for an empty curve, doses that are not distinct and positive, points without
    episodes or with other numbers of episodes than the baseline, and a baseline without success,
    of which any edit would keep everything.
    """
    doses = [point.dose for point in curve]
    if not doses or len(set(doses)) != len(doses) or min(doses) <= 0:
        raise ValueError(f"doses of a curve must be distinct and positive, got {doses}")
    if baseline.n < 1 or any(point.n != baseline.n for point in curve):
        raise ValueError(
            f"every dose must have as many episodes as the baseline ({baseline.n}, at least 1), "
            f"got {[point.n for point in curve]}"
        )
    if baseline.n_successes == 0:
        raise ValueError(
            f"the baseline solved none of {baseline.n} val tasks, so no share of its success can "
            "be kept; take more tasks (--val-episodes) or other families (--families)"
        )
    # A tolerance of rounding only: 19 of 20 keep 0.95 of 20 of 20.
    wanted = keep * baseline.n_successes - 1e-9
    kept = [point.dose for point in curve if point.n_successes >= wanted]
    return Choice(max(kept) if kept else min(doses), bool(kept), tuple(curve))


def points(
    records: Sequence[EpisodeRecord], names: dict[str, float], baseline: str = "baseline"
) -> tuple[list[Point], Point]:
    """The curve of the conditions `names` (name -> dose), and the baseline's point, over the tasks
    that no condition of the run lost to an error."""
    lost = {r.task.task_id for r in records if r.end.is_error}
    solved: dict[str, list[bool]] = {}
    for record in records:
        if record.task.task_id not in lost:
            solved.setdefault(record.condition, []).append(bool(record.success))

    def point(name: str, dose: float) -> Point:
        found = solved.get(name, [])
        return Point(dose, len(found), sum(found))

    return [point(name, dose) for name, dose in names.items()], point(baseline, 0.0)


def save_choices(path: Path, settings: dict[str, Any], choices: dict[str, Choice]) -> None:
    """Freeze what was chosen, and under which settings."""
    table = {"settings": settings, "chosen": {k: asdict(c) for k, c in choices.items()}}
    write_atomically(path, (json.dumps(table, indent=1) + "\n").encode())


def load_choices(path: Path, settings: dict[str, Any]) -> dict[str, Choice] | None:
    """What was chosen earlier, None where nothing was. ValueError where it was under others."""
    if not path.is_file():
        return None
    table = read_settings(path, settings)
    return {
        name: Choice(c["dose"], c["kept"], tuple(Point(**p) for p in c["curve"]))
        for name, c in table["chosen"].items()
    }


def read_settings(path: Path, settings: dict[str, Any]) -> dict[str, Any]:
    """A JSON file with "settings" that must be these. ValueError names those that are not."""
    try:
        table: dict[str, Any] = json.loads(path.read_text())
        found = table["settings"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}); delete it and run again") from error
    differing = [k for k in {**found, **settings} if found.get(k) != settings.get(k)]
    if differing:
        k = differing[0]
        raise ValueError(
            f"{path} was made with other settings: {k} was {found.get(k)!r}, now "
            f"{settings.get(k)!r}; use the same, or choose another --out"
        )
    return table
