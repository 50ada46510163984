"""From records to the tables people read: terminal, Markdown, CSV, Parquet."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.envs.registry import WORLDS
from pilotage.episodes.comparison import compare
from pilotage.episodes.metrics import DEFAULT_RADIUS_M
from pilotage.episodes.tables import (
    comparison_rows,
    episode_rows,
    to_csv,
    to_markdown,
    to_rich,
    write_parquet,
)
from pilotage.episodes.types import EpisodeRecord


def rows_of(records: Sequence[EpisodeRecord]) -> list[dict[str, Any]]:
    """The comparison rows; the first condition is the baseline where none is called so."""
    names = list(dict.fromkeys(r.condition for r in records))
    baseline = "baseline" if "baseline" in names else names[0]
    return comparison_rows(compare(records, baseline, success_radius_m=_radius(records)))


def _radius(records: Sequence[EpisodeRecord]) -> float:
    """What counts as near the goal in the world that the records are of."""
    world = WORLDS.get(records[0].task.env)
    return DEFAULT_RADIUS_M if world is None else world.success_radius


def brief_rows(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """The comparison in columns that fit a terminal of 100 characters; summary.csv has them all."""
    metric = "mean_speed" if "mean_speed" in rows[0] else "spl"
    brief = []
    for row in rows:
        paired = row.get("delta_success") is not None
        brief.append(
            {
                "condition": row["condition"],
                "n": str(row["n"]),
                "errors": str(row["n_errors"]),
                "success (95 %)": _span(row, "success_rate", "success_low", "success_high"),
                "p": f"{row['mcnemar_p']:.2g}" if paired else "",
                metric: _number(row.get(metric)),
                "change (95 %)": _span(row, f"{metric}_delta", f"{metric}_low", f"{metric}_high")
                if paired
                else "",
                "dose": _number(row["mean_dose"]) if row["mean_dose"] else "",
            }
        )
    return brief


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _span(row: dict[str, Any], middle: str, low: str, high: str) -> str:
    if row.get(middle) is None:
        return ""
    return f"{row[middle]:.3f} ({row[low]:.3f}, {row[high]:.3f})"


def show_rows(rows: Sequence[dict[str, Any]], title: str, markdown: Path, *, width: int) -> None:
    """Print rows as a table of `width` characters and write them as Markdown."""
    from rich.console import Console

    Console(width=width).print(to_rich(rows, title=title))
    markdown.write_text(to_markdown(rows))


def write_rows(
    rows: Sequence[dict[str, Any]], out: Path, stem: str, title: str, *, as_json: bool
) -> None:
    """Write rows as STEM.json into a run's folder; print that, or a table (and write STEM.md)."""
    text = json.dumps(rows, indent=1)
    (out / f"{stem}.json").write_text(text + "\n")
    if as_json:
        print(text)
    else:
        show_rows(rows, title, out / f"{stem}.md", width=170)


def show(
    records: Sequence[EpisodeRecord], *, out: Path, quiet: bool = False, as_json: bool = False
) -> list[dict[str, Any]]:
    """Write summary.{md,csv,parquet} and episodes.parquet into the run's folder; print the brief
    table unless `quiet` or `as_json`. Returns the rows."""
    rows = rows_of(records)
    (out / "summary.md").write_text(to_markdown(rows))
    (out / "summary.csv").write_text(to_csv(rows))
    write_parquet(rows, out / "summary.parquet")
    write_parquet(
        episode_rows(records, success_radius_m=_radius(records)), out / "episodes.parquet"
    )
    if not quiet and not as_json:
        from rich.console import Console

        console = Console()
        if not console.is_terminal:
            console = Console(width=124)
        console.print(to_rich(brief_rows(rows), title=str(out)))
    return rows
