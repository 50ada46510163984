"""Shortest paths against closed forms and against Dijkstra on a fine grid."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import dijkstra

from pilotage.envs.rooms import geodesic, make_house
from pilotage.envs.rooms.geodesic import build_graph, nav_graph

R = 0.18
NO_CIRCLES = np.zeros((0, 3))


def test_straight_in_the_open():
    field = build_graph(np.array([[50.0, 50, 51, 51]]), NO_CIRCLES, R).field(np.array([[3.0, 4]]))
    assert field.distance(0.0, 0.0) == pytest.approx(5.0)
    assert field.path(0.0, 0.0).tolist() == [[0.0, 0.0], [3.0, 4.0]]


def test_around_a_wall_end():
    """Tangent, arc of the body's radius, tangent: the exact path around the end of a thin wall."""
    wall = np.array([[-10.0, -0.0005, 0.0, 0.0005]])
    field = build_graph(wall, NO_CIRCLES, R).field(np.array([[-2.0, 1.0]]))
    far = math.hypot(2.0, 1.0)
    tangent = math.sqrt(far**2 - R**2)
    # angle at the wall's end between the two points, less the two angles up to the tangent points
    arc = 2 * math.atan2(1.0, -2.0) - 2 * math.acos(R / far)
    exact = 2 * tangent + R * arc
    assert field.distance(-2.0, -1.0) == pytest.approx(exact, abs=0.03)
    assert field.distance(-2.0, -1.0) > exact - 0.015


def test_around_a_round_thing():
    field = build_graph(np.zeros((0, 4)), np.array([[0.0, 0.0, 0.5]]), R).field(
        np.array([[2.0, 0]])
    )
    reach = 0.5 + R
    exact = 2 * math.sqrt(4 - reach**2) + reach * (math.pi - 2 * math.acos(reach / 2))
    assert field.distance(-2.0, 0.0) == pytest.approx(exact, rel=0.02)
    assert field.distance(-2.0, 0.0) > exact - 0.02


def test_nearest_of_several_goals_and_no_way():
    box = [[-1.0, -1, 1, -0.9], [-1, 0.9, 1, 1], [-1, -1, -0.9, 1], [0.9, -1, 1, 1]]
    graph = build_graph(np.array(box), NO_CIRCLES, R)
    field = graph.field(np.array([[5.0, 0.0], [0.0, 4.0]]))
    assert field.distance(0.0, 3.0) == pytest.approx(1.0)
    assert field.distance(0.0, 0.0) == math.inf
    with pytest.raises(ValueError, match="no free path"):
        field.path(0.0, 0.0)
    with pytest.raises(ValueError, match="not free"):
        graph.field(np.array([[0.95, 0.0]]))


def _free_on_grid(house, xs, ys):
    """Whether the body fits at each grid point, from the drawn bodies, not the obstacle list."""
    x, y = np.meshgrid(xs, ys, indexing="ij")
    free = (x > R) & (y > R) & (x < house.size[0] - R) & (y < house.size[1] - R)
    for body in house.bodies:
        if not body.solid:
            continue
        (cx, cy, _), (sx, sy, _) = body.part.center, body.part.size
        if body.part.shape == "box":
            gap = np.hypot(np.maximum(abs(x - cx) - sx, 0), np.maximum(abs(y - cy) - sy, 0))
        else:
            gap = np.hypot(x - cx, y - cy) - sx
        free &= gap >= R
    return free


def _grid_distances(house, start, cell=0.05):
    """Dijkstra over a 16-connected grid: never shorter than the truth but for snapping."""
    xs, ys = np.arange(cell / 2, house.size[0], cell), np.arange(cell / 2, house.size[1], cell)
    free = _free_on_grid(house, xs, ys)
    index = np.arange(free.size).reshape(free.shape)
    rows, cols, data = [], [], []
    for di, dj in ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2)):
        j0, j1 = max(0, -dj), free.shape[1] - max(0, dj)
        a = (slice(0, free.shape[0] - di), slice(j0, j1))
        b = (slice(di, None), slice(j0 + dj, j1 + dj))
        ok = free[a] & free[b]
        rows.append(index[a][ok])
        cols.append(index[b][ok])
        data.append(np.full(ok.sum(), cell * math.hypot(di, dj)))
    entries = (np.concatenate(data), (np.concatenate(rows), np.concatenate(cols)))
    graph = coo_matrix(entries, shape=(free.size, free.size)).tocsr()
    source = index[int(start[0] / cell), int(start[1] / cell)]
    assert free.ravel()[source]
    return xs, ys, free, dijkstra(graph, directed=False, indices=source).reshape(free.shape)


@pytest.mark.parametrize("seed", [11, 12])
def test_agrees_with_a_fine_grid(seed):
    house = make_house(seed)
    graph = nav_graph(house)
    rng = np.random.default_rng(seed)
    places = [p for p in rng.uniform(0, 1, (400, 2)) * house.size if graph.clearance(*p) > 0.1]
    start = places[0]
    field = graph.field(start[None])
    xs, ys, _, grid = _grid_distances(house, start)
    compared = 0
    for x, y in places[1:121]:
        i, j = int(x / 0.05), int(y / 0.05)
        here = field.distance(xs[i], ys[j])
        if math.isinf(grid[i, j]) or math.isinf(here):
            assert math.isinf(grid[i, j])
            assert math.isinf(here)
            continue
        compared += 1
        assert here <= grid[i, j] * 1.005 + 0.06  # corners are cut to octagons, starts are snapped
        assert here >= grid[i, j] / 1.03 - 0.06  # 16 directions are at most 2.8 % too long
    assert compared > 80


def test_finer_corners_change_little(monkeypatch):
    """Halving the step along the round corners changes distances by far less than 2 %."""
    for seed in range(6):
        house = make_house(seed)
        coarse = nav_graph(house)
        monkeypatch.setattr(geodesic, "_ARC_POINTS", 4)
        fine = build_graph(coarse.rects, coarse.circles, R)
        monkeypatch.undo()
        points = np.random.default_rng(seed).uniform(0, 1, (60, 2)) * house.size
        points = [p for p in points if coarse.clearance(*p) > 0.05]
        a, b = coarse.field(points[0][None]), fine.field(points[0][None])
        for p in points[1:]:
            if math.isfinite(b.distance(*p)):
                assert a.distance(*p) == pytest.approx(b.distance(*p), rel=0.01, abs=0.01)


def test_path_has_the_distance_and_is_free():
    house = make_house(2)
    graph = nav_graph(house)
    rng = np.random.default_rng(0)
    places = [p for p in rng.uniform(0, 1, (80, 2)) * house.size if graph.clearance(*p) > 0.05]
    field = graph.field(np.array(places[:2]))
    for p in places[2:]:
        if math.isinf(field.distance(*p)):
            continue
        path = field.path(*p)
        length = np.linalg.norm(np.diff(path, axis=0), axis=1).sum()
        assert length == pytest.approx(field.distance(*p), abs=1e-6)
        for a, b in itertools.pairwise(path):
            for t in np.linspace(0, 1, 50):
                assert graph.clearance(*(a + t * (b - a))) > -0.0061
