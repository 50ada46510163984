"""Scenes, routes and measures, against dense sampling and closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from pilotage.envs.patheval.descriptors import DESCRIPTORS, measure
from pilotage.envs.patheval.routes import (
    NEAR_GOAL,
    RADII,
    _segments_apart,
    find_route,
    find_routes,
)
from pilotage.envs.patheval.scenes import (
    BOUND,
    FAMILIES,
    GOAL,
    HALF_THICKNESS,
    START,
    Scene,
    make_scene,
)


def spread(segments: np.ndarray, n: int) -> np.ndarray:
    """[S * n, 2]: points along segments [S, 4]."""
    share = np.linspace(0, 1, n)[None, :, None]
    points = segments[:, None, :2] * (1 - share) + segments[:, None, 2:] * share
    return points.reshape(-1, 2)


def least_apart(some: np.ndarray, others: np.ndarray) -> float:
    return float(np.sqrt(((some[:, None] - others[None]) ** 2).sum(-1)).min())


@pytest.mark.parametrize("family", FAMILIES)
def test_a_scene_is_its_seed_and_leaves_room_at_both_ends(family: str) -> None:
    scene, again, other = (make_scene(family, seed) for seed in (3, 3, 4))
    assert np.array_equal(scene.walls, again.walls)
    assert scene.walls.shape != other.walls.shape or not np.array_equal(scene.walls, other.walls)
    assert len(scene.walls) > 10
    assert np.array_equal(scene.walls, np.round(scene.walls, 2))
    points = spread(scene.walls, 50)
    assert np.abs(points).max() <= 50
    for end in (START, GOAL):
        assert least_apart(np.array([end]), points) > 4.8


@pytest.mark.parametrize("family", FAMILIES)
def test_a_route_keeps_the_robot_off_the_walls_all_the_way(family: str) -> None:
    scene = make_scene(family, 0)
    walls = spread(scene.walls, 40)
    for radius in RADII:
        path = find_route(scene.walls, radius, np.random.default_rng(5))
        assert path is not None
        along = spread(np.concatenate([path[:-1], path[1:]], axis=1), 40)
        assert least_apart(along, walls) - HALF_THICKNESS >= radius
        assert np.abs(path).max() <= BOUND
        assert np.abs(path[0] - START).max() < 0.01
        assert math.dist(path[-1], GOAL) < NEAR_GOAL + 0.01


def test_runs_differ_and_are_repeated_by_their_seed() -> None:
    scene = make_scene("random", 1)
    routes, again = find_routes(scene, 6, seed=2), find_routes(scene, 6, seed=2)
    assert len(routes) == 6
    assert all(np.array_equal(a, b) for a, b in zip(routes, again))
    assert len({route.tobytes() for route in routes}) == 6
    assert not np.array_equal(routes[0], find_routes(scene, 1, seed=3)[0])


def test_a_walled_goal_is_not_reached() -> None:
    a, b = 28.0, 39.9
    box = np.array([(a, a, b, a), (a, b, b, b), (a, a, a, b), (b, a, b, b)])
    assert find_route(box, 0.5, np.random.default_rng(0)) is None
    assert find_routes(Scene("random", 0, box), 2) == []


def test_distance_of_segments_is_that_of_their_nearest_points() -> None:
    rng = np.random.default_rng(0)
    for _ in range(60):
        pair = rng.uniform(-5, 5, (2, 4))
        sampled = least_apart(spread(pair[:1], 300), spread(pair[1:], 300))
        assert sampled - 0.05 <= _segments_apart(*pair[0], *pair[1]) <= sampled + 1e-9
    assert _segments_apart(0, 0, 2, 2, 0, 2, 2, 0) == 0.0


def test_measures_of_a_path_worked_out_by_hand() -> None:
    """East 10, back west 6 and north 8 (a turn by 126.87 degrees), north 5 (by 36.87)."""
    path = np.array([(0, 0), (10, 0), (4, 8), (4, 13)], float)
    walls = np.array([(0, -3, 20, -3), (9, 11, 30, 11)], float)
    found = dict(zip(DESCRIPTORS, measure(path, walls).tolist()))
    clear = [2.5, 2.5, math.sqrt(34) - 0.5, math.sqrt(29) - 0.5]
    assert found == {
        "average clearance": round(sum(clear) / 4, 2),
        "minimum clearance": 2.5,
        "maximum clearance": 5.33,
        "path length": 25.0,
        "number of sharp turns": 1.0,
        "maximum turning angle": 126.87,
        "smoothness": 163.74,
    }


def test_measures_of_routes_by_sampled_walls_and_the_law_of_cosines() -> None:
    scene = make_scene("waves", 2)
    walls = spread(scene.walls, 300)
    for path in find_routes(scene, 4, seed=1):
        clear = [least_apart(p[None], walls) - HALF_THICKNESS for p in path]
        lengths = [math.dist(a, b) for a, b in itertools.pairwise(path)]
        turns = []
        for k in range(1, len(path) - 1):
            a, b, c = lengths[k - 1], lengths[k], math.dist(path[k - 1], path[k + 1])
            turns.append(180 - math.degrees(math.acos((a * a + b * b - c * c) / (2 * a * b))))
        assert measure(path, scene.walls) == pytest.approx(
            [
                np.mean(clear), min(clear), max(clear), sum(lengths),
                sum(t > 90 for t in turns), max(turns), sum(turns),
            ],
            abs=0.02,
        )  # fmt: skip


def test_bad_scenes_and_paths_are_named() -> None:
    walls = np.array([(0.0, 0.0, 1.0, 0.0)])
    with pytest.raises(ValueError, match="unknown family 'spiral'"):
        make_scene("spiral", 0)
    with pytest.raises(ValueError, match="seed must be >= 0, got -1"):
        make_scene("rings", -1)
    with pytest.raises(ValueError, match=r"walls must be .* got shape \[1, 2\]"):
        Scene("rings", 0, walls[:, :2])
    with pytest.raises(ValueError, match=r"got shape \[1, 2\]"):
        measure(np.zeros((1, 2)), walls)
    with pytest.raises(ValueError, match="vertices 1 and 2 are both"):
        measure(np.array([(0, 1), (2, 2), (2, 2)], float), walls)
    with pytest.raises(ValueError, match="has no walls"):
        measure(np.array([(0, 1), (2, 2)], float), walls[:0])
    with pytest.raises(ValueError, match="n_runs and seed must be >= 0, got -1 and 0"):
        find_routes(make_scene("random", 0), -1)
