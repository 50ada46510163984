"""Tables, differences and pages of `pilotage bench vln`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from textwrap import wrap
from typing import Any

import numpy as np

from pilotage.episodes.statistics import paired_bootstrap
from pilotage.episodes.tables import to_rich
from pilotage.episodes.types import EpisodeRecord
from pilotage.episodes.vln_metrics import GROUNDING_METRICS, Walk, vln_metrics
from pilotage.episodes.vln_summary import VlnSummary
from pilotage.scripts.vln_prompted import prompting_line

COLUMNS = {
    "success": "SR",
    "spl": "SPL",
    "navigation_error": "NE (m)",
    "oracle_success": "OSR",
    "path_length": "TL (m)",
    "ndtw": "nDTW",
    "sdtw": "sDTW",
    "cls": "CLS",
    "rgs": "RGS",
    "rgspl": "RGSPL",
}
WITH_INTERVAL = ("success", "spl", "navigation_error", "oracle_success", "rgs")


@dataclass(frozen=True)
class Entry:
    """What one agent or file did on the tasks: a walk per task (None: no attempt), and the ends."""

    name: str
    walks: Sequence[Walk | None]
    ends: dict[str, int]
    notes: str = ""
    control_of: str = ""  # the agent that this is a control of
    prompting: dict[str, Any] = field(default_factory=dict)  # of a prompted agent: what it cost
    records: Sequence[EpisodeRecord] = ()  # of a prompted agent


def write_pages(entries: Sequence[Entry], folder: Path) -> None:
    """A page a prompted agent, and one a control that shows it beside its agent.

    Raises ValueError when there is no prompted agent.
    """
    from pilotage.viewers.decisions import write_decisions

    of = {entry.name: entry for entry in entries if entry.records}
    if not of:
        raise ValueError("--decisions shows prompted agents, and there is none (mapgpt:oracle, …)")
    for name, entry in of.items():
        first = of.get(entry.control_of, entry)
        other = () if first is entry else entry.records
        safe = "".join(c if c.isalnum() or c in "-." else "-" for c in name)
        write_decisions(folder / f"{safe}.html", first.records, other, title=name)


def columns_of(family: str) -> tuple[str, ...]:
    """The metrics of a family's table: naming an object is asked for in REVERIE only."""
    asks = family == "reverie"
    return tuple(name for name in COLUMNS if asks or name not in GROUNDING_METRICS)


def row_of(entry: Entry, summary: VlnSummary) -> dict[str, Any]:
    row = {"agent": entry.name, **summary.cells()}
    for name in (name for name in WITH_INTERVAL if name in summary.metrics):
        interval = summary.metrics[name].interval
        row[f"{name}_low"], row[f"{name}_high"] = interval.low, interval.high
    more = {"prompting": entry.prompting} if entry.prompting else {}
    return {**row, "ends": entry.ends, "notes": entry.notes, **more}


def show(rows: Sequence[dict[str, Any]], entries: Sequence[Entry], title: str) -> None:
    from rich.console import Console

    # no emoji: the name of an agent may hold :sos:
    console = Console(emoji=False, width=205 if "rgs" in rows[0] else 150)
    console.print(to_rich([_brief(row) for row in rows], title=title))
    console.print("95 % intervals draw whole scenes. Ends:")
    for entry in entries:
        ends = ", ".join(f"{reason} {n}" for reason, n in sorted(entry.ends.items()))
        console.print(f"  {entry.name}: {ends}" + (f" ({entry.notes})" if entry.notes else ""))
        if entry.prompting:
            console.print(f"    {prompting_line(entry.prompting)}")


def show_differences(
    entries: Sequence[Entry], scenes: Sequence[str], convention: str, radius_m: float
) -> None:
    """What each agent has before its controls, episode by episode, in points of SR."""
    of = {entry.name: entry for entry in entries}
    for control in entries:
        if not control.control_of:
            continue
        pairs = [
            (100 * (_succeeded(a, convention, radius_m) - _succeeded(b, convention, radius_m)), s)
            for a, b, s in zip(of[control.control_of].walks, control.walks, scenes)
            if a is not None and b is not None
        ]
        gaps, clusters = np.array([gap for gap, _ in pairs]), [s for _, s in pairs]
        found = paired_bootstrap(gaps, clusters=clusters)
        print(
            f"  {control.control_of} - {control.name.removeprefix(control.control_of).strip()}: "
            f"SR {found.estimate:+.1f} points ({found.low:+.1f} to {found.high:+.1f})"
        )


def _succeeded(walk: Walk, convention: str, radius_m: float) -> float:
    return float(vln_metrics(walk, convention, success_radius_m=radius_m)["success"])


def jsonable(row: dict[str, Any]) -> dict[str, Any]:
    """JSON knows no NaN and no infinity: those become words."""
    return {k: str(v) if isinstance(v, float) and not isfinite(v) else v for k, v in row.items()}


def _brief(row: dict[str, Any]) -> dict[str, str]:
    counts = ("n_total", "n_scored", "n_nan", "n_inf")
    brief = {"agent": "\n".join(wrap(row["agent"], 16)), "convention": row["convention"]}
    brief |= {name: str(row[name]) for name in counts}
    for name, heading in COLUMNS.items():
        if name not in row:
            continue
        brief[heading] = f"{row[name]:.4f}"
        if f"{name}_low" in row:
            brief[heading] += f"\n{row[f'{name}_low']:.3f}-{row[f'{name}_high']:.3f}"
    return brief
