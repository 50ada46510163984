"""Shortest paths for a round body among the walls and furniture of a house, without a grid.

Obstacles are rectangles and circles in the floor plane. A body of radius r may go where its centre
is at least r from each of them. The boundary of that region has round corners; every corner is
replaced by two points on the circumscribed octagon, so a path is at most 1.5 cm longer per corner
than the exact one. The points form a visibility graph (de Berg et al., Computational Geometry,
ch. 15), and distances come from Dijkstra's algorithm on it. All lengths are metres.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import dijkstra

from pilotage.envs.rooms.house import AGENT_HEIGHT_M, AGENT_RADIUS_M, House, Rect
from pilotage.envs.rooms.plane import (
    best_anchor,
    distance_to_nearest,
    segment_blocked,
    visible_pairs,
)

CONTACT_SLACK_M = 0.006  # a body that touches a wall, within the physics' tolerance, is still free
_ARC_POINTS = 2  # points per right-angled corner: a quarter of an octagon


def obstacles(house: House) -> tuple[np.ndarray, np.ndarray]:
    """Rectangles `[m, 4]` and circles `[k, 3]` (x, y, radius) that the agent's body cannot enter.

    Parts covered in plan by another solid part of the same item add nothing and are left out.
    """
    rects: list[Rect] = []
    circles: list[tuple[float, float, float]] = []
    for body in house.bodies:
        part = body.part
        low = part.center[2] - part.size[{"box": 2, "cylinder": 1, "sphere": 0}[part.shape]]
        if not body.solid or low > AGENT_HEIGHT_M:
            continue
        if part.shape == "box":
            rects.append(body.footprint)
        else:
            circles.append((part.center[0], part.center[1], part.size[0]))
    rects = [r for i, r in enumerate(rects) if not _covered(r, i, rects)]
    circles = [
        c
        for i, c in enumerate(circles)
        if not any(_circle_in_rect(c, r) for r in rects)
        and not any(
            math.hypot(c[0] - o[0], c[1] - o[1]) + c[2] <= o[2] + 1e-9
            and (o[2] > c[2] + 1e-9 or j < i)
            for j, o in enumerate(circles)
            if j != i
        )
    ]
    return np.array(rects).reshape(-1, 4), np.array(circles).reshape(-1, 3)


def _covered(r: Rect, i: int, rects: list[Rect]) -> bool:
    e = 1e-9
    for j, o in enumerate(rects):
        inside = o[0] <= r[0] + e and o[1] <= r[1] + e and o[2] >= r[2] - e and o[3] >= r[3] - e
        if j != i and inside and (j < i or o != r):
            return True
    return False


def _circle_in_rect(c: tuple[float, float, float], r: Rect) -> bool:
    x, y, q = c
    return r[0] <= x - q and r[1] <= y - q and r[2] >= x + q and r[3] >= y + q


@dataclass(frozen=True, eq=False)
class NavGraph:
    """The visibility graph of a house for a body of `radius`."""

    rects: np.ndarray  # float64 [m, 4]
    circles: np.ndarray  # float64 [k, 3]
    radius: float
    points: np.ndarray  # float64 [v, 2], free corner points
    edges: csr_matrix  # [v, v] lengths of the mutually visible pairs

    @property
    def slack_radius(self) -> float:
        """Radius used to test whether a line is free: the body's, less the contact tolerance."""
        return self.radius - CONTACT_SLACK_M

    def clearance(self, x: float, y: float) -> float:
        """Free distance beyond the body's radius; negative where the body cannot stand."""
        return float(distance_to_nearest(x, y, self.rects, self.circles)) - self.radius

    def line_free(
        self, a: Sequence[float], b: Sequence[float], margin_m: float = -CONTACT_SLACK_M
    ) -> bool:
        """Whether the body, with `margin_m` around it, can go straight from a to b."""
        r = self.radius + margin_m
        return not segment_blocked(a[0], a[1], b[0], b[1], self.rects, self.circles, r)

    def field(self, goals: np.ndarray) -> GoalField:
        """Distances to the nearest of `goals` [g, 2]; ValueError for a goal inside an obstacle."""
        goals = np.asarray(goals, dtype=np.float64).reshape(-1, 2)
        for goal in goals:
            if self.clearance(*goal) < -CONTACT_SLACK_M:
                raise ValueError(f"goal {goal.tolist()} is not free for radius {self.radius} m")
        r = self.slack_radius
        zeros = np.zeros(len(goals))
        seen = [
            best_anchor(p[0], p[1], goals, zeros, self.rects, self.circles, r) for p in self.points
        ]
        first = np.array([s[1] for s in seen])
        costs = _distances(self.edges, first)
        anchors = np.concatenate([goals, self.points])
        return GoalField(self, len(goals), anchors, np.concatenate([zeros, costs]))


def _distances(edges: csr_matrix, first: np.ndarray) -> np.ndarray:
    """Cheapest total of any `first[i]` plus the way from point i, for every point."""
    n = len(first)
    finite = np.flatnonzero(np.isfinite(first))
    if not len(finite):
        return np.full(n, np.inf)
    coo = edges.tocoo()
    row = np.concatenate([coo.row, np.full(len(finite), n)])
    col = np.concatenate([coo.col, finite])
    data = np.concatenate([coo.data, np.maximum(first[finite], 1e-9)])
    graph = csr_matrix((data, (row, col)), shape=(n + 1, n + 1))
    return dijkstra(graph, indices=np.array([n]))[0, :n]


