"""Mazes posed in words, in four ways: with and without the states that moves lead to.

After the maze task of ViC-Bench (Wu et al. 2025, arXiv:2505.14404): a solver thinks in turns, calls
a function, and is shown the intermediate state. The official data and tables are not used; mazes
come from `tasks.make_tasks`, and the ways of asking and the measures are defined here.

    choice       four lists of moves; which one leads to the goal?
    whole        write all moves at once
    turns        one or more calls a turn; the moves so far are listed, the state is not shown
    interleaved  one or more calls a turn; the maze is drawn again with the new place

`turns` is the control of `interleaved`: as many turns and as many words, without the states.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from pilotage.envs.maze.grid import DIRECTIONS, MOVES, draw, from_rows
from pilotage.episodes.types import Task

WAYS = ("choice", "whole", "turns", "interleaved")
NAMES = ("up", "down", "left", "right")  # in the order of MOVES
LETTERS = "ABCD"
LEVELS = 3  # how much the prompt tells: the drawing; + the two cells; + the open sides
SPARE_TURNS = 4  # beyond twice the shortest way
_ASKS = {
    "choice": "Which list of moves leads from S to G? Reply with one letter.",
    "whole": "Write all moves from S to G, each up, down, left or right, with commas between them.",
    "turns": "Call move(up), move(down), move(left) or move(right). Your place is not shown again.",
    "interleaved": "Call move(up), move(down), move(left) or move(right). Then the maze is shown "
    "again.",
}
CALLS = tuple(f"move({name})" for name in NAMES)

# (prompts, what may be replied, None: anything) -> as many replies
Ask = Callable[[Sequence[str], Sequence[str] | None], Sequence[str]]


@dataclass
class Attempt:
    """One maze, asked in one way, as it goes on.

    moves: indices into NAMES, all that were tried; legal: whether each led anywhere.
    """

    cells: np.ndarray  # uint8 [H, W]
    route: list[tuple[int, int]]  # the shortest, from start to goal
    way: str
    level: int = 0
    options: list[list[int]] = field(default_factory=list)  # of "choice"
    right_option: int = -1
    visited: list[tuple[int, int]] = field(default_factory=list)  # the start first
    moves: list[int] = field(default_factory=list)
    legal: list[bool] = field(default_factory=list)
    n_turns: int = 0
    n_unreadable: int = 0
    chosen: int | None = None
    done: bool = False

    @property
    def reached(self) -> bool:
        """Whether it stands at the goal, or chose the list that leads there."""
        if self.way == "choice":
            return self.chosen == self.right_option
        return self.visited[-1] == self.route[-1]

    @property
    def recall(self) -> float:
        """Share of the shortest route's cells, without the start, that were visited."""
        wanted = set(self.route[1:])
        return len(wanted & set(self.visited[1:])) / len(wanted)


def attempts_of(tasks: Sequence[Task], way: str, *, level: int = 0, seed: int = 0) -> list[Attempt]:
    """A fresh attempt at each task of the world "maze".

    Raises ValueError: an unknown way or level, or a task of another world.
    """
    if way not in WAYS:
        raise ValueError(f"way must be one of {WAYS}, got {way!r}")
    if not 0 <= level < LEVELS:
        raise ValueError(f"level must be from 0 to {LEVELS - 1}, got {level}")
    made = []
    for k, task in enumerate(tasks):
        if task.env != "maze" or not task.reference_path:
            raise ValueError(f"task {task.task_id} is of {task.env!r}, not a maze with a path")
        cells = from_rows(task.scene["rows"])
        route = [(int(row), int(col)) for col, row, _ in task.reference_path]
        attempt = Attempt(cells, route, way, level, visited=[route[0]])
        if way == "choice":
            _add_options(attempt, np.random.default_rng([51, seed, k]))
        made.append(attempt)
    return made


def play(attempts: Sequence[Attempt], ask: Ask) -> None:
    """Ask turn by turn, all that are not done at once, until all are.

    Raises ValueError when there are not as many replies as prompts.
    """
    while live := [a for a in attempts if not a.done]:
        allowed = {"choice": list(LETTERS), "whole": None}.get(live[0].way, list(CALLS))
        replies = list(ask([write_prompt(a) for a in live], allowed))
        if len(replies) != len(live):
            raise ValueError(f"the solver gave {len(replies)} replies to {len(live)} prompts")
        for attempt, reply in zip(live, replies):
            hear(attempt, reply)


