"""Robots in 3-D: bodies touch where geometry says so, and where the judge sees a collision."""

from __future__ import annotations

import importlib
import math
import sys

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance, make_tasks, validate_paths
from pilotage.envs.mapf.tasks import instance_of
from pilotage.envs.mapf.warehouse import WALL, Warehouse, drive, poses, wall_bars
from pilotage.planners.mapf import lacam

CORNER = MapfInstance.one_shot(np.ones((2, 2), bool), [[0, 0], [1, 0]], [[0, 1], [0, 0]])
AROUND = np.array([[[0, 0], [0, 1]], [[1, 0], [0, 0]]])  # one follows the other around a corner


def plan_of(seed: int) -> tuple[MapfInstance, np.ndarray]:
    (task,) = make_tasks("train", 1, seed=seed, families=["oneshot"], n_agents=10, size=10)
    instance = instance_of(task)
    result = lacam(instance, time_limit_s=60.0)
    assert validate_paths(instance, result.paths).success
    return instance, result.paths


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_plans_without_collisions_make_no_contact_and_swapped_ones_do(seed) -> None:
    """At 0.345 m, nearly what geometry allows; the broken plan swaps two neighbours at its end."""
    instance, paths = plan_of(seed)
    report = drive(instance, paths, radius=0.345, checks=8)
    assert report.contacts == ()
    assert report.closest_m >= math.sqrt(0.5) - 1e-9
    i, cell = next(
        (i, beside)
        for i, (row, col) in enumerate(paths[:, -1].tolist())
        for beside in ([row, col + 1], [row + 1, col])
        if max(beside) < 10 and instance.free[tuple(beside)]
    )
    j = (i + 1) % len(paths)
    swap = np.stack([np.stack([paths[i, -1], cell]), np.stack([cell, paths[i, -1]])])
    two = MapfInstance.one_shot(instance.free, swap[:, 0], swap[:, 1])
    assert not validate_paths(two, swap).success
    assert j != i
    assert [c[1:] for c in drive(two, swap, radius=0.345).contacts] == [(0, 1)]


@pytest.mark.parametrize(("radius", "touch"), [(0.345, False), (0.36, True)])
def test_around_a_corner_robots_touch_from_a_radius_of_half_the_root_of_a_half(
    radius, touch
) -> None:
    """Closed form: after s of the step they are sqrt(s^2 + (1 - s)^2) apart, at least 0.7071."""
    report = drive(CORNER, AROUND, radius=radius, checks=20)
    assert report.closest_m == pytest.approx(math.sqrt(0.5))
    assert bool(report.contacts) == touch
    if touch:
        ((time_s, one, two),) = report.contacts
        first = next(k / 20 for k in range(21) if math.hypot(k / 20, 1 - k / 20) < 2 * radius)
        assert (time_s, one, two) == (first, 0, 1)


def test_a_robot_that_leaves_the_free_cells_touches_the_wall() -> None:
    free = np.array([[1, 0, 1]], bool)
    instance = MapfInstance.one_shot(free, [[0, 0]], [[0, 2]])
    report = drive(instance, np.array([[[0, 0], [0, 1], [0, 2]]]), radius=0.3, checks=10)
    assert report.contacts == ((0.3, 0, WALL),)  # its front is at 0.6 m, the wall begins at 0.5 m
    assert report.closest_m == math.inf


def test_poses_by_hand() -> None:
    """North, then a wait, then west: constant speed, and the nose turns within 0.3 s."""
    paths = np.array([[[2, 1], [1, 1], [1, 1], [1, 0]]])
    for time_s, x, y, heading in (
        (0.0, 1, -2, 0),
        (0.15, 1, -1.85, math.pi / 4),
        (0.5, 1, -1.5, math.pi / 2),
        (1.7, 1, -1, math.pi / 2),
        (2.15, 0.85, -1, 3 * math.pi / 4),
        (3.0, 0, -1, math.pi),
        (9.0, 0, -1, math.pi),
    ):
        places, headings = poses(paths, time_s)
        assert places[0] == pytest.approx((x, y))
        assert headings[0] == pytest.approx(heading)


def test_bars_cover_the_walls_and_the_ring() -> None:
    free = np.random.default_rng(0).random((5, 7)) < 0.6
    covered = np.zeros((7, 9), int)
    for row, col, length in wall_bars(free):
        covered[row + 1, col + 1 : col + 1 + length] += 1
    assert (covered[1:-1, 1:-1] == ~free).all()
    covered[1:-1, 1:-1] = 1
    assert (covered == 1).all()


def test_a_picture_shows_each_robot_in_its_colour_where_it_stands() -> None:
    """Red on the left, cyan on the right; they change sides with the poses."""
    instance = MapfInstance.one_shot(np.ones((3, 7), bool), [[1, 0], [1, 6]], [[0, 3], [2, 3]])
    with Warehouse(instance) as hall:
        first = hall.picture(90, 160).astype(int)
        hall.place(np.array([[6.0, -1.0], [0.0, -1.0]]), np.zeros(2))
        second = hall.picture(90, 160).astype(int)
    for picture, left, right in ((first, 1, -1), (second, -1, 1)):
        redder = picture[..., 0] - picture[..., 2]
        strong = np.where(np.abs(redder) > 60, np.sign(redder), 0)
        assert np.sign(strong[:, :60].sum()) == left
        assert np.sign(strong[:, 100:].sum()) == right


def test_bad_input_is_refused() -> None:
    with pytest.raises(ValueError, match=r"radius must be in \(0, 0.5\)"):
        Warehouse(CORNER, radius=0.5)
    with pytest.raises(ValueError, match="checks must be >= 1"):
        drive(CORNER, AROUND, checks=0)
    with pytest.raises(ValueError, match=r"expected \[2, T \+ 1, 2\]"):
        drive(CORNER, AROUND[:1])
    with pytest.raises(ValueError, match="agent 1 jumps at step 1"):
        drive(CORNER, np.array([[[0, 0], [0, 1]], [[1, 0], [0, 1]]]))


def test_without_pybullet_the_remedy_is_named(monkeypatch) -> None:
    monkeypatch.delitem(sys.modules, "pilotage.envs.bullet")
    monkeypatch.setitem(sys.modules, "pybullet", None)
    with pytest.raises(ModuleNotFoundError, match="pip install pybullet"):
        importlib.import_module("pilotage.envs.bullet")
