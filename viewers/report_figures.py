"""The figures of a whole run: effect and its cost, dose and effect, speed and dose over time."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from pilotage.episodes.types import EpisodeRecord

from . import charts, results, scenes, svg

Rows = Sequence[Mapping[str, Any]]


def figures(
    records: Sequence[EpisodeRecord], rows: Rows, slots: Mapping[str, int], metric: str | None
) -> str:
    """A grid of figures as HTML; those without data are left out."""
    panels = [
        _effect_and_success(rows, slots, metric),
        _dose_and_effect(rows, slots, metric),
        _speed_over_time(records, slots),
        _dose_over_time(records, slots),
    ]
    drawn = "".join(
        f'<figure class="card">{chart}<figcaption><b>{svg.text(head)}</b> {svg.text(words)}'
        "</figcaption></figure>"
        for chart, head, words in panels
        if chart
    )
    return f'<div class="figures">{drawn}</div>' if drawn else ""


Panel = tuple[str, str, str]  # chart, heading, what to see


def _effect_and_success(rows: Rows, slots: Mapping[str, int], metric: str | None) -> Panel:
    baseline = next((row for row in rows if row.get("condition") == "baseline"), {})
    marks = [
        charts.Mark(
            str(row.get("condition")),
            0.0 if row is baseline else results.value(row, f"{metric}_delta"),
            results.value(row, "success_rate"),
            *results.interval(row, str(metric)),
            *results.interval(row, "success"),
        )
        for row in rows
    ]
    chart = charts.points_chart(
        marks if len(marks) > 1 and metric else [],
        slots,
        title="Effect against success rate, one point a condition",
        x_label=f"change of {results.metric_label(str(metric))}",
        y_label="success rate",
        zero_x=True,
        baseline_y=results.value(baseline, "success_rate"),
        percent_y=True,
    )
    words = (
        "Left and right: how much behaviour changes. Lower: fewer tasks solved. The dashed lines "
        "are the baseline; bars are the intervals of the table."
    )
    return chart, "What an effect costs.", words


def _dose_and_effect(rows: Rows, slots: Mapping[str, int], metric: str | None) -> Panel:
    steered = [row for row in rows if results.value(row, "mean_dose") > 0]
    marks = [
        charts.Mark(
            str(row.get("condition")),
            results.value(row, "mean_dose"),
            results.value(row, f"{metric}_delta"),
            math.nan,
            math.nan,
            *results.interval(row, str(metric)),
        )
        for row in steered
    ]
    chart = charts.points_chart(
        marks if metric else [],
        slots,
        title="Dose against effect, one point a condition",
        x_label="dose delivered, ‖Δh‖ / ‖h‖",
        y_label=f"change of {results.metric_label(str(metric))}",
        baseline_y=0.0,
    )
    words = (
        "The dashed line is no change. Random controls of the same dose belong on it, if it is the "
        "direction that matters and not the push."
    )
    return chart, "What a dose does.", words


def _speed_over_time(records: Sequence[EpisodeRecord], slots: Mapping[str, int]) -> Panel:
    chart = charts.curves_chart(
        charts.mean_curves(records, scenes.speed_curve),
        slots,
        title="Mean speed over steps by condition",
        y_label=scenes.speed_label(records[0].task) if records else "speed",
    )
    words = (
        "Mean over the episodes still running, with quartiles; a line stops when fewer than a "
        "quarter are left."
    )
    return chart, "Speed over time.", words


def _dose_over_time(records: Sequence[EpisodeRecord], slots: Mapping[str, int]) -> Panel:
    curves = charts.mean_curves(records, lambda record: scenes.scalar_trace(record, "dose"))
    chart = charts.curves_chart(
        [curve for curve in curves if curve.middle.any()],
        slots,
        title="Mean dose over steps by condition",
        y_label="dose",
    )
    return chart, "Dose over time.", "What was delivered at each step, mean and quartiles."
