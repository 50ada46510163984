"""The results tables of the page, from the rows of `pilotage.episodes.tables.comparison_rows`.

A row is a mapping; a column that is missing, None or NaN is shown as a dash.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from pilotage.episodes.metrics import UNITS

from . import svg
from .style import MISSING, SWATCHES, number, p_value

Row = Mapping[str, Any]
# What "the effect" is where the caller does not say: the first of these that the rows have.
_MAIN_METRICS = ("mean_speed", "steps", "path_length")
_CAPTION = (
    "Intervals are in grey below each number; a change in bold or colour has an interval without "
    "zero. Changes are paired with the baseline: same task, same seeds. An error is not a failed "
    "attempt: it is counted apart and left out of every other number. Unpaired episodes have no "
    "partner without an error."
)


def value(row: Row, name: str) -> float:
    """`row[name]` as a number; NaN when it is not one."""
    found = row.get(name)
    is_number = isinstance(found, int | float) and not isinstance(found, bool)
    return float(found) if is_number else math.nan  # type: ignore[arg-type]


def interval(row: Row, stem: str) -> tuple[float, float]:
    """(`stem_low`, `stem_high`) of a row; NaN where there is none."""
    low, high = value(row, f"{stem}_low"), value(row, f"{stem}_high")
    return (low, high) if math.isfinite(low) and math.isfinite(high) else (math.nan, math.nan)


def metric_names(rows: Sequence[Row]) -> list[str]:
    """The metrics that the rows compare: columns `m` with a column `m_n`."""
    names = dict.fromkeys(str(name) for row in rows for name in row)
    return [name for name in names if f"{name}_n" in names]


def main_metric(rows: Sequence[Row], wanted: str | None = None) -> str | None:
    """The metric whose change is "the effect"; ValueError when the rows lack the `wanted` one."""
    known = metric_names(rows)
    if wanted is not None:
        if wanted not in known:
            raise ValueError(f"metric={wanted!r} is in no comparison row; known are {known}")
        return wanted
    return next((name for name in _MAIN_METRICS if name in known), known[0] if known else None)


def metric_label(name: str) -> str:
    """`mean_speed` -> `mean speed (m/s)`."""
    unit = UNITS.get(name)
    return name.replace("_", " ") + (f" ({unit})" if unit else "")


def table(rows: Sequence[Row], slots: Mapping[str, int], metric: str | None) -> str:
    """The main table as HTML: one row a condition, all text escaped."""
    if not rows:
        return '<p class="hint">No comparison was computed for this run.</p>'
    heads = ["Condition", "Episodes", "Success (%)", "Change of success (points)", "McNemar p"]
    if metric is not None:
        label = metric_label(metric)
        heads += [label[0].upper() + label[1:], f"Change of {metric.replace('_', ' ')}"]
    heads += ["Dose", "Errors", "Unpaired"]
    body = "".join(_row(row, slots, metric) for row in rows)
    return _table(heads, body, _CAPTION, "Results by condition")


def metrics_table(rows: Sequence[Row], slots: Mapping[str, int]) -> str:
    """Every metric: one row a metric, one column a condition, with its change to the baseline."""
    names = metric_names(rows)
    if not names:
        return ""
    heads = ["Metric", *(str(row.get("condition", MISSING)) for row in rows)]
    body = ""
    for name in names:
        cells = []
        for row in rows:
            shown = svg.text(number(value(row, name)))
            change = value(row, f"{name}_delta")
            if math.isfinite(change):
                shown += _grey(f"{_signed(number, change)} [{_range(row, name, number)}]")
            cells.append(svg.el("td", shown, data_condition=str(row.get("condition"))))
        body += svg.el("tr", svg.el("th", svg.text(metric_label(name)), scope="row"), *cells)
    caption = "Mean of each metric; below, in grey, the paired change to the baseline [interval]."
    return (
        f"<details><summary>All {len(names)} metrics</summary>"
        f"{_table(heads, body, caption, 'All metrics')}</details>"
    )


def swatch(slot: int) -> str:
    """The line and marker of a condition, as they are in the figures."""
    mark = SWATCHES[slot]
    line = svg.el("line", x1=0, x2=34, y1=7, y2=7, stroke_dasharray=mark.dash or None)
    point = svg.marker(mark.marker, 17.0, 7.0, 5.0, class_="mark")
    return svg.el(
        "svg", line, point, viewBox="0 0 34 14", class_=f"swatch k{slot}", aria_hidden="true"
    )


def _table(heads: Sequence[str], body: str, caption: str, label: str) -> str:
    head = svg.el("tr", *(svg.el("th", svg.text(h), scope="col") for h in heads))
    inner = svg.el(
        "table",
        svg.el("caption", svg.el("span", svg.text(caption))),
        svg.el("thead", head),
        svg.el("tbody", body),
    )
    return svg.el("div", inner, class_="card scroll", tabindex=0, role="region", aria_label=label)


def _row(row: Row, slots: Mapping[str, int], metric: str | None) -> str:
    name = str(row.get("condition", MISSING))
    label = svg.el("span", swatch(slots[name]), svg.el("span", svg.text(name)), class_="name")
    cells = [
        _count(value(row, "n")),
        _cell(row, "success_rate", "success", _percent),
        _cell(row, "delta_success", "delta_success", _percent, change=True, judged=True),
        svg.el("td", svg.text(p_value(value(row, "mcnemar_p")))),
    ]
    if metric is not None:
        cells.append(_cell(row, metric, None, number))
        cells.append(_cell(row, f"{metric}_delta", metric, number, change=True))
    cells.append(_cell(row, "mean_dose", None, number))
    cells += [_count(value(row, "n_errors"), warn=True), _count(value(row, "n_unpaired"))]
    return svg.el("tr", svg.el("th", label, scope="row"), *cells, data_condition=name)


def _count(count: float, *, warn: bool = False) -> str:
    words = number(int(count)) if math.isfinite(count) else MISSING
    return svg.el("td", svg.text(words), class_="warn" if warn and count > 0 else None)


def _cell(
    row: Row,
    name: str,
    stem: str | None,
    write: Callable[[float], str],
    *,
    change: bool = False,
    judged: bool = False,
) -> str:
    """A number with the interval of `stem` below; a `judged` change is good or bad by its sign."""
    middle = value(row, name)
    if not math.isfinite(middle):
        return svg.el("td", MISSING)
    low, high = interval(row, stem) if stem else (math.nan, math.nan)
    class_ = None
    if change and (low > 0 or high < 0):
        class_ = ("up" if middle > 0 else "down") if judged else "clear"
    words = _signed(write, middle) if change else write(middle)
    shown = svg.el("span", svg.text(words), class_=class_)
    if stem and math.isfinite(low):
        shown += _grey(_range(row, stem, write))
    return svg.el("td", shown)


def _grey(words: str) -> str:
    return svg.el("span", svg.text(words), class_="ci")


def _range(row: Row, stem: str, write: Callable[[float], str]) -> str:
    low, high = interval(row, stem)
    return f"{write(low)} … {write(high)}"


def _signed(write: Callable[[float], str], amount: float) -> str:
    return ("+" if amount > 0 else "") + write(amount)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}".replace("-", "\u2212")
