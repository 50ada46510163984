"""The picture of a question: the two paths side by side, walls black, as the benchmark shows it."""

from __future__ import annotations

import numpy as np

from pilotage.envs.patheval.questions import Question
from pilotage.envs.patheval.scenes import BOUND, GOAL, HALF_THICKNESS, START

_MARGIN = 2.0  # around the square, in its units
_COLOURS = {"wall": (20, 20, 20), "path": (31, 119, 180), "start": (44, 160, 44)}
_GOAL_COLOUR = (214, 39, 40)


def draw_question(question: Question, *, size: int = 256) -> np.ndarray:
    """uint8 [size, 2 size, 3], RGB; path 1 left, path 2 right; start green, goal red; y upwards.

    Raises ValueError for a size below 32.
    """
    if size < 32:
        raise ValueError(f"size must be at least 32 pixels, got {size}")
    halves = [_draw(question.scene.walls, path, size) for path in question.paths]
    return np.concatenate(halves, axis=1)


def _draw(walls: np.ndarray, path: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image, ImageDraw

    scale = size / (2 * (BOUND + _MARGIN))
    picture = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(picture)

    def at(points: np.ndarray) -> list[tuple[float, float]]:
        x, y = points[..., 0], points[..., 1]
        left, top = (x + BOUND + _MARGIN) * scale, (BOUND + _MARGIN - y) * scale
        return list(zip(left.tolist(), top.tolist()))

    width = max(1, round(2 * HALF_THICKNESS * scale))
    for wall in walls:
        pen.line(at(wall.reshape(2, 2)), fill=_COLOURS["wall"], width=width)
    pen.line(at(path), fill=_COLOURS["path"], width=max(1, size // 128))
    for place, colour in ((START, _COLOURS["start"]), (GOAL, _GOAL_COLOUR)):
        (x, y), r = at(np.array([place]))[0], size / 50
        pen.ellipse((x - r, y - r, x + r, y + r), fill=colour)
    return np.asarray(picture)
