"""Top tokens over time on the page: a strip for each condition, and what its edits write.

A strip has a row for each layer and a cell for each step, in the colour of the layer's best token
at the place where the first action token is predicted: a number from -1 to 1, a discrete action, or
a word.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np

from pilotage.episodes.types import EpisodeRecord

from . import results, svg
from .scenes import ACTION_NAMES
from .style import number
from .tokens import ACTION_WORDS, Push, TokenTrace, token_trace

WIDTH = 520.0
_LEFT, _RIGHT, _TOP, _ROW, _GAP = 66.0, 16.0, 4.0, 22.0, 4.0
_LETTER = 6.4  # pixels of one letter of a label
_MAX_CELLS = 160  # in a row; longer episodes show every second, third ... step
_MAX_LINES = 24  # steps in the table
_VALUE = re.compile(r"[+-]\d\.\d+")
N_SHADES = 9  # of numbers, from -1 to 1


def panel(records: Sequence[EpisodeRecord], slots: Mapping[str, int]) -> str:
    """The strips of one task as HTML, one episode a condition; "" where nothing was recorded."""
    traces: dict[str, tuple[EpisodeRecord, TokenTrace]] = {}
    for record in records:
        trace = token_trace(record)
        if trace is not None:
            traces.setdefault(record.condition, (record, trace))
    shown = [traces[name] for name in slots if name in traces]
    if not shown:
        return ""
    last = max(record.n_steps for record in records)
    blocks = "".join(_block(record, trace, slots[record.condition]) for record, trace in shown)
    notes = _notes([trace for _, trace in shown])
    return (
        '<section class="tokens"><h4>What each layer would say</h4>'
        f'<p class="hint">{_explained(records[0], last)}{svg.text(notes)}</p>'
        f'<div class="views">{blocks}</div></section>'
    )


def _explained(record: EpisodeRecord, last: int) -> str:
    words = (
        "The best token after each layer (logit lens), step by step, where the first action token "
        "is predicted; a bold layer is edited. "
    )
    keys = [_key("word", "a word")]
    actions = ACTION_WORDS.get(record.task.env)
    if actions is None:
        name = ACTION_NAMES.get(record.task.env, ("the first action number",))[0]
        scale = "".join(_key(f"shade{i}") for i in range(N_SHADES))
        keys = [f"\u22121 {scale} +1 of {svg.text(name)}", *keys]
    else:
        keys = [_key(f"action{i}", name) for i, name in enumerate(actions.values())] + keys
    every = _every(last)
    words += f"One step in {every} is drawn. " if every > 1 else ""
    return svg.text(words) + " · ".join(keys) + ". "


def _key(class_: str, words: str = "") -> str:
    box = svg.el("span", "", class_=f"key {class_}")
    return f"{box} {svg.text(words)}" if words else box


def _notes(traces: Sequence[TokenTrace]) -> str:
    if all(trace.is_spelled for trace in traces):
        return ""
    return "The records do not spell all of their tokens: those are shown as #id."


def _every(n_steps: int) -> int:
    return max(1, math.ceil(n_steps / _MAX_CELLS))


def _block(record: EpisodeRecord, trace: TokenTrace, slot: int) -> str:
    name = svg.el("span", results.swatch(slot), svg.text(record.condition), class_="name")
    return svg.el(
        "div",
        svg.el("h5", name) + strip(trace, label=f"Top tokens over steps under {record.condition}"),
        _words_said(trace),
        _edits(trace.pushes),
        _step_table(trace, record.condition),
        class_=f"stack k{slot}",
        data_condition=record.condition,
    )


# -- the strip -------------------------------------------------------------------------------------


def strip(trace: TokenTrace, *, label: str) -> str:
    """The `<svg>` of one episode. Runs of equal cells are one, named where the name fits."""
    rows = range(trace.ids.shape[1])
    width = (WIDTH - _LEFT - _RIGHT) / trace.n_steps
    bottom = _TOP + len(rows) * (_ROW + _GAP)
    parts = [part for row in rows for part in _strip_row(trace, row, width)]
    for step in svg.nice_ticks(0, trace.n_steps, 6) if trace.n_steps > 1 else [0.0]:
        x = _LEFT + step * width
        parts.append(
            svg.el(
                "text",
                svg.text(f"{step:g}"),
                x=x,
                y=bottom + 12,
                class_="tick",
                text_anchor="middle",
            )
        )
    parts.append(
        svg.el(
            "line",
            x1=_LEFT,
            x2=_LEFT,
            y1=_TOP,
            y2=bottom,
            class_="cursor",
            data_left=_LEFT + width / 2,
            data_step=width,
            data_last=trace.n_steps - 1,
            visibility="hidden",
        )
    )
    return svg.figure(WIDTH, bottom + 18, *parts, label=label, class_="fig")


def _strip_row(trace: TokenTrace, row: int, width: float) -> list[str]:
    top = _TOP + row * (_ROW + _GAP)
    edited = bool(trace.layers) and trace.layers[row] in trace.steered
    parts = [
        svg.el(
            "text",
            svg.text(trace.label(row)),
            x=_LEFT - 8,
            y=top + 15,
            class_="tick edited" if edited else "tick",
            text_anchor="end",
        )
    ]
    best, every = trace.first_words(row), _every(trace.n_steps)
    steps = range(0, trace.n_steps, every)
    for (class_, words), run in groupby(steps, lambda step: _cell_kind(best[step])):
        run_steps = list(run)
        first, last = run_steps[0], min(run_steps[-1] + every, trace.n_steps)
        x, extent = _LEFT + first * width, (last - first) * width
        where = f"step {first}" if last - first == 1 else f"steps {first} to {last - 1}"
        title = svg.el("title", svg.text(f"{where}: {' '.join(trace.words(first, row))}"))
        parts.append(
            svg.el("rect", title, x=x, y=top, width=extent, height=_ROW, class_=f"cell {class_}")
        )
        if words and extent > _LETTER * len(words) + 6:
            parts.append(
                svg.el(
                    "text",
                    svg.text(words),
                    x=x + extent / 2,
                    y=top + 15,
                    class_="said",
                    text_anchor="middle",
                )
            )
    return parts


def _cell_kind(word: str) -> tuple[str, str]:
    """(class, name to write into the cell). Numbers of one shade are one run, without a name."""
    if _VALUE.fullmatch(word):
        shade = round((float(word) + 1) / 2 * (N_SHADES - 1))
        return f"shade{min(max(shade, 0), N_SHADES - 1)}", ""
    for actions in ACTION_WORDS.values():
        if word in actions.values():
            return f"action{list(actions.values()).index(word)}", word
    return ("word" if word.isalnum() else "other"), word


def _words_said(trace: TokenTrace) -> str:
    """Which words are the best token of a layer, and how often; "" where it is never a word."""
    found = []
    for row in range(trace.ids.shape[1]):
        words = [(w, share) for w, share in trace.shares(row) if _cell_kind(w)[0] == "word"]
        if words:
            told = ", ".join(f"{w} {_share(share)}" for w, share in words[:3])
            found.append(f"{trace.label(row)}: {told}" + (" and others" if len(words) > 3 else ""))
    said = f"Words in front, share of steps: {'; '.join(found)}." if found else ""
    return svg.el("p", svg.text(said), class_="hint") if said else ""


def _share(share: float) -> str:
    return f"{100 * share:.0f}\u202f%" if share >= 0.01 else "<\u202f1\u202f%"


# -- the tables ------------------------------------------------------------------------------------


def _edits(pushes: Sequence[Push]) -> str:
    """What is edited: the tokens it writes and, of neurons, what they were and became."""
    if not pushes:
        return ""
    courses = [_course(push) for push in pushes]
    heads = ["Edited", "How", "Writes"] + ["Mean before \u2192 after"] * any(courses)
    lines = "".join(
        svg.el(
            "tr",
            svg.el("th", svg.text(push.name), scope="row"),
            svg.el("td", svg.text(push.kind.replace("_", " "))),
            svg.el("td", svg.text(" ".join(push.words)), class_="words"),
            *([svg.el("td", course)] if any(courses) else []),
        )
        for push, course in zip(pushes, courses, strict=True)
    )
    head = svg.el("tr", *(svg.el("th", svg.text(h), scope="col") for h in heads))
    table = svg.el("table", svg.el("thead", head), svg.el("tbody", lines))
    n = len(pushes)
    opened = f"<details{' open' if n <= 3 else ''}>"
    what = "The edit, and what it writes" if n == 1 else f"The {n} edits, and what they write"
    return (
        f"{opened}<summary>{what}</summary>"
        f"{svg.el('div', table, class_='scroll', tabindex=0)}</details>"
    )


def _course(push: Push) -> str:
    """A neuron's means, and its course: full before the edit, dashed after it."""
    if push.series is None or not np.isfinite(push.series).all():
        return ""
    before, after = (float(mean) for mean in push.series.mean(axis=1))
    words = svg.text(f"{number(before)} \u2192 {number(after)} ")
    low, high = float(push.series.min()), float(push.series.max())
    spread = (high - low) or 1.0
    lines = []
    for series, class_ in zip(push.series, ("own", "set"), strict=True):
        x = np.linspace(1, 89, len(series))
        y = 17 - 14 * (series - low) / spread
        points = svg.points_text(list(zip(x.tolist(), y.tolist(), strict=True)))
        lines.append(svg.el("polyline", points=points, class_=class_, fill="none"))
    drawn = svg.el("svg", *lines, viewBox="0 0 90 20", class_="course", aria_hidden="true")
    return words + drawn


