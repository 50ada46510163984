"""Films as MP4 that a browser plays, and tiles of several episodes side by side.

Frames are uint8 `[T, H, W, 3]`. Encoding needs PyAV (`pip install 'pilotage[view]'`).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.types import EpisodeRecord

from . import scenes
from .optional import require
from .style import SWATCHES, condition_slots, font, number, plain, rgb

# H.264 plays everywhere; the others are for PyAV builds without it.
_CODECS = ("libx264", "libvpx-vp9", "mpeg4")
_OPTIONS = {
    "libx264": {"crf": "20", "preset": "medium", "movflags": "+faststart"},
    "libvpx-vp9": {"crf": "30", "b:v": "0", "movflags": "+faststart"},
    "mpeg4": {"qscale": "3"},
}
_CAPTION_LINE = 18  # pixels of height of one line


def write_mp4(
    path: Path | str,
    frames: np.ndarray,
    *,
    fps: float = 10.0,
    captions: Sequence[str] | None = None,
    upscale: int = 1,
    resample: str = "nearest",
) -> Path:
    """Writes `frames` as an MP4 (H.264 in yuv420p where the PyAV build has it). Atomic.

    Args:
        path: ends in `.mp4`; folders are made.
        frames: uint8 `[T, H, W, 3]`, T >= 1.
        fps: frames per second, > 0.
        captions: one text a frame, drawn on a strip below it; `\\n` starts a new line.
        upscale: whole factor by which the frames grow.
        resample: "nearest" or "bicubic".

    Odd sizes get one more row or column (a copy of the last), which yuv420p needs.

    Raises:
        ImportError: PyAV is missing. ValueError: wrong shape, dtype, fps, caption count.
    """
    target = Path(path)
    _check(target, frames, fps, captions)
    av = require("av", purpose="writing an MP4")
    pictures = _prepared(frames, captions, upscale, resample)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=f".{target.stem}.", suffix=".mp4")
    os.close(handle)
    try:
        _encode(av, name, pictures, fps)
        os.chmod(name, 0o644)
        os.replace(name, target)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
    return target


def grid_film(
    records: Sequence[EpisodeRecord], *, upscale: int = 3, gap: int = 6
) -> tuple[np.ndarray, list[str]]:
    """Episodes of one task side by side, each with its name above, as (frames, captions).

    Shorter episodes hold their last frame, and say how they ended. Feed both to `write_mp4`:
    `write_mp4(path, frames, captions=captions)`. ValueError without frames or with several tasks.
    """
    tasks = {record.task.task_id for record in records}
    if len(tasks) != 1:
        raise ValueError(f"a film shows one task, got records of {len(tasks)}: {sorted(tasks)[:5]}")
    slots = condition_slots(record.condition for record in records)
    columns = [_tile(record, upscale, slots[record.condition]) for record in records]
    steps = max(len(column) for column in columns)
    height = max(column.shape[1] for column in columns)
    padded = [_pad(column, steps, height) for column in columns]
    spacer = np.full((steps, height, gap, 3), 255, np.uint8)
    parts = [part for column in padded for part in (spacer, column)][1:]
    return np.concatenate(parts, axis=2), film_captions(records, steps)


def film_captions(records: Sequence[EpisodeRecord], steps: int) -> list[str]:
    """One caption a frame: the instruction, then step and doses."""
    instruction = records[0].task.instruction
    return [f"{instruction}\n{_status(records, t)}" for t in range(steps)]


def episode_frames(record: EpisodeRecord) -> np.ndarray:
    """The frames of a record; ValueError that says how to get some when there are none."""
    if record.frames is None:
        raise ValueError(
            f"episode {record.key} ({record.condition}) has no frames; run it with "
            "record_frames=True"
        )
    return record.frames


def upscaled(frames: np.ndarray, factor: int, resample: str = "nearest") -> np.ndarray:
    """Frames grown by a whole factor: "nearest" keeps pixels square, "bicubic" smooths."""
    if factor < 1:
        raise ValueError(f"upscale={factor}; give a whole number >= 1")
    if resample == "nearest" or factor == 1:
        return frames.repeat(factor, axis=1).repeat(factor, axis=2)
    if resample != "bicubic":
        raise ValueError(f"resample={resample!r}; choose 'nearest' or 'bicubic'")
    from PIL import Image

    size = (frames.shape[2] * factor, frames.shape[1] * factor)
    grown = [Image.fromarray(f).resize(size, Image.Resampling.BICUBIC) for f in frames]
    return np.stack([np.asarray(g) for g in grown])


def with_captions(frames: np.ndarray, captions: Sequence[str]) -> np.ndarray:
    """`frames` with a strip of text below; text that is too long is cut with an ellipsis."""
    from PIL import Image, ImageDraw

    lines = max(caption.count("\n") + 1 for caption in captions)
    width, strip = frames.shape[2], _CAPTION_LINE * lines + 8
    letters = font(13)
    strips: dict[str, np.ndarray] = {}
    for caption in dict.fromkeys(captions):
        image = Image.new("RGB", (width, strip), (18, 22, 28))
        draw = ImageDraw.Draw(image)
        for i, line in enumerate(caption.split("\n")):
            color = (236, 240, 245) if i == 0 else (160, 172, 186)
            at = (8, 4 + i * _CAPTION_LINE)
            draw.text(at, _cut(plain(line), letters, width - 16), fill=color, font=letters)
        strips[caption] = np.asarray(image)
    below = np.stack([strips[caption] for caption in captions])
    return np.concatenate([frames, below], axis=1)


def _cut(line: str, letters: Any, width: float) -> str:
    if letters.getlength(line) <= width:
        return line
    while line and letters.getlength(line + "…") > width:
        line = line[:-1]
    return line + "…"


def _check(target: Path, frames: np.ndarray, fps: float, captions: Sequence[str] | None) -> None:
    if target.suffix != ".mp4":
        raise ValueError(f"{target} does not end in .mp4")
    if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ValueError(
            f"frames have shape {frames.shape} and type {frames.dtype}; "
            "expected uint8 [T, H, W, 3] with T >= 1"
        )
    if not fps > 0:
        raise ValueError(f"fps={fps}; give a number > 0")
    if captions is not None and len(captions) != len(frames):
        raise ValueError(f"{len(captions)} captions for {len(frames)} frames; give one a frame")


def _prepared(
    frames: np.ndarray, captions: Sequence[str] | None, upscale: int, resample: str
) -> np.ndarray:
    pictures = upscaled(frames, upscale, resample)
    if captions is not None:
        pictures = with_captions(pictures, captions)
    _, height, width, _ = pictures.shape
    return np.pad(pictures, ((0, 0), (0, height % 2), (0, width % 2), (0, 0)), mode="edge")


def _encode(av: Any, name: str, pictures: np.ndarray, fps: float) -> None:
    codec = next((c for c in _CODECS if c in av.codecs_available), None)
    if codec is None:
        raise RuntimeError(f"this PyAV has none of the codecs {_CODECS}; install another build")
    with av.open(name, "w", format="mp4") as container:
        stream = container.add_stream(codec, rate=Fraction(fps).limit_denominator(1000))
        stream.height, stream.width = pictures.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = _OPTIONS[codec]
        stream.thread_count = 1  # the same bytes on every machine
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _tile(record: EpisodeRecord, upscale: int, slot: int) -> np.ndarray:
    """The upscaled frames of a record under a band with its condition's name and colour."""
    from PIL import Image, ImageDraw

    frames = upscaled(episode_frames(record), upscale)
    band = Image.new("RGB", (frames.shape[2], 24), (255, 255, 255))
    draw = ImageDraw.Draw(band)
    draw.rectangle([0, 21, frames.shape[2], 24], fill=rgb(SWATCHES[slot].light))
    name = _cut(plain(record.condition), font(14), frames.shape[2] - 8)
    draw.text((4, 2), name, fill=(27, 36, 48), font=font(14))
    top = np.broadcast_to(np.asarray(band), (len(frames), *np.asarray(band).shape))
    return np.concatenate([top, frames], axis=1)


def _pad(column: np.ndarray, steps: int, height: int) -> np.ndarray:
    below = np.pad(column, ((0, 0), (0, height - column.shape[1]), (0, 0), (0, 0)))
    return np.concatenate([below, np.repeat(below[-1:], steps - len(below), axis=0)])


def _status(records: Sequence[EpisodeRecord], step: int) -> str:
    words = [f"step {step}"]
    for record in records:
        dose = scenes.scalar_trace(record, "dose")
        ended = f" {record.end.value.replace('_', ' ')}" if step >= record.n_steps else ""
        shown = ""
        if dose is not None and dose.any() and record.n_steps:
            shown = f" dose {number(float(dose[min(step, record.n_steps - 1)]))}"
        if ended or shown:
            words.append(f"{record.condition}:{shown}{ended}")
    return "  ·  ".join(words)
