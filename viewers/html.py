"""The report of a run: one HTML file that opens offline, with table, figures, maps and films."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pilotage.episodes.types import EpisodeRecord

from . import report_figures, results, svg, taskcards
from .page import POLICY, SCRIPT, style_sheet
from .style import MISSING, condition_slots
from .topdown import save


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
    metric: str | None = None,
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
            shown: the first `max_tasks` with frames, whatever their outcome.
        comparison_rows: of `pilotage.episodes.tables.comparison_rows`; may be empty.
        manifest: what was run (JSON); its plain values are in the heading, all of it at the end.
        metric: the metric whose change is "the effect"; by default mean speed, else steps.
        films: "sprite" (exact to the step, no codec needed), "mp4" (needs `pilotage[view]`), or
            "none".
        max_tasks, max_films, frame_size, max_film_bytes: bounds on the size; the page says what
            they left out.

    Returns:
        The path that was written.

    Raises:
        ValueError: an unknown `films` or `metric`, or a limit below zero.
    """
    if films not in ("sprite", "mp4", "none"):
        raise ValueError(f"films={films!r}; choose 'sprite', 'mp4' or 'none'")
    limits = Limits(max_tasks, max_films, frame_size, max_film_bytes)
    if min(vars(limits).values()) < 0 or frame_size == 0:
        raise ValueError(f"{limits}: limits must be >= 0, and frame_size > 0")
    gathered = gather(records, max_tasks=max_tasks, keep_frames=films != "none")
    rows = list(comparison_rows)
    main = results.main_metric(rows, metric)
    document = _document(title, gathered, rows, main, dict(manifest or {}), films, limits)
    return save(Path(out_path), document.encode())


def gather(records: Iterable[EpisodeRecord], *, max_tasks: int, keep_frames: bool) -> Gathered:
    """Reads the records once and drops the frames that the page will not show.

    Shown are the first tasks that have frames (a run may have kept them for some tasks only), then
    the first of the others: never chosen by outcome.
    """
    found = Gathered()
    by_task: dict[str, list[EpisodeRecord]] = {}
    filmed: dict[str, None] = {}
    for record in records:
        task_id, bare = record.task.task_id, record.without_pictures()
        found.records.append(bare)
        if keep_frames and record.frames is not None and len(filmed) < max_tasks:
            filmed.setdefault(task_id)
        by_task.setdefault(task_id, []).append(
            record if keep_frames and task_id in filmed else bare
        )
    found.n_tasks = len(by_task)
    shown = [*filmed, *(task_id for task_id in by_task if task_id not in filmed)][:max_tasks]
    found.shown = {task_id: by_task[task_id] for task_id in by_task if task_id in shown}
    return found


def _document(
    title: str,
    gathered: Gathered,
    rows: list[Mapping[str, Any]],
    metric: str | None,
    manifest: dict[str, Any],
    films: str,
    limits: Limits,
) -> str:
    names = [str(row.get("condition")) for row in rows] + gathered.conditions
    slots = condition_slots(names)
    tray = taskcards.FilmTray(films, limits.max_films, limits.frame_size, limits.max_film_bytes)
    read = _task_with_tokens(gathered)
    cards = "".join(
        taskcards.card(group, slots, tray, tokens=task_id == read)
        for task_id, group in gathered.shown.items()
    )
    tables = results.table(rows, slots, metric) + results.metrics_table(rows, slots)
    main = (
        _section("Results", tables + _errors(gathered))
        + _section(
            "Effect, cost and dose", report_figures.figures(gathered.records, rows, slots, metric)
        )
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


_FACTS = ("created", "seed", "repeats", "metric_convention", "python")
_PACKAGES = ("pilotage", "torch", "transformers")


def _plain_facts(manifest: Mapping[str, Any]) -> dict[str, str]:
    """What of a manifest belongs into the heading: seeds, conventions, versions."""
    words = {key.replace("_", " ").capitalize(): manifest.get(key) for key in _FACTS}
    packages = manifest.get("packages", manifest.get("versions"))
    if isinstance(packages, Mapping):
        words |= {name: packages.get(name) for name in _PACKAGES}
    facts = {key: str(item) for key, item in words.items() if item is not None}
    if "Created" in facts:
        facts["Created"] = facts["Created"].replace("T", " ").replace("+00:00", " UTC")
    return facts


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


def _task_with_tokens(gathered: Gathered) -> str | None:
    """The first task shown under most conditions with top tokens: it is the one that shows them."""
    counts = {
        task_id: len({r.condition for r in group if "top_token_ids" in r.agent_trace})
        for task_id, group in gathered.shown.items()
    }
    best = max(counts, key=lambda task_id: counts[task_id], default=None)
    return best if best is not None and counts[best] else None


def _notes(gathered: Gathered, tray: taskcards.FilmTray, limits: Limits) -> str:
    notes = []
    hidden = gathered.n_tasks - len(gathered.shown)
    if hidden:
        notes.append(
            f"{hidden} of {gathered.n_tasks} tasks have no map and films here "
            f"(max_tasks={limits.max_tasks}); they count in the table and the curves."
        )
    notes += tray.notes()
    read = _task_with_tokens(gathered)
    if read is not None and len(gathered.shown) > 1:
        notes.append(f"Top tokens over time are shown for one task, {read}.")
    if not notes:
        return ""
    return '<ul class="notes">' + "".join(svg.el("li", svg.text(n)) for n in notes) + "</ul>"


def _manifest(manifest: Mapping[str, Any]) -> str:
    if not manifest:
        return ""
    words = json.dumps(manifest, indent=2, sort_keys=True, default=str, ensure_ascii=False)
    return f"<details><summary>Show</summary><pre>{svg.text(words)}</pre></details>"
