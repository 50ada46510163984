"""What is navigable from each of the 36 views of every viewpoint, as arrays.

The rules of Matterport3DSimulator (Anderson et al. 2018, arXiv:1711.07280), in radians: heading 0
is +y and grows clockwise; view index = heading step (of 30 deg) + 12 * elevation step (-30, 0, 30).
From a view one may go to the neighbours whose bearing is within half the horizontal field of view
(60 deg * 640 / 480 = 80 deg, so 40 deg) of the heading, at any elevation, nearest first by
sqrt(relative heading^2 + relative elevation^2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from .errors import DataError
from .graph import ScanGraph

N_HEADINGS, N_ELEVATIONS, N_VIEWS = 12, 3, 36
STEP = math.pi / 6
HALF_FIELD = math.radians(60.0) * 640 / 480 / 2
MAX_CANDIDATES = 16


@dataclass(frozen=True, eq=False)
class ViewTables:
    """Neighbours of V viewpoints in the order of a panorama, padded to K = `MAX_CANDIDATES`.

    That order is the one of panoramic agents: by first sight when the views 0..35 are looked
    through, and each neighbour belongs to the view whose centre is nearest to it.
    """

    count: np.ndarray  # int16 [V], neighbours
    neighbour: np.ndarray  # int32 [V, K], viewpoint numbers, -1 behind `count`
    view: np.ndarray  # int8 [V, K], view index that faces the neighbour best
    heading: np.ndarray  # float64 [V, K], bearing in [-pi, pi)
    elevation: np.ndarray  # float64 [V, K]
    distance: np.ndarray  # float64 [V, K], metres
    n_navigable: np.ndarray  # int8 [V, 36]
    navigable: np.ndarray  # int8 [V, 36, K], columns of `neighbour`, nearest first; -1 behind


def wrapped(angle: np.ndarray) -> np.ndarray:
    """Angles brought into [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def view_angles(view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(heading, elevation) in radians of view indices."""
    return view % N_HEADINGS * STEP, (view // N_HEADINGS - 1) * STEP


def view_tables(graph: ScanGraph) -> ViewTables:
    """The tables of a scan; DataError when a viewpoint has too many neighbours."""
    n = len(graph.viewpoints)
    count = graph.adjacent.sum(axis=1)
    if count.max(initial=0) > MAX_CANDIDATES:
        raise DataError(
            f"scan {graph.scan}: {graph.viewpoints[int(count.argmax())]} has {count.max()} "
            f"neighbours, at most {MAX_CANDIDATES} fit the action space"
        )
    neighbour = np.full((n, MAX_CANDIDATES), -1, np.int32)
    for v, row in enumerate(graph.adjacent):
        neighbour[v, : count[v]] = np.flatnonzero(row)
    _, navigable = _navigable(graph, neighbour)
    order = _first_sight(navigable, count)
    neighbour = np.take_along_axis(neighbour, order, axis=1)
    n_navigable, navigable = _navigable(graph, neighbour)
    heading, elevation, distance = _bearings(graph, neighbour)
    views = np.arange(N_VIEWS)
    angle = _angle(heading, elevation, views)  # [V, 36, K]
    return ViewTables(
        count.astype(np.int16),
        neighbour,
        angle.argmin(axis=1).astype(np.int8),
        heading,
        elevation,
        distance,
        n_navigable,
        navigable,
    )


def _bearings(graph: ScanGraph, neighbour: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Bearing, elevation (rad) and distance (m) of neighbours, [V, K]; 0 in the padding."""
    padding = neighbour < 0
    gap = graph.position[np.where(padding, 0, neighbour)] - graph.position[:, None]
    gap[padding] = 0.0
    heading = wrapped(np.arctan2(gap[..., 0], gap[..., 1]))
    elevation = np.arctan2(gap[..., 2], np.hypot(gap[..., 0], gap[..., 1]))
    heading[padding] = 0.0
    return heading, elevation, np.linalg.norm(gap, axis=-1)


def _angle(heading: np.ndarray, elevation: np.ndarray, views: np.ndarray) -> np.ndarray:
    """sqrt(rel. heading^2 + rel. elevation^2) to the centres of views, [V, len(views), K].

    Rounded, so that ties (a bearing half way between two views) go to the first, not to noise.
    """
    toward, up = view_angles(views)
    rel_heading = wrapped(heading[:, None] - toward[None, :, None])
    return np.hypot(rel_heading, elevation[:, None] - up[None, :, None]).round(9)


def _navigable(graph: ScanGraph, neighbour: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How many neighbours each view offers, [V, 36], and which, nearest first, [V, 36, K]."""
    heading, elevation, _ = _bearings(graph, neighbour)
    views = np.arange(N_VIEWS)
    toward = view_angles(views)[0]
    rel_heading = wrapped(heading[:, None] - toward[None, :, None])
    inside = (np.abs(rel_heading) <= HALF_FIELD) & (neighbour >= 0)[:, None]
    angle = np.where(inside, _angle(heading, elevation, views), np.inf)
    order = angle.argsort(axis=-1, kind="stable").astype(np.int8)
    number = inside.sum(axis=-1)
    order[np.arange(order.shape[-1]) >= number[..., None]] = -1
    return number.astype(np.int8), order


def _first_sight(navigable: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Columns in the order in which they are met in views 0, 1, ..., int64 [V, K]."""
    order = np.tile(np.arange(MAX_CANDIDATES), (len(navigable), 1))
    for v, views in enumerate(navigable):
        met = list(dict.fromkeys(int(c) for c in views[:N_HEADINGS].ravel() if c >= 0))
        order[v, : count[v]] = met
    return order