def _step_table(trace: TokenTrace, condition: str) -> str:
    """The top tokens of up to `_MAX_LINES` steps, evenly spaced, all layers."""
    rows = range(trace.ids.shape[1])
    steps = np.unique(np.linspace(0, trace.n_steps - 1, _MAX_LINES).astype(int)).tolist()
    lines = "".join(
        svg.el(
            "tr",
            svg.el("th", svg.text(step), scope="row"),
            *(svg.el("td", svg.text(" ".join(trace.words(step, r))), class_="words") for r in rows),
        )
        for step in steps
    )
    heads = ("Step", *(trace.label(r) for r in rows))
    head = svg.el("tr", *(svg.el("th", svg.text(h), scope="col") for h in heads))
    table = svg.el("table", svg.el("thead", head), svg.el("tbody", lines))
    name = svg.quoted(f"Top tokens step by step under {condition}")
    return (
        "<details><summary>Top tokens step by step</summary>"
        f'<div class="scroll" tabindex="0" role="region" aria-label={name}>{table}</div></details>'
    )


# -- looks -----------------------------------------------------------------------------------------

_LIGHT: tuple[str, ...] = (
    "#0b5c96",
    "#4a8fc0",
    "#8dbbdc",
    "#c9deee",
    "#eceef0",
    "#f7dcc6",
    "#f0b184",
    "#e0803f",
)
_LIGHT += ("#b84a00",)
_DARK: tuple[str, ...] = (
    "#7cc4f5",
    "#4a97cc",
    "#3a6c96",
    "#2f4a62",
    "#2b323c",
    "#5a4030",
    "#8f5a33",
    "#d07a3a",
)
_DARK += ("#ffa869",)
_ACTIONS = (
    ("#f3c9c4", "#cfe9dc", "#cfe2f2", "#f9dfc4"),
    ("#5a2f2c", "#1f4a3b", "#25435c", "#5a4029"),
)
_WORD, _OTHER = ("#c8b1ef", "#6449a3"), ("#d9dce0", "#3a424c")


