"""`pilotage bench guard`: steering that may let go, beside the same steering that may not."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.statistics import paired_bootstrap, wilson_interval
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.tabulate import write_rows

GUARDED = ":guarded"


def guard(
    *,
    agent: str,
    split: str,
    episodes: int,
    families: Sequence[str],
    conditions: Sequence[str],
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench guard --help`."""
    pairs = [(name, guarded_name(name)) for name in conditions]
    records, _ = play(
        env="tabletop",
        agent=agent,
        tasks=make_tasks("tabletop", split, episodes, seed=seed, families=families, manners="none"),
        condition_names=["baseline", *(name for pair in pairs for name in pair)],
        out=out,
        n_slots=slots,
        seed=seed,
        frames="none",
        quiet=quiet,
    )
    rows = table(records, pairs)
    title = f"tabletop {split}, {episodes} paired episodes, families {', '.join(families) or 'all'}"
    write_rows(rows, out, "guard", title, as_json=as_json)
    return rows


def guarded_name(name: str) -> str:
    """The same condition with a guard: before its control, if it has one."""
    edit, _, rest = name.partition(":")
    law, _, control = rest.partition(":")
    if law.startswith(("hold-", "lqr-")):
        return f"{edit}:{law}{GUARDED}" + (f":{control}" if control else "")
    return f"{edit}{GUARDED}" + (f":{rest}" if rest else "")


def table(
    records: Sequence[EpisodeRecord], pairs: Sequence[tuple[str, str]]
) -> list[dict[str, Any]]:
    """One row a condition, over the tasks that no condition lost to an error.

    gain: paired difference in success to the same condition without the guard. let_go, came_back:
    the share of episodes in which the guard did; factor: what it let through on average.
    """
    lost = {r.task.task_id for r in records if r.end.is_error}
    whole = [r for r in records if r.task.task_id not in lost]
    by_name: dict[str, dict[str, EpisodeRecord]] = {}
    for r in whole:
        by_name.setdefault(r.condition, {})[r.task.task_id] = r
    order = [("baseline", None), *((n, a if n != a else None) for a, b in pairs for n in (a, b))]
    rows = []
    for name, without in order:
        errors = sum(r.condition == name and r.end.is_error for r in records)
        against = None if without is None else by_name.get(without, {})
        rows.append({**_row(name, by_name.get(name, {}), against), "n_errors": errors})
    return rows


def _row(
    name: str, scored: dict[str, EpisodeRecord], against: dict[str, EpisodeRecord] | None
) -> dict[str, Any]:
    rate = wilson_interval(sum(r.success for r in scored.values()), len(scored))
    speeds = [episode_metrics(r)["mean_speed"] for r in scored.values()]
    doses = [r.agent_trace["dose"] for r in scored.values() if "dose" in r.agent_trace]
    row: dict[str, Any] = {
        "condition": name,
        "n": len(scored),
        "success": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
        "gain": "",
        "speed_m_s": round(float(np.nanmean(speeds)), 4) if speeds else "",
        "dose": round(float(np.mean([d.mean() for d in doses])), 3) if doses else "",
        "let_go": "",
        "came_back": "",
        "factor": "",
    }
    if against:
        change = [float(r.success) - float(against[t].success) for t, r in scored.items()]
        span = paired_bootstrap(np.array(change), clusters=list(scored))
        row["gain"] = f"{span.estimate:+.3f} ({span.low:+.3f}, {span.high:+.3f})"
    told = [r.receipt["guard"] for r in scored.values() if "guard" in r.receipt]
    if told:
        row["let_go"] = round(float(np.mean([bool(g["let_go_at"]) for g in told])), 3)
        row["came_back"] = round(float(np.mean([bool(g["resumed_at"]) for g in told])), 3)
        row["factor"] = round(float(np.mean([g["mean_factor"] for g in told])), 3)
    return row
