"""The known places of a scan: ground that somebody walked, in place of a navigation mesh.

Known are the points of the expert traces, the reference paths, and the points along the graph's
edges, all at floor height. Two places are linked when they are near each other; distances are
shortest paths over the links (Dijkstra).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from pilotage.envs.r2r.graph import ScanGraph

SPACING_M = 0.25  # of the points along an edge: a forward move
MERGE_M = 0.2  # places of one cell of this size become one
CAMERA_M = 1.4  # median height of the panorama cameras above the reference points of R2R-CE
SAME_PLACE_M = 1.0  # a reference point this near to a viewpoint, horizontally, is its floor
# How much a difference in height counts beside a horizontal one: stairs climb up to 0.3 m a step,
# and floors lie more than 2 m above each other.
HEIGHT = 0.5


@dataclass(frozen=True, eq=False)
class Places:
    """P known places of one scan and who is near whom.

    `near[p]` lists the places linked to p, p itself among them, in the order of their numbers;
    behind the last it holds p again.
    """

    scan: str
    position: np.ndarray  # float64 [P, 3], metres, z up
    near: np.ndarray  # int64 [P, K]
    viewpoint: np.ndarray  # int64 [P]: the nearest viewpoint, a number in the scan's graph
    link_m: float

    def nearest(self, point: np.ndarray) -> tuple[int, float]:
        """The place nearest to a point [3], and how far it is (heights count less)."""
        gaps = apart(self.position - point)
        best = int(gaps.argmin())
        return best, float(gaps[best])

    def distances_to(self, goal: np.ndarray) -> np.ndarray:
        """Shortest ways from every place to `goal` [3], float64 [P], metres; infinite where there
        is none. The goal is linked like a place of its own."""
        return _distances(self, tuple(goal.tolist()))


def apart(gaps: np.ndarray) -> np.ndarray:
    """Lengths of differences [..., 3], their heights counted by `HEIGHT`."""
    x, y, z = gaps[..., 0], gaps[..., 1], gaps[..., 2] * HEIGHT
    return np.sqrt(x * x + y * y + z * z)


def lengths(gaps: np.ndarray) -> np.ndarray:
    """Euclidean lengths of differences [..., 3]. The same for any number of rows, to the bit."""
    x, y, z = gaps[..., 0], gaps[..., 1], gaps[..., 2]
    return np.sqrt(x * x + y * y + z * z)


def known_places(
    graph: ScanGraph,
    references: Sequence[np.ndarray],
    traces: Sequence[np.ndarray],
    *,
    link_m: float,
) -> Places:
    """The places of a scan. `references` and `traces` are points float64 [m, 3] on the floor.

    A viewpoint's floor is the reference point below it, else its camera lowered by the scan's
    median (`CAMERA_M` where no path is known).
    """
    floors = floors_of(graph, references)
    starts, ends = np.nonzero(np.triu(graph.adjacent))
    points = [floors, *references, *traces]
    points += [_between(floors[a], floors[b]) for a, b in zip(starts, ends)]
    position = _merged(np.concatenate(points))
    _, viewpoint = _tree(floors).query(position * [1, 1, HEIGHT])
    return Places(graph.scan, position, _near(position, link_m), viewpoint.astype(np.int64), link_m)


def floors_of(graph: ScanGraph, references: Sequence[np.ndarray]) -> np.ndarray:
    """Where one stands at each viewpoint, float64 [V, 3]."""
    floors = graph.position - [0.0, 0.0, CAMERA_M]
    if not references:
        return floors
    known = np.concatenate(references)
    _, index = _tree(known).query(floors * [1, 1, HEIGHT])
    found = known[index]
    gap = np.abs(found - floors)
    below = (gap[:, :2].max(axis=1) < SAME_PLACE_M) & (gap[:, 2] < SAME_PLACE_M)
    drop = np.median((graph.position - found)[below, 2]) if below.any() else CAMERA_M
    lowered = graph.position - [0.0, 0.0, float(drop)]
    return np.where(below[:, None], found, lowered)


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    n = max(1, int(np.ceil(np.linalg.norm(b - a) / SPACING_M)))
    return a + (b - a) * np.linspace(0.0, 1.0, n + 1)[1:-1, None]


def _merged(points: np.ndarray) -> np.ndarray:
    """The mean of the points of each cell, in the order of the cells."""
    cells = np.floor(points * [1, 1, HEIGHT] / MERGE_M).astype(np.int64)
    _, cell = np.unique(cells, axis=0, return_inverse=True)
    cell = cell.ravel()
    count = np.bincount(cell)
    return np.stack([np.bincount(cell, points[:, k]) / count for k in range(3)], axis=-1)


def _tree(points: np.ndarray):  # type: ignore[no-untyped-def]  # scipy has no types
    from scipy.spatial import cKDTree

    return cKDTree(points * [1, 1, HEIGHT])


def _near(position: np.ndarray, link_m: float) -> np.ndarray:
    pairs = _tree(position).query_pairs(link_m, output_type="ndarray")
    own = np.arange(len(position))
    a = np.concatenate([pairs[:, 0], pairs[:, 1], own])
    b = np.concatenate([pairs[:, 1], pairs[:, 0], own])
    order = np.lexsort((b, a))
    a, b = a[order], b[order]
    count = np.bincount(a, minlength=len(position))
    column = np.arange(len(a)) - np.repeat(np.cumsum(count) - count, count)
    near = np.repeat(own[:, None], int(count.max()), axis=1)
    near[a, column] = b
    return near


@lru_cache(maxsize=1024)
def _distances(places: Places, goal: tuple[float, ...]) -> np.ndarray:
    from scipy.sparse import csr_array
    from scipy.sparse.csgraph import dijkstra

    n = len(places.position)
    start, column = np.nonzero(places.near != np.arange(n)[:, None])
    end = places.near[start, column]
    point = np.asarray(goal)
    about = np.flatnonzero(apart(places.position - point) <= places.link_m)
    start, end = np.concatenate([start, np.full(len(about), n)]), np.concatenate([end, about])
    every = np.concatenate([places.position, point[None]])
    # two places that are one and the same would be no edge in a sparse matrix
    weights = np.maximum(lengths(every[start] - every[end]), 1e-9)
    links = csr_array((weights, (start, end)), shape=(n + 1, n + 1))
    found: np.ndarray = dijkstra(links, directed=True, indices=np.array([n]))[0, :n]
    found.setflags(write=False)
    return found
