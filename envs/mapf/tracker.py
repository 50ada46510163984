"""Plans as text, one line an agent: the exchange format of the public MAPF tracker.

A line is a word over `u d l r w`: up, down, left, right, wait; a number before a letter repeats it
(`5r2d`). `d` is y + 1, that is, the next row; a file with `flip_up_down` means the opposite. Lines
may differ in length: who is done waits at its last cell.
"""

from __future__ import annotations

import re
from itertools import groupby
from pathlib import Path

import numpy as np

from pilotage.envs.mapf.instance import MOVES, MapfInstance

LETTERS = "wudlr"  # by action
_WORD = re.compile(r"(?:\d*[udlrw])*")
_PART = re.compile(r"(\d*)([udlrw])")


def write_paths(paths: np.ndarray, path: str | Path | None = None, *, compact: bool = True) -> str:
    """The text of a plan, int [N, T + 1, 2]; written to `path` where one is given.

    Trailing waits are left out. `compact` writes `5r` for `rrrrr`.

    Raises:
        ValueError: a wrong shape, or a step that is no move to a neighbouring cell.
    """
    paths = np.asarray(paths)
    if paths.ndim != 3 or paths.shape[2] != 2 or paths.shape[1] < 1:
        raise ValueError(f"paths have shape {list(paths.shape)}, expected [N, T + 1, 2]")
    text = "".join(_line(i, track, compact) + "\n" for i, track in enumerate(paths))
    if path is not None:
        Path(path).write_text(text)
    return text


def _line(agent: int, track: np.ndarray, compact: bool) -> str:
    letters = []
    by_move = {tuple(move): letter for move, letter in zip(MOVES.tolist(), LETTERS)}
    for t, move in enumerate(np.diff(track, axis=0).tolist()):
        if tuple(move) not in by_move:
            raise ValueError(
                f"agent {agent} jumps by {move} at step {t}; only moves can be written"
            )
        letters.append(by_move[tuple(move)])
    word = "".join(letters).rstrip("w")
    if not compact:
        return word
    runs = ((letter, len(list(run))) for letter, run in groupby(word))
    return "".join(letter if n == 1 else f"{n}{letter}" for letter, n in runs)


def read_paths(
    text: str, instance: MapfInstance, *, flip_up_down: bool = False, max_steps: int = 1_000_000
) -> np.ndarray:
    """The plan in `text` from the starts of `instance`, int32 [N, T + 1, 2]; not judged.

    Raises:
        ValueError: more or fewer lines than agents, a strange symbol (line and column are named),
            a repeat count that makes a path longer than `max_steps`.
    """
    lines = text.split("\n")
    if lines and not lines[-1].strip():
        lines.pop()
    if len(lines) != instance.n_agents:
        raise ValueError(
            f"the plan has {len(lines)} lines for {instance.n_agents} agents; give one for each"
        )
    actions = [_actions(i, line.strip(), max_steps) for i, line in enumerate(lines)]
    length = max(len(a) for a in actions)
    steps = np.zeros((instance.n_agents, length), np.int64)
    for i, each in enumerate(actions):
        steps[i, : len(each)] = each
    moves = MOVES[steps] * ((-1, 1) if flip_up_down else (1, 1))
    paths = np.concatenate([instance.starts[:, None], moves], axis=1).cumsum(axis=1)
    return paths.astype(np.int32)


def _actions(agent: int, word: str, max_steps: int) -> list[int]:
    end = _WORD.match(word).end()  # type: ignore[union-attr]  # it matches at least nothing
    if end != len(word):
        raise ValueError(
            f"line {agent + 1}, column {end + 1} is {word[end]!r}; a plan is made of u, d, l, r, w "
            "with repeat counts before them"
        )
    actions: list[int] = []
    for count, letter in _PART.findall(word):
        n = int(count or 1)
        if len(actions) + n > max_steps:
            raise ValueError(f"line {agent + 1} has more than {max_steps} steps; raise max_steps")
        actions += [LETTERS.index(letter)] * n
    return actions
