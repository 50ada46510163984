"""A question as text, and a choice read from a reply.

What is shown: "measures" (the seven numbers of each path), "drawing" (walls and vertices as
numbers, from which the measures follow), or "both". `pictures.draw_question` makes the picture that
models with eyes are shown.
"""

from __future__ import annotations

import re

import numpy as np

from pilotage.envs.patheval.criteria import SCENARIOS
from pilotage.envs.patheval.descriptors import DESCRIPTORS
from pilotage.envs.patheval.questions import Question

SHOWS = ("measures", "drawing", "both")
ASK = "Which path suits this better? Reply with Path 1 or Path 2."


def write_prompt(question: Question, show: str = "measures") -> str:
    """The text of a question. ValueError for an unknown `show`."""
    if show not in SHOWS:
        raise ValueError(f"show must be one of {SHOWS}, got {show!r}")
    lines = [SCENARIOS[question.scenario].text]
    if show != "measures":
        lines.append(f"Walls (x0 y0 x1 y1): {_numbers(question.scene.walls)}")
    for k in range(2):
        lines.append(f"Path {k + 1}:")
        if show != "drawing":
            pairs = zip(DESCRIPTORS, question.measures[k])
            lines += [f"- {name}: {value:.2f}" for name, value in pairs]
        if show != "measures":
            lines.append(f"- vertices (x y): {_numbers(question.paths[k])}")
    return "\n".join([*lines, ASK])


def _numbers(rows: np.ndarray) -> str:
    return "; ".join(" ".join(f"{value:.2f}" for value in row) for row in rows.tolist())


def read_choice(reply: str) -> int | None:
    """1, 2, or None where the reply chooses neither or both.

    After the last "answer" if it says that word, else in all of it: the one path that is named, or
    a lone number.
    """
    text = reply.lower().rpartition("answer")[2]
    named = set(re.findall(r"path\s*#?\s*([12])\b", text))
    if not named and re.fullmatch(r"\W*[12]\W*", text):
        named = set(re.findall(r"[12]", text))
    return int(named.pop()) if len(named) == 1 else None
