"""From records to the tables people read: terminal, Markdown, CSV, Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pilotage.episodes.comparison import compare
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
    return comparison_rows(compare(records, baseline))


def brief_columns(rows: Sequence[dict[str, Any]]) -> list[str]:
    """The columns that fit a terminal."""
    always = ["condition", "n", "n_errors", "success_rate", "success_low", "success_high"]
    paired = ["n_pairs", "delta_success", "mcnemar_p", "mean_dose"]
    speed = ["mean_speed", "mean_speed_relative", "mean_speed_low", "mean_speed_high"]
    other = ["spl", "spl_delta", "ne", "osr", "steps"]
    return [c for c in (*always, *paired, *speed, *other) if c in rows[0]]


def show(
    records: Sequence[EpisodeRecord], *, out: Path, quiet: bool = False, as_json: bool = False
) -> list[dict[str, Any]]:
    """Write summary.{md,csv,parquet} and episodes.parquet into the run's folder; print the brief
    table unless `quiet` or `as_json`. Returns the rows."""
    rows = rows_of(records)
    (out / "summary.md").write_text(to_markdown(rows))
    (out / "summary.csv").write_text(to_csv(rows))
    write_parquet(rows, out / "summary.parquet")
    write_parquet(episode_rows(records), out / "episodes.parquet")
    if not quiet and not as_json:
        from rich.console import Console

        Console().print(to_rich(rows, brief_columns(rows), title=str(out)))
    return rows
