"""One wide picture of what steering does: film strips, paths and speed of a few conditions.

Drawn with Pillow only, at twice the size and shrunk, so that it looks the same everywhere.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pilotage.episodes.types import EpisodeRecord

from . import scenes, svg, topdown
from .canvas import PillowCanvas
from .style import INK, MUTED, PAPER, SWATCHES, condition_slots, font, number, plain, rgb
from .video import episode_frames

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

_ZOOM = 2
_PAD = 36
_STRIP_GAP = 6
_HEAD = 84  # pixels above the strips
_FONT = {"title": 27, "label": 19, "small": 15, "tick": 14}


def write_hero(
    path: Path | str,
    records: Sequence[EpisodeRecord],
    *,
    title: str | None = None,
    width: int = 1600,
    height: int = 700,
    n_frames: int = 7,
    dark: bool = False,
) -> Path:
    """Writes a PNG, `width` x `height`: a film strip a record, their paths, and speed over time.

    Args:
        path: ends in `.png`; folders are made.
        records: 1 to 4 episodes of one task with frames, top to bottom; e.g. baseline, fast, slow.
        title: above the strips; the task's instruction when None.
        n_frames: pictures in a strip, at the same steps in every strip, so that a faster agent is
            ahead in the same column.
        dark: light letters on a dark ground.

    Raises:
        ValueError: a wrong suffix, no or too many records, several tasks, no frames or no path.
    """
    target = Path(path)
    if target.suffix != ".png":
        raise ValueError(f"{target} does not end in .png")
    _check(records, n_frames)
    from PIL import Image

    picture = Image.new("RGB", (width * _ZOOM, height * _ZOOM), rgb(PAPER[dark]))
    slots = condition_slots(record.condition for record in records)
    split = round(width * 0.63)
    words = title if title is not None else f"“{records[0].task.instruction}”"
    _text(picture, _PAD, 26, words, "title", INK[dark], room=width - 2 * _PAD)
    _strips(picture, records, slots, (_PAD, _HEAD, split - _PAD, height - 30), n_frames, dark)
    middle = _HEAD + round((height - _HEAD) * 0.5)
    _paths(picture, records, slots, (split + 8, _HEAD - 6, width - _PAD, middle - 10), dark)
    _speeds(picture, records, slots, (split + 56, middle + 34, width - _PAD, height - 62), dark)
    stream = io.BytesIO()
    small = picture.resize((width, height), Image.Resampling.LANCZOS)
    small.save(stream, "PNG", optimize=True)
    return topdown.save(target, stream.getvalue())


def strip_steps(records: Sequence[EpisodeRecord], n_frames: int) -> list[int]:
    """The env steps of the columns: evenly from the start to the end of the longest episode."""
    last = max(record.n_steps for record in records)
    return [round(i * last / max(1, n_frames - 1)) for i in range(n_frames)]


Area = tuple[int, int, int, int]  # left, top, right, bottom in pixels of the finished picture


def _check(records: Sequence[EpisodeRecord], n_frames: int) -> None:
    if not 1 <= len(records) <= 4:
        raise ValueError(f"the picture has room for 1 to 4 records, got {len(records)}")
    tasks = sorted({record.task.task_id for record in records})
    if len(tasks) != 1:
        raise ValueError(f"the records are of {len(tasks)} tasks {tasks[:4]}; give one task's")
    if n_frames < 1:
        raise ValueError(f"n_frames={n_frames}; give a number >= 1")
    for record in records:
        episode_frames(record)
        if scenes.path_of(record) is None:
            raise ValueError(f"episode {record.key} has no path (ee_position or position)")


def _strips(
    picture: Picture,
    records: Sequence[EpisodeRecord],
    slots: dict[str, int],
    area: Area,
    n_frames: int,
    dark: bool,
) -> None:
    left, top, right, bottom = area
    steps = strip_steps(records, n_frames)
    label = 30
    row = (bottom - top - 18) / len(records)
    side = min((right - left - _STRIP_GAP * (n_frames - 1)) / n_frames, row - label - 10)
    gap = (right - left - side * n_frames) / max(1, n_frames - 1)
    for r, record in enumerate(records):
        y = top + r * row
        color = SWATCHES[slots[record.condition]]
        _text(picture, left, y, record.condition, "label", color.dark if dark else color.light)
        _text(picture, right, y + 3, _outcome(record), "small", MUTED[dark], anchor="ra")
        for i, step in enumerate(steps):
            _frame(picture, record, step, left + i * (side + gap), y + label, side, dark)
    for i, step in enumerate(steps):
        x = left + i * (side + gap) + side / 2
        _text(picture, x, bottom - 14, f"step {step}", "small", MUTED[dark], anchor="ma")


def _frame(
    picture: Picture, record: EpisodeRecord, step: int, x: float, y: float, side: float, dark: bool
) -> None:
    """One frame; after the end of the episode its last one, faded."""
    from PIL import Image

    frames = episode_frames(record)
    size = round(side * _ZOOM)
    frame = Image.fromarray(frames[min(step, record.n_steps)])
    over = step > record.n_steps
    small = max(frame.size) * 3 <= size
    frame = frame.resize((size, size), Image.Resampling.NEAREST if small else Image.Resampling.BOX)
    if over:
        frame = Image.blend(frame, Image.new("RGB", frame.size, rgb(PAPER[dark])), 0.72)
    mask = Image.new("L", frame.size, 0)
    from PIL import ImageDraw

    ImageDraw.Draw(mask).rounded_rectangle([0, 0, size - 1, size - 1], 7 * _ZOOM, fill=255)
    picture.paste(frame, (round(x * _ZOOM), round(y * _ZOOM)), mask)


def _outcome(record: EpisodeRecord) -> str:
    words = f"{record.end.value.replace('_', ' ')}, {record.n_steps} steps"
    dose = scenes.scalar_trace(record, "dose")
    if dose is not None and dose.any():
        words += f", mean dose {number(float(dose.mean()), 2)}"
    return words


def _paths(
    picture: Picture,
    records: Sequence[EpisodeRecord],
    slots: dict[str, int],
    area: Area,
    dark: bool,
) -> None:
    """The map from above, as large as the area allows, in the middle of it."""
    left, top, right, bottom = area
    frame, height = topdown.map_frame(records, right - left)
    shrink = min(1.0, (bottom - top) / height)
    width = (right - left) * shrink
    frame = svg.Frame.fit(
        (frame.x0, frame.x1, frame.y0, frame.y1),
        left=left + (right - left - width) / 2,
        top=top + (bottom - top - height * shrink) / 2,
        width=width,
    )
    _text(picture, left + 40, top - 2, "paths from above", "small", INK[dark])
    canvas = PillowCanvas(picture, zoom=_ZOOM, dark=dark)
    for shape in scenes.scene_shapes(records):
        topdown.draw_shape(canvas, frame, shape)
    for record in records:
        path = topdown.flat_path(record)
        if path is not None:
            topdown.draw_path(canvas, frame, record, path, slots[record.condition])


def _speeds(
    picture: Picture,
    records: Sequence[EpisodeRecord],
    slots: dict[str, int],
    area: Area,
    dark: bool,
) -> None:
    left, top, right, bottom = area
    series = [(r, s) for r in records if (s := scenes.speed_of(r)) is not None and len(s)]
    if not series:
        return
    highest = max(float(s.max()) for _, s in series) or 1.0
    last = max(len(s) for _, s in series)
    frame = svg.Frame(0, max(1, last - 1), 0, 1.08 * highest, left, top, right - left, bottom - top)
    canvas = PillowCanvas(picture, zoom=_ZOOM, dark=dark)
    unit = scenes.speed_unit(records[0].task)
    _text(picture, left - 48, top - 30, f"speed ({unit}), mean of five steps", "small", INK[dark])
    for value in svg.nice_ticks(0, 1.08 * highest, 4):
        y = frame.y(value)
        canvas.line([(left, y), (right, y)], "grid")
        _text(picture, left - 8, y, svg.tick_label(value), "tick", MUTED[dark], anchor="rm")
    for value in svg.nice_ticks(0, max(1, last - 1), 6):
        x = frame.x(value)
        _text(picture, x, bottom + 7, svg.tick_label(value), "tick", MUTED[dark], anchor="ma")
    canvas.line([(left, bottom), (right, bottom)], "ground")
    _text(picture, (left + right) / 2, bottom + 28, "step", "small", INK[dark], anchor="ma")
    for record, speeds in series:
        points = [(frame.x(t), frame.y(float(v))) for t, v in enumerate(scenes.smooth(speeds, 2))]
        canvas.begin(slots[record.condition], record.condition)
        canvas.curve(points)
        canvas.end()


def _text(
    picture: Picture,
    x: float,
    y: float,
    words: str,
    kind: str,
    color: str,
    *,
    anchor: str = "la",
    room: float | None = None,
) -> None:
    """Words at (x, y); cut with an ellipsis where they would need more than `room` pixels."""
    from PIL import ImageDraw

    letters, words = font(_FONT[kind] * _ZOOM), plain(words)
    while room is not None and words and letters.getlength(words) > room * _ZOOM:
        words = words[:-2] + "…"
    ImageDraw.Draw(picture).text(
        (x * _ZOOM, y * _ZOOM), words, fill=rgb(color), font=letters, anchor=anchor
    )
