"""Tasks of finding back: a room, a random walk in it that is shown, and a place of that walk.

Task k of a split is a function of (split, seed, k) and the sizes alone. Families: "aliased" (fewer
symbols than cells) and "distinct" (every cell has its own).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from pilotage.envs.aliased.lanes import distances
from pilotage.envs.aliased.scenes import draw_rooms, to_scene
from pilotage.envs.pathgraph.aliased import AliasedRoom, random_walk
from pilotage.envs.requests import check_request, in_turns
from pilotage.episodes.types import Task, digest

FAMILIES = ("aliased", "distinct")
SIZE = (4, 4)
N_SYMBOLS = 8
WALK_LENGTH = 400
STEPS_PER_MOVE = 4
SPARE_STEPS = 4


def make_tasks(
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    size: tuple[int, int] = SIZE,
    n_symbols: int = N_SYMBOLS,
    walk_length: int = WALK_LENGTH,
) -> list[Task]:
    """`n` tasks of a split ("train", "val", "test"), a new room each; families take turns.

    A layout belongs to one split by a stable hash. size: rows and columns. n_symbols: of the family
    "aliased". walk_length: observations in the walk.

    Raises ValueError: unknown split or family, negative n or seed, a size, number of symbols or
    length that makes no task.
    """
    families = check_request(split, n, seed, families, FAMILIES)
    if walk_length < 2:
        raise ValueError(f"walk_length must be >= 2, got {walk_length}")
    return in_turns(families, lambda f: _tasks(f, split, seed, size, n_symbols, walk_length), n)


def _tasks(
    family: str, split: str, seed: int, size: tuple[int, int], n_symbols: int, walk_length: int
) -> Iterator[Task]:
    n_symbols = size[0] * size[1] if family == "distinct" else n_symbols
    key = [18, FAMILIES.index(family), seed]
    for room, rng in draw_rooms(split, size, n_symbols, wraps=False, key=key):
        actions, cells = _walk_that_left(room, walk_length, rng)
        steps = np.flatnonzero(cells != cells[-1])
        step = int(steps[rng.integers(len(steps))])
        yield room_task(room, int(cells[0]), actions, step, split=split, family=family)


def _walk_that_left(
    room: AliasedRoom, n_steps: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Actions and cells of a random walk that was in more than one cell."""
    while True:
        _, actions, cells = random_walk(room, n_steps, seed=int(rng.integers(2**31)))
        if (cells != cells[-1]).any():
            return actions, cells


def room_task(
    room: AliasedRoom,
    first: int,
    walk: Sequence[int] | np.ndarray,
    step: int,
    *,
    split: str = "test",
    family: str = "aliased",
) -> Task:
    """The task of going back, from the end of a walk, to where its observation `step` was made.

    first: the cell in which the walk begins. walk: its actions, numbers in `ACTIONS`.

    Raises ValueError when the walk ends in that place; IndexError for a cell, action or step out of
    range.
    """
    cells = follow(room, first, walk)
    if cells[step] == cells[-1]:
        raise ValueError(
            f"the walk ends where its step {step} was, in cell {cells[-1]}; choose another step"
        )
    moves = int(distances(room.transitions())[cells[-1], cells[step]])
    scene, start = to_scene(room), {"cell": first, "walk": [int(a) for a in walk]}
    content = {"scene": scene, "start": start, "step": step}
    return Task(
        task_id=f"aliased-{split}-{family}-{digest(content)[:12]}",
        env="aliased",
        split=split,
        family=family,
        instruction=f"go back to where you were at step {step} of the walk",
        max_steps=STEPS_PER_MOVE * moves + SPARE_STEPS,
        scene=scene,
        start=start,
        goal={"step": step},
        shortest_path_length=float(moves),
    )


def follow(room: AliasedRoom, first: int, walk: Sequence[int] | np.ndarray) -> list[int]:
    """The cells of a walk, its actions being numbers in `ACTIONS`."""
    leads = room.transitions()
    cells = [first]
    for action in walk:
        cells.append(int(leads[cells[-1], action]))
    return cells
