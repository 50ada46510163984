"""`pilotage steer illusion`, `pilotage steer neurofeedback`: are directions read, and reported?"""

from __future__ import annotations

import json
from typing import Any

from pilotage.agents.vla.illusions import wording_illusions
from pilotage.agents.vla.neurofeedback import axis_feedback
from pilotage.episodes.statistics import Interval, paired_bootstrap
from pilotage.episodes.tables import to_rich
from pilotage.scripts.cmd_read import expert_demos
from pilotage.scripts.monitor_tables import span
from pilotage.scripts.opening import load_vla


def illusion(
    *,
    agent: str,
    positive: str,
    negative: str,
    made: str,
    group: str,
    episodes: int,
    steps: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage steer illusion --help`."""
    vla = load_vla(agent, "tabletop")
    demos = expert_demos(vla, "tabletop", episodes, seed=seed, quiet=quiet)
    found = wording_illusions(
        vla.model,
        demos,
        positive=positive,
        negative=negative,
        made=made,
        group=group,
        n_steps=steps,
        seed=seed,
    )
    rows = []
    for test in found:
        row: dict[str, Any] = {"site": test.site, "read": round(test.read, 3)}
        for part in ("direction", "row", "null", "full"):
            e = test.effects.get(part)
            row[part] = "" if e is None else span(Interval(e.share, e.low, e.high))
        row |= {"apart, row": round(test.apart[0], 2), "apart, null": round(test.apart[1], 2)}
        rows.append({**row, "verdict": test.verdict()})
    title = f"{vla.agent_id}: share of {negative!r} to {positive!r} that a patch at {group} carries"
    _tell(rows, title, as_json)
    return rows


def neurofeedback(
    *,
    agent: str,
    positive: str,
    negative: str,
    layer: int,
    dose: float,
    episodes: int,
    steps: int,
    seed: int,
    quiet: bool,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage steer neurofeedback --help`."""
    vla = load_vla(agent, "tabletop")
    demos = expert_demos(vla, "tabletop", episodes, seed=seed, quiet=quiet)
    found = axis_feedback(
        vla.model,
        demos,
        positive=positive,
        negative=negative,
        layer=layer,
        dose=dose,
        n_steps=steps,
        seed=seed,
    )
    rows = [
        {
            "axis": f.axis.name,
            "variance": round(f.axis.explained, 4),
            "reported": span(paired_bootstrap(f.reported, clusters=f.clusters.tolist())),
            "own effect": round(f.own, 2),
            "others": round(f.others, 2),
            "KL": round(f.divergence, 3),
            "action apart": round(f.apart, 4),
        }
        for f in found
    ]
    title = f"{vla.agent_id}: axes behind layer {layer}, edits of {dose:g} |h|, {steps} env steps"
    _tell(rows, title, as_json)
    return rows


def _tell(rows: list[dict[str, Any]], title: str, as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    from rich.console import Console

    Console(width=170).print(to_rich(rows, title=title))
