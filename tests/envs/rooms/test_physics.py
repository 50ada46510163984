"""Touching, stopping and sliding against closed forms, PyBullet's gaps against geometry."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pilotage.envs.rooms import make_house
from pilotage.envs.rooms.geodesic import nav_graph
from pilotage.envs.rooms.physics import SKIN_M, AgentPhysics

R, WALL = 0.18, 0.06
EAST_STOP = 4.0 - WALL - R  # of the kitchen's east wall, away from its door


@pytest.fixture
def physics(two_rooms):
    physics = AgentPhysics()
    physics.load(two_rooms)
    yield physics
    physics.close()


def _walk(physics, x, y, heading, n, sliding):
    touches = []
    for _ in range(n):
        x, y, touched = physics.move(x, y, heading, 0.25, sliding=sliding)
        touches.append(touched)
    return x, y, touches


def test_free_moves_are_exact(physics):
    x, y, touched = physics.move(2.0, 2.0, 0.5, 0.25, sliding=True)
    assert not touched
    assert (x, y) == pytest.approx((2 + 0.25 * math.cos(0.5), 2 + 0.25 * math.sin(0.5)), abs=1e-12)


@pytest.mark.parametrize("sliding", [True, False])
def test_walks_into_a_wall_and_stops_at_its_radius(physics, sliding):
    x, y, touches = _walk(physics, 3.0, 1.0, 0.0, 8, sliding)
    assert x == pytest.approx(EAST_STOP, abs=2e-3)
    assert x <= EAST_STOP
    assert y == pytest.approx(1.0, abs=2e-3)
    assert touches == [False] * 3 + [True] * 5


def test_slides_by_the_part_along_the_wall(physics):
    heading = math.radians(30)
    start = (EAST_STOP - SKIN_M, 0.6)
    x, y, touched = physics.move(*start, heading, 0.25, sliding=True)
    assert touched
    assert y - start[1] == pytest.approx(0.25 * math.sin(heading), abs=3e-3)
    assert x == pytest.approx(EAST_STOP, abs=2e-3)


def test_without_sliding_it_stays(physics):
    start = (EAST_STOP - SKIN_M, 0.6)
    x, y, touched = physics.move(*start, math.radians(30), 0.25, sliding=False)
    assert touched
    assert (x, y) == pytest.approx(start, abs=1e-3)


def test_a_corner_holds_it(physics):
    x, y, _ = _walk(physics, 3.4, 0.6, math.radians(-40), 12, True)
    assert (x, y) == pytest.approx((EAST_STOP, WALL + R), abs=4e-3)


def test_goes_through_the_door(physics):
    x, y, touches = _walk(physics, 3.0, 2.0, 0.0, 8, True)
    assert not any(touches)
    assert (x, y) == pytest.approx((5.0, 2.0))


def test_passes_close_to_a_jamb_untouched(physics):
    """2 cm clear of the edge of the opening: near, and at first head-on, but never in the way."""
    start = 2.5 - R - 0.02
    x, y, touches = _walk(physics, 3.0, start, 0.0, 8, True)
    assert not any(touches)
    assert (x, y) == pytest.approx((5.0, start))


def test_slides_off_a_jamb_into_the_door(physics):
    """Aimed at the edge of the opening, 1 cm too far out, the round body rolls off into it."""
    x, _, touches = _walk(physics, 3.0, 2.5 - R + 0.01, 0.0, 10, True)
    assert any(touches)
    assert x > 4.5


def test_gaps_agree_with_plane_geometry():
    """Also: long random walks never enter anything, and leave the body's radius free."""
    physics = AgentPhysics()
    rng = np.random.default_rng(5)
    for seed in (21, 22):
        house = make_house(seed)
        graph = nav_graph(house)
        physics.load(house)
        for x, y in rng.uniform(0, 1, (150, 2)) * house.size:
            gap = graph.clearance(x, y)
            if 0.0 < gap < 0.4:
                assert physics.contacts(x, y, 0.5)[0][0] == pytest.approx(gap, abs=1e-3)
        x, y = next(p for p in rng.uniform(0, 1, (50, 2)) * house.size if graph.clearance(*p) > 0.1)
        heading = 0.3
        for _ in range(400):
            heading += rng.choice([-1, 0, 0, 0, 1]) * math.pi / 12
            nx, ny, touched = physics.move(x, y, heading, 0.25, sliding=True)
            went = math.hypot(nx - x, ny - y)
            assert went <= 0.25 + 2e-3
            assert touched or went == pytest.approx(0.25)
            for t in np.linspace(0, 1, 6):
                assert graph.clearance(x + t * (nx - x), y + t * (ny - y)) > -0.02
            x, y = nx, ny
            assert graph.clearance(x, y) > -1e-3
    physics.close()
