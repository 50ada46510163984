"""Two ways to put the same map on a page: SVG text and a Pillow picture.

Coordinates are pixels, y down. `role` is a key of `style.ROLES`, `slot` an
index of `style.SWATCHES`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from . import svg
from .style import INK, MUTED, PAPER, ROLES, SWATCHES, font, plain, rgb

if TYPE_CHECKING:
    from PIL.Image import Image

Points = Sequence[tuple[float, float]]


class Canvas(Protocol):
    """What a map needs to be drawn on."""

    def polygon(self, points: Points, role: str, fill: str | None = None) -> None: ...
    def line(self, points: Points, role: str) -> None: ...
    def circle(self, x: float, y: float, r: float, role: str, fill: str | None = None) -> None: ...
    def words(
        self, x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle"
    ) -> None: ...
    def begin(self, slot: int, name: str) -> None: ...
    def path(self, points: Points, dot_every: int) -> None: ...
    def end_mark(self, x: float, y: float, *, filled: bool, label: str) -> None: ...
    def end(self) -> None: ...


class SvgCanvas:
    """Collects SVG elements in `parts`; what belongs to a condition is grouped for the page."""

    def __init__(self) -> None:
        self.parts: list[str] = []
        self._slot = 0

    def polygon(self, points: Points, role: str, fill: str | None = None) -> None:
        self.parts.append(
            svg.el(
                "polygon",
                points=svg.points_text(points),
                class_=f"r-{role}",
                style=_fill(role, fill),
            )
        )

    def line(self, points: Points, role: str) -> None:
        self.parts.append(
            svg.el("polyline", points=svg.points_text(points), class_=f"r-{role}", fill="none")
        )

    def circle(self, x: float, y: float, r: float, role: str, fill: str | None = None) -> None:
        self.parts.append(
            svg.el("circle", cx=x, cy=y, r=r, class_=f"r-{role}", style=_fill(role, fill))
        )

    def words(
        self, x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle"
    ) -> None:
        self.parts.append(
            svg.el(
                "text", svg.text(text), x=x, y=y, font_size=size, class_="map", text_anchor=anchor
            )
        )

    def begin(self, slot: int, name: str) -> None:
        self._slot = slot
        opened = svg.el("g", "|", class_=f"k{slot}", data_condition=name).split("|")[0]
        self.parts.append(opened)

    def path(self, points: Points, dot_every: int) -> None:
        swatch, drawn = SWATCHES[self._slot], svg.points_text(points)
        self.parts += [
            svg.el("polyline", points=drawn, class_="halo", fill="none"),
            svg.el(
                "polyline",
                points=drawn,
                class_="path" if self._slot else "path wide",
                fill="none",
                stroke_dasharray=swatch.dash or None,
            ),
        ]
        self.parts += [
            svg.el("circle", cx=x, cy=y, r=2.0, class_="beat") for x, y in points[::dot_every]
        ]
        x, y = points[0]
        self.parts.append(svg.el("circle", cx=x, cy=y, r=5.5, class_="now", visibility="hidden"))

    def end_mark(self, x: float, y: float, *, filled: bool, label: str) -> None:
        kind = SWATCHES[self._slot].marker
        class_ = "mark" if filled else "mark hollow"
        drawn = svg.marker(kind, x, y, 5.0, class_=class_)
        self.parts.append(svg.el("g", svg.el("title", svg.text(label)), drawn))

    def end(self) -> None:
        self.parts.append("</g>")


def _fill(role: str, color: str | None) -> str | None:
    if color is None:
        return None
    return f"fill:{color};stroke:{color}" if role == "zone" else f"fill:{color}"


def role_style() -> str:
    """CSS of every role of `style.ROLES`, light and dark, and of the paths on a map."""
    rules: list[list[str]] = [[], []]
    for name, role in ROLES.items():
        for scheme in (0, 1):
            fill = role.fill[scheme] if role.fill else "none"
            stroke = role.stroke[scheme] if role.stroke else "none"
            dash = f";stroke-dasharray:{role.dash}" if role.dash else ""
            rules[scheme].append(
                f".r-{name}{{fill:{fill};stroke:{stroke};stroke-width:{role.width}{dash}}}"
            )
    variables = "--ink:{};--muted:{};--paper:{}"
    light = ":root{" + variables.format(INK[0], MUTED[0], PAPER[0]) + "}" + "".join(rules[0])
    dark = ":root{" + variables.format(INK[1], MUTED[1], PAPER[1]) + "}" + "".join(rules[1])
    return (
        light + "@media(prefers-color-scheme:dark){" + dark + "}" + ".r-zone{fill-opacity:.3}"
        ".path{stroke:var(--k);stroke-width:2.25;stroke-linejoin:round;stroke-linecap:round}"
        ".path.wide{stroke-width:8;stroke-opacity:.5}"
        ".halo{stroke:var(--paper);stroke-width:4;stroke-opacity:.75;stroke-linejoin:round}"
        ".beat{fill:var(--k)}.mark{fill:var(--k);stroke:var(--paper);stroke-width:1}"
        ".mark.hollow{fill:var(--paper);stroke:var(--k);stroke-width:2}"
        ".now{fill:var(--k);stroke:var(--ink);stroke-width:1.5}"
        "text{font-family:ui-sans-serif,system-ui,sans-serif;fill:var(--ink)}"
        "text.map{fill:var(--muted);paint-order:stroke;stroke:var(--paper);stroke-width:3px;"
        "stroke-linejoin:round}"
    )


class PillowCanvas:
    """Draws on an RGB picture at `zoom` times the size (the caller shrinks it: smooth edges)."""

    def __init__(self, image: Image, *, zoom: int = 1, dark: bool = False) -> None:
        from PIL import ImageDraw

        self._draw = ImageDraw.Draw(image)
        self._zoom, self._scheme = zoom, int(dark)
        self._color = rgb(INK[self._scheme])
        self._slot = 0

    def polygon(self, points: Points, role: str, fill: str | None = None) -> None:
        inside, stroke, width = self._paint(role, fill)
        self._draw.polygon(self._px(points), fill=inside, outline=stroke, width=width)

    def line(self, points: Points, role: str) -> None:
        _, stroke, width = self._paint(role, None)
        self._draw.line(self._px(points), fill=stroke, width=width, joint="curve")

    def circle(self, x: float, y: float, r: float, role: str, fill: str | None = None) -> None:
        inside, stroke, width = self._paint(role, fill)
        self._draw.ellipse(self._box(x, y, r), fill=inside, outline=stroke, width=width)

    def words(
        self, x: float, y: float, text: str, *, size: int = 12, anchor: str = "middle"
    ) -> None:
        self._draw.text(
            (x * self._zoom, y * self._zoom),
            plain(text),
            fill=rgb(MUTED[self._scheme]),
            font=font(size * self._zoom),
            anchor={"start": "ls", "middle": "ms", "end": "rs"}[anchor],
        )

    def begin(self, slot: int, name: str) -> None:
        swatch = SWATCHES[slot]
        self._slot, self._color = slot, rgb(swatch.dark if self._scheme else swatch.light)

    def path(self, points: Points, dot_every: int) -> None:
        drawn = self._px(points)
        paper = rgb(PAPER[self._scheme])
        # The baseline is a broad pale line below the others, so that equal paths all stay visible.
        soft = _blend(self._color, paper, 0.5)
        strokes = [(paper, 4.0), (self._color, 2.5)] if self._slot else [(soft, 8.5)]
        for color, width in strokes:
            self._draw.line(drawn, fill=color, width=round(width * self._zoom), joint="curve")
        for x, y in points[::dot_every]:
            self._draw.ellipse(self._box(x, y, 2.5), fill=self._color)

    def curve(self, points: Points) -> None:
        """The line of a condition in a plot, without beats."""
        width = round(2.5 * self._zoom)
        self._draw.line(self._px(points), fill=self._color, width=width, joint="curve")

    def end_mark(self, x: float, y: float, *, filled: bool, label: str) -> None:
        paper = rgb(PAPER[self._scheme])
        fill, outline = (self._color, paper) if filled else (paper, self._color)
        width = round(1.5 * self._zoom)
        self._draw.ellipse(self._box(x, y, 5.5), fill=fill, outline=outline, width=width)

    def end(self) -> None:
        self._color = rgb(INK[self._scheme])

    def _paint(self, role: str, fill: str | None) -> tuple:
        style = ROLES[role]
        inside = fill or (style.fill[self._scheme] if style.fill else None)
        stroke = style.stroke[self._scheme] if style.stroke else None
        width = max(1, round(style.width * self._zoom))
        solid = rgb(inside) if inside else None
        if solid and role == "zone":
            paper = rgb(PAPER[self._scheme])
            stroke = inside or stroke
            solid = _blend(solid, paper, 0.3)
        return solid, rgb(stroke) if stroke else None, width

    def _px(self, points: Points) -> list[tuple[float, float]]:
        return [(x * self._zoom, y * self._zoom) for x, y in points]

    def _box(self, x: float, y: float, r: float) -> list[float]:
        return [v * self._zoom for v in (x - r, y - r, x + r, y + r)]


Color = tuple[int, int, int]


def _blend(color: Color, ground: Color, share: float) -> Color:
    r, g, b = (round(share * c + (1 - share) * d) for c, d in zip(color, ground))
    return r, g, b
