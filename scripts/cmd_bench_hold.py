"""`pilotage bench hold`: feedback steering to a commanded speed, beside its controls."""

from __future__ import annotations

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
from pilotage.scripts.tabulate import write_rows

SETTLE_STEPS = 3  # env steps before the speed counts as held
WITHIN = 0.10  # relative error that counts as held
CONTROLLERS = {"pid": "hold", "lqr": "lqr"}  # by the word for them in a condition


def hold(
    *,
    agent: str,
    split: str,
    episodes: int,
    families: Sequence[str],
    concept: str,
    targets: Sequence[float],
    controllers: Sequence[str],
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
    words = [law_word(controller) for controller in controllers]
    for target in targets:
        for word in words:
            held = f"{concept}:{word}-{target:g}"
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
    rows = table(records, names, targets)
    title = f"tabletop {split}, {episodes} paired episodes, families {', '.join(families) or 'all'}"
    write_rows(rows, out, "hold", title, as_json=as_json)
    return rows


def law_word(controller: str) -> str:
    """What a condition calls a controller. KeyError lists those that there are."""
    if controller not in CONTROLLERS:
        raise unknown("controller", controller, CONTROLLERS)
    return CONTROLLERS[controller]


def step_speeds(record: EpisodeRecord) -> np.ndarray:
    """The hand's speed in every env step, float64 `[T]`, m/s, from the world's own trace."""
    path = np.asarray(record.trace["ee_position"], dtype=np.float64)  # [T + 1, 3]
    return np.linalg.norm(np.diff(path, axis=0), axis=1) / STEP_SECONDS


def table(
    records: Sequence[EpisodeRecord], names: Sequence[str], targets: Sequence[float]
) -> list[dict[str, Any]]:
    """One row a condition, over the tasks that no condition lost to an error.

    speed_m_s, ripple_m_s: mean and standard deviation over steps, of the `n_held` episodes that
    outlast the settling.
    bias, error: of an episode's mean speed against the target, signed and absolute. within_10: the
    share of episodes whose mean is within 10 % of it; steps_within: the share of single steps.
    at_bound: of measured steps, those with the multiplier at a bound: near 1 the command was out of
    reach.
    """
    lost = {r.task.task_id for r in records if r.end.is_error}
    whole = [r for r in records if r.task.task_id not in lost]
    solved = [float(r.success) for r in whole if r.condition == "baseline"]
    base = float(np.mean(solved)) if solved else float("nan")
    rows = []
    for name in names:
        word = name.split(":")[1] if ":" in name else ""
        held = {f"{law}-{t:g}": t for t in targets for law in CONTROLLERS.values()}
        errors = sum(r.condition == name and r.end.is_error for r in records)
        row = _row(name, [r for r in whole if r.condition == name], held.get(word), base)
        rows.append({**row, "n_errors": errors})
    return rows


def _row(
    name: str, scored: Sequence[EpisodeRecord], target: float | None, base: float
) -> dict[str, Any]:
    rate = wilson_interval(sum(r.success for r in scored), len(scored))
    steps = [step_speeds(r)[SETTLE_STEPS:] for r in scored]
    ids = [r.task.task_id for r, s in zip(scored, steps, strict=True) if len(s)]
    steps = [s for s in steps if len(s)]
    means = np.array([s.mean() for s in steps])
    row: dict[str, Any] = {
        "condition": name,
        "n": len(scored),
        "success": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
        "success_kept": round(rate.estimate / max(base, 1e-9), 3),
        "n_held": len(steps),
        "speed_m_s": round(float(means.mean()), 4) if steps else "",
        "ripple_m_s": round(float(np.mean([s.std() for s in steps])), 4) if steps else "",
        "bias": "",
        "error": "",
        "within_10": "",
        "steps_within": "",
        "multiplier": "",
        "at_bound": "",
        "dose": "",
    }
    if target is not None and steps:
        off = means / target - 1
        for key, values in (("bias", off), ("error", np.abs(off))):
            span = paired_bootstrap(values, clusters=ids)
            row[key] = f"{100 * span.estimate:+.1f} % ({100 * span.low:.1f}, {100 * span.high:.1f})"
        row["within_10"] = round(float(np.mean(np.abs(off) <= WITHIN)), 3)
        near = [np.mean(np.abs(s / target - 1) <= WITHIN) for s in steps]
        row["steps_within"] = round(float(np.mean(near)), 3)
        held = [r.receipt["feedback"] for r in scored if r.receipt["feedback"]["n_measured"]]
        row["multiplier"] = round(float(np.mean([h["mean_multiplier"] for h in held])), 3)
        row["at_bound"] = round(float(np.mean([h["share_at_bound"] for h in held])), 3)
    doses = [float(np.mean(r.agent_trace["dose"])) for r in scored if "dose" in r.agent_trace]
    if any(doses):
        row["dose"] = f"{np.mean(doses):.3f}"
    return row
