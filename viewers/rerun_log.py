"""Episodes for the Rerun viewer: poses, objects, pictures, words, doses on one step timeline.

What stands still (walls, doors, furniture) is at `/<task>/scene`.

Each episode is an entity tree `/<task>/<condition>/…`, so that one viewer shows the conditions of
a task side by side, in step. Needs rerun-sdk (`pip install 'pilotage[view]'`).
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.types import EpisodeRecord

from . import rerun_scene, rerun_tokens, scenes
from .optional import require
from .style import SWATCHES, condition_slots, rgb
from .tokens import token_trace

TIMELINE = "step"
_LIFT_M = 0.06  # above the floor, in which a path would be half hidden


def log_run(
    records: Iterable[EpisodeRecord],
    out_rrd: Path | str,
    *,
    run_name: str = "pilotage",
    vocabulary: Sequence[str] | None = None,
    max_episodes: int | None = None,
) -> Path:
    """Writes records as one `.rrd` file that `rerun FILE` or `rerun_serve.serve` opens. Atomic.

    Args:
        records: any iterable, read once, one episode in memory at a time.
        out_rrd: ends in `.rrd`; folders are made.
        run_name: the name that the viewer shows.
        vocabulary: words of token ids, for records that do not spell their own top tokens.
        max_episodes: stop after so many.

    Raises:
        ImportError: rerun-sdk is missing. ValueError: a wrong suffix, or no records at all.
    """
    target = Path(out_rrd)
    if target.suffix != ".rrd":
        raise ValueError(f"{target} does not end in .rrd")
    rr = require("rerun", purpose="writing a Rerun recording")
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".rrd")
    os.close(handle)
    try:
        _write(rr, name, records, run_name, vocabulary, max_episodes)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def _write(
    rr: Any,
    name: str,
    records: Iterable[EpisodeRecord],
    run_name: str,
    vocabulary: Sequence[str] | None,
    max_episodes: int | None,
) -> None:
    stream = rr.RecordingStream(run_name, recording_id=run_name)
    stream.save(name)
    stream.send_recording_name(run_name)
    layout: dict[str, list[str]] = {}
    shown: dict[str, set[str]] = {}
    eyes: dict[str, rerun_scene.Eye | None] = {}
    count, slots = 0, dict[str, int]()
    for count, record in enumerate(records, start=1):
        slots = condition_slots([*slots, record.condition])
        root = log_episode(rr, stream, record, slots[record.condition], vocabulary, layout)
        task = _part(record.task.task_id)
        if task not in layout:
            eyes[task] = rerun_scene.eye_of(record.task)
        layout.setdefault(task, []).append(root)
        shown[root] = _quantities(record)
        if count == max_episodes:
            break
    if not count:
        raise ValueError("there are no records to log; run some episodes first")
    stream.send_blueprint(_blueprint(layout, shown, eyes))
    stream.flush()
    stream.disconnect()


def _quantities(record: EpisodeRecord) -> set[str]:
    """What of a record has a view of its own: speed, dose, tokens, neurons."""
    trace, path = token_trace(record), scenes.path_of(record)
    dose = scenes.scalar_trace(record, "dose")
    return {
        name
        for name, there in {
            "camera": record.frames is not None,
            "depth": record.depths is not None,
            "speed": path is not None,
            "dose": dose is not None and bool(dose.any()),
            "tokens": trace is not None,
            "neurons": trace is not None and any(p.series is not None for p in trace.pushes),
        }.items()
        if there
    }


def log_episode(
    rr: Any,
    stream: Any,
    record: EpisodeRecord,
    slot: int,
    vocabulary: Sequence[str] | None = None,
    taken: Mapping[str, Sequence[str]] | None = None,
) -> str:
    """Logs one episode into `stream` and returns the root of its entity tree.

    `taken`: the roots of each task so far. A repeat of a condition on the same task gets a number
    behind its name; the scene of a task is logged with its first episode.
    """
    base = f"{_part(record.task.task_id)}/{_part(record.condition)}"
    used = (taken or {}).get(_part(record.task.task_id), ())
    repeat = sum(1 for root in used if root == base or root.startswith(f"{base}_repeat"))
    root = f"{base}_repeat{repeat}" if repeat else base
    color = rgb(SWATCHES[slot].light)
    if not used:
        rerun_scene.log_scene(rr, stream, f"{_part(record.task.task_id)}/scene", record.task)
    _log_words(rr, stream, root, record)
    _log_space(rr, stream, root, record, color)
    _log_pictures(rr, stream, root, record)
    _log_numbers(rr, stream, root, record, color)
    rerun_tokens.log_tokens(rr, stream, root, record, vocabulary, TIMELINE)
    return root


def _part(name: str) -> str:
    """`name` as one part of an entity path."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name) or "_"


