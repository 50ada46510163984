"""Tasks: a maze, a start, a goal. Task k of a split is a function of (split, seed, k) alone.

Families: "dfs", "wilson", "percolation", "loops" (any start and goal that are connected) and
"astar" (obstacle grids with the start and goal rule of the Searchformer mazes). A cell is 1 m wide;
x is the column and y the row.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from pilotage.envs.maze import endpoints, generators
from pilotage.envs.maze.distances import descend, flood
from pilotage.envs.maze.grid import to_rows
from pilotage.envs.maze.splits import SPLITS, split_of
from pilotage.envs.requests import check_request
from pilotage.episodes.types import Task, digest

GENERATORS: dict[str, Callable[[Tensor, int, int], Tensor]] = {
    "dfs": generators.dfs,
    "wilson": generators.wilson,
    "percolation": generators.percolation,
    "loops": generators.loops,
    "astar": generators.obstacles,
}
FAMILIES = tuple(GENERATORS)
STEPS_PER_MOVE = 4  # an agent may take this many times the shortest way ...
SPARE_STEPS = 20  # ... and this many steps more
_BLOCK = 512  # tasks sought at once
_ROUNDS = 500


def make_tasks(
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    size: int | tuple[int, int] = 10,
    device: str = "cpu",
) -> list[Task]:
    """`n` tasks of a split ("train", "val", "test"); families take turns.

    A layout belongs to one split by a stable hash that is the same for its eight symmetries
    (`splits`). `size` is (rows, cols), or one number for both.

    Raises:
        ValueError: unknown split or family, negative n or seed, a size below 2 x 2, or sizes so
            small that the split has no such maze.
    """
    families = check_request(split, n, seed, families, FAMILIES)
    rows, cols = (size, size) if isinstance(size, int) else size
    if rows < 2 or cols < 2:
        raise ValueError(f"size must be at least 2 x 2, got {rows} x {cols}")
    tasks: list[Task | None] = [None] * n
    for place, family in enumerate(families):
        numbers = np.arange(place, n, len(families))
        for first in range(0, len(numbers), _BLOCK):
            block = numbers[first : first + _BLOCK]
            found = _find(block, family, split, seed, (rows, cols), device)
            for number, task in zip(block.tolist(), found):
                tasks[number] = task
    return [task for task in tasks if task is not None]


def _find(
    numbers: np.ndarray, family: str, split: str, seed: int, size: tuple[int, int], device: str
) -> list[Task]:
    """The first fitting maze of each task number, tried several at a time."""
    tasks: dict[int, Task] = {}
    tries = 2 if split == "train" else 32
    for round_ in range(_ROUNDS):
        left = np.array([k for k in numbers.tolist() if k not in tasks])
        if not len(left):
            return [tasks[k] for k in numbers.tolist()]
        owners = np.repeat(left, tries)  # attempts of a task lie together, in order
        attempts = np.tile(np.arange(round_ * tries, (round_ + 1) * tries), len(left))
        keys = torch.from_numpy(_keys(family, split, seed, owners, attempts)).to(device)
        cells = GENERATORS[family](keys, *size)
        mine = np.flatnonzero(split_of(cells.cpu().numpy()) == SPLITS.index(split))
        chosen = torch.from_numpy(mine).to(device)
        cells, keys = cells[chosen], keys[chosen]
        rule = endpoints.far_apart if family == "astar" else endpoints.anywhere
        ends = rule(cells, keys)
        found = ends.found.cpu().numpy()
        first = np.unique(owners[mine][found], return_index=True)[1]
        take = torch.from_numpy(np.flatnonzero(found)[first]).to(device)
        made = _tasks(family, split, cells[take], ends.starts[take], ends.goals[take])
        tasks |= dict(zip(owners[mine][found][first].tolist(), made))
    raise ValueError(
        f"no {size[0]} x {size[1]} maze of family {family!r} in split {split!r} after "
        f"{_ROUNDS * tries} attempts; take a larger size"
    )


def _keys(
    family: str, split: str, seed: int, numbers: np.ndarray, attempts: np.ndarray
) -> np.ndarray:
    """int64 [B]: a key in [0, 2^63) for each task number and attempt."""
    mixed = np.random.SeedSequence([FAMILIES.index(family), SPLITS.index(split), seed])
    base = int(mixed.generate_state(1, np.uint64)[0])
    count = (attempts.astype(np.uint64) << np.uint64(32)) + numbers.astype(np.uint64)
    spread = count * np.uint64(0x9E3779B97F4A7C15)  # odd: all different
    return ((spread + np.uint64(base)) >> np.uint64(1)).astype(np.int64)


def _tasks(family: str, split: str, cells: Tensor, starts: Tensor, goals: Tensor) -> list[Task]:
    field = flood(cells, goals)
    moves = field[torch.arange(len(cells), device=cells.device), starts[:, 0], starts[:, 1]]
    paths = descend(cells, field, starts).cpu().numpy()
    return [
        maze_task(maze, path[: m + 1], split=split, family=family)
        for maze, path, m in zip(cells.cpu().numpy(), paths, moves.tolist())
    ]


def maze_task(cells: np.ndarray, path: np.ndarray, *, split: str, family: str) -> Task:
    """The task of one maze uint8 [H, W] whose shortest path, integers [L, 2], is known."""
    start, goal = path[0].tolist(), path[-1].tolist()
    moves = len(path) - 1
    scene = {"rows": to_rows(cells)}
    content = {"scene": scene, "start": start, "goal": goal}
    return Task(
        task_id=f"maze-{split}-{family}-{digest(content)[:12]}",
        env="maze",
        split=split,
        family=family,
        instruction=f"go to row {goal[0]} column {goal[1]}",
        max_steps=STEPS_PER_MOVE * moves + SPARE_STEPS,
        scene=scene,
        start={"cell": start},
        goal={"cell": goal},
        shortest_path_length=float(moves),
        reference_path=[[float(col), float(row), 0.0] for row, col in path.tolist()],
    )
