"""`pilotage steer sweep`: the dose-response curve of a concept, and what each dose costs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.agents.vla.conditions import load_table
from pilotage.episodes.names import unknown
from pilotage.scripts.cmd_bench_steering import table
from pilotage.scripts.cmd_run import play
from pilotage.scripts.cmd_view import write_html
from pilotage.scripts.opening import agent_folder, make_tasks
from pilotage.scripts.tabulate import write_rows

KEEP = 0.95  # of the baseline's success: the dose that is recommended keeps as much


def conditions_of(folder: Path, concept: str, doses: Sequence[float], n_random: int) -> list[str]:
    """Baseline, the prompt where the concept has one, and per dose the edit and its controls."""
    known = load_table(folder)
    if concept not in known:
        raise unknown("concept", concept, known)
    if len(set(doses)) != len(doses) or not doses or 0.0 in doses:
        raise ValueError(f"doses must be distinct and other than 0, got {list(doses)}")
    names = ["baseline"]
    if "prompt_suffix" in known[concept]:
        names.append(f"{concept}:prompt")
    for dose in doses:
        names.append(f"{concept}@{dose:g}")
        names += [f"{concept}@{dose:g}:random-matched-{seed}" for seed in range(n_random)]
    return names


def sweep(
    *,
    agent: str,
    split: str,
    episodes: int,
    families: Sequence[str],
    concept: str,
    doses: Sequence[float],
    n_random: int,
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage steer sweep --help`."""
    names = conditions_of(agent_folder(agent, "tabletop"), concept, doses, n_random)
    tasks = make_tasks("tabletop", split, episodes, seed=seed, families=families, manners="none")
    records, run = play(
        env="tabletop",
        agent=agent,
        tasks=tasks,
        condition_names=names,
        out=out,
        n_slots=slots,
        seed=seed,
        frames=2,
        quiet=quiet,
    )
    rows = mark_front(table(records, names, prompt=f"{concept}:prompt"))
    title = f"{concept} on tabletop {split}, {episodes} paired episodes"
    write_rows(rows, out, "sweep", title, as_json=as_json)
    if as_json:
        return rows
    print(best_dose(rows, concept))
    print(f"report: {write_html(run)}")
    return rows


def _steered(row: dict[str, Any]) -> bool:
    return "@" in row["condition"] and ":" not in row["condition"]


def mark_front(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Adds "front": whether no other dose is better in effect on speed or success and no worse in
    the other. An effect counts in either direction: read the speed beside it."""
    base = next(r for r in rows if r["condition"] == "baseline")["speed_m_s"]
    doses = [r for r in rows if _steered(r)]

    def point(row: dict[str, Any]) -> tuple[float, float]:
        return abs(row["speed_m_s"] - base), row["success_kept"]

    for row in rows:
        beaten = any(
            all(a >= b for a, b in zip(point(other), point(row), strict=True))
            and point(other) != point(row)
            for other in doses
        )
        row["front"] = ("" if beaten else "yes") if _steered(row) else ""
    return rows


def best_dose(rows: Sequence[dict[str, Any]], concept: str) -> str:
    """One sentence: the dose of largest effect among those that keep `KEEP` of the success."""
    base = next(r for r in rows if r["condition"] == "baseline")["speed_m_s"]
    kept = [r for r in rows if _steered(r) and r["success_kept"] >= KEEP]
    if not kept:
        return f"no dose of {concept} keeps {KEEP:.0%} of the baseline's success"
    best = max(kept, key=lambda r: abs(r["speed_m_s"] - base))
    return (
        f"largest effect at {KEEP:.0%} of the baseline's success: {best['condition']}, "
        f"{best['speed_m_s']} m/s (baseline {base})"
    )