def _steps(rr: Any, count: int) -> list[Any]:
    return [rr.TimeColumn(TIMELINE, sequence=np.arange(count))]


def _log_words(rr: Any, stream: Any, root: str, record: EpisodeRecord) -> None:
    how = f"{record.end.value} after {record.n_steps} steps, success: {record.success}"
    lines = [record.task.instruction, f"{record.condition}, {record.agent_id}", how]
    stream.log(f"{root}/instruction", rr.TextDocument("\n\n".join(lines)), static=True)
    if record.error is not None:
        stream.log(f"{root}/error", rr.TextDocument(record.error), static=True)
    for step, words in narration_of(record):
        stream.set_time(TIMELINE, sequence=step)
        stream.log(f"{root}/narration", rr.TextLog(words))
    stream.reset_time()


def narration_of(record: EpisodeRecord) -> list[tuple[int, str]]:
    """What the agent said: (step, words) from the list `receipt["narration"]`, one text a step."""
    said = record.receipt.get("narration")
    if not isinstance(said, list):
        return []
    return [(step, str(words)) for step, words in enumerate(said) if words]


def _log_space(
    rr: Any, stream: Any, root: str, record: EpisodeRecord, color: tuple[int, int, int]
) -> None:
    stream.log(f"{root}/world", rr.ViewCoordinates.RIGHT_HAND_Z_UP, static=True)
    path = scenes.path_of(record)
    on_table = record.task.env == "tabletop"
    if path is not None:
        if not on_table:
            path = path + np.array([0.0, 0.0, _LIFT_M])
        line = rr.LineStrips3D(
            [path.astype(np.float32)], colors=[color], radii=[0.002 if on_table else 0.06]
        )
        stream.log(f"{root}/world/path", line, static=True)
        stream.send_columns(
            f"{root}/world/agent",
            indexes=_steps(rr, len(path)),
            columns=rr.Points3D.columns(
                positions=path.astype(np.float32),
                colors=np.tile(np.array(color, np.uint8), (len(path), 1)),
                radii=np.full(len(path), 0.012 if on_table else 0.12),
            ),
        )
    if path is not None and "heading" in record.trace:
        _log_heading(rr, stream, root, path, np.ravel(record.trace["heading"]))
    _log_objects(rr, stream, root, record)


def _log_heading(rr: Any, stream: Any, root: str, path: np.ndarray, heading: np.ndarray) -> None:
    toward = 0.4 * np.stack([np.cos(heading), np.sin(heading), 0 * heading], axis=1)
    stream.send_columns(
        f"{root}/world/heading",
        indexes=_steps(rr, len(path)),
        columns=rr.Arrows3D.columns(
            vectors=toward.astype(np.float32), origins=path.astype(np.float32)
        ),
    )


def _log_objects(rr: Any, stream: Any, root: str, record: EpisodeRecord) -> None:
    objects = scenes.object_positions(record)  # float64 [T + 1, objects, 3]
    steps, count = objects.shape[:2]
    if not count:
        return
    colors = [rgb(c) for c in scenes.object_colors(record, count)]
    stream.log(
        f"{root}/world/objects",
        rr.Points3D.from_fields(colors=colors, radii=[0.02] * count),
        static=True,
    )
    columns = rr.Points3D.columns(positions=objects.reshape(-1, 3).astype(np.float32))
    stream.send_columns(
        f"{root}/world/objects",
        indexes=_steps(rr, steps),
        columns=columns.partition([count] * steps),
    )


def _log_pictures(rr: Any, stream: Any, root: str, record: EpisodeRecord) -> None:
    for name, pictures in (("camera", record.frames), ("depth", record.depths)):
        if pictures is None:
            continue
        for step, picture in enumerate(pictures):
            stream.set_time(TIMELINE, sequence=step)
            shown = rr.Image(picture) if name == "camera" else rr.DepthImage(picture, meter=1000.0)
            stream.log(f"{root}/{name}", shown)
    stream.reset_time()


