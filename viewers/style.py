"""How things look: one colour, dash and marker per condition, fonts, and how numbers are written.

The hues are those of Okabe and Ito's palette for colour-blind readers, lightened for dark pages;
dash and marker repeat what the colour says.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

MISSING = "\u2013"  # an en dash


@dataclass(frozen=True)
class Swatch:
    """How one condition is drawn. `dash` is an SVG dash array ("" is a full line)."""

    light: str
    dark: str
    dash: str
    marker: str  # "circle", "square", "triangle", "diamond", "cross"


SWATCHES = (
    Swatch("#59636e", "#a6b0bb", "", "circle"),  # 0: the baseline, neutral on purpose
    Swatch("#0067a8", "#5db4ea", "", "square"),
    Swatch("#c94f00", "#ff9556", "", "triangle"),
    Swatch("#007a59", "#3fcaa0", "6 3", "diamond"),
    Swatch("#a8528a", "#e59ac6", "2 3", "circle"),
    Swatch("#9a6b00", "#f0b93e", "8 3 2 3", "square"),
    Swatch("#5146b0", "#a9a1ff", "10 4", "triangle"),
    Swatch("#1d7f93", "#6bd3e6", "1 3", "diamond"),
    Swatch("#8a3b3b", "#f08f8f", "6 2 1 2", "cross"),
)
_KNOWN_SLOTS = {"baseline": 0, "slow": 1, "fast": 2}


def condition_slots(conditions: Iterable[str]) -> dict[str, int]:
    """Condition name -> index into `SWATCHES`, in order of first appearance.

    `baseline`, `slow` and `fast` always have the same colour; the others take the free ones in
    order. From the tenth condition on colours repeat (the label still tells them apart).
    """
    names = list(dict.fromkeys(conditions))
    slots = {name: _KNOWN_SLOTS[name] for name in names if name in _KNOWN_SLOTS}
    free = [i for i in range(1, len(SWATCHES)) if i not in slots.values()] or [*range(1, 9)]
    others = [name for name in names if name not in slots]
    slots.update({name: free[i % len(free)] for i, name in enumerate(others)})
    return {name: slots[name] for name in names}


def rgb(hex_color: str) -> tuple[int, int, int]:
    """`"#0067a8"` -> `(0, 103, 168)`."""
    if len(hex_color) != 7 or hex_color[0] != "#":
        raise ValueError(f"colour {hex_color!r} is not of the form '#rrggbb'")
    return int(hex_color[1:3], 16), int(hex_color[3:5], 16), int(hex_color[5:7], 16)


def font(size: int) -> FreeTypeFont:
    """The font of drawn pictures: the one that comes with Pillow, so that machines agree."""
    from PIL import ImageFont

    return ImageFont.load_default(size)  # type: ignore[return-value]


# Letters that Pillow's own font lacks, in the nearest spelling it has.
_SPELLED = {"\u2014": "-", "\u2013": "-", "\u2212": "-", "→": "->", "≈": "~", "‖": "||", "Δ": "d"}
_SPELLED |= {"≤": "<=", "≥": ">=", "“": '"', "”": '"', "\u2018": "'", "\u2019": "'"}
_SPELLED |= dict.fromkeys("\t\n\r\u202f\u00a0", " ")


def plain(text: str) -> str:
    """`text` with every character that drawn pictures cannot show spelled out, or as `?`."""
    spelled = "".join(_SPELLED.get(c, c) for c in text)
    return "".join(c if c in "·±\u00d7°…" or " " <= c <= "~" else "?" for c in spelled)


def number(value: object, digits: int = 3) -> str:
    """For a reader: `digits` significant digits, a true minus sign; a dash if there is none."""
    if value is None or isinstance(value, str):
        return value or MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "\u2212")
    number_ = float(value)  # type: ignore[arg-type]
    if math.isnan(number_):
        return MISSING
    if math.isinf(number_):
        return "∞" if number_ > 0 else "\u2212∞"
    return _significant(number_, digits).replace("-", "\u2212")


def _significant(value: float, digits: int) -> str:
    if value == 0:
        return "0"
    exponent = math.floor(math.log10(abs(float(f"{value:.{digits - 1}e}"))))
    if exponent < -4 or exponent > 6:
        return f"{value:.{digits - 1}e}"
    return f"{value:.{max(0, digits - 1 - exponent)}f}"


def percent(value: object) -> str:
    """A fraction as a percentage with one decimal: `0.123 -> "12.3 %"`."""
    if value is None or math.isnan(float(value)):  # type: ignore[arg-type]
        return MISSING
    return f"{100 * float(value):.1f}\u202f%".replace("-", "\u2212")  # type: ignore[arg-type]


def p_value(value: object) -> str:
    """A p-value: three decimals, and `< 0.001` below."""
    if value is None or math.isnan(float(value)):  # type: ignore[arg-type]
        return MISSING
    return "<\u202f0.001" if float(value) < 0.001 else f"{float(value):.3f}"  # type: ignore[arg-type]


@dataclass(frozen=True)
class Role:
    """How a part of a map is painted; each colour is a (light, dark) pair, None paints nothing."""

    fill: tuple[str, str] | None = None
    stroke: tuple[str, str] | None = None
    width: float = 1.0
    dash: str = ""


INK = ("#1b2430", "#e8ecf1")
MUTED = ("#5a6572", "#9fabb8")
PAPER = ("#ffffff", "#161b22")
ROLES = {
    "ground": Role(None, ("#8a94a0", "#5c6672"), 1.5),
    "zone": Role(("#dfeee3", "#1d3325"), ("#6fae84", "#4f9468"), 1.25, "4 3"),
    "room": Role(("#f6f5f2", "#1d232b"), None),
    "wall": Role(("#3f4854", "#8b97a4"), None),
    "furniture": Role(("#e2ddd3", "#38342c"), ("#b8ae9b", "#5b5446"), 0.75),
    "object": Role(("#c9ced6", "#4a525c"), ("#1b2430", "#e8ecf1"), 1.0),
    "goal": Role(None, ("#b3261e", "#ff8a80"), 1.5, "3 2"),
    "reference": Role(None, ("#8a94a0", "#77828e"), 1.25, "2 4"),
    "grid": Role(None, ("#e6e8eb", "#2b323c"), 1.0),
}
