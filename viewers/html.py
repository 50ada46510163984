"""The report of a run: one HTML file that opens offline, with table, figures, maps and films."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from pilotage.episodes.types import EpisodeRecord

from . import charts, results, scenes, svg, taskcards
from .page import POLICY, SCRIPT, style_sheet
from .style import MISSING, condition_slots
from .topdown import write_atomically


@dataclass
class Limits:
    """What bounds the size of a page."""

    max_tasks: int = 6  # tasks with maps and curves
    max_films: int = 24  # films in all
    frame_size: int = 160  # pixels, longer side of an embedded frame
    max_film_bytes: int = 24_000_000  # of all films together, as embedded


@dataclass
class Gathered:
    """Records without frames, apart from the tasks that are shown; and what was left out."""

    records: list[EpisodeRecord] = field(default_factory=list)
    shown: dict[str, list[EpisodeRecord]] = field(default_factory=dict)
    n_tasks: int = 0

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(record.condition for record in self.records))


def write_report(
    out_path: Path | str,
    *,
    title: str,
    records: Iterable[EpisodeRecord],
    comparison_rows: Sequence[Mapping[str, Any]] = (),
    manifest: Mapping[str, Any] | None = None,
    films: str = "sprite",
    max_tasks: int = 6,
    max_films: int = 24,
    frame_size: int = 160,
    max_film_bytes: int = 24_000_000,
) -> Path:
    """Writes the report of a run as one self-contained HTML file. Atomic.

    Args:
        out_path: the file, usually `….html`; folders are made.
        title: heading of the page.
        records: any iterable, read once. Frames are kept in memory only for the tasks that are
            shown: the first `max_tasks` in the order of the records, whatever their outcome.
        comparison_rows: one mapping a condition; `results.py` lists the names of the columns.
        manifest: what was run (JSON); its plain values are in the heading, all of it at the end.
        films: "sprite" (exact to the step, no codec needed), "mp4" (needs `pilotage[view]`), or
            "none".
        max_tasks, max_films, frame_size, max_film_bytes: bounds on the size; the page says what
            they left out.

    Returns:
        The path that was written.

    Raises:
        ValueError: an unknown `films`, or a limit below zero.
    """
    if films not in ("sprite", "mp4", "none"):
        raise ValueError(f"films={films!r}; choose 'sprite', 'mp4' or 'none'")
    limits = Limits(max_tasks, max_films, frame_size, max_film_bytes)
    if min(vars(limits).values()) < 0 or frame_size == 0:
        raise ValueError(f"{limits}: limits must be >= 0, and frame_size > 0")
    gathered = gather(records, max_tasks=max_tasks, keep_frames=films != "none")
    document = _document(
        title, gathered, list(comparison_rows), dict(manifest or {}), films, limits
    )
    return write_atomically(Path(out_path), document.encode())


def gather(records: Iterable[EpisodeRecord], *, max_tasks: int, keep_frames: bool) -> Gathered:
    """Reads the records once and drops the frames that the page will not show."""
    found = Gathered()
    tasks: set[str] = set()
    for record in records:
        task_id = record.task.task_id
        tasks.add(task_id)
        bare = replace(record, frames=None)
        found.records.append(bare)
        if task_id in found.shown or len(found.shown) < max_tasks:
            found.shown.setdefault(task_id, []).append(record if keep_frames else bare)
    found.n_tasks = len(tasks)
    return found


def _document(
    title: str,
    gathered: Gathered,
    rows: list[Mapping[str, Any]],
    manifest: dict[str, Any],
    films: str,
    limits: Limits,
) -> str:
    names = [str(row.get("condition")) for row in rows] + gathered.conditions
    slots = condition_slots(names)
    tray = taskcards.FilmTray(films, limits.max_films, limits.frame_size, limits.max_film_bytes)
    cards = "".join(taskcards.card(group, slots, tray) for group in gathered.shown.values())
    unit = scenes.speed_unit(gathered.records[0].task) if gathered.records else "per step"
    main = (
        _section("Results", results.table(rows, slots, unit=unit) + _errors(gathered))
        + _section("Effect, cost and dose", _figures(gathered, rows, slots, unit))
        + _section("Task by task", _task_intro(gathered) + cards if cards else "")
        + _section("Left out, and what to know", _notes(gathered, tray, limits))
        + _section("Manifest", _manifest(manifest))
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<link rel="icon" href="data:,">'
        f"<title>{svg.text(title)}</title><style>{style_sheet()}</style></head>\n<body>"
        f"{_header(title, gathered, manifest)}\n<main>{_legend(slots)}{main}</main>"
        "<footer>Written by Pilotage. This page holds everything it shows and asks nothing of the "
        f"network.</footer><script>{SCRIPT}</script></body></html>\n"
    )


def _section(heading: str, content: str) -> str:
    return f"<section><h2>{svg.text(heading)}</h2>{content}</section>\n" if content else ""


def _header(title: str, gathered: Gathered, manifest: Mapping[str, Any]) -> str:
    records = gathered.records
    agents = dict.fromkeys(r.agent_id for r in records)
    worlds = dict.fromkeys(r.task.env for r in records)
    splits = dict.fromkeys(r.task.split for r in records)
    errors = sum(r.end.is_error for r in records)
    facts = {
        "Agent": ", ".join(agents) or MISSING,
        "World": ", ".join(worlds) or MISSING,
        "Split": ", ".join(splits) or MISSING,
        "Tasks": f"{gathered.n_tasks:,}",
        "Conditions": f"{len(gathered.conditions):,}",
        "Episodes": f"{len(records):,}" + (f" ({errors} with an error)" if errors else ""),
    }
    facts |= {k: v for k, v in _plain_facts(manifest).items() if k not in facts}
    items = "".join(
        svg.el("div", svg.el("dt", svg.text(k)), svg.el("dd", svg.text(v)))
        for k, v in facts.items()
    )
    families = ", ".join(dict.fromkeys(r.task.family for r in records))
    lead = f"Task families: {families}." if families else "No episodes."
    return (
        f'<header class="top"><h1>{svg.text(title)}</h1><p class="lead">{svg.text(lead)}</p>'
        f'<dl class="facts">{items}</dl></header>'
    )


def _plain_facts(manifest: Mapping[str, Any], most: int = 10) -> dict[str, str]:
    """The short plain values of a manifest, and the versions in it, as words for the heading."""
    facts: dict[str, str] = {}
    for key, item in manifest.items():
        words = key.replace("_", " ").capitalize()
        if isinstance(item, Mapping) and "version" in key:
            facts |= {f"{name}": str(v) for name, v in item.items() if isinstance(v, str | int)}
        elif isinstance(item, str | int | float) and len(str(item)) <= 40:
            facts[words] = str(item)
    return dict(list(facts.items())[:most])


def _legend(slots: Mapping[str, int]) -> str:
    buttons = "".join(
        svg.el(
            "button",
            results.swatch(slot) + svg.el("span", svg.text(name)),
            type="button",
            aria_pressed="true",
            data_name=name,
            title="Show or hide this condition",
        )
        for name, slot in slots.items()
    )
    return f'<nav class="legend" aria-label="Conditions: show or hide">{buttons}</nav>'


def _errors(gathered: Gathered) -> str:
    broken = [r for r in gathered.records if r.end.is_error]
    if not broken:
        return ""
    shown = "".join(
        svg.el("li", svg.text(f"{r.condition}, {r.task.task_id}, {r.end.value}: {r.error}"))
        for r in broken[:20]
    )
    more = f"<li>and {len(broken) - 20} more</li>" if len(broken) > 20 else ""
    return (
        f"<details><summary>{_count(len(broken), 'episode')} ended by an error</summary>"
        f'<ul class="notes">{shown}{more}</ul></details>'
    )


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}" + ("" if n == 1 else "s")


def _figures(
    gathered: Gathered, rows: Sequence[Mapping[str, Any]], slots: Mapping[str, int], unit: str
) -> str:
    baseline = next((r for r in rows if r.get("condition") == "baseline"), {})
    effect_label = f"change of speed against baseline ({unit})"
    speed = charts.mean_curves(gathered.records, scenes.speed_of)
    dose = charts.mean_curves(gathered.records, lambda r: scenes.scalar_trace(r, "dose"))
    dose = [c for c in dose if c.middle.any()]
    panels = [
        (
            charts.points_chart(
                _marks(rows, results.EFFECT, results.SUCCESS),
                slots,
                title="Effect on speed against success rate, one point a condition",
                x_label=effect_label,
                y_label="success rate",
                zero_x=True,
                baseline_y=results.value(baseline, *results.SUCCESS),
                percent_y=True,
            ),
            "What an effect costs.",
            "Right or left: faster or slower than the baseline. Lower: fewer tasks solved. "
            "The dashed lines are the baseline; bars are the intervals of the table.",
        ),
        (
            charts.points_chart(
                _marks(
                    [r for r in rows if results.value(r, *results.DOSE) > 0],
                    results.DOSE,
                    results.EFFECT,
                ),
                slots,
                title="Dose against effect on speed, one point a condition",
                x_label="dose delivered, ‖Δh‖ / ‖h‖",
                y_label=effect_label,
                baseline_y=0.0,
            ),
            "What a dose does.",
            "Controls at the same dose should lie on the dashed line if the direction matters.",
        ),
        (
            charts.curves_chart(
                speed, slots, title="Mean speed over steps by condition", y_label=f"speed ({unit})"
            ),
            "Speed over time.",
            "Mean over the episodes still running, with quartiles; a line stops when fewer than "
            "a quarter are left.",
        ),
        (
            charts.curves_chart(
                dose, slots, title="Mean dose over steps by condition", y_label="dose"
            ),
            "Dose over time.",
            "What was delivered at each step, mean and quartiles.",
        ),
    ]
    drawn = "".join(
        f'<figure class="card">{chart}<figcaption><b>{svg.text(head)}</b> {svg.text(words)}'
        "</figcaption></figure>"
        for chart, head, words in panels
        if chart
    )
    return f'<div class="figures">{drawn}</div>' if drawn else ""


def _marks(
    rows: Sequence[Mapping[str, Any]], x_names: Sequence[str], y_names: Sequence[str]
) -> list[charts.Mark]:
    marks = []
    for row in rows:
        x = results.value(row, *x_names)
        if math.isnan(x) and row.get("condition") == "baseline":
            x = 0.0
        marks.append(
            charts.Mark(
                str(row.get("condition")),
                x,
                results.value(row, *y_names),
                *results.interval(row, *x_names),
                *results.interval(row, *y_names),
            )
        )
    return marks


def _task_intro(gathered: Gathered) -> str:
    shown = len(gathered.shown)
    which = "All tasks" if shown == gathered.n_tasks else f"The first {shown} of {gathered.n_tasks}"
    return (
        f'<p class="hint">{which} tasks in the order of the run, not chosen by outcome. '
        if shown != gathered.n_tasks
        else f'<p class="hint">{which} of the run. '
    ) + (
        "Dots on a path are five steps apart, so wide spacing means fast. A filled end mark: the "
        "goal was reached; a hollow one: it was not.</p>"
    )


def _notes(gathered: Gathered, tray: taskcards.FilmTray, limits: Limits) -> str:
    notes = []
    hidden = gathered.n_tasks - len(gathered.shown)
    if hidden:
        notes.append(
            f"{hidden} of {gathered.n_tasks} tasks have no map and films here "
            f"(max_tasks={limits.max_tasks}); they count in the table and the curves."
        )
    notes += tray.notes()
    if not notes:
        return ""
    return '<ul class="notes">' + "".join(svg.el("li", svg.text(n)) for n in notes) + "</ul>"


def _manifest(manifest: Mapping[str, Any]) -> str:
    if not manifest:
        return ""
    words = json.dumps(manifest, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    return f"<details><summary>Show</summary><pre>{svg.text(words)}</pre></details>"