def _log_numbers(
    rr: Any, stream: Any, root: str, record: EpisodeRecord, color: tuple[int, int, int]
) -> None:
    series: dict[str, np.ndarray] = {}
    speed = scenes.speed_of(record)
    if speed is not None:
        series["speed"] = speed
    if "distance_to_goal" in record.trace:
        series["distance_to_goal"] = np.ravel(record.trace["distance_to_goal"])
    for name, rows in record.agent_trace.items():
        if np.ndim(rows) == 1 and np.issubdtype(np.asarray(rows).dtype, np.number):
            series[name] = np.asarray(rows, dtype=np.float64)
    flat = np.asarray(record.actions, dtype=np.float64).reshape(record.n_steps, -1)
    names = scenes.ACTION_NAMES.get(record.task.env, ())
    for i in range(flat.shape[1] if record.n_steps else 0):
        label = names[i] if i < len(names) and len(names) == flat.shape[1] else str(i)
        series[f"action/{label}"] = flat[:, i]
    for name, values in series.items():
        entity = f"{root}/{'/'.join(_part(p) for p in name.split('/'))}"
        if name in ("speed", "dose"):
            style = rr.SeriesLines(colors=[color], names=[record.condition])
            stream.log(entity, style, static=True)
        stream.send_columns(
            entity,
            indexes=_steps(rr, len(values)),
            columns=rr.Scalars.columns(scalars=values),
        )


def _blueprint(
    layout: Mapping[str, Sequence[str]],
    shown: Mapping[str, Set[str]],
    eyes: Mapping[str, rerun_scene.Eye | None],
) -> Any:
    """A tab for each task: conditions side by side above, shared curves below.

    shown: of each root, what has a view of its own (`_quantities`). eyes: of each task, from where
    its scene is seen at first.
    """
    rrb = require("rerun.blueprint", purpose="laying out the viewer")
    tabs = []
    for task, roots in layout.items():
        names = {root: root.rsplit("/", 1)[-1] for root in roots}
        pictures = rrb.Horizontal(
            *(
                rrb.Spatial2DView(origin=f"/{r}/{kind}", name=f"{names[r]}{tail}")
                for kind, tail in (("camera", ""), ("depth", ": depth"))
                for r in roots
                if kind in shown[r]
            )
        )
        space = rrb.Spatial3DView(
            origin=f"/{task}",
            contents=[f"/{task}/scene/**", *(f"/{r}/world/**" for r in roots)],
            name="paths",
            **_eye(rrb, eyes.get(task)),
        )
        curves = [
            rrb.TimeSeriesView(origin=f"/{task}", contents=[f"/{r}/{q}" for r in roots], name=q)
            for q in ("speed", "dose")
            if any(q in shown[r] for r in roots)
        ]
        edited = [
            rrb.TimeSeriesView(
                origin=f"/{r}/neurons",
                name=f"{names[r]}: edited neurons",
                plot_legend=rrb.PlotLegend(visible=False),  # many lines; a curve says its name
            )
            for r in roots
            if "neurons" in shown[r]
        ]
        words = rrb.Tabs(
            *(rrb.TextDocumentView(origin=f"/{r}/instruction", name=names[r]) for r in roots),
            *(
                rrb.TextLogView(
                    origin=f"/{r}",
                    contents=[f"/{r}/token_log", f"/{r}/narration"],
                    name=f"{names[r]}: words",
                )
                for r in roots
            ),
        )
        tables = [
            rrb.TextDocumentView(origin=f"/{r}/top_tokens", name=f"{names[r]}: top tokens")
            for r in roots
            if "tokens" in shown[r]
        ]
        plots = rrb.Vertical(*curves, *_tabs(rrb, edited, front=0))
        below = rrb.Horizontal(space, plots, rrb.Vertical(words, *_tabs(rrb, tables, front=1)))
        tabs.append(rrb.Vertical(pictures, below, row_shares=[2, 3], name=task))
    return rrb.Blueprint(rrb.Tabs(*tabs), collapse_panels=True)


def _eye(rrb: Any, eye: rerun_scene.Eye | None) -> dict[str, Any]:
    """The argument of a 3D view for where it is seen from; older versions of Rerun have none."""
    controls = getattr(rrb, "EyeControls3D", None)
    if eye is None or controls is None:
        return {}
    return {"eye_controls": controls(position=eye.position, look_target=eye.target)}


def _tabs(rrb: Any, views: Sequence[Any], *, front: int) -> list[Any]:
    """One container of tabs, or none; view number `front` is shown first, where there is one."""
    return [rrb.Tabs(*views, active_tab=min(front, len(views) - 1))] if views else []
