"""Tasks for the episode loop: a random map and a team, one-shot or lifelong.

A cell is one metre. `scene` has the rows of the map (`#` wall, `.` free), `start` and `goal` the
cells of the agents, (row, col). Starts and goals lie in the largest connected part of the map,
which at most a quarter of is taken; that a plan exists is then all but certain, not proved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.episodes.types import Task, digest

FAMILIES = ("oneshot", "lifelong")
SPLITS = ("train", "val", "test")
MAX_STEPS = 128


def make_tasks(
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    n_agents: int = 8,
    size: int = 12,
    density: float = 0.2,
) -> list[Task]:
    """`n` tasks of a split; task k depends on (split, seed, k) and the sizes alone.

    Args:
        split: "train", "val" or "test".
        n: how many.
        seed: of the draw.
        families: "oneshot" and "lifelong"; they take turns.
        n_agents: size of each team.
        size: rows and columns of the map.
        density: share of walls, in [0, 0.5].

    Raises:
        ValueError: an unknown split or family, sizes out of range, a team too large for the map.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    families = tuple(families or FAMILIES)
    unknown = [f for f in families if f not in FAMILIES]
    if unknown:
        raise ValueError(f"unknown families {unknown}; known: {FAMILIES}")
    if n < 0 or n_agents < 1 or size < 2 or not 0 <= density <= 0.5:
        raise ValueError(
            f"n={n}, n_agents={n_agents}, size={size}, density={density}: need n >= 0, n_agents >= "
            "1, size >= 2 and density in [0, 0.5]"
        )
    if n_agents > size * size * (1 - density) / 8:
        raise ValueError(
            f"n_agents={n_agents} is too many for a map of {size} x {size} with density {density}; "
            "make it larger, or use task_of with an instance of your own"
        )
    key = [31, SPLITS.index(split), seed]
    return [
        _draw([*key, k], split, families[k % len(families)], n_agents, size, density)
        for k in range(n)
    ]


def _draw(
    key: list[int], split: str, family: str, n_agents: int, size: int, density: float
) -> Task:
    from scipy.ndimage import label

    rng = np.random.default_rng(key)
    while True:
        free = rng.random((size, size)) >= density
        parts = label(free)[0]
        largest = np.argmax(np.bincount(parts.ravel())[1:]) + 1 if free.any() else 0
        cells = np.argwhere(parts == largest)
        if largest and len(cells) >= 4 * n_agents:
            break
    starts, goals = (rng.permutation(cells)[:n_agents] for _ in range(2))
    instance = MapfInstance.one_shot(free, starts, goals, name="drawn")
    return task_of(instance, split=split, lifelong=family == "lifelong")


def task_of(
    instance: MapfInstance,
    *,
    split: str = "test",
    lifelong: bool | None = None,
    max_steps: int = MAX_STEPS,
) -> Task:
    """Any instance as a task; goal lists make it lifelong.

    Raises:
        ValueError: an agent that cannot reach its (first) goal.
    """
    lifelong = instance.is_lifelong if lifelong is None else lifelong
    scene: dict[str, Any] = {
        "map": ["".join(".#"[not f] for f in row) for row in instance.free.tolist()],
        "lifelong": lifelong,
    }
    if instance.goal_lists is not None:
        scene["goal_lists"] = [goals.tolist() for goals in instance.goal_lists]
    n = instance.n_agents
    lengths = [_steps(instance.free, s, g) for s, g in zip(instance.starts, instance.goals)]
    if -1 in lengths:
        raise ValueError(f"{instance.name}: agent {lengths.index(-1)} cannot reach its goal")
    start, goal = instance.starts.tolist(), instance.goals.tolist()
    family = "lifelong" if lifelong else "oneshot"
    until = "and then to the next one, again and again" if lifelong else "and rests there"
    content = {"scene": scene, "start": start, "goal": goal}
    return Task(
        task_id=f"mapf-{split}-{family}-{digest(content)[:12]}",
        env="mapf",
        split=split,
        family=family,
        instruction=f"each of the {n} agents goes to its own goal {until}",
        max_steps=max_steps,
        scene=scene,
        start=start,
        goal=goal,
        shortest_path_length=float(sum(lengths)),
        info={"n_agents": n, "name": instance.name},
    )


def instance_of(task: Task) -> MapfInstance:
    """The instance in a task.

    Raises:
        ValueError: a task of another world, a broken map, and what `MapfInstance` refuses.
    """
    if task.env != "mapf":
        raise ValueError(f"task {task.task_id!r} is of the world {task.env!r}, not of 'mapf'")
    rows = task.scene["map"]
    if not rows or len({len(row) for row in rows}) != 1 or set("".join(rows)) - set(".#"):
        raise ValueError(f"task {task.task_id!r}: the map must be equally long rows of '.' and '#'")
    free = np.array([[c == "." for c in row] for row in rows], bool)
    lists = task.scene.get("goal_lists")
    if lists is not None:
        return MapfInstance.lifelong(free, task.start, lists, name=task.task_id)
    return MapfInstance.one_shot(free, task.start, task.goal, name=task.task_id)


def _steps(free: np.ndarray, start: np.ndarray, goal: np.ndarray) -> int:
    """Steps of a shortest path, -1 where there is none."""
    height, width = free.shape
    first, last = tuple(start.tolist()), tuple(goal.tolist())
    queue, seen = deque([(first, 0)]), {first}
    while queue:
        (r, c), steps = queue.popleft()
        if (r, c) == last:
            return steps
        for cell in ((r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)):
            inside = 0 <= cell[0] < height and 0 <= cell[1] < width
            if inside and free[cell] and cell not in seen:
                seen.add(cell)
                queue.append((cell, steps + 1))
    return -1
