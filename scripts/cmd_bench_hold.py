"""`pilotage bench hold`: feedback steering to a commanded speed, beside its controls."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.agents.vla.conditions import load_table
from pilotage.envs.tabletop.layout import STEP_SECONDS
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import paired_bootstrap, wilson_interval
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import agent_folder, make_tasks
from pilotage.scripts.tabulate import show_rows

SETTLE_STEPS = 3  # env steps before the speed counts as held
WITHIN = 0.10  # relative error that counts as held


def hold(
    *,
    agent: str,
    split: str,
    episodes: int,
    families: Sequence[str],
    concept: str,
    targets: Sequence[float],
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench hold --help`."""
    known = load_table(agent_folder(agent, "tabletop"))
    if concept not in known:
        raise unknown("concept", concept, known)
    names = ["baseline", concept]
    for target in targets:
        held = f"{concept}:hold-{target:g}"
        names += [held, f"{held}:random-matched-0", f"{held}:action-scale"]
    tasks = make_tasks("tabletop", split, episodes, seed=seed, families=families, manners="none")
    records, _ = play(
        env="tabletop",
        agent=agent,
        tasks=tasks,
        condition_names=names,
        out=out,
        n_slots=slots,
        seed=seed,
        frames="none",
        quiet=quiet,
    )
    rows = [_row(name, records, targets) for name in names]
    (out / "hold.json").write_text(json.dumps(rows, indent=1) + "\n")
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        title = f"tabletop {split}, {episodes} paired episodes, families {', '.join(families)}"
        show_rows(rows, title, out / "hold.md", width=170)
    return rows


def held_speed(record: EpisodeRecord) -> tuple[float, float]:
    """Mean and standard deviation over steps of the hand's speed behind the first `SETTLE_STEPS`,
    m/s; NaN for an episode that is over by then."""
    path = np.asarray(record.trace["ee_position"], dtype=np.float64)  # [T + 1, 3]
    speed = np.linalg.norm(np.diff(path, axis=0), axis=1)[SETTLE_STEPS:] / STEP_SECONDS
    return (float(speed.mean()), float(speed.std())) if len(speed) else (np.nan, np.nan)


def _row(name: str, records: Sequence[EpisodeRecord], targets: Sequence[float]) -> dict[str, Any]:
    group = [r for r in records if r.condition == name]
    scored = [r for r in group if not r.end.is_error]
    base = [r.success for r in records if r.condition == "baseline" and not r.end.is_error]
    rate = wilson_interval(sum(r.success for r in scored), len(scored))
    speeds = np.array([held_speed(r) for r in scored]).reshape(-1, 2)
    ids = [r.task.task_id for r in scored]
    counted = np.isfinite(speeds[:, 0])
    target = next((t for t in targets if name.split(":")[1:2] == [f"hold-{t:g}"]), None)
    row: dict[str, Any] = {
        "condition": name,
        "n": len(scored),
        "n_errors": len(group) - len(scored),
        "success": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
        "success_kept": round(rate.estimate / max(float(np.mean(base)), 1e-9), 3),
        "n_held": int(counted.sum()),
        "speed_m_s": round(float(speeds[counted, 0].mean()), 4),
        "ripple_m_s": round(float(speeds[counted, 1].mean()), 4),
        "bias": "",
        "error": "",
        "within_10": "",
        "multiplier": "",
        "dose": "",
    }
    if target is not None and counted.any():
        off = speeds[counted, 0] / target - 1
        clusters = [i for i, use in zip(ids, counted, strict=True) if use]
        for key, values in (("bias", off), ("error", np.abs(off))):
            span = paired_bootstrap(values, clusters=clusters)
            row[key] = f"{100 * span.estimate:+.1f} % ({100 * span.low:.1f}, {100 * span.high:.1f})"
        row["within_10"] = round(float(np.mean(np.abs(off) <= WITHIN)), 3)
        factors = [np.nanmean(r.agent_trace["multiplier"]) for r in scored]
        row["multiplier"] = round(float(np.mean(factors)), 3)
    doses = [float(np.mean(r.agent_trace["dose"])) for r in scored if "dose" in r.agent_trace]
    if any(doses):
        row["dose"] = f"{np.mean(doses):.3f}"
    return row
