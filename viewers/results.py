"""The results table: reading a statistics row, whatever subset of the columns it has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from . import svg
from .style import MISSING, SWATCHES, number, p_value

Row = Mapping[str, Any]


def value(row: Row, *names: str) -> float:
    """The first of `names` that the row has as a number; NaN when it has none."""
    for name in names:
        found = row.get(name)
        if isinstance(found, int | float) and not isinstance(found, bool):
            return float(found)
    return math.nan


def interval(row: Row, *names: str) -> tuple[float, float]:
    """(low, high) of the first of `names` with `_low`/`_high`, or as a pair under `_interval`."""
    for name in names:
        pair = row.get(f"{name}_interval", row.get(f"{name}_ci"))
        if isinstance(pair, Sequence) and len(pair) == 2 and None not in pair:
            return float(pair[0]), float(pair[1])
        low, high = value(row, f"{name}_low"), value(row, f"{name}_high")
        if math.isfinite(low) and math.isfinite(high):
            return low, high
    return math.nan, math.nan


SUCCESS = ("success_rate", "success")
SUCCESS_CHANGE = ("success_difference", "success_change", "success_effect")
SPEED = ("speed", "mean_speed")
EFFECT = ("effect", "speed_effect", "speed_difference")
DOSE = ("dose", "mean_dose")


def table(rows: Sequence[Row], slots: Mapping[str, int], *, unit: str) -> str:
    """The table as HTML; one row a condition, all text escaped."""
    if not rows:
        return '<p class="hint">No comparison was computed for this run.</p>'
    heads = [
        "Condition",
        "Episodes",
        "Success (%)",
        "Change of success (points)",
        "McNemar p",
        f"Speed ({unit})",
        "Effect on speed",
        "Dose",
        "Errors",
        "Unpaired",
    ]
    head = svg.el("tr", *(svg.el("th", svg.text(h), scope="col") for h in heads))
    body = "".join(_row(row, slots) for row in rows)
    caption = svg.el(
        "caption",
        "Intervals are in grey below each number; a change in bold or colour has an interval "
        "without zero. Changes are paired with the baseline: same task, same seeds. An error is "
        "not a failed attempt: it is counted apart.",
    )
    inner = svg.el("table", caption, svg.el("thead", head), svg.el("tbody", body))
    return svg.el(
        "div", inner, class_="card scroll", tabindex=0, role="region", aria_label="Results table"
    )


def swatch(slot: int) -> str:
    """The line and marker of a condition, as they are in the figures."""
    mark = SWATCHES[slot]
    line = svg.el("line", x1=0, x2=34, y1=7, y2=7, stroke_dasharray=mark.dash or None)
    point = svg.marker(mark.marker, 17.0, 7.0, 5.0, class_="mark")
    return svg.el(
        "svg", line, point, viewBox="0 0 34 14", class_=f"swatch k{slot}", aria_hidden="true"
    )


def _row(row: Row, slots: Mapping[str, int]) -> str:
    name = str(row.get("condition", MISSING))
    label = svg.el("span", swatch(slots[name]), svg.el("span", svg.text(name)), class_="name")
    n = value(row, "n", "n_episodes", "episodes")
    cells = [
        _cell(number(int(n)) if math.isfinite(n) else MISSING),
        _with_interval(row, SUCCESS, _percent),
        _with_interval(row, SUCCESS_CHANGE, _points, signed=True, judged=True),
        _cell(p_value(value(row, "mcnemar_p", "p_mcnemar", "p_value"))),
        _with_interval(row, SPEED, number),
        _with_interval(row, EFFECT, number, signed=True),
        _with_interval(row, DOSE, number),
        _count(value(row, "n_errors", "errors"), warn=True),
        _count(value(row, "n_unpaired", "unpaired"), warn=False),
    ]
    head = svg.el("th", label, scope="row")
    return svg.el("tr", head, *cells, data_condition=name)


def _cell(words: str, class_: str | None = None) -> str:
    return svg.el("td", svg.text(words), class_=class_)


def _count(count: float, *, warn: bool) -> str:
    if math.isnan(count):
        return _cell(MISSING)
    return _cell(number(int(count)), "warn" if warn and count else None)


def _points(fraction: float) -> str:
    """A difference of two rates, in percentage points."""
    return f"{100 * fraction:.1f}".replace("-", "\u2212")


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _with_interval(
    row: Row, names: Sequence[str], write: Any, *, signed: bool = False, judged: bool = False
) -> str:
    middle = value(row, *names)
    if math.isnan(middle):
        return _cell(MISSING)
    low, high = interval(row, *names)
    plus = "+" if signed and middle > 0 else ""
    clear = math.isfinite(low) and (low > 0 or high < 0)
    class_ = None
    if signed and clear:
        class_ = ("up" if middle > 0 else "down") if judged else "clear"
    shown = svg.el("span", svg.text(plus + write(middle)), class_=class_)
    if math.isfinite(low):
        shown += svg.el("span", svg.text(f"{write(low)} … {write(high)}"), class_="ci")
    return svg.el("td", shown)
