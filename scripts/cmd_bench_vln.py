"""`pilotage bench vln`: floors and prediction files on a split of R2R, R4R or REVERIE."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from textwrap import wrap
from typing import Any

from pilotage.agents.vln.floors import RandomWalkAgent, ShortestAgent, StopAgent
from pilotage.envs.r2r.annotations import SPLIT_ALIASES
from pilotage.envs.r2r.dataset import R2RData, shared_data
from pilotage.envs.r2r.predictions import match_predictions, read_predictions
from pilotage.envs.r2r.tasks import make_tasks, split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.envs.r2r.walks import walk_of, walk_of_record
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.names import unknown
from pilotage.episodes.tables import to_rich
from pilotage.episodes.types import BASELINE, Agent, Task
from pilotage.episodes.vln_conventions import VLN_CONVENTIONS, vln_convention
from pilotage.episodes.vln_metrics import Walk
from pilotage.episodes.vln_summary import VlnSummary, convention_matrix

COLUMNS = {
    "success": "SR",
    "spl": "SPL",
    "navigation_error": "NE (m)",
    "oracle_success": "OSR",
    "path_length": "TL (m)",
    "ndtw": "nDTW",
    "sdtw": "sDTW",
    "cls": "CLS",
}
PLAYERS: dict[str, type[Agent]] = {
    "stop": StopAgent,
    "shortest": ShortestAgent,
    "random": RandomWalkAgent,
}
AGENTS = (*PLAYERS, "reference")  # `reference` walks the annotated path, which is not played


@dataclass(frozen=True)
class Entry:
    """What one agent or file did on the tasks: a walk per task (None: no attempt), and the ends."""

    name: str
    walks: Sequence[Walk | None]
    ends: dict[str, int]
    notes: str = ""


def vln(
    *,
    split: str,
    family: str,
    agents: Sequence[str],
    predictions: Sequence[Path],
    allow_missing: bool,
    conventions: Sequence[str],
    episodes: int,
    data: Path | None,
    slots: int,
    seed: int,
    success_radius_m: float,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench vln --help`. One row an entry and convention; returns the rows."""
    names = list(VLN_CONVENTIONS) if "all" in conventions else list(conventions)
    for name in names:
        vln_convention(name)
    for agent in agents:
        if agent not in AGENTS:
            raise unknown("agent", agent, AGENTS, "; a model's trajectories: --predictions FILE")
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    tasks = (
        make_tasks(split, episodes, seed=seed, families=[family], data=source.root)
        if episodes
        else split_tasks(family, split, source.root)
    )
    entries = [_played(a, tasks, source, slots, seed, success_radius_m) for a in agents]
    entries += [_predicted(path, tasks, source, allow_missing) for path in predictions]
    scenes = [task.scene["scan"] for task in tasks]
    rows = []
    for entry in entries:
        matrix = convention_matrix(
            entry.walks,
            conventions=names,
            clusters=scenes,
            names=tuple(COLUMNS),
            success_radius_m=success_radius_m,
        )
        rows += [_row(entry, summary) for summary in matrix]
    if as_json:
        print(json.dumps([_jsonable(row) for row in rows], indent=1, allow_nan=False))
    else:
        title = f"{family} {split}: {len(tasks)} instructions, {len(set(scenes))} scenes"
        seen = "success where the object is seen"
        within = f"success within {success_radius_m} m"
        _show(rows, entries, f"{title}, {seen if family == 'reverie' else within}")
    return rows


def _played(
    name: str, tasks: Sequence[Task], data: R2RData, slots: int, seed: int, radius_m: float
) -> Entry:
    if name == "reference":
        walks = [walk_of(task, task.info["path"], data) for task in tasks]
        return Entry(name, walks, {"agent_stopped": len(walks)}, "the annotated paths, not played")
    envs = R2RVectorEnv(
        slots,
        action_space="view" if name == "random" else "panoramic",
        expert_actions=name == "shortest",
        text=False,
        success_radius_m=radius_m,
        data=data.root,
    )
    try:
        records = run_episodes(
            envs, PLAYERS[name](), tasks, [BASELINE], seed=seed, frames="none", keep_frames=False
        )
    finally:
        envs.close()
    ends = Counter(record.end.value for record in records)
    return Entry(name, [walk_of_record(record, data) for record in records], dict(ends))


def _predicted(path: Path, tasks: Sequence[Task], data: R2RData, allow_missing: bool) -> Entry:
    matched = match_predictions(read_predictions(path), tasks, data, allow_missing=allow_missing)
    n_walks = len(tasks) - matched.n_missing
    notes = f"{matched.n_missing} missing; {matched.n_jumps} moves without an edge"
    if matched.n_jumps:
        notes += f", in {matched.n_with_jumps} trajectories"
    return Entry(path.stem, matched.walks, {"agent_stopped": n_walks}, notes)


def _row(entry: Entry, summary: VlnSummary) -> dict[str, Any]:
    row = {"agent": entry.name, **summary.cells()}
    for name in ("success", "spl"):
        interval = summary.metrics[name].interval
        row[f"{name}_low"], row[f"{name}_high"] = interval.low, interval.high
    return {**row, "ends": entry.ends, "notes": entry.notes}


def _show(rows: Sequence[dict[str, Any]], entries: Sequence[Entry], title: str) -> None:
    from rich.console import Console

    console = Console(width=150)
    console.print(to_rich([_brief(row) for row in rows], title=title))
    console.print("95 % intervals draw whole scenes. Ends:")
    for entry in entries:
        ends = ", ".join(f"{reason} {n}" for reason, n in sorted(entry.ends.items()))
        console.print(f"  {entry.name}: {ends}" + (f" ({entry.notes})" if entry.notes else ""))


def _jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity: those become words."""
    return {k: str(v) if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()}


def _brief(row: dict[str, Any]) -> dict[str, str]:
    counts = ("n_total", "n_scored", "n_nan", "n_inf")
    brief = {"agent": "\n".join(wrap(row["agent"], 16)), "convention": row["convention"]}
    brief |= {name: str(row[name]) for name in counts}
    for name, heading in COLUMNS.items():
        brief[heading] = f"{row[name]:.4f}"
        if f"{name}_low" in row:
            brief[heading] += f"\n{row[f'{name}_low']:.3f}-{row[f'{name}_high']:.3f}"
    return brief
