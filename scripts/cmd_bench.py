"""`pilotage bench`: standard tables. `nav`: navigation agents on one task set."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.statistics import paired_bootstrap, wilson_interval
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import make_tasks
from pilotage.scripts.route_outcomes import OUTCOMES, outcome_row
from pilotage.scripts.tabulate import show_rows

NAV_METRICS = ("spl", "soft_spl", "osr", "ne", "tl", "ndtw", "sdtw", "cls", "collisions", "steps")


def nav(
    *,
    env: str,
    split: str,
    agents: Sequence[str],
    episodes: int,
    families: Sequence[str],
    out: Path,
    slots: int,
    seed: int,
    success_radius_m: float,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench nav --help`. One row an agent and family, with 95 % intervals."""
    tasks = make_tasks(env, split, episodes, seed=seed, families=families or None)
    rows, outcomes = [], []
    for agent in agents:
        records, _ = play(
            env=env,
            agent=agent,
            tasks=tasks,
            condition_names=["baseline"],
            out=out / agent.replace("/", "_"),
            n_slots=slots,
            seed=seed,
            frames="none",
            quiet=quiet,
            world_options={"success_radius_m": success_radius_m},
        )
        names = sorted({r.task.family for r in records})
        groups = {name: [r for r in records if r.task.family == name] for name in names}
        for family, group in {**groups, "all": records}.items():
            rows.append(_row(agent, family, group, success_radius_m))
        if env == "rooms" and "instruction" in groups:
            outcomes.append(outcome_row(agent, groups["instruction"]))
            of_route = next(r for r in rows if (r["agent"], r["family"]) == (agent, "instruction"))
            of_route["outcomes"] = {name: outcomes[-1][name] for name in OUTCOMES}
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        title = f"{env} {split}, {len(tasks)} tasks, success within {success_radius_m} m"
        short = [{k: v for k, v in row.items() if k != "outcomes"} for row in rows]
        show_rows(short, title, out / "nav.md", width=160)
        if outcomes:
            title = f"{env} {split}, where instructions end"
            show_rows(outcomes, title, out / "outcomes.md", width=160)
    return rows


def _row(agent: str, family: str, records: Sequence[EpisodeRecord], radius: float) -> dict:
    scored = [r for r in records if not r.end.is_error]
    rate = wilson_interval(sum(r.success for r in scored), len(scored))
    row: dict[str, Any] = {
        "agent": agent,
        "family": family,
        "n": len(records),
        "n_errors": len(records) - len(scored),
        "sr": round(rate.estimate, 3),
        "sr_95": f"{rate.low:.3f} to {rate.high:.3f}",
    }
    metrics = [episode_metrics(r, success_radius_m=radius) for r in scored]
    for name in NAV_METRICS:
        values = [m[name] for m in metrics if name in m]
        if values:
            row[name] = round(sum(values) / len(values), 3)
    if metrics and "spl" in metrics[0]:
        import numpy as np

        interval = paired_bootstrap(np.array([m["spl"] for m in metrics]))
        row["spl_95"] = f"{interval.low:.3f} to {interval.high:.3f}"
    return row
