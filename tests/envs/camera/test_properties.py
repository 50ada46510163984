"""Laws that hold for any world: rigid motion, order, scale, cropping."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from pilotage.envs.camera import Cameras, Primitives, render

SEEDS = st.integers(0, 2**31 - 1)
QUICK = settings(max_examples=25, deadline=None, derandomize=True)


def _same_but_for_edges(first, second, rtol=1e-4):
    """Equal segments on all but 1 % of the pixels (edges move by float32), equal depth there."""
    same = first.segment == second.segment
    assert same.mean() > 0.99
    close = np.isclose(first.depth_m, second.depth_m, rtol=rtol, atol=1e-5)
    assert close[same].mean() > 0.998  # grazing rays of silhouettes


@QUICK
@given(seed=SEEDS)
def test_moving_world_and_camera_together_changes_nothing(random_world, seed):
    prims, cameras = random_world(seed)
    before = render(prims, cameras, height=32, width=32)
    rng = np.random.default_rng(seed)
    turn = Rotation.random(rng=rng).as_matrix()
    shift = rng.uniform(-2, 2, 3)
    moved = Primitives(**{name: value.copy() for name, value in vars(prims).items()})
    moved.position[:] = prims.position @ turn.T + shift
    moved.rotation[:] = turn @ prims.rotation
    camera = Cameras(
        (cameras.position @ turn.T + shift).astype(np.float32),
        (turn @ cameras.rotation).astype(np.float32),
        cameras.fov_y_deg,
    )
    _same_but_for_edges(before, render(moved, camera, height=32, width=32))


@QUICK
@given(seed=SEEDS)
def test_the_order_of_primitives_does_not_matter(random_world, seed):
    prims, cameras = random_world(seed)
    order = np.random.default_rng(seed).permutation(prims.kind.shape[1])
    shuffled = Primitives(**{name: value[:, order] for name, value in vars(prims).items()})
    before = render(prims, cameras, height=32, width=32)
    after = render(shuffled, cameras, height=32, width=32)
    np.testing.assert_array_equal(before.depth_m, after.depth_m)
    np.testing.assert_array_equal(before.segment, after.segment)
    np.testing.assert_array_equal(before.rgb, after.rgb)


@QUICK
@given(seed=SEEDS, scale=st.floats(0.25, 4.0))
def test_a_world_twice_as_large_is_twice_as_far(random_world, seed, scale):
    prims, cameras = random_world(seed)
    before = render(prims, cameras, height=32, width=32)
    large = Primitives(**{name: value.copy() for name, value in vars(prims).items()})
    large.position *= np.float32(scale)
    large.size *= np.float32(scale)
    camera = Cameras(
        cameras.position * np.float32(scale),
        cameras.rotation,
        cameras.fov_y_deg,
        cameras.near_m * scale,
        cameras.far_m * scale,
    )
    after = render(large, camera, height=32, width=32)
    after.depth_m /= np.float32(scale)
    _same_but_for_edges(before, after)


@QUICK
@given(seed=SEEDS)
def test_adding_a_body_never_moves_anything_away(random_world, seed):
    prims, cameras = random_world(seed)
    fewer = Primitives(**{name: value[:, :-1] for name, value in vars(prims).items()})
    before = render(fewer, cameras, height=32, width=32)
    after = render(prims, cameras, height=32, width=32)
    assert (after.depth_m <= before.depth_m).all()
    unchanged = after.segment != prims.kind.shape[1] - 1
    np.testing.assert_array_equal(after.rgb[unchanged], before.rgb[unchanged])
