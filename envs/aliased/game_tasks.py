"""Tasks of the memory & planning game: a room with its labels, a start, and the goals in order.

Families: "torus" (moves wrap around, as published) and "walled". Every cell has its own symbol;
the labels are permuted anew in every task.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pilotage.envs.aliased.lanes import distances
from pilotage.envs.aliased.scenes import draw_rooms, to_scene
from pilotage.envs.pathgraph.aliased import AliasedRoom
from pilotage.envs.requests import check_request, in_turns
from pilotage.episodes.types import Task, digest

FAMILIES = ("torus", "walled")
SIZE = (4, 4)
N_STEPS = 100


def make_game_tasks(
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    size: tuple[int, int] = SIZE,
    n_steps: int = N_STEPS,
) -> list[Task]:
    """`n` games of a split ("train", "val", "test"); families take turns.

    A labelling belongs to one split by a stable hash. size: rows and columns. n_steps: of a game.

    Raises ValueError: unknown split or family, negative n or seed, a size without two cells.
    """
    families = check_request(split, n, seed, families, FAMILIES)
    return in_turns(families, lambda f: _games(f, split, seed, size, n_steps), n)


def _games(
    family: str, split: str, seed: int, size: tuple[int, int], n_steps: int
) -> Iterator[Task]:
    n, key = size[0] * size[1], [19, FAMILIES.index(family), seed]
    for room, rng in draw_rooms(split, size, n, wraps=family == "torus", key=key):
        cells = [int(rng.integers(n))]
        for _ in range(n_steps // 2 + 1):  # a goal costs a move and a collection at least
            other = int(rng.integers(n - 1))
            cells.append(other + (other >= cells[-1]))
        yield game_task(room, cells[0], cells[1:], n_steps, split=split, family=family)


def game_task(
    room: AliasedRoom,
    start: int,
    goals: Sequence[int],
    n_steps: int = N_STEPS,
    *,
    split: str = "test",
    family: str = "torus",
) -> Task:
    """A game from cell `start`, in which the cells `goals` are asked for one after the other.

    `shortest_path_length` is of the way to the first goal.
    """
    scene, begins = to_scene(room), {"cell": start}
    content = {"scene": scene, "start": begins, "goals": list(goals), "steps": n_steps}
    return Task(
        task_id=f"planning-game-{split}-{family}-{digest(content)[:12]}",
        env="planning-game",
        split=split,
        family=family,
        instruction="go to the symbol that is asked for and collect it",
        max_steps=n_steps,
        scene=scene,
        start=begins,
        goal={"cells": list(goals)},
        shortest_path_length=float(distances(room.transitions())[start, goals[0]]),
    )
