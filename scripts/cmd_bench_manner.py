"""`pilotage bench manner`: success per tabletop family, and whether speed words are obeyed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.tabulate import show_rows

SPEEDS = (None, "fast", "slow")


def manner(
    *,
    agent: str,
    split: str,
    episodes: int,
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench manner --help`. Every scene is asked for plainly, quickly and slowly."""
    from pilotage.envs.tabletop import with_manner
    from pilotage.envs.tabletop.layout import FAMILIES

    plain = make_tasks("tabletop", split, episodes * len(FAMILIES), seed=seed, manners="none")
    tasks = [with_manner(task, speed=speed) for task in plain for speed in SPEEDS]
    records, _ = play(
        env="tabletop",
        agent=agent,
        tasks=tasks,
        condition_names=["baseline"],
        out=out,
        n_slots=slots,
        seed=seed,
        frames="none",
        quiet=quiet,
    )
    groups = {f: [r for r in records if r.task.family == f] for f in FAMILIES}
    rows = [_row(name, group) for name, group in {**groups, "all": records}.items()]
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        title = f"{agent}, tabletop {split}: success and speed by manner word"
        show_rows(rows, title, out / "manner.md", width=160)
    return rows


def _row(family: str, records: list[EpisodeRecord]) -> dict[str, Any]:
    row: dict[str, Any] = {"family": family}
    means = {}
    for speed in ("normal", "fast", "slow"):
        group = [r for r in records if r.task.info["manner"]["speed"] == speed]
        scored = [r for r in group if not r.end.is_error]
        rate = wilson_interval(sum(r.success for r in scored), len(scored))
        row[f"{speed}_n"] = len(scored)
        row[f"{speed}_success"] = f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})"
        means[speed] = np.nanmean([episode_metrics(r)["mean_speed"] for r in scored])
    for speed in ("fast", "slow"):
        row[f"{speed}_speed_ratio"] = round(float(means[speed] / means["normal"]), 3)
    row["n_errors"] = sum(r.end.is_error for r in records)
    return row
