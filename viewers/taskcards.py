"""One task on the page: map, view from the front, curves, films, and what was to be said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pilotage.episodes.types import EpisodeRecord

from . import charts, results, scenes, svg, token_strips, topdown
from .films import Film, make_film

_SHOWN_SIDE = 192  # pixels; small frames are shown enlarged by a whole factor


@dataclass
class FilmTray:
    """Hands out films until a limit is reached, and remembers what it could not give."""

    kind: str
    max_films: int
    frame_size: int
    max_bytes: int
    n_films: int = 0
    n_bytes: int = 0
    n_refused: int = 0
    n_without_frames: int = 0
    n_thinned: int = 0

    def film(self, record: EpisodeRecord) -> Film | None:
        if self.kind == "none":
            return None
        if record.frames is None:
            self.n_without_frames += 1
            return None
        if self.n_films >= self.max_films or self.n_bytes >= self.max_bytes:
            self.n_refused += 1
            return None
        film = make_film(record, kind=self.kind, max_side=self.frame_size)
        if self.n_bytes + film.n_bytes > self.max_bytes:
            self.n_refused += 1
            return None
        self.n_films += 1
        self.n_bytes += film.n_bytes
        self.n_thinned += film.every > 1
        return film

    def notes(self) -> list[str]:
        """What a reader of the page has to know about its films."""
        notes = []
        if self.kind == "none":
            notes.append("Films were switched off for this page.")
        if self.n_refused:
            notes.append(
                f"{self.n_refused} films of the tasks above are left out to bound the size of the "
                f"page (max_films={self.max_films}, max_film_bytes={self.max_bytes:,})."
            )
        if self.n_without_frames:
            n = self.n_without_frames
            which = "1 episode above was" if n == 1 else f"{n} episodes above were"
            notes.append(f"{which} recorded without frames.")
        if self.n_thinned:
            notes.append(f"{self.n_thinned} long films do not show every step.")
        return notes


def card(
    records: Sequence[EpisodeRecord],
    slots: Mapping[str, int],
    tray: FilmTray,
    *,
    tokens: bool = False,
) -> str:
    """The article of one task; `records` share it. `tokens`: with the top tokens over time."""
    task, slots = records[0].task, dict(slots)
    head = (
        f"<header><h3>“{svg.text(task.instruction)}”</h3>"
        f'<span class="hint">{svg.text(task.family)} · <code>{svg.text(task.task_id)}</code></span>'
        "</header>"
    )
    views = _maps(records, slots), _curves(records, slots)
    drawn = "".join(f'<div class="stack">{view}</div>' for view in views if view)
    films = _films(records, slots, tray)
    longest = max(record.n_steps for record in records)
    player = _player(longest, task.task_id) if longest else ""
    both = f'<div class="views">{drawn}</div>' if drawn else ""
    said = token_strips.panel(records, slots) if tokens else ""
    return f'<article class="card task">{head}{films}{player}{both}{said}</article>'


def _maps(records: Sequence[EpisodeRecord], slots: dict[str, int]) -> str:
    if all(scenes.path_of(record) is None for record in records):
        return ""
    maps = topdown.topdown_svg(records, slots=slots)
    if records[0].task.env == "tabletop":
        maps += topdown.side_svg(records, slots=slots)
    return maps


def _curves(records: Sequence[EpisodeRecord], slots: dict[str, int]) -> str:
    quantities = (
        ("Speed", scenes.speed_label(records[0].task), scenes.speed_curve),
        ("Dose", "dose", lambda record: scenes.scalar_trace(record, "dose")),
    )
    drawn = ""
    for name, label, value in quantities:
        series = [(r.condition, s) for r in records if (s := value(r)) is not None and s.any()]
        curves = [charts.Curve(condition, s) for condition, s in series]
        title = f"{name} over steps in task {records[0].task.task_id}"
        height = 320.0 if name == "Speed" else 230.0
        drawn += charts.curves_chart(
            curves, slots, title=title, y_label=label, height=height, cursor=True
        )
    return drawn


def _films(records: Sequence[EpisodeRecord], slots: Mapping[str, int], tray: FilmTray) -> str:
    """One film a condition: the first episode of each (repeats have paths, but no film)."""
    first = {record.condition: record for record in reversed(records)}
    order = [first[name] for name in slots if name in first]
    shown = [(record, tray.film(record)) for record in order]
    figures = "".join(_figure(r, f, slots[r.condition]) for r, f in shown if f is not None)
    return f'<div class="films">{figures}</div>' if figures else ""


def _figure(record: EpisodeRecord, film: Film, slot: int) -> str:
    grow = max(1, _SHOWN_SIDE // max(film.width, film.height))
    width, height = grow * film.width, grow * film.height
    alt = f"Film of {record.condition}: what the agent saw, {film.n_frames} frames"
    if film.kind == "mp4":
        part = svg.el(
            "video", "", src=film.data_uri, muted="", playsinline="", preload="auto", aria_label=alt
        )
    else:
        style = f"width:{width * film.columns}px"
        part = (
            f"<img src={svg.quoted(film.data_uri)} alt={svg.quoted(alt)} style={svg.quoted(style)}>"
        )
    screen = svg.el(
        "div",
        part,
        class_="screen",
        data_n=film.n_frames,
        data_columns=film.columns,
        data_every=film.every,
        data_fps=film.fps,
        data_w=width,
        data_h=height,
    )
    how = f"{record.end.value.replace('_', ' ')} after {record.n_steps} steps"
    if record.success and record.end.value != "goal_reached":
        how += ", success"
    caption = svg.el("figcaption", results.swatch(slot) + svg.text(record.condition))
    ended = svg.el("span", svg.text(how), class_="ended")
    return svg.el(
        "figure",
        caption + screen + ended,
        class_=f"film k{slot}",
        data_condition=record.condition,
        style=f"--w:{width}px;--h:{height}px",
    )


def _player(last: int, task_id: str) -> str:
    name = svg.quoted(f"Step of task {task_id}")
    return (
        '<div class="player"><button type="button">Play</button>'
        f'<input type="range" min="0" max="{last}" value="0" step="1" aria-label={name}>'
        f"<output>step 0 / {last}</output></div>"
    )
