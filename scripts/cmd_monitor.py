"""`pilotage steer monitor`: what layers do while the agent acts, and whether it tells outcomes."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.agents.vla.skipping import skip_voids
from pilotage.episodes.statistics import paired_bootstrap
from pilotage.episodes.tables import to_markdown, to_rich
from pilotage.scripts.cmd_read import expert_demos
from pilotage.scripts.cmd_run import play
from pilotage.scripts.monitor_tables import auc_rows, commitment_rows, span, void_rows
from pilotage.scripts.opening import load_vla, make_tasks


def monitor(
    *,
    agent: str,
    env: str,
    conditions: Sequence[str],
    split: str,
    episodes: int,
    families: Sequence[str],
    at: Sequence[int],
    tolerance: int,
    alpha: float,
    steps: int,
    out: Path,
    slots: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> dict[str, list[dict[str, Any]]]:
    """See `pilotage steer monitor --help`."""
    if split not in ("train", "val"):
        raise ValueError(f"split {split!r}: look for signals on train or val, not on test tasks")
    if any(n < 2 for n in at):
        raise ValueError(f"--at {list(at)}: a trajectory has at least 2 steps")
    vla = load_vla(agent, env)
    options: dict[str, Any] = {"manners": "none"} if env == "tabletop" else {}
    tasks = make_tasks(env, split, episodes, seed=seed, families=families, **options)
    records, _ = play(
        env=env,
        agent=agent,
        tasks=tasks,
        condition_names=conditions,
        out=out,
        n_slots=slots,
        seed=seed,
        frames="none",
        monitor=True,
        quiet=quiet,
    )
    c = vla.config
    tables = {
        "signals": auc_rows(records, at),
        "commitment": commitment_rows(
            records, tolerance=0 if c.n_discrete else tolerance, n_bins=c.n_discrete or c.n_bins
        ),
        "voids": void_rows(records, alpha=alpha),
    }
    if steps:
        demos = expert_demos(vla, env, 16, seed=seed + 1, quiet=quiet)
        tables["skipping"] = skipping_rows(vla.model, demos, alpha=alpha, steps=steps, seed=seed)
    _tell(tables, out, f"{vla.agent_id}, {episodes} {split} tasks", as_json=as_json)
    return tables


def skipping_rows(
    model: Any, demos: Sequence[Any], *, alpha: float, steps: int, seed: int
) -> list[dict[str, Any]]:
    """What becomes of the actions when blocks are left out; intervals over episodes."""
    found, _ = skip_voids(model, demos, alpha=alpha, n_steps=steps, seed=seed)

    def interval(values: np.ndarray, clusters: np.ndarray) -> str:
        if np.isnan(values).any():
            return ""
        return span(paired_bootstrap(values, clusters=clusters.tolist()))

    return [
        {
            "left out": way.name,
            "share of blocks": round(way.skipped, 3),
            "same bin": interval(way.same, way.clusters),
            "action apart": interval(way.apart, way.clusters),
        }
        for way in found
    ]


TITLES = {
    "signals": "area under the ROC curve of success",
    "commitment": "block from which on the chosen action is the likeliest (logit lens)",
    "voids": "voids by L2 adaptive computation, and how far a block moves the stream",
    "skipping": "actions when blocks are left out, beside those of the whole model",
}


def _tell(tables: dict[str, list[dict[str, Any]]], out: Path, title: str, *, as_json: bool) -> None:
    """Write monitor.json and monitor.md into the run's folder; print one of the two."""
    text = json.dumps(tables, indent=1)
    (out / "monitor.json").write_text(text + "\n")
    pages = [f"{TITLES[name]}: {title}\n\n{to_markdown(rows)}" for name, rows in tables.items()]
    (out / "monitor.md").write_text("\n".join(pages))
    if as_json:
        print(text)
        return
    from rich.console import Console

    console = Console(width=150)
    for name, rows in tables.items():
        console.print(to_rich(rows, title=f"{TITLES[name]}: {title}"))
