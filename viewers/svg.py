"""Drawing in SVG: elements with escaping, frames from metres to pixels, axes with round ticks."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from .style import SWATCHES

Point = Sequence[float]
# XML has no way to write these, not even escaped.
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")


def text(value: object) -> str:
    """`value` as safe text of an element."""
    return escape(_NOT_XML.sub("\ufffd", str(value)))


def quoted(value: object) -> str:
    """`value` as a quoted attribute."""
    return quoteattr(_NOT_XML.sub("", str(value)))


def el(tag: str, *children: str, **attributes: object) -> str:
    """One element. Attributes are escaped; children are markup already (use `text` for words).

    A trailing underscore and inner underscores become what SVG wants: `class_`, `stroke_width`.
    None leaves the attribute out.
    """
    pairs = "".join(
        f" {name.rstrip('_').replace('_', '-')}={quoteattr(_NOT_XML.sub('', _value(value)))}"
        for name, value in attributes.items()
        if value is not None
    )
    return f"<{tag}{pairs}>{''.join(children)}</{tag}>" if children else f"<{tag}{pairs}/>"


def _value(value: object) -> str:
    return coordinate(value) if isinstance(value, float) else str(value)


def coordinate(value: float) -> str:
    """A pixel coordinate with at most two decimals: `12.50 -> "12.5"`, `-0.0 -> "0"`."""
    if not math.isfinite(value):
        raise ValueError(f"a coordinate is {value}; drop points that are not finite before drawing")
    short = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if short in ("-0", "") else short


def points_text(points: Sequence[Point]) -> str:
    return " ".join(f"{coordinate(p[0])},{coordinate(p[1])}" for p in points)


def figure(
    width: float,
    height: float,
    *children: str,
    label: str,
    class_: str = "fig",
    standalone: bool = False,
) -> str:
    """A whole `<svg>` that scales with its container; `label` is read out by screen readers.

    `standalone` names the XML namespace, which a file of its own needs and a web page does not.
    """
    return el(
        "svg",
        el("title", text(label)),
        *children,
        xmlns="http://www.w3.org/2000/svg" if standalone else None,
        viewBox=f"0 0 {coordinate(width)} {coordinate(height)}",
        width=float(width),
        height=float(height),
        role="img",
        aria_label=label,
        class_=class_,
    )


def condition_style() -> str:
    """CSS that gives class `k3` the colour of swatch 3, by light and dark scheme."""
    light = "".join(f"--c{i}:{s.light};" for i, s in enumerate(SWATCHES))
    dark = "".join(f"--c{i}:{s.dark};" for i, s in enumerate(SWATCHES))
    classes = "".join(f".k{i}{{--k:var(--c{i})}}" for i in range(len(SWATCHES)))
    return f":root{{{light}}}@media(prefers-color-scheme:dark){{:root{{{dark}}}}}{classes}"


def marker(kind: str, x: float, y: float, radius: float, **attributes: object) -> str:
    """A mark of one condition, centred on (x, y)."""
    r = radius
    if kind == "circle":
        return el("circle", cx=x, cy=y, r=r, **attributes)
    if kind == "square":
        side = 0.88 * r
        return el(
            "rect", x=x - side, y=y - side, width=2 * side, height=2 * side, rx=1, **attributes
        )
    shapes = {
        "triangle": [(0, -1.15), (1.05, 0.75), (-1.05, 0.75)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "cross": [(-1, -0.3), (-0.3, -1), (1, 0.3), (0.3, 1)],
    }
    if kind not in shapes:
        raise ValueError(f"no marker {kind!r}; known: circle, square, {', '.join(shapes)}")
    corners = [(x + r * dx, y + r * dy) for dx, dy in shapes[kind]]
    return el("polygon", points=points_text(corners), **attributes)


@dataclass(frozen=True)
class Frame:
    """A window of the world (metres) drawn in a window of the picture (pixels, y down)."""

    x0: float  # world bounds
    x1: float
    y0: float
    y1: float
    left: float  # pixels
    top: float
    width: float
    height: float

    @classmethod
    def fit(
        cls, bounds: tuple[float, float, float, float], *, left: float, top: float, width: float
    ) -> Frame:
        """The same scale on both axes: `width` pixels for the x extent, the height follows."""
        x0, x1, y0, y1 = bounds
        if not (x1 > x0 and y1 > y0):
            raise ValueError(f"bounds {bounds} are empty; give x0 < x1 and y0 < y1")
        return cls(x0, x1, y0, y1, left, top, width, width * (y1 - y0) / (x1 - x0))

    @property
    def scale(self) -> float:
        """Pixels per unit of x."""
        return self.width / (self.x1 - self.x0)

    def x(self, value: float) -> float:
        return self.left + (value - self.x0) * self.scale

    def y(self, value: float) -> float:
        return self.top + (self.y1 - value) * self.height / (self.y1 - self.y0)

    def point(self, p: Point) -> tuple[float, float]:
        return self.x(float(p[0])), self.y(float(p[1]))


def nice_ticks(low: float, high: float, n: int = 5) -> list[float]:
    """About `n` round numbers (1, 2, 2.5 or 5 times a power of ten) inside `[low, high]`."""
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise ValueError(f"ticks need finite low < high, got {low} and {high}")
    raw = (high - low) / max(n, 1)
    power = 10.0 ** math.floor(math.log10(raw))
    step = min((m * power for m in (1, 2, 2.5, 5, 10)), key=lambda s: abs(s - raw))
    first = math.ceil(low / step - 1e-9)
    count = math.floor(high / step + 1e-9) - first + 1
    return [round((first + i) * step, 12) for i in range(count)]


def round_below(value: float) -> float:
    """The largest of 1, 2, 5 times a power of ten that is <= `value` (> 0)."""
    power = 10.0 ** math.floor(math.log10(value) + 1e-9)
    return max(m * power for m in (1, 2, 5) if m * power <= value * (1 + 1e-9))


def tick_label(value: float) -> str:
    return f"{value:g}".replace("-", "\u2212")


def axes(frame: Frame, *, x_label: str, y_label: str, percent_y: bool = False) -> str:
    """Grid lines, tick labels and axis names around `frame`."""
    bottom, right = frame.top + frame.height, frame.left + frame.width
    parts = []
    for value in nice_ticks(frame.y0, frame.y1, 5):
        y = frame.y(value)
        label = f"{100 * value:.0f}\u202f%" if percent_y else tick_label(value)
        parts.append(el("line", x1=frame.left, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(
            el("text", text(label), x=frame.left - 7, y=y + 4, class_="tick", text_anchor="end")
        )
    for value in nice_ticks(frame.x0, frame.x1, 5):
        x = frame.x(value)
        parts.append(el("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis"))
        parts.append(
            el(
                "text",
                text(tick_label(value)),
                x=x,
                y=bottom + 18,
                class_="tick",
                text_anchor="middle",
            )
        )
    parts.append(el("line", x1=frame.left, x2=right, y1=bottom, y2=bottom, class_="axis"))
    parts.append(
        el(
            "text",
            text(x_label),
            x=(frame.left + right) / 2,
            y=bottom + 37,
            class_="name",
            text_anchor="middle",
        )
    )
    parts.append(el("text", text(y_label), x=0.0, y=frame.top - 12, class_="name"))
    return "".join(parts)
