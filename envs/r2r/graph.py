"""The navigation graph of one Matterport3D scan: viewpoints, edges, shortest paths.

Plain data. The rules are those of the R2R evaluation (Anderson et al. 2018, arXiv:1711.07280): a
viewpoint counts when it is `included`, an edge joins two of them where `unobstructed`, and its
length is the straight 3-D distance of the two cameras.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DataError
from .files import field_of, read_json


@dataclass(frozen=True, eq=False)
class ScanGraph:
    """Viewpoints of a scan and who can see whom. V viewpoints, numbered as in the file.

    `position` is float64 [V, 3], metres, z up: where the camera stood. `adjacent` is bool [V, V],
    symmetric, its diagonal False.
    """

    scan: str
    viewpoints: tuple[str, ...]
    position: np.ndarray
    adjacent: np.ndarray
    index: dict[str, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "index", {name: i for i, name in enumerate(self.viewpoints)})
        n = len(self.viewpoints)
        if len(self.index) != n:
            raise DataError(f"scan {self.scan}: a viewpoint id occurs twice")
        if self.position.shape != (n, 3) or not np.isfinite(self.position).all():
            raise DataError(f"scan {self.scan}: positions must be finite numbers [{n}, 3]")
        if self.adjacent.shape != (n, n) or self.adjacent.diagonal().any():
            raise DataError(f"scan {self.scan}: adjacency must be [{n}, {n}] without loops")
        if (self.adjacent != self.adjacent.T).any():
            i, j = np.argwhere(self.adjacent != self.adjacent.T)[0]
            raise DataError(
                f"scan {self.scan}: {self.viewpoints[i]} and {self.viewpoints[j]} are joined in "
                "one direction only"
            )

    @property
    def n_edges(self) -> int:
        return int(self.adjacent.sum()) // 2

    @cached_property
    def edge_length(self) -> np.ndarray:
        """float64 [V, V], metres; 0 where there is no edge."""
        gaps = np.linalg.norm(self.position[:, None] - self.position[None], axis=-1)
        return np.where(self.adjacent, gaps, 0.0)

    @cached_property
    def _paths(self) -> tuple[np.ndarray, np.ndarray]:
        from scipy.sparse import csr_array
        from scipy.sparse.csgraph import dijkstra

        lengths, before = dijkstra(
            csr_array(self.edge_length), directed=False, return_predecessors=True
        )
        return lengths, before

    @property
    def distance(self) -> np.ndarray:
        """Shortest path lengths float64 [V, V], metres; infinite between separate parts."""
        return self._paths[0]

    @property
    def next_hop(self) -> np.ndarray:
        """int32 [V, V]: `next_hop[goal, v]` is the viewpoint after v on a shortest path to `goal`;
        negative at the goal itself and where there is no path.
        """
        return self._paths[1]

    def number(self, viewpoint: str, where: str) -> int:
        """The number of a viewpoint; DataError with `where` for one that this scan lacks."""
        if viewpoint not in self.index:
            raise DataError(
                f"{where}: viewpoint {viewpoint!r} is not in the graph of scan {self.scan}"
            )
        return self.index[viewpoint]

    def numbers(self, path: Sequence[str], where: str) -> np.ndarray:
        """int64 [n] for viewpoint ids."""
        return np.array([self.number(v, where) for v in path], np.int64)

    def route(self, start: int, goal: int) -> list[int]:
        """A shortest path, both ends included; ValueError when there is none."""
        route = [start]
        while route[-1] != goal:
            step = int(self.next_hop[goal, route[-1]])
            if step < 0:
                raise ValueError(
                    f"scan {self.scan}: there is no path from {self.viewpoints[start]} to "
                    f"{self.viewpoints[goal]}"
                )
            route.append(step)
        return route


def read_graph(path: Path, scan: str) -> ScanGraph:
    """The graph in a `<scan>_connectivity.json` file.

    Raises DataMissing, or DataError naming the entry that is damaged.
    """
    entries = read_json(path, list)
    names, poses, included = [], [], []
    for i, entry in enumerate(entries):
        where = f"{path} entry {i}"
        names.append(field_of(entry, "image_id", str, where))
        pose = field_of(entry, "pose", list, where)
        if len(pose) != 16:
            raise DataError(f"{where}: 'pose' has {len(pose)} numbers, expected 16")
        poses.append([_number(pose[k], where) for k in (3, 7, 11)])
        included.append(field_of(entry, "included", bool, where))
        row = field_of(entry, "unobstructed", list, where)
        if len(row) != len(entries):
            raise DataError(
                f"{where}: 'unobstructed' has {len(row)} entries for {len(entries)} viewpoints"
            )
    keep = np.flatnonzero(included)
    free = np.array([entry["unobstructed"] for entry in entries], bool)
    adjacent = free.reshape(len(entries), -1)[np.ix_(keep, keep)] if len(entries) else free
    if len(keep) == 0:
        raise DataError(f"{path}: no viewpoint is included")
    np.fill_diagonal(adjacent, False)
    position = np.array(poses, np.float64)[keep]
    return ScanGraph(scan, tuple(names[i] for i in keep), position, adjacent)


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise DataError(f"{where}: {value!r} in 'pose' is no number")
    return float(value)
