"""Pictures whose answer can be written down, for every back-end."""

import numpy as np
import pytest

from pilotage.envs.camera import (
    BOX,
    CAPSULE,
    CYLINDER,
    PLANE,
    SPHERE,
    Cameras,
    Primitives,
    look_at,
    render,
)

BACKENDS = ("numba", "torch", "reference")
TURN_X = np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])  # local z -> world -y
FACING = np.diag([1.0, -1.0, -1.0])  # local z -> world -z, towards the camera


@pytest.fixture(params=BACKENDS)
def shoot(request):
    def run(prims, cameras, height=31, width=None):
        wide = width or height
        return render(prims, cameras, height=height, width=wide, backend=request.param)

    return run


@pytest.mark.parametrize(
    ("kind", "size", "rotation", "expected"),
    [
        (SPHERE, (0.3,), None, 1.7),
        (BOX, (0.2, 0.3, 0.4), None, 1.6),
        (CYLINDER, (0.2, 0.5), None, 1.5),  # cap towards the camera
        (CYLINDER, (0.2, 0.5), TURN_X, 1.8),  # side towards the camera
        (CAPSULE, (0.2, 0.5), None, 1.3),
        (CAPSULE, (0.2, 0.5), TURN_X, 1.8),
        (PLANE, (0.0,), FACING, 2.0),
    ],
)
def test_depth_straight_ahead(shoot, single, kind, size, rotation, expected):
    frames = shoot(*single(kind, size, rotation=rotation))
    assert frames.depth_m[0, 15, 15] == pytest.approx(expected, rel=1e-6)
    assert frames.segment[0, 15, 15] == 0


def test_depth_is_along_the_axis_not_the_ray(shoot, single):
    frames = shoot(*single(PLANE, (0.0,), rotation=FACING))
    np.testing.assert_allclose(frames.depth_m, 2.0, rtol=1e-6)


def test_floor_depth_by_row(shoot):
    """A level camera 1 m above the floor: row slope tan(a) hits at depth 1 / tan(a)."""
    prims, cameras = _floor(height_m=1.0)
    frames = shoot(prims, cameras, 40)
    rows = np.arange(40) + 0.5
    slope = (rows / 20 - 1) * np.tan(np.radians(30))
    below = (slope > 0) & (1 / np.maximum(slope, 1e-9) < cameras.far_m)
    np.testing.assert_allclose(frames.depth_m[0, below, 7], 1 / slope[below], rtol=1e-5)
    assert (frames.segment[0, ~below] == -1).all()
    assert (frames.depth_m[0, ~below] == cameras.far_m).all()


def test_small_spheres_land_on_the_pixels_that_a_pinhole_gives(shoot):
    rng = np.random.default_rng(5)
    eye, target = np.array([1.0, -2.0, 1.5]), np.array([0.1, 0.2, 0.3])
    points = rng.uniform(-0.4, 0.4, (20, 3)) + target
    prims = Primitives(
        kind=np.full((20, 1), SPHERE, np.int8),
        position=points[:, None].astype(np.float32),
        rotation=np.tile(np.eye(3, dtype=np.float32), (20, 1, 1, 1)),
        size=np.full((20, 1, 3), 0.06, np.float32),
        color=np.ones((20, 1, 3), np.float32),
        segment_id=np.full((20, 1), 3, np.int32),
    )
    cameras = Cameras(
        np.tile(eye.astype(np.float32), (20, 1)), np.tile(look_at(eye, target), (20, 1, 1)), 40.0
    )
    frames = shoot(prims, cameras, 96, 128)
    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    focal = 48 / np.tan(np.radians(20))
    for world, point in enumerate(points):
        ray = point - eye
        column = 64 + focal * (ray @ right) / (ray @ forward)
        row = 48 - focal * (ray @ np.cross(right, forward)) / (ray @ forward)
        seen = np.argwhere(frames.segment[world] == 3)
        assert len(seen) > 12
        np.testing.assert_allclose(seen.mean(axis=0) + 0.5, [row, column], atol=0.35)


def test_sphere_covers_its_solid_disc(shoot, single):
    """A centred sphere is a disc of radius f r / sqrt(d^2 - r^2) pixels."""
    frames = shoot(*single(SPHERE, (0.5,)), 201)
    focal = 100.5 / np.tan(np.radians(30))
    radius = focal * 0.5 / np.sqrt(4 - 0.25)
    assert (frames.segment == 0).sum() == pytest.approx(np.pi * radius**2, rel=0.005)


@pytest.mark.parametrize("kind", [BOX, SPHERE, CYLINDER, CAPSULE])
def test_a_camera_inside_a_body_looks_through_it(shoot, single, kind):
    frames = shoot(*single(kind, (0.5, 0.5, 0.5), position=(0.1, -0.2, 0.1)))
    assert (frames.segment == -1).all()


@pytest.mark.parametrize("kind", [BOX, SPHERE, CYLINDER, CAPSULE])
def test_a_body_behind_the_camera_is_not_seen(shoot, single, kind):
    frames = shoot(*single(kind, (0.5, 0.5, 0.5), position=(0.0, 0.0, -2.0)))
    assert (frames.segment == -1).all()


def test_plane_is_seen_from_the_side_of_its_normal_only(shoot, single):
    frames = shoot(*single(PLANE, (0.0,)))
    assert (frames.segment == -1).all()


