"""`pilotage view`: a run as a web page, films, or in the Rerun viewer."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from pilotage.episodes.runs import RunFolder
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.tabulate import rows_of


def in_order(run: RunFolder) -> Iterator[EpisodeRecord]:
    """The records with their frames, task by task, conditions in the order of the command line."""
    order = [condition["name"] for condition in run.manifest["conditions"]]
    keys = {
        (r.task.task_id, order.index(r.condition), r.key): r.key for r in run.records(frames=False)
    }
    return (run.load(keys[place]) for place in sorted(keys))


def write_html(run: RunFolder, out: Path | None = None) -> Path:
    """The report of a run; by default `report.html` in its folder."""
    from pilotage.viewers.html import write_report

    order = [condition["name"] for condition in run.manifest["conditions"]]
    records = sorted(run.records(frames=False), key=lambda r: order.index(r.condition))
    rows = rows_of(records)
    return write_report(
        out or run.path / "report.html",
        title=f"Pilotage: {run.path.name}",
        records=in_order(run),
        comparison_rows=rows,
        manifest=run.manifest,
    )


def write_videos(run: RunFolder, *, limit: int = 6) -> list[Path]:
    """One film a task, its conditions side by side, for the first `limit` tasks with frames."""
    from pilotage.viewers.video import grid_film, write_mp4

    by_task: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in run.records():
        known = record.task.task_id in by_task
        if record.frames is not None and (known or len(by_task) < limit):
            by_task[record.task.task_id].append(record)
    if not by_task:
        raise ValueError(f"{run.path} has no frames; run with --frames all")
    paths = []
    for task_id, records in by_task.items():
        frames, captions = grid_film(records)
        path = run.path / "films" / f"{task_id}.mp4"
        paths.append(write_mp4(path, frames, captions=captions))
    return paths


def write_rerun(run: RunFolder, *, max_episodes: int | None = 40) -> Path:
    """The run as `run.rrd` in its folder."""
    from pilotage.viewers.rerun_log import log_run

    return log_run(
        in_order(run), run.path / "run.rrd", run_name=run.path.name, max_episodes=max_episodes
    )


def write_picture(
    run: RunFolder, out: Path, conditions: Sequence[str], task_id: str | None = None
) -> Path:
    """One wide PNG: film strips, paths and speeds of one task under up to four conditions.

    The task is the first of the run that has frames under all of them, not the best-looking one.
    """
    from pilotage.viewers.hero import write_hero

    by_task: dict[str, dict[str, EpisodeRecord]] = defaultdict(dict)
    for record in run.records():
        wanted = task_id in (None, record.task.task_id) and record.condition in conditions
        if wanted and record.frames is not None:
            found = by_task[record.task.task_id]
            found[record.condition] = record
            if len(found) == len(conditions):
                return write_hero(out, [found[name] for name in conditions])
    raise ValueError(
        f"{run.path} has no task with frames under all of {list(conditions)}"
        + (f" and the id {task_id}" if task_id else "")
    )


def view(
    path: Path,
    *,
    html: bool,
    video: bool,
    rerun_file: bool,
    picture: Path | None,
    conditions: Sequence[str],
    task_id: str | None,
) -> None:
    """See `pilotage view --help`."""
    run = RunFolder.open(path)
    if picture is not None:
        print(write_picture(run, picture, conditions, task_id))
    if html:
        print(write_html(run))
    if video:
        for film in write_videos(run):
            print(film)
    if rerun_file:
        print(write_rerun(run))
    if not (html or video or rerun_file or picture):
        from pilotage.viewers.rerun_serve import serve

        server = serve(write_rerun(run))
        print(f"{server.url}\nCtrl-C ends it.")
        server.wait()
