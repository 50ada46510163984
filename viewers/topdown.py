"""One task seen from above (and, on a table, from the side) with the path of every condition.

Dots on a path lie a fixed number of steps apart: wide spacing means fast. A filled end mark means
the goal was reached, a hollow one that it was not.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pilotage.episodes.files import write_atomically
from pilotage.episodes.types import EpisodeRecord

from . import scenes, svg
from .canvas import Canvas, PillowCanvas, SvgCanvas, role_style
from .style import PAPER, condition_slots, rgb

DOT_EVERY = 5  # steps


def topdown_svg(
    records: Sequence[EpisodeRecord],
    *,
    width: float = 440,
    slots: dict[str, int] | None = None,
    standalone: bool = False,
) -> str:
    """An `<svg>` map of the task that `records` share, one path a record.

    `slots` fixes the colours (`style.condition_slots`); `standalone` brings the style sheet along,
    for a file of its own. ValueError when `records` is empty or holds several tasks.
    """
    _check_one_task(records)
    canvas = SvgCanvas()
    slots = slots or _slots(records)
    height = _draw_map(canvas, records, width, slots)
    if standalone:
        height += _draw_legend(canvas, slots, width, height)
    label = f"Map from above of task {records[0].task.task_id} with the path of every condition"
    style = svg.el("style", svg.condition_style() + role_style()) if standalone else ""
    return svg.figure(
        width, height, style, *canvas.parts, label=label, class_="map", standalone=standalone
    )


def side_svg(
    records: Sequence[EpisodeRecord],
    *,
    width: float = 440,
    slots: dict[str, int] | None = None,
) -> str:
    """An `<svg>` of the paths seen from the front: right as on the map, height z up."""
    _check_one_task(records)
    canvas = SvgCanvas()
    height = _draw_side(canvas, records, width, slots or _slots(records))
    label = f"Front view of task {records[0].task.task_id}: height of the hand"
    return svg.figure(width, height, *canvas.parts, label=label, class_="map")


def write_topdown(
    path: Path | str, records: Sequence[EpisodeRecord], *, width: int = 640, dark: bool = False
) -> Path:
    """Writes the map as `.svg` or `.png`, by the suffix of `path`. Atomic."""
    target = Path(path)
    if target.suffix == ".svg":
        data = topdown_svg(records, width=width, standalone=True).encode()
    elif target.suffix == ".png":
        data = _png(records, width, dark)
    else:
        raise ValueError(f"{target} ends in {target.suffix!r}; a map is written as .svg or .png")
    return save(target, data)


def save(target: Path, data: bytes) -> Path:
    """Writes `data` whole or not at all, makes the folder, and returns the path."""
    target.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(target, data)
    return target


def _check_one_task(records: Sequence[EpisodeRecord]) -> None:
    ids = sorted({record.task.task_id for record in records})
    if len(ids) != 1:
        raise ValueError(f"a map shows one task, got records of {len(ids)}: {ids[:5]}")


def _slots(records: Sequence[EpisodeRecord]) -> dict[str, int]:
    return condition_slots(record.condition for record in records)


def _png(records: Sequence[EpisodeRecord], width: int, dark: bool) -> bytes:
    import io

    from PIL import Image

    _check_one_task(records)
    zoom, slots = 3, _slots(records)
    height = round(map_frame(records, width)[1])
    full = height + round(_legend_height(slots, width))
    image = Image.new("RGB", (width * zoom, full * zoom), rgb(PAPER[dark]))
    canvas = PillowCanvas(image, zoom=zoom, dark=dark)
    _draw_map(canvas, records, width, slots)
    _draw_legend(canvas, slots, width, height)
    stream = io.BytesIO()
    image.resize((width, full), Image.Resampling.LANCZOS).save(stream, "PNG")
    return stream.getvalue()


def flat_path(record: EpisodeRecord) -> np.ndarray | None:
    """The path as it lies on the map, `[T + 1, 2]` metres."""
    path = scenes.path_of(record)
    return None if path is None else scenes.map_points(record.task, path)


def map_frame(records: Sequence[EpisodeRecord], width: float) -> tuple[svg.Frame, float]:
    """The frame of the map in a picture `width` pixels wide, and the height of that picture."""
    shapes = scenes.scene_shapes(records)
    paths = [p for r in records if (p := flat_path(r)) is not None]
    on_table = records[0].task.env == "tabletop"
    margin, least = (0.05, 0.3) if on_table else (0.3, 2.0)
    bounds = scenes.bounds_of(shapes, paths, margin=margin, least=least)
    frame = svg.Frame.fit(bounds, left=0, top=0, width=width)
    return frame, frame.height


def _draw_map(
    canvas: Canvas, records: Sequence[EpisodeRecord], width: float, slots: dict[str, int]
) -> float:
    frame, height = map_frame(records, width)
    shapes = scenes.scene_shapes(records)
    for shape in shapes:
        draw_shape(canvas, frame, shape)
    for shape in shapes:
        if shape.label:
            _draw_label(canvas, frame, shape, shapes)
    for record in records:
        path = flat_path(record)
        if path is not None:
            draw_path(canvas, frame, record, path, slots[record.condition])
    _draw_scale_bar(canvas, frame, height)
    return height


def _draw_side(
    canvas: Canvas, records: Sequence[EpisodeRecord], width: float, slots: dict[str, int]
) -> float:
    paths = {id(r): p for r in records if (p := scenes.path_of(r)) is not None}
    top = max((float(p[:, 2].max()) for p in paths.values()), default=0.1)
    map_, _ = map_frame(records, width)
    bounds = (map_.x0, map_.x1, -0.02, max(top, 0.1) + 0.04)
    frame = svg.Frame.fit(bounds, left=0, top=0, width=width)
    canvas.line([(0, frame.y(0)), (width, frame.y(0))], "ground")
    task = records[0].task
    for shape in scenes.scene_shapes(records):
        if shape.role == "object":
            x = float(np.mean(shape.points, axis=0)[0])
            canvas.polygon(_standing(frame, x), "object", shape.fill)
    for record in records:
        if id(record) in paths:
            path = paths[id(record)]
            across = np.stack([scenes.map_points(task, path)[:, 0], path[:, 2]], axis=1)
            draw_path(canvas, frame, record, across, slots[record.condition])
    canvas.words(8, 16, "from the front", anchor="start")
    return frame.height


def _standing(frame: svg.Frame, x: float, half: float = 0.02) -> list[tuple[float, float]]:
    return [frame.point(p) for p in scenes.rect(x - half, 0, x + half, 2 * half)]


def draw_shape(canvas: Canvas, frame: svg.Frame, shape: scenes.Shape) -> None:
    """One shape of a scene, in the pixels of `frame`."""
    points = [frame.point(p) for p in shape.points]
    if shape.kind == "circle":
        canvas.circle(*points[0], shape.radius * frame.scale, shape.role, shape.fill)
    elif shape.kind == "line":
        canvas.line(points, shape.role)
    else:
        canvas.polygon(points, shape.role, shape.fill)


def _draw_label(
    canvas: Canvas, frame: svg.Frame, shape: scenes.Shape, shapes: Sequence[scenes.Shape]
) -> None:
    x, y = (float(v) for v in np.mean([frame.point(p) for p in shape.points], axis=0))
    if shape.role == "room":
        canvas.words(x, _free_height(frame, shape, shapes), shape.label, size=13)
        return
    if shape.role in ("object", "zone"):
        y = frame.y(min(p[1] for p in shape.points) - shape.radius) + 13
    elif (max(p[0] for p in shape.points) - min(p[0] for p in shape.points)) * frame.scale < (
        6.0 * len(shape.label)
    ):
        return  # furniture is named only where the name fits on it
    canvas.words(x, y + 4 * (shape.role == "furniture"), shape.label, size=11)


def _free_height(frame: svg.Frame, room: scenes.Shape, shapes: Sequence[scenes.Shape]) -> float:
    """Where in a room its name covers the least furniture, in pixels from the top."""
    xs, ys = ([p[k] for p in room.points] for k in (0, 1))
    half = 3.8 * len(room.label) / frame.scale
    middle, letters = (min(xs) + max(xs)) / 2, 14 / frame.scale
    heights = np.linspace(max(ys) - 1.3 * letters, min(ys) + 0.6 * letters, 9)
    boxes = [
        (np.min(s.points, axis=0), np.max(s.points, axis=0))
        for s in shapes
        if s.role == "furniture"
    ]

    def covered(y: float) -> float:
        low, high = np.array([middle - half, y]), np.array([middle + half, y + letters])
        both = (np.clip(np.minimum(high, b) - np.maximum(low, a), 0, None) for a, b in boxes)
        return sum(float(np.prod(extent)) for extent in both)

    return frame.y(min(heights, key=covered))


def draw_path(
    canvas: Canvas, frame: svg.Frame, record: EpisodeRecord, path: np.ndarray, slot: int
) -> None:
    """The path of one record (`[T + 1, 2]` on the map) with its end mark."""
    points = [frame.point(p) for p in path]
    canvas.begin(slot, record.condition)
    canvas.path(points, DOT_EVERY)
    how = f"{record.condition}: {record.end.value} after {record.n_steps} steps"
    canvas.end_mark(*points[-1], filled=record.success, label=how)
    canvas.end()


def _draw_scale_bar(canvas: Canvas, frame: svg.Frame, height: float) -> None:
    length = svg.round_below((frame.x1 - frame.x0) / 3)
    x, y = 12.0, height - 12
    canvas.line([(x, y - 4), (x, y), (x + length * frame.scale, y)], "ground")
    words = f"{length:g} m" if length >= 1 else f"{100 * length:g} cm"
    canvas.words(x + 6, y - 5, words, size=11, anchor="start")


_LEGEND_COLUMN, _LEGEND_ROW = 160, 24


def _legend_height(slots: dict[str, int], width: float) -> float:
    columns = max(1, int(width // _LEGEND_COLUMN))
    return _LEGEND_ROW * -(-len(slots) // columns) + 8


def _draw_legend(canvas: Canvas, slots: dict[str, int], width: float, top: float) -> float:
    columns = max(1, int(width // _LEGEND_COLUMN))
    for i, (name, slot) in enumerate(slots.items()):
        x = 12.0 + _LEGEND_COLUMN * (i % columns)
        y = top + _LEGEND_ROW * (i // columns + 0.6)
        canvas.begin(slot, name)
        canvas.path([(x, y), (x + 26, y)], 2)
        canvas.end()
        canvas.words(x + 34, y + 4, name, anchor="start")
    return _legend_height(slots, width)
