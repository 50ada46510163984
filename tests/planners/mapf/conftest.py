"""Small random instances, and brute force over joint states: answers found another way."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from itertools import product

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance

Cell = tuple[int, int]
State = tuple[tuple[Cell, ...], tuple[bool, ...]]


def small_instances(n: int, *, seed: int, n_agents: int = 3) -> list[MapfInstance]:
    """Random maps of at most 3 x 4 cells with walls, and 1 to `n_agents` agents."""
    rng = np.random.default_rng(seed)
    made: list[MapfInstance] = []
    while len(made) < n:
        free = rng.random((int(rng.integers(1, 4)), int(rng.integers(2, 5)))) < 0.75
        cells = np.argwhere(free)
        k = int(rng.integers(1, n_agents + 1))
        if len(cells) >= k:
            starts, goals = (cells[rng.permutation(len(cells))[:k]] for _ in range(2))
            made.append(MapfInstance.one_shot(free, starts, goals, name=f"random {len(made)}"))
    return made


def brute_force(instance: MapfInstance, *, loss: bool = False) -> int | None:
    """The least sum of costs (or of loss), None when there is no plan; Dijkstra on joint states.

    For the sum of costs an agent at its goal may declare that it is done: it then stays for ever
    and costs nothing. For the sum of loss every step that does not rest at the goal costs one.
    """
    goals = [tuple(g) for g in instance.goals.tolist()]
    start = tuple(tuple(s) for s in instance.starts.tolist())
    queue: list[tuple[int, State]] = []
    for done in product((False, True), repeat=len(start)):
        if all(not d or s == g for d, s, g in zip(done, start, goals)) and not (loss and any(done)):
            queue.append((0, (start, done)))
    seen: set[State] = set()
    heapq.heapify(queue)
    while queue:
        cost, state = heapq.heappop(queue)
        if state in seen:
            continue
        seen.add(state)
        cells, done = state
        if list(cells) == goals and (loss or all(done)):
            return cost
        for after in _joint_moves(instance, cells, done):
            if loss:
                paid = sum(not (a == b == g) for a, b, g in zip(cells, after, goals))
                heapq.heappush(queue, (cost + paid, (after, done)))
                continue
            paid = done.count(False)
            at_goal = [not d and a == g for a, g, d in zip(after, goals, done)]
            for declared in product(*((False, True) if x else (False,) for x in at_goal)):
                now = tuple(d or x for d, x in zip(done, declared))
                heapq.heappush(queue, (cost + paid, (after, now)))
    return None


def _joint_moves(
    instance: MapfInstance, cells: tuple[Cell, ...], done: tuple[bool, ...]
) -> Iterator[tuple[Cell, ...]]:
    height, width = instance.free.shape
    options = []
    for (r, c), finished in zip(cells, done):
        around = [(r, c), (r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)]
        options.append(
            [(r, c)]
            if finished
            else [
                (y, x)
                for y, x in around
                if 0 <= y < height and 0 <= x < width and instance.free[y, x]
            ]
        )
    for after in product(*options):
        if len(set(after)) < len(after):
            continue
        moved = {(a, b) for a, b in zip(cells, after) if a != b}
        if not any((b, a) in moved for a, b in moved):
            yield after


@pytest.fixture(scope="session")
def small() -> Callable[..., list[MapfInstance]]:
    return small_instances


@pytest.fixture(scope="session")
def oracle() -> Callable[..., int | None]:
    return brute_force
