"""One set of rows, four renderings, the same numbers."""

from __future__ import annotations

import csv
import io
import math
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from rich.console import Console

from pilotage.episodes.comparison import compare
from pilotage.episodes.fakes import FakeAgent, FakeVectorEnv, make_fake_tasks
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.tables import (
    Cell,
    comparison_rows,
    episode_rows,
    format_cell,
    to_csv,
    to_markdown,
    to_rich,
    write_parquet,
)
from pilotage.episodes.types import BASELINE, Condition, EpisodeRecord

CONDITIONS = [BASELINE, Condition("slow", {"gain": 0.5}), Condition("bad", {"fail": "nan"})]


@pytest.fixture(scope="module")
def records() -> list[EpisodeRecord]:
    return run_episodes(FakeVectorEnv(3), FakeAgent(), make_fake_tasks(7), CONDITIONS)


@pytest.fixture(scope="module")
def rows(records: list[EpisodeRecord]) -> list[dict[str, Cell]]:
    return comparison_rows(compare(records, n_resamples=500))


def test_every_rendering_shows_the_same_numbers(
    rows: list[dict[str, Cell]], tmp_path: Path
) -> None:
    write_parquet(rows, tmp_path / "rows.parquet")
    parquet = pq.read_table(tmp_path / "rows.parquet").to_pylist()
    read = list(csv.DictReader(io.StringIO(to_csv(rows))))
    markdown = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in to_markdown(rows).splitlines()
    ]
    console = Console(width=3000, file=io.StringIO())
    console.print(to_rich(rows, title="speeds"))
    assert isinstance(console.file, io.StringIO)
    shown = console.file.getvalue().splitlines()
    assert shown[0].strip() == "speeds"
    terminal = [[c.strip() for c in line.split("│")[1:-1]] for line in shown if "│" in line]
    assert markdown[0] == list(rows[0]) == list(parquet[0]) == list(read[0])
    for i, row in enumerate(rows):
        for column, (name, value) in enumerate(row.items()):
            exact = parquet[i][name]
            assert exact == value or (math.isnan(exact) and math.isnan(value))  # type: ignore
            if isinstance(value, float):
                assert float(read[i][name]) == value or math.isnan(value)
                if math.isfinite(value):
                    assert float(markdown[2 + i][column]) == pytest.approx(value, rel=1e-3)
            else:
                assert read[i][name] == ("" if value is None else str(value))
            assert markdown[2 + i][column] == terminal[i][column] == format_cell(value)


def test_the_baseline_has_no_difference_to_itself(rows: list[dict[str, Cell]]) -> None:
    baseline, slow, bad = rows
    assert baseline["delta_success"] is baseline["mean_speed_delta"] is None
    assert slow["mean_speed_relative"] == pytest.approx(-0.45, abs=0.1)
    assert slow["mean_speed_low"] < slow["mean_speed_delta"] < slow["mean_speed_high"] < 0  # type: ignore
    assert (bad["n"], bad["n_errors"], bad["n_pairs"], bad["n_unpaired"]) == (7, 7, 0, 7)


def test_episodes_as_parquet(records: list[EpisodeRecord], tmp_path: Path) -> None:
    write_parquet(episode_rows(records), tmp_path / "episodes.parquet")
    table = pq.read_table(tmp_path / "episodes.parquet")
    assert table.num_rows == 21
    for record, row in zip(records, table.to_pylist(), strict=True):
        assert (row["key"], row["task_id"]) == (record.key, record.task.task_id)
        assert (row["end"], row["steps"]) == (record.end.value, record.n_steps)
        assert row["seed_world"] == record.seeds.world
        assert row["error"] == record.error
        assert row["success"] == (None if record.end.is_error else record.success)
        assert (row["mean_speed"] is None) == record.end.is_error


def test_text_is_kept_apart_from_the_layout() -> None:
    rows = [{"name": "a|b\nc", "markup": "[red]x[/red]", "x": -0.00001, "none": None}]
    assert "| a\\|b c | [red]x[/red] | -1e-05 |  |" in to_markdown(rows)
    console = Console(width=100, file=io.StringIO())
    console.print(to_rich(rows))
    assert "[red]x[/red]" in console.file.getvalue()  # type: ignore[attr-defined]
    assert next(csv.DictReader(io.StringIO(to_csv(rows))))["name"] == "a|b\nc"


@pytest.mark.parametrize(
    ("cell", "text"),
    [(None, ""), (3, "3"), (0.123456, "0.1235"), (-0.0, "0"), (math.nan, "nan"), (1e9, "1e+09")],
)
def test_cells_for_people(cell: Cell, text: str) -> None:
    assert format_cell(cell) == text


def test_columns_can_be_chosen_and_must_exist(rows: list[dict[str, Cell]]) -> None:
    assert to_csv(rows, ["condition", "n"]).splitlines()[1] == "baseline,7"
    with pytest.raises(KeyError, match=r"lacks the columns \['speed'\]"):
        to_markdown(rows, ["speed"])
    assert to_csv([]) == "\n"