def write_prompt(attempt: Attempt) -> str:
    """What the solver is told this turn."""
    a = attempt
    here = a.visited[-1] if a.way == "interleaved" else a.route[0]
    lines = ["You are at S in a maze and must reach G. # is a wall."]
    lines.append(draw(a.cells, here, a.route[-1]))
    if a.level > 0:
        (row, col), (to_row, to_col) = here, a.route[-1]
        lines.append(f"S is at row {row} column {col}, G at row {to_row} column {to_col}.")
    if a.level > 1:
        sides = [name for name, side in zip(NAMES, DIRECTIONS) if a.cells[here] & side]
        lines.append(f"Open from S: {', '.join(sides)}.")
    if a.way == "choice":
        lines += [f"{letter}: {_words(o)}" for letter, o in zip(LETTERS, a.options)]
    if a.way == "turns":
        lines.append(f"Moves since S: {_words(a.moves) or 'none'}.")
    if a.way == "interleaved" and a.legal and not a.legal[-1]:
        lines.append(f"Your last call, {CALLS[a.moves[-1]]}, met a wall.")
    return "\n".join([*lines, _ASKS[a.way]])


def hear(attempt: Attempt, reply: str) -> None:
    """Carry out a reply. What cannot be read costs the turn and is counted."""
    a = attempt
    a.n_turns += 1
    if a.way == "choice":
        a.chosen = read_letter(reply)
        a.n_unreadable += a.chosen is None
        a.done = True
        return
    moves = read_moves(reply, calls=a.way != "whole")
    a.n_unreadable += not moves
    for move in moves:
        if not a.reached and len(a.moves) < _limit(a):
            _step(a, move)
    a.done = a.reached or a.way == "whole" or a.n_turns >= _limit(a)


def _limit(a: Attempt) -> int:
    """The most turns, and the most moves."""
    return 2 * (len(a.route) - 1) + SPARE_TURNS


def _step(a: Attempt, move: int) -> None:
    legal = bool(a.cells[a.visited[-1]] & DIRECTIONS[move])
    a.moves.append(move)
    a.legal.append(legal)
    if legal:
        row, col = a.visited[-1]
        a.visited.append((row + MOVES[move][0], col + MOVES[move][1]))


def read_moves(reply: str, *, calls: bool) -> list[int]:
    """Indices into NAMES: of `move(...)` calls in order, or of the words up, down, left, right.

    With `calls`, a reply without any call that names a single direction counts as that call.
    """
    text = reply.lower()
    named = re.findall(r"\b(up|down|left|right)\b", text)
    if calls:
        called = re.findall(r"move\(\s*['\"]?(up|down|left|right)['\"]?\s*\)", text)
        named = called or (named if len(named) == 1 else [])
    return [NAMES.index(name) for name in named]


def read_letter(reply: str) -> int | None:
    """0 to 3 for the one capital letter A to D that stands alone; None for none or several."""
    found = set(re.findall(r"\b([A-D])\b", reply))
    return LETTERS.index(found.pop()) if len(found) == 1 else None


def _words(moves: Sequence[int]) -> str:
    return ", ".join(NAMES[move] for move in moves)


def _add_options(a: Attempt, rng: np.random.Generator) -> None:
    """The right list and three wrong ones of the same length, in a drawn order."""
    right = [MOVES.index((r - p, c - q)) for (p, q), (r, c) in zip(a.route, a.route[1:])]
    wrong: list[list[int]] = []  # there are three at least: of single moves three are wrong
    while len(wrong) < len(LETTERS) - 1:
        k = int(rng.integers(len(right)))
        other = [*right[:k], *rng.integers(4, size=len(right) - k).tolist()]
        if not leads(a.cells, a.route[0], a.route[-1], other) and other not in wrong:
            wrong.append(other)
    options = [right, *wrong]
    order = rng.permutation(len(options)).tolist()
    a.options, a.right_option = [options[k] for k in order], order.index(0)


def leads(
    cells: np.ndarray, start: tuple[int, int], goal: tuple[int, int], moves: Sequence[int]
) -> bool:
    """Whether these moves, all legal, end at the goal."""
    row, col = start
    for move in moves:
        if not cells[row, col] & DIRECTIONS[move]:
            return False
        row, col = row + MOVES[move][0], col + MOVES[move][1]
    return (row, col) == goal


def picture(
    cells: np.ndarray, at: tuple[int, int], goal: tuple[int, int], *, pixels: int = 8
) -> np.ndarray:
    """uint8 [(2 H + 1) pixels, (2 W + 1) pixels, 3] of the drawing: walls black, the place green,
    the goal red. For solvers with eyes."""
    colours = {"#": (0, 0, 0), " ": (255, 255, 255), "S": (44, 160, 44), "G": (214, 39, 40)}
    rows = [[colours[c] for c in line] for line in draw(cells, at, goal).splitlines()]
    return np.array(rows, np.uint8).repeat(pixels, axis=0).repeat(pixels, axis=1)