@pytest.mark.parametrize(
    ("kind", "size", "rotation"),
    [
        (SPHERE, (0.5,), None),
        (BOX, (0.5, 0.5, 0.5), None),
        (CYLINDER, (0.5, 0.5), None),
        (CYLINDER, (0.5, 0.8), TURN_X),
        (CAPSULE, (0.5, 0.8), TURN_X),
        (CAPSULE, (0.25, 0.25), None),
    ],
)
def test_near_and_far_cut(shoot, single, kind, size, rotation):
    """A body that is entered at 1.5 m is whole or, cut by the near or far plane, not seen there."""

    def middle(**planes):
        return shoot(*single(kind, size, rotation=rotation, **planes)).segment[0, 15, 15]

    assert middle(near_m=1.4) == 0
    assert middle(near_m=1.6) == -1
    assert middle(far_m=1.6) == 0
    assert middle(far_m=1.4) == -1


def test_nothing_is_beyond_the_far_plane(shoot, single):
    frames = shoot(*single(SPHERE, (0.5,), far_m=1.4))
    assert (frames.segment == -1).all()
    assert (frames.depth_m == np.float32(1.4)).all()


def test_a_wall_that_crosses_the_near_plane_is_whole(shoot, single):
    """A long wall beside the camera, its near end behind: every ray to the right meets it."""
    prims, cameras = single(BOX, (0.1, 5.0, 9.0), position=(0.6, 0.0, 0.0))
    frames = shoot(prims, cameras, 32)
    x = ((np.arange(32) + 0.5) / 16 - 1) * np.tan(np.radians(30))
    hits = (x > 0) & (0.5 / np.maximum(x, 1e-9) < 9)
    assert (frames.segment[0] == np.where(hits, 0, -1)).all()
    np.testing.assert_allclose(frames.depth_m[0, 3, hits], 0.5 / x[hits], rtol=1e-5)


def test_the_first_primitive_wins_a_tie(shoot, single):
    prims, cameras = single(BOX, (0.2, 0.2, 0.2))
    twice = Primitives(**{name: np.repeat(value, 2, axis=1) for name, value in vars(prims).items()})
    twice.segment_id[0] = [4, 9]
    assert shoot(twice, cameras).segment[0, 15, 15] == 4


def test_light_falls_from_above(shoot, single):
    """Half Lambert: 0.4 + 0.6 (1 + n . l) / 2 with the light (0.48, 0.36, 0.8)."""
    prims, cameras = _floor(height_m=1.0)
    prims.color[:] = [1.0, 0.5, 0.0]
    rgb = shoot(prims, cameras).rgb[0, -1, 15]
    shade = 0.4 + 0.6 * (1 + 0.8) / 2
    np.testing.assert_array_equal(rgb, np.floor(255 * shade * np.array([1, 0.5, 0]) + 0.5))


def test_checker(shoot):
    """Straight down from 1 m: the square of (0.25 m) that each pixel hits alternates."""
    prims, cameras = _floor(height_m=1.0, checker_m=0.25)
    cameras.rotation[0] = look_at((0, 0, 1), (0, 0, 0), up=(0, 1, 0))
    frames = shoot(prims, cameras, 64)
    place = ((np.arange(64) + 0.5) / 32 - 1) * np.tan(np.radians(30))
    odd = (np.floor(place / 0.25)[None] + np.floor(-place / 0.25)[:, None]) % 2 == 1
    light, dark = frames.rgb[0][~odd], frames.rgb[0][odd]
    assert (light == light[0]).all()
    assert (dark == dark[0]).all()
    np.testing.assert_allclose(dark[0] / light[0], 0.8, atol=0.01)


def test_an_empty_world_is_sky(shoot):
    prims, cameras = _floor(height_m=1.0)
    prims.kind[:] = 0
    frames = shoot(prims, cameras, 64)
    assert (frames.segment == -1).all()
    assert (frames.depth_m == cameras.far_m).all()
    up = frames.rgb[0, :32, 32].astype(int)
    assert (np.diff(up[:, 0]) >= 0).all()  # redder and paler towards the horizon
    assert (frames.rgb[0, 32:] == frames.rgb[0, 40, 32]).all()  # flat below it


def test_a_world_without_primitive_slots(shoot):
    prims, cameras = _floor(height_m=1.0)
    none = Primitives(**{name: value[:, :0] for name, value in vars(prims).items()})
    assert (shoot(none, cameras).segment == -1).all()


def test_look_at_axes():
    rotation = look_at((0, 0, 0), (5, 0, 0))
    np.testing.assert_allclose(rotation.T, [[0, -1, 0], [0, 0, -1], [1, 0, 0]], atol=1e-7)
    assert rotation.dtype == np.float32


def _floor(height_m, checker_m=0.0):
    """A level camera above the plane z = 0."""
    prims = Primitives(
        kind=np.full((1, 1), PLANE, np.int8),
        position=np.zeros((1, 1, 3), np.float32),
        rotation=np.eye(3, dtype=np.float32)[None, None].copy(),
        size=np.array([[[checker_m, 0, 0]]], np.float32),
        color=np.full((1, 1, 3), 0.9, np.float32),
        segment_id=np.zeros((1, 1), np.int32),
    )
    eye = (0.0, 0.0, height_m)
    rotation = look_at(eye, (1.0, 0.0, height_m))
    return prims, Cameras(np.array([eye], np.float32), rotation[None], fov_y_deg=60.0)
