"""Solvers of worded mazes that read the prompt and nothing else: exact, noisy, and floors."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pilotage.envs.maze.grid import MOVES
from pilotage.envs.maze.interleaved import CALLS, LETTERS, NAMES

Place = tuple[int, int]


@dataclass(frozen=True)
class Read:
    """What a prompt says. Places are characters of the drawing (row, column)."""

    lines: list[str]
    start: Place
    goal: Place
    moves: list[int]  # since S
    options: list[list[int]]
    whole: bool

    def after(self, place: Place, move: int) -> Place | None:
        """The place behind a move, or None at a wall."""
        (row, col), (dr, dc) = place, MOVES[move]
        free = self.lines[row + dr][col + dc] != "#"
        return (row + 2 * dr, col + 2 * dc) if free else None

    def here(self) -> Place:
        """S, and from there where the moves led."""
        place = self.start
        for move in self.moves:
            place = self.after(place, move) or place
        return place


def read_prompt(prompt: str) -> Read:
    """ValueError for a text without a drawing that holds S and G."""
    lines = [line for line in prompt.splitlines() if line and set(line) <= set("# SG")]
    ends = [
        [(r, line.index(mark)) for r, line in enumerate(lines) if mark in line] for mark in "SG"
    ]
    if not all(len(found) == 1 for found in ends):
        raise ValueError(f"the prompt has no drawing with one S and one G: {prompt[:60]!r} ...")
    since = re.search(r"^Moves since S: (.*)\.$", prompt, flags=re.MULTILINE)
    options = re.findall(rf"^[{LETTERS}]: (.*)$", prompt, flags=re.MULTILINE)
    return Read(
        lines,
        ends[0][0],
        ends[1][0],
        _moves(since[1]) if since else [],
        [_moves(option) for option in options],
        "Write all moves" in prompt,
    )


def _moves(text: str) -> list[int]:
    return [NAMES.index(word) for word in text.split(", ") if word in NAMES]


def way_to_goal(read: Read) -> list[int]:
    """The fewest moves from where it stands, by breadth-first search in the drawing."""
    start = read.here()
    before: dict[Place, tuple[Place, int]] = {}
    waiting = deque([start])
    while waiting:
        place = waiting.popleft()
        if place == read.goal:
            break
        for move in range(len(MOVES)):
            there = read.after(place, move)
            if there is not None and there != start and there not in before:
                before[there] = (place, move)
                waiting.append(there)
    else:
        raise ValueError("no way leads from S to G in this drawing")
    path = []
    while place != start:
        place, move = before[place]
        path.append(move)
    return path[::-1]


class Exact:
    """The shortest way; with `noise`, each move is with that probability a random one instead.

    A noisy one that sees where it stands takes its way from there; one that writes all moves at
    once cannot. One that `forgets` takes S for its place, whatever moves are listed.
    """

    def __init__(self, *, noise: float = 0.0, forgets: bool = False, seed: int = 0) -> None:
        if not 0 <= noise <= 1:
            raise ValueError(f"noise must be from 0 to 1, got {noise}")
        self.noise, self.forgets, self._rng = noise, forgets, np.random.default_rng([52, seed])

    def __call__(self, prompts: Sequence[str], options: Sequence[str] | None = None) -> list[str]:
        return [self._reply(read_prompt(prompt)) for prompt in prompts]

    def _reply(self, read: Read) -> str:
        if read.options:
            if self._rng.random() < self.noise:
                return str(self._rng.choice(list(LETTERS)))
            return LETTERS[read.options.index(next(o for o in read.options if _arrives(read, o)))]
        at = replace(read, moves=[]) if self.forgets else read
        way = [self._blurred(move) for move in way_to_goal(at)]
        return ", ".join(NAMES[move] for move in way) if read.whole else CALLS[way[0]]

    def _blurred(self, move: int) -> int:
        return int(self._rng.integers(4)) if self._rng.random() < self.noise else move


def _arrives(read: Read, moves: Sequence[int]) -> bool:
    place: Place | None = read.start
    for move in moves:
        place = None if place is None else read.after(place, move)
    return place == read.goal


class Random:
    """Any of the answers; `legal` keeps to moves that lead somewhere. Written whole, as many moves
    as the drawing has lines."""

    def __init__(self, *, legal: bool = False, seed: int = 0) -> None:
        self.legal, self._rng = legal, np.random.default_rng([53, seed])

    def __call__(self, prompts: Sequence[str], options: Sequence[str] | None = None) -> list[str]:
        return [self._reply(read_prompt(prompt)) for prompt in prompts]

    def _reply(self, read: Read) -> str:
        if read.options:
            return str(self._rng.choice(list(LETTERS)))
        if not read.whole:
            return CALLS[self._move(read, read.here())]
        moves, place = [], read.here()
        for _ in read.lines:
            moves.append(self._move(read, place))
            place = read.after(place, moves[-1]) or place
        return ", ".join(NAMES[move] for move in moves)

    def _move(self, read: Read, place: Place) -> int:
        choices = [m for m in range(4) if not self.legal or read.after(place, m) is not None]
        return int(self._rng.choice(choices))
