"""Paths through a scene by rapidly exploring random trees, then shortened at random.

LaValle 1998 (TR 98-11), the planner of the published data set. A robot is a disc; a path is a line
through vertices along which the disc touches no wall. How many shortcuts are tried is drawn as
well, so that paths differ in their turns and not only in the gaps they take.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numba
import numpy as np

from pilotage.envs.patheval.scenes import BOUND, GOAL, HALF_THICKNESS, START, Scene

RADII = (0.5, 1.5)  # of the robot, drawn for each run
NEAR_GOAL = 1.5
_REACH = 22.0  # the longest new branch: a fifth of the square's diagonal
_GOAL_SHARE = 0.05
_SAMPLES = 20_000
_SHORTCUTS = (2, 40)
_SPARE = 0.02  # coordinates are rounded to two decimals afterwards


def find_routes(scene: Scene, n_runs: int, *, seed: int = 0) -> list[np.ndarray]:
    """Paths float64 [V, 2] of `n_runs` runs, two decimals; runs that find none are left out."""
    if n_runs < 0 or seed < 0:
        raise ValueError(f"n_runs and seed must be >= 0, got {n_runs} and {seed}")
    found = []
    for run in range(n_runs):
        rng = np.random.default_rng([42, seed, run])
        path = find_route(scene.walls, float(rng.uniform(*RADII)), rng)
        if path is not None:
            found.append(path)
    return found


def find_route(walls: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray | None:
    """One path from START to within NEAR_GOAL of GOAL for a disc of `radius`, or None."""
    samples = rng.uniform(-BOUND, BOUND, (_SAMPLES, 2))
    samples[rng.random(_SAMPLES) < _GOAL_SHARE] = GOAL
    room = radius + HALF_THICKNESS + _SPARE
    start, goal = np.array(START), np.array(GOAL)
    nodes, parents, last = _grow(walls, samples, start, goal, room)
    if last < 0:
        return None
    path = [last]
    while path[-1]:
        path.append(parents[path[-1]])
    line = [nodes[k] for k in reversed(path)]
    for _ in range(int(rng.integers(*_SHORTCUTS))):
        line = _shortcut(line, walls, room, rng)
    return np.round(_without_straight(line), 2)


def _shortcut(
    line: list[np.ndarray], walls: np.ndarray, room: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """The line without what lies between two drawn vertices, if the straight way is free."""
    if len(line) < 3:
        return line
    i = int(rng.integers(0, len(line) - 2))
    j = int(rng.integers(i + 2, len(line)))
    (x, y), (to_x, to_y) = line[i].tolist(), line[j].tolist()
    if not is_free(x, y, to_x, to_y, walls, room):
        return line
    return line[: i + 1] + line[j:]


def _without_straight(line: Sequence[np.ndarray]) -> np.ndarray:
    """[V, 2] without vertices that lie on the way from their neighbours."""
    kept = [line[0]]
    for here, after in itertools.pairwise(line[1:]):
        (ax, ay), (bx, by) = here - kept[-1], after - here
        if abs(ax * by - ay * bx) > 1e-3 * math.hypot(ax, ay) * math.hypot(bx, by):
            kept.append(here)
    return np.array([*kept, line[-1]])


@numba.njit(cache=True)
def _grow(walls, samples, start, goal, room):  # type: ignore[no-untyped-def]
    """(nodes [N, 2], parents [N], the node near the goal or -1)."""
    nodes = np.zeros((len(samples) + 1, 2))
    parents = np.zeros(len(samples) + 1, np.int64)
    nodes[0] = start
    n = 1
    for k in range(len(samples)):
        best, least = 0, np.inf
        for i in range(n):
            dx, dy = samples[k, 0] - nodes[i, 0], samples[k, 1] - nodes[i, 1]
            far = dx * dx + dy * dy
            if far < least:
                best, least = i, far
        far = math.sqrt(least)
        if far < 1e-9:
            continue
        share = min(1.0, _REACH / far)
        x = nodes[best, 0] + share * (samples[k, 0] - nodes[best, 0])
        y = nodes[best, 1] + share * (samples[k, 1] - nodes[best, 1])
        if not is_free(nodes[best, 0], nodes[best, 1], x, y, walls, room):
            continue
        nodes[n, 0], nodes[n, 1] = x, y
        parents[n] = best
        n += 1
        if math.hypot(x - goal[0], y - goal[1]) <= NEAR_GOAL:
            return nodes[:n], parents[:n], n - 1
    return nodes[:n], parents[:n], -1


@numba.njit(cache=True)
def is_free(ax, ay, bx, by, walls, room):  # type: ignore[no-untyped-def]
    """Whether the segment from a to b keeps `room` from the middle lines of walls [S, 4]."""
    for k in range(len(walls)):
        x0, y0, x1, y1 = walls[k, 0], walls[k, 1], walls[k, 2], walls[k, 3]
        if min(x0, x1) > max(ax, bx) + room or max(x0, x1) < min(ax, bx) - room:
            continue
        if min(y0, y1) > max(ay, by) + room or max(y0, y1) < min(ay, by) - room:
            continue
        if _segments_apart(ax, ay, bx, by, x0, y0, x1, y1) < room:
            return False
    return True


@numba.njit(cache=True)
def _segments_apart(ax, ay, bx, by, cx, cy, dx, dy):  # type: ignore[no-untyped-def]
    """The least distance between two segments."""
    side_c = (bx - ax) * (cy - ay) - (by - ay) * (cx - ax)
    side_d = (bx - ax) * (dy - ay) - (by - ay) * (dx - ax)
    side_a = (dx - cx) * (ay - cy) - (dy - cy) * (ax - cx)
    side_b = (dx - cx) * (by - cy) - (dy - cy) * (bx - cx)
    if side_c * side_d < 0 and side_a * side_b < 0:
        return 0.0
    return min(
        _point_apart(ax, ay, cx, cy, dx, dy),
        _point_apart(bx, by, cx, cy, dx, dy),
        _point_apart(cx, cy, ax, ay, bx, by),
        _point_apart(dx, dy, ax, ay, bx, by),
    )


@numba.njit(cache=True)
def _point_apart(px, py, ax, ay, bx, by):  # type: ignore[no-untyped-def]
    ux, uy = bx - ax, by - ay
    squared = ux * ux + uy * uy
    t = 0.0
    if squared > 0.0:
        t = min(1.0, max(0.0, ((px - ax) * ux + (py - ay) * uy) / squared))
    return math.hypot(px - ax - t * ux, py - ay - t * uy)
