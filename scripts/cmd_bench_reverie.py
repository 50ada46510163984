"""`pilotage bench reverie`: which frame of a tour shows the object that an instruction names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.agents.vln.maps.scorers import Scorer
from pilotage.envs.r2r.annotations import SPLIT_ALIASES
from pilotage.envs.r2r.dataset import shared_data
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import Interval, paired_bootstrap
from pilotage.episodes.tables import to_rich
from pilotage.episodes.types import Task
from pilotage.scripts.reverie_tours import SCORERS, Tours
from pilotage.scripts.vln_tasks import drawn_tasks

CHANCE = "chance"
METRICS = {"recall_1": "R@1", "recall_5": "R@5", "within": "within 3 m"}
RADIUS_M = 3.0


def reverie(
    *,
    split: str,
    scorers: Sequence[str],
    episodes: int,
    n_train: int,
    data: Path | None,
    seed: int,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench reverie --help`. Returns the rows."""
    for name in scorers:
        if name not in (CHANCE, *SCORERS):
            raise unknown("scorer", name, (CHANCE, *SCORERS))
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    tasks = drawn_tasks("reverie", split, episodes, seed, source)
    scenes = [task.scene["scan"] for task in tasks]
    tours = Tours(source, n_train=n_train, seed=seed)
    found = {
        name: _chances(tasks, tours)
        if name == CHANCE
        else retrieved(tours.scorer(name, tasks), tasks, tours, seed=seed)
        for name in scorers
    }
    rows = [_row(name, values, found.get("lexical"), scenes) for name, values in found.items()]
    if as_json:
        print(json.dumps(rows, indent=1, allow_nan=False))
    else:
        _show(rows, f"reverie {split}: {len(tasks)} instructions, {len(set(scenes))} scenes")
    return rows


def retrieved(
    scorer: Scorer, tasks: Sequence[Task], tours: Tours, *, seed: int = 0
) -> dict[str, np.ndarray]:
    """Per task and metric 0 or 1, float64 [n]. Equal scores are put in an order drawn by `seed`.

    `recall_k`: one of the k best frames sees the object. `within`: the best frame is less than
    3 m, along the graph, from one that does.
    """
    values = np.zeros((len(tasks), len(METRICS)))
    for i, task in enumerate(tasks):
        tour, goal = tours[task.scene["scan"]], tours.goals(task)
        scores = scorer.scores(tour, task.instruction)
        ties = np.random.default_rng([seed, i]).permutation(len(scores))
        order = np.lexsort((ties, -scores))
        near = _near(task, tours)
        values[i] = goal[order[0]], goal[order[:5]].any(), near[order[0]]
    return dict(zip(METRICS, values.T))


def _chances(tasks: Sequence[Task], tours: Tours) -> dict[str, np.ndarray]:
    """What drawing frames without replacement gives, exactly."""
    values = np.zeros((len(tasks), len(METRICS)))
    for i, task in enumerate(tasks):
        goal = tours.goals(task)
        n, hits = len(goal), int(goal.sum())
        left = np.arange(n - hits, n - hits - min(5, n), -1) / np.arange(n, n - min(5, n), -1)
        values[i] = hits / n, 1 - np.maximum(left, 0).prod(), _near(task, tours).mean()
    return dict(zip(METRICS, values.T))


def _near(task: Task, tours: Tours) -> np.ndarray:
    distance = tours.data.graph(task.scene["scan"]).distance
    near: np.ndarray = distance[tours.goals(task)].min(axis=0) < RADIUS_M
    return near


def _row(
    name: str,
    values: dict[str, np.ndarray],
    floor: dict[str, np.ndarray] | None,
    scenes: Sequence[str],
) -> dict[str, Any]:
    row: dict[str, Any] = {"scorer": name, "n": len(scenes)}
    for metric, hits in values.items():
        row |= _cells(metric, paired_bootstrap(100 * hits, clusters=scenes))
    if floor is not None and name not in ("lexical", CHANCE):
        gain = 100 * (values["recall_1"] - floor["recall_1"])
        row |= _cells("gain", paired_bootstrap(gain, clusters=scenes))
    return row


def _cells(metric: str, interval: Interval) -> dict[str, float]:
    return {
        metric: interval.estimate,
        f"{metric}_low": interval.low,
        f"{metric}_high": interval.high,
    }


def _show(rows: Sequence[dict[str, Any]], title: str) -> None:
    from rich.console import Console

    headings = {**METRICS, "gain": "R@1 - lexical"}
    brief = []
    for row in rows:
        cells = {"scorer": row["scorer"], "n": str(row["n"])}
        for metric, heading in headings.items():
            cells[heading] = (
                f"{row[metric]:.1f} ({row[f'{metric}_low']:.1f} to {row[f'{metric}_high']:.1f})"
                if metric in row
                else ""
            )
        brief.append(cells)
    console = Console(width=110)
    console.print(to_rich(brief, title=title))
    console.print(
        "Percent; 95 % intervals draw whole scenes. The tour holds every viewpoint; object names "
        "are REVERIE's ground truth."
    )
