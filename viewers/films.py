"""Small films inside a page: all frames of an episode in one picture, shown one at a time.

A sprite sheet needs no video codec, seeks exactly to a step, and keeps films of one task in step.
MP4 is the other choice, for pages that should be smaller where frames are large.
"""

from __future__ import annotations

import base64
import io
import math
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pilotage.episodes.types import EpisodeRecord

from .video import episode_frames, upscaled, write_mp4

FORMATS = ("sprite", "mp4", "none")
_LOSSLESS_UP_TO = 600_000  # bytes; small frames blur visibly when they are compressed with loss
_WEBP_LIMIT = 16383  # pixels on a side


@dataclass(frozen=True)
class Film:
    """A film ready to be embedded. Frame i of a sprite lies at (i % columns, i // columns)."""

    kind: str  # "sprite" or "mp4"
    data_uri: str
    n_frames: int
    width: int
    height: int
    columns: int = 1
    fps: float = 10.0
    every: int = 1  # env steps between two frames

    @property
    def n_bytes(self) -> int:
        return len(self.data_uri)


def make_film(
    record: EpisodeRecord, *, kind: str = "sprite", max_side: int = 160, max_frames: int = 400
) -> Film:
    """The film of one episode. Longer ones than `max_frames` show every second, third … step."""
    if kind not in ("sprite", "mp4"):
        raise ValueError(f"film format {kind!r}; choose one of {', '.join(FORMATS)}")
    frames = episode_frames(record)
    every = math.ceil(len(frames) / max_frames)
    frames = shrunk(frames[::every], max_side)
    if kind == "mp4":
        return _mp4(frames, every)
    return _sprite(frames, every)


def shrunk(frames: np.ndarray, max_side: int) -> np.ndarray:
    """Frames made no larger than `max_side` pixels on a side; smaller ones are left alone."""
    from PIL import Image

    height, width = frames.shape[1:3]
    factor = max(height, width) / max_side
    if factor <= 1:
        return frames
    size = (max(1, round(width / factor)), max(1, round(height / factor)))
    pictures = (Image.fromarray(f).resize(size, Image.Resampling.BOX) for f in frames)
    return np.stack([np.asarray(p) for p in pictures])


def _sprite(frames: np.ndarray, every: int) -> Film:
    from PIL import Image, features

    n, height, width = frames.shape[:3]
    columns = max(1, min(n, round(math.sqrt(n * height / width))))
    rows = math.ceil(n / columns)
    sheet = np.zeros((rows, columns, height, width, 3), np.uint8)
    sheet.reshape(-1, height, width, 3)[:n] = frames
    picture = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, 3)
    stream = io.BytesIO()
    if features.check("webp") and max(picture.shape) <= _WEBP_LIMIT:
        Image.fromarray(picture).save(stream, "WEBP", lossless=True, quality=60, method=3)
        if stream.tell() > _LOSSLESS_UP_TO:
            stream = io.BytesIO()
            Image.fromarray(picture).save(stream, "WEBP", quality=85, method=4)
        kind = "webp"
    else:
        Image.fromarray(picture).save(stream, "PNG", optimize=True)
        kind = "png"
    return Film(
        "sprite", _uri(f"image/{kind}", stream.getvalue()), n, width, height, columns, every=every
    )


def _mp4(frames: np.ndarray, every: int, fps: float = 10.0) -> Film:
    grow = max(1, 192 // max(frames.shape[1:3]))
    with tempfile.TemporaryDirectory() as folder:
        path = write_mp4(Path(folder) / "film.mp4", upscaled(frames, grow), fps=fps)
        data = path.read_bytes()
    n, height, width = frames.shape[:3]
    return Film("mp4", _uri("video/mp4", data), n, width, height, fps=fps, every=every)


def _uri(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
