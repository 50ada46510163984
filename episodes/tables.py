"""Rows of numbers as text, Markdown, CSV and Parquet: the same rows, the same numbers.

A row is a dict from column to str, int, float or None. CSV and Parquet hold the numbers exactly;
the terminal and Markdown show them by `format_cell`.
"""

from __future__ import annotations

import csv
import io
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from .comparison import Comparison
from .files import write_atomically
from .metrics import DEFAULT_RADIUS_M, delivered_dose, episode_metrics
from .types import EpisodeRecord

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

Cell = str | int | float | None
Row = Mapping[str, Cell]


# -- rows ------------------------------------------------------------------------------------------


def comparison_rows(comparison: Comparison) -> list[dict[str, Cell]]:
    """One row per condition. Differences to the baseline are None in the baseline's own row.

    Columns: condition, n, n_errors, success_rate with its interval, pairs and unpaired episodes,
    delta_success with interval and McNemar p, mean_dose; then, for each metric m: m (mean), m_n
    (episodes in that mean), m_delta, m_low, m_high (paired interval), m_relative.
    """
    rows = []
    for row in comparison.rows:
        is_baseline = row.condition == comparison.baseline
        differences: dict[str, Cell] = {
            "n_pairs": row.n_pairs,
            "n_unpaired": row.n_unpaired + row.n_baseline_unpaired,
            "delta_success": row.delta_success.estimate,
            "delta_success_low": row.delta_success.low,
            "delta_success_high": row.delta_success.high,
            "mcnemar_p": row.mcnemar_p,
        }
        cells: dict[str, Cell] = {
            "condition": row.condition,
            "n": row.n,
            "n_errors": row.n_errors,
            "success_rate": row.success_rate.estimate,
            "success_low": row.success_rate.low,
            "success_high": row.success_rate.high,
            **(dict.fromkeys(differences) if is_baseline else differences),
            "mean_dose": row.mean_dose,
        }
        for name, effect in row.metrics.items():
            changes: dict[str, Cell] = {
                f"{name}_delta": effect.delta.estimate,
                f"{name}_low": effect.delta.low,
                f"{name}_high": effect.delta.high,
                f"{name}_relative": effect.relative,
            }
            cells |= {name: effect.mean, f"{name}_n": effect.n}
            cells |= dict.fromkeys(changes) if is_baseline else changes
        rows.append(cells)
    return rows


def episode_rows(
    records: Iterable[EpisodeRecord],
    *,
    metric_convention: str = "habitat",
    success_radius_m: float = DEFAULT_RADIUS_M,
    control_hz: float = 10.0,
) -> list[dict[str, Cell]]:
    """One row per episode: what it was, how it ended, dose and metrics (None after an error)."""
    rows: list[dict[str, Cell]] = []
    for record in records:
        metrics = episode_metrics(
            record,
            convention=metric_convention,
            success_radius_m=success_radius_m,
            control_hz=control_hz,
        )
        rows.append(
            {
                "key": record.key,
                "task_id": record.task.task_id,
                "env": record.task.env,
                "split": record.task.split,
                "family": record.task.family,
                "instruction": record.task.instruction,
                "condition": record.condition,
                "agent_id": record.agent_id,
                **{f"seed_{name}": value for name, value in record.seeds.to_json().items()},
                "end": record.end.value,
                "error": record.error,
                "mean_dose": None if record.end.is_error else delivered_dose(record),
                "success": None if record.end.is_error else float(record.success),
                "steps": float(record.n_steps),
            }
            | {name: value for name, value in metrics.items() if name != "steps"}
        )
    names = list(dict.fromkeys(name for row in rows for name in row))
    return [{name: row.get(name) for name in names} for row in rows]


# -- renderings ------------------------------------------------------------------------------------


def format_cell(cell: Cell) -> str:
    """Text for people: four significant digits, "" for None, "nan" where a number is undefined."""
    if cell is None:
        return ""
    if isinstance(cell, float):
        if not math.isfinite(cell):
            return str(cell)
        text = f"{cell:.4g}"
        return "0" if text == "-0" else text
    return str(cell)


def to_markdown(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """A Markdown table; numbers are right-aligned."""
    names = _columns(rows, columns)
    numeric = {name for name in names if all(not isinstance(row[name], str) for row in rows)}
    lines = [
        "| " + " | ".join(names) + " |",
        "|" + "|".join("---:" if name in numeric else "---" for name in names) + "|",
    ]
    for row in rows:
        cells = [format_cell(row[name]).replace("|", "\\|").replace("\n", " ") for name in names]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def to_csv(rows: Sequence[Row], columns: Sequence[str] | None = None) -> str:
    """Comma-separated values with a header; floats round-trip exactly, None is empty."""
    names = _columns(rows, columns)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(names)
    for row in rows:
        writer.writerow([repr(c) if isinstance(c, float) else c for c in map(row.get, names)])
    return text.getvalue()


def to_rich(rows: Sequence[Row], columns: Sequence[str] | None = None, *, title: str = "") -> Table:
    """A table for the terminal."""
    from rich.markup import escape
    from rich.table import Table

    names = _columns(rows, columns)
    table = Table(title=title or None)
    for name in names:
        numeric = all(not isinstance(row[name], str) for row in rows)
        table.add_column(escape(name), justify="right" if numeric else "left")
    for row in rows:
        table.add_row(*(escape(format_cell(row[name])) for name in names))
    return table


def to_arrow(rows: Sequence[Row], columns: Sequence[str] | None = None) -> pa.Table:
    """An Arrow table: text, int64 or float64 columns; None is null, NaN stays NaN."""
    import pyarrow as pa

    names = _columns(rows, columns)
    return pa.table({name: pa.array([row[name] for row in rows]) for name in names})


def write_parquet(
    rows: Sequence[Row], path: str | os.PathLike[str], columns: Sequence[str] | None = None
) -> None:
    """Write `to_arrow(rows)` as one Parquet file, atomically."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    sink = pa.BufferOutputStream()
    pq.write_table(to_arrow(rows, columns), sink)
    write_atomically(Path(path), sink.getvalue().to_pybytes())


def _columns(rows: Sequence[Row], columns: Sequence[str] | None) -> list[str]:
    """The columns to show; KeyError when a row lacks one."""
    if columns is None:
        columns = list(dict.fromkeys(name for row in rows for name in row))
    for row in rows:
        missing = [name for name in columns if name not in row]
        if missing:
            raise KeyError(f"a row lacks the columns {missing}; it has {list(row)}")
    return list(columns)
