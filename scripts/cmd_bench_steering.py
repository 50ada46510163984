"""`pilotage bench steering`: what steering does to speed, what it costs, beside every control."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.agents.vla.conditions import load_table
from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_run import play
from pilotage.scripts.opening import agent_folder, make_tasks
from pilotage.scripts.tabulate import write_rows

N_RESAMPLES = 10_000


def conditions_of(folder: Path, concepts: Sequence[str], n_random: int) -> list[str]:
    """Baseline, and for each concept the steering, its random controls, prompt, action scaling."""
    table = load_table(folder)
    names = ["baseline"]
    for concept in concepts:
        if concept not in table:
            raise unknown("concept", concept, table)
        names.append(concept)
        controls = [f"random-matched-{seed}" for seed in range(n_random)]
        if not concept.endswith("-clamp"):
            controls += ["prompt", "action-scale"]
        names += [f"{concept}:{control}" for control in controls]
    return names


def share_of_prompt(
    speeds: dict[str, np.ndarray], name: str, prompt: str, *, seed: int = 0
) -> tuple[float, float, float]:
    """(mean steered - baseline) / (mean prompted - baseline) and its 95 % percentile interval, by
    resampling the paired episodes together. speeds: per condition float64 `[n]`, same order."""
    base, steered, prompted = speeds["baseline"], speeds[name], speeds[prompt]
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(base), size=(N_RESAMPLES, len(base)))

    def ratio(index: Any) -> Any:
        return (steered - base)[index].mean(-1) / (prompted - base)[index].mean(-1)

    low, high = np.quantile(ratio(picks), [0.025, 0.975])
    return float(ratio(slice(None))), float(low), float(high)


def steering(
    *,
    agent: str,
    env: str,
    split: str,
    episodes: int,
    families: Sequence[str],
    concepts: Sequence[str],
    n_random: int,
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench steering --help`."""
    names = conditions_of(agent_folder(agent, env), concepts, n_random)
    tasks = make_tasks(env, split, episodes, seed=seed, families=families, manners="none")
    records, _ = play(
        env=env,
        agent=agent,
        tasks=tasks,
        condition_names=names,
        out=out,
        n_slots=slots,
        seed=seed,
        frames=4,
        quiet=quiet,
    )
    rows = table(records, names)
    title = f"{env} {split}, {episodes} paired episodes, families {', '.join(families) or 'all'}"
    write_rows(rows, out, "steering", title, as_json=as_json)
    return rows


def table(
    records: Sequence[EpisodeRecord], names: Sequence[str], *, prompt: str | None = None
) -> list[dict[str, Any]]:
    """One row a condition, over the tasks that no condition lost to an error.

    share: of the prompt's effect on mean speed; prompt: the condition that says it in words, by
    default the one of the row's concept. success_kept: success over the baseline's.
    """
    by = {(r.condition, r.task.task_id): r for r in records}
    ids = list(dict.fromkeys(r.task.task_id for r in records))
    whole = [i for i in ids if all(not by[name, i].end.is_error for name in names)]
    speeds = {
        name: np.array([episode_metrics(by[name, i])["mean_speed"] for i in whole])
        for name in names
    }
    finite = np.all([np.isfinite(v) for v in speeds.values()], axis=0)
    speeds = {name: v[finite] for name, v in speeds.items()}
    base_success = float(np.mean([by["baseline", i].success for i in whole]))
    rows = []
    for name in names:
        group = [by[name, i] for i in whole]
        rate = wilson_interval(sum(r.success for r in group), len(group))
        concept = re.split("[:@]", name)[0].removesuffix("-clamp")
        row: dict[str, Any] = {
            "condition": name,
            "n": len(group),
            "n_errors": sum(r.condition == name and r.end.is_error for r in records),
            "success": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
            "success_kept": round(rate.estimate / max(base_success, 1e-9), 3),
            "speed_m_s": round(float(speeds[name].mean()), 4),
            "share": "",
            "dose": "",
        }
        in_words = f"{concept}:prompt" if prompt is None else prompt
        if name != "baseline" and in_words in speeds:
            share, low, high = share_of_prompt(speeds, name, in_words)
            row["share"] = f"{share:+.3f} ({low:+.3f}, {high:+.3f})"
        doses = [float(np.mean(r.agent_trace["dose"])) for r in group if "dose" in r.agent_trace]
        if doses and any(doses):
            row["dose"] = f"{np.mean(doses):.3f}"
        rows.append(row)
    return rows
