"""The figures of the report as SVG: effect and success, dose and effect, curves over steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from pilotage.episodes.types import EpisodeRecord

from . import svg
from .style import SWATCHES, number, percent

WIDTH, HEIGHT = 520.0, 340.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 58.0, 20.0, 34.0, 48.0


@dataclass(frozen=True)
class Mark:
    """One condition in a chart: a value with its interval on each axis (NaN: no interval)."""

    condition: str
    x: float
    y: float
    x_low: float = math.nan
    x_high: float = math.nan
    y_low: float = math.nan
    y_high: float = math.nan


@dataclass(frozen=True)
class Curve:
    """One condition over steps: `middle [T]`, and a band `low`, `high` (None: no band)."""

    condition: str
    middle: np.ndarray
    low: np.ndarray | None = None
    high: np.ndarray | None = None


def points_chart(
    marks: Sequence[Mark],
    slots: Mapping[str, int],
    *,
    title: str,
    x_label: str,
    y_label: str,
    zero_x: bool = False,
    baseline_y: float | None = None,
    percent_y: bool = False,
) -> str:
    """One point a condition, with intervals; marks that are not finite are left out.

    `zero_x` draws the line of no effect; `baseline_y` the level of the unmodified agent.
    """
    marks = [m for m in marks if math.isfinite(m.x) and math.isfinite(m.y)]
    if not marks:
        return ""
    xs = [v for m in marks for v in (m.x, m.x_low, m.x_high)] + [0.0]
    ys = [v for m in marks for v in (m.y, m.y_low, m.y_high)]
    ys += [0.0, 1.0] if percent_y else [0.0]
    frame = _frame(xs, ys, clamp_y=percent_y)
    parts = [svg.axes(frame, x_label=x_label, y_label=y_label, percent_y=percent_y)]
    if zero_x:
        parts.append(_vertical(frame, 0.0))
    if baseline_y is not None and math.isfinite(baseline_y):
        parts.append(_horizontal(frame, baseline_y))
    parts += [_mark(frame, mark, slots[mark.condition], percent_y) for mark in marks]
    parts += _labels(frame, marks, slots)
    return svg.figure(WIDTH, HEIGHT, *parts, label=title)


def curves_chart(
    curves: Sequence[Curve],
    slots: Mapping[str, int],
    *,
    title: str,
    y_label: str,
    height: float = HEIGHT,
    cursor: bool = False,
) -> str:
    """One line a condition over the env steps. `cursor` adds the line that the page moves."""
    curves = [c for c in curves if len(c.middle) > 1]
    if not curves:
        return ""
    longest = max(len(c.middle) for c in curves)
    ys = [float(v) for c in curves for v in (*c.middle, *_band(c))]
    frame = _frame([0.0, float(longest - 1)], [*ys, 0.0], height=height, pad_x=False)
    parts = [svg.axes(frame, x_label="step", y_label=y_label)]
    for curve in curves:
        parts.append(_curve(frame, curve, slots[curve.condition]))
    if cursor:
        parts.append(_cursor(frame, longest))
    return svg.figure(WIDTH, height, *parts, label=title, class_="fig")


def mean_curves(
    records: Sequence[EpisodeRecord],
    value: Callable[[EpisodeRecord], np.ndarray | None],
    *,
    least_share: float = 0.25,
) -> list[Curve]:
    """Per condition: the mean over the episodes still running at a step, with quartiles.

    A curve stops where fewer than `least_share` of the condition's episodes are still running.
    Episodes that ended by an error are left out, as they are in the table.
    """
    rows: dict[str, list[np.ndarray]] = {}
    for record in records:
        series = None if record.end.is_error else value(record)
        if series is not None and len(series):
            rows.setdefault(record.condition, []).append(series)
    curves = []
    for condition, group in rows.items():
        lengths = np.sort([len(s) for s in group])[::-1]
        needed = max(1, math.ceil(least_share * len(group)))
        table = np.full((len(group), int(lengths[needed - 1])), np.nan)
        for i, series in enumerate(group):
            table[i, : len(series)] = series[: table.shape[1]]
        low, high = np.nanquantile(table, [0.25, 0.75], axis=0)
        band = (low, high) if len(group) > 1 else (None, None)
        curves.append(Curve(condition, np.nanmean(table, axis=0), *band))
    return curves


def _band(curve: Curve) -> np.ndarray:
    if curve.low is None or curve.high is None:
        return np.zeros(0)
    return np.concatenate([curve.low, curve.high])


def _frame(
    xs: Sequence[float],
    ys: Sequence[float],
    *,
    height: float = HEIGHT,
    clamp_y: bool = False,
    pad_x: bool = True,
) -> svg.Frame:
    x0, x1 = _extent(xs, 0.08 if pad_x else 0.0)
    y0, y1 = (-0.02, 1.05) if clamp_y else _extent(ys, 0.06)
    if min(v for v in ys if math.isfinite(v)) >= 0 and not clamp_y:
        y0 = 0.0
    width = WIDTH - _LEFT - _RIGHT
    return svg.Frame(x0, x1, y0, y1, _LEFT, _TOP, width, height - _TOP - _BOTTOM)


def _extent(values: Sequence[float], pad: float) -> tuple[float, float]:
    finite = [v for v in values if math.isfinite(v)]
    low, high = min(finite), max(finite)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    return low - pad * (high - low), high + pad * (high - low)


def _vertical(frame: svg.Frame, value: float) -> str:
    x = frame.x(value)
    return svg.el("line", x1=x, x2=x, y1=frame.top, y2=frame.top + frame.height, class_="zero")


def _horizontal(frame: svg.Frame, value: float) -> str:
    y, right = frame.y(value), frame.left + frame.width
    return svg.el("line", x1=frame.left, x2=right, y1=y, y2=y, class_="zero")


def _mark(frame: svg.Frame, mark: Mark, slot: int, percent_y: bool) -> str:
    x, y = frame.x(mark.x), frame.y(mark.y)
    y_words = percent(mark.y) if percent_y else number(mark.y)
    parts = [svg.el("title", svg.text(f"{mark.condition}: {number(mark.x)}, {y_words}"))]
    if math.isfinite(mark.x_low) and math.isfinite(mark.x_high):
        x1, x2 = frame.x(mark.x_low), frame.x(mark.x_high)
        parts.append(svg.el("line", x1=x1, x2=x2, y1=y, y2=y, class_="bar"))
    if math.isfinite(mark.y_low) and math.isfinite(mark.y_high):
        y1, y2 = frame.y(mark.y_low), frame.y(mark.y_high)
        parts.append(svg.el("line", x1=x, x2=x, y1=y1, y2=y2, class_="bar"))
    parts.append(svg.marker(SWATCHES[slot].marker, x, y, 6.0, class_="mark"))
    return svg.el("g", *parts, class_=f"k{slot}", data_condition=mark.condition)


def _labels(frame: svg.Frame, marks: Sequence[Mark], slots: Mapping[str, int]) -> list[str]:
    """Names beside the points, moved down where two would cover each other."""
    placed: list[tuple[float, float, float]] = []
    parts = []
    for mark in sorted(marks, key=lambda m: -m.y):
        x, y = frame.x(mark.x) + 10, frame.y(mark.y) - 8
        width = 7.0 * len(mark.condition)
        left = x + width > frame.left + frame.width
        x0 = x - 20 - width if left else x
        while any(abs(y - py) < 14 and x0 < px + pw and px < x0 + width for px, py, pw in placed):
            y += 14
        placed.append((x0, y, width))
        parts.append(
            svg.el(
                "text",
                svg.text(mark.condition),
                x=x - 20 if left else x,
                y=y,
                text_anchor="end" if left else "start",
                class_=f"label k{slots[mark.condition]}",
                data_condition=mark.condition,
            )
        )
    return parts


def _curve(frame: svg.Frame, curve: Curve, slot: int) -> str:
    def line(values: np.ndarray) -> list[tuple[float, float]]:
        return [(frame.x(t), frame.y(float(v))) for t, v in enumerate(values) if np.isfinite(v)]

    parts = [svg.el("title", svg.text(curve.condition))]
    if curve.low is not None and curve.high is not None:
        around = line(curve.high) + line(curve.low)[::-1]
        parts.append(svg.el("polygon", points=svg.points_text(around), class_="band"))
    parts.append(
        svg.el(
            "polyline",
            points=svg.points_text(line(curve.middle)),
            class_="path",
            fill="none",
            stroke_dasharray=SWATCHES[slot].dash or None,
        )
    )
    return svg.el("g", *parts, class_=f"k{slot}", data_condition=curve.condition)


def _cursor(frame: svg.Frame, longest: int) -> str:
    return svg.el(
        "line",
        x1=frame.left,
        x2=frame.left,
        y1=frame.top,
        y2=frame.top + frame.height,
        class_="cursor",
        data_left=frame.left,
        data_step=frame.width / max(1, longest - 1),
        data_last=longest - 1,
        visibility="hidden",
    )