def token_style() -> str:
    """CSS of the strips, light and dark."""

    def colors(scheme: int) -> str:
        shades = (_LIGHT, _DARK)[scheme]
        named = {f"shade{i}": color for i, color in enumerate(shades)}
        named |= {f"action{i}": color for i, color in enumerate(_ACTIONS[scheme])}
        named |= {"word": _WORD[scheme], "other": _OTHER[scheme]}
        return "".join(f".{name}{{--v:{color}}}" for name, color in named.items())

    return (
        f"{colors(0)}@media(prefers-color-scheme:dark){{{colors(1)}}}"
        "svg .cell{fill:var(--v)}"
        "svg text.said{font-size:11.5px;fill:var(--ink)}"
        "svg text.tick.edited{font-weight:700;fill:var(--k)}"
        ".key{display:inline-block;width:12px;height:11px;border-radius:2px;background:var(--v);"
        "vertical-align:-1px}"
        ".key+.key{border-radius:0}"
        ".tokens{margin-top:22px}.tokens h4{font-size:.95rem;margin:0 0 .2em}"
        ".tokens h5{font-size:.9rem;margin:0}"
        ".tokens .views{grid-template-columns:repeat(auto-fill,minmax(min(100%,440px),1fr))}"
        ".tokens .stack{min-width:0;grid-template-columns:minmax(0,1fr)}"
        ".tokens p{margin:0}"
        ".tokens details{margin-top:2px}.tokens table{font-size:.82rem}"
        ".tokens th,.tokens td{padding:4px 10px 4px 0;text-align:left}"
        ".tokens td.words{white-space:normal;min-width:9em}"
        ".course{width:90px;height:20px;vertical-align:-5px}"
        ".course .own{stroke:var(--k);stroke-width:1.5}"
        ".course .set{stroke:var(--muted);stroke-width:1.25;stroke-dasharray:3 2}"
    )