@dataclass(frozen=True, eq=False)
class GoalField:
    """Geodesic distance to a set of goals from anywhere in a house."""

    graph: NavGraph
    n_goals: int
    anchors: np.ndarray  # [g + v, 2]: the goals, then the corner points
    costs: np.ndarray  # [g + v]

    def distance(self, x: float, y: float) -> float:
        """Metres to the nearest goal along the shortest free path; inf when there is none.

        From a spot where no anchor is visible (pressed into a corner beyond the contact
        tolerance) the body is taken as a thinner one.
        """
        return self.next_anchor(x, y)[1]

    def next_anchor(self, x: float, y: float) -> tuple[int, float]:
        """Index in `anchors` of the shortest path's next corner, and the distance to a goal."""
        g = self.graph
        for r in (g.slack_radius, 0.9 * g.radius, 0.5 * g.radius):
            k, total = best_anchor(x, y, self.anchors, self.costs, g.rects, g.circles, r)
            if k >= 0:
                return int(k), float(total)
        return -1, math.inf

    def path(self, x: float, y: float) -> np.ndarray:
        """Corners of the shortest path from (x, y) to a goal, both included, `[p, 2]`."""
        points = [np.array([x, y])]
        k = self.next_anchor(x, y)[0]
        while k >= self.n_goals:
            points.append(self.anchors[k])
            k = self._after(k)[0]
        if k < 0:
            raise ValueError(f"no free path from ({x:.3f}, {y:.3f}) to the goal")
        return np.array([*points, self.anchors[k]])

    def _after(self, k: int) -> tuple[int, float]:
        """The anchor that follows anchor k on its shortest path."""
        v = k - self.n_goals
        edges = self.graph.edges
        span = slice(edges.indptr[v], edges.indptr[v + 1])
        near = edges.indices[span]
        totals = edges.data[span] + self.costs[self.n_goals + near]
        goals = np.arange(self.n_goals)
        x, y = self.anchors[k]
        g = self.graph
        i, direct = best_anchor(
            x, y, self.anchors[goals], self.costs[goals], g.rects, g.circles, g.slack_radius
        )
        if len(totals) and totals.min() < direct:
            j = int(np.argmin(totals))
            return int(near[j]) + self.n_goals, float(totals[j])
        return int(i), float(direct)


def _corner_points(rects: np.ndarray, circles: np.ndarray, radius: float) -> np.ndarray:
    """Octagon points around the convex corners of the obstacles' union and around the circles."""
    step = math.pi / 2 / _ARC_POINTS
    out: list[tuple[float, float]] = []
    reach = radius / math.cos(step / 2)
    for x0, y0, x1, y1 in rects:
        for x, y, sx, sy in ((x0, y0, -1, -1), (x1, y0, 1, -1), (x1, y1, 1, 1), (x0, y1, -1, 1)):
            beside = ((x + 1e-4 * sx, y - 1e-4 * sy), (x - 1e-4 * sx, y + 1e-4 * sy))
            if any(distance_to_nearest(px, py, rects, circles) == 0.0 for px, py in beside):
                continue  # another obstacle continues this wall: not a corner of the union
            for k in range(_ARC_POINTS):
                a = step * (k + 0.5)
                out.append((x + sx * reach * math.cos(a), y + sy * reach * math.sin(a)))
    for cx, cy, cr in circles:
        far = (cr + radius) / math.cos(step / 2)
        for k in range(4 * _ARC_POINTS):
            a = step * (k + 0.5)
            out.append((cx + far * math.cos(a), cy + far * math.sin(a)))
    points = np.array(out).reshape(-1, 2)
    free = [distance_to_nearest(x, y, rects, circles) >= radius for x, y in points]
    return points[np.array(free, dtype=bool)]


def build_graph(rects: np.ndarray, circles: np.ndarray, radius: float) -> NavGraph:
    """The visibility graph of rectangles `[m, 4]` and circles `[k, 3]` for a body of `radius`."""
    points = _corner_points(rects, circles, radius)
    lengths = visible_pairs(points, rects, circles, radius - CONTACT_SLACK_M)
    return NavGraph(rects, circles, radius, points, csr_matrix(lengths))


@lru_cache(maxsize=512)
def nav_graph(house: House) -> NavGraph:
    """The visibility graph of a house for the agent's body. Cached."""
    return build_graph(*obstacles(house), AGENT_RADIUS_M)


def rooms_connected(house: House) -> bool:
    """Whether every door, seen from both of its sides, is reachable from the first one."""
    graph = nav_graph(house)
    spots = []
    for door in house.doors:
        for sign in (-1, 1):
            spot = list(door.center)
            spot[door.axis] += 0.5 * sign
            spots.append(spot)
    if any(graph.clearance(*s) < 0 for s in spots):
        return False
    field = graph.field(np.array(spots[:1]))
    return all(math.isfinite(field.distance(*s)) for s in spots)
