"""The fast back-ends against the float64 reference, and a world's picture against its neighbours.

A pixel is *unsettled*, and is not compared, when moving its ray by a thousandth of a pixel in the
reference changes what it hits (segment) or its colour by more than two levels: an edge of a body, a
box or a checker. All other pixels must agree: the same segment, colours within one level, depth
within 1e-4 of its value plus what that thousandth of a pixel does to it (nearly nothing, but a
surface seen at a grazing angle is steep).
"""

import numpy as np
import pytest

from pilotage.envs.camera import Cameras, Primitives, render
from pilotage.envs.camera.reference import render_reference

FAST = ("numba", "torch")
SHIFTS = [(1e-3, 0.0), (-1e-3, 0.0), (0.0, 1e-3), (0.0, -1e-3)]


def _settled(prims, cameras, height, width, truth):
    """Settled pixels, and how far depth moves under the shifts."""
    settled = np.ones(truth.segment.shape, bool)
    slack = np.zeros(truth.depth_m.shape)
    for shift in SHIFTS:
        moved = render_reference(prims, cameras, height, width, pixel_shift=shift)
        colour = np.abs(moved.rgb.astype(int) - truth.rgb).max(-1)
        settled &= (moved.segment == truth.segment) & (colour <= 2)
        slack = np.maximum(slack, np.abs(moved.depth_m - truth.depth_m))
    return settled, slack


@pytest.mark.parametrize("backend", FAST)
@pytest.mark.parametrize("seed", range(6))
def test_parity_with_the_reference(random_world, backend, seed):
    prims, cameras = random_world(seed, n_worlds=2, n_primitives=16)
    height, width = (48, 61) if seed % 2 else (64, 64)
    truth = render(prims, cameras, height=height, width=width, backend="reference")
    settled, slack = _settled(prims, cameras, height, width, truth)
    assert settled.mean() > 0.98
    frames = render(prims, cameras, height=height, width=width, backend=backend)
    assert (frames.segment == truth.segment)[settled].all()
    assert (np.abs(frames.rgb.astype(int) - truth.rgb)[settled] <= 1).all()
    error = np.abs(frames.depth_m - truth.depth_m)
    assert (error <= 1e-4 * truth.depth_m + slack)[settled].all()


@pytest.mark.parametrize("backend", FAST)
def test_parity_close_up(random_world, backend):
    """Camera among the bodies: near-plane crossings, cameras inside of bodies, bodies behind."""
    prims, cameras = random_world(11, n_worlds=8, n_primitives=24)
    rng = np.random.default_rng(1)
    cameras.position[:] = rng.uniform([-0.3, -0.3, 0.02], [0.3, 0.3, 0.5], (8, 3))
    truth = render(prims, cameras, height=40, width=40, backend="reference")
    settled, slack = _settled(prims, cameras, 40, 40, truth)
    frames = render(prims, cameras, height=40, width=40, backend=backend)
    assert settled.mean() > 0.95
    assert (frames.segment == truth.segment)[settled].all()
    error = np.abs(frames.depth_m - truth.depth_m)
    assert (error <= 1e-4 * truth.depth_m + slack)[settled].all()


@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_a_world_is_the_same_alone_and_anywhere_in_a_batch(random_world, backend):
    n = 7 if backend != "reference" else 3
    prims, cameras = random_world(21, n_worlds=n, n_primitives=14)
    together = render(prims, cameras, height=33, width=47, backend=backend)
    order = np.roll(np.arange(n), 2)[::-1]
    mixed = render(*_pick(prims, cameras, order), height=33, width=47, backend=backend)
    for world in range(n):
        alone = render(*_pick(prims, cameras, [world]), height=33, width=47, backend=backend)
        place = int(np.flatnonzero(order == world)[0])
        for name in ("rgb", "depth_m", "segment"):
            expected = getattr(together, name)[world]
            np.testing.assert_array_equal(getattr(alone, name)[0], expected)
            np.testing.assert_array_equal(getattr(mixed, name)[place], expected)


def test_torch_chunks_do_not_show(random_world, monkeypatch):
    from pilotage.envs.camera import torch_backend

    prims, cameras = random_world(22, n_worlds=5)
    whole = render(prims, cameras, height=24, width=24, backend="torch")
    monkeypatch.setattr(torch_backend, "MAX_TESTS", {"cpu": 1, "cuda": 1})
    pieces = render(prims, cameras, height=24, width=24, backend="torch")
    np.testing.assert_array_equal(whole.rgb, pieces.rgb)
    np.testing.assert_array_equal(whole.depth_m, pieces.depth_m)


def test_padding_slots_do_not_show(random_world):
    prims, cameras = random_world(23, n_worlds=2)
    padded = Primitives(
        **{name: np.concatenate([value, value], axis=1) for name, value in vars(prims).items()}
    )
    n = prims.kind.shape[1]
    padded.kind[:, n:] = 0
    padded.position[:, n:] = np.nan  # nothing is asked of padding
    for backend in ("numba", "torch", "reference"):
        plain = render(prims, cameras, height=24, width=24, backend=backend)
        frames = render(padded, cameras, height=24, width=24, backend=backend)
        np.testing.assert_array_equal(frames.rgb, plain.rgb)
        np.testing.assert_array_equal(frames.segment, plain.segment)


def test_render_torch_keeps_tensors_and_agrees_with_render(random_world):
    import torch

    from pilotage.envs.camera.torch_backend import render_torch, to_device

    prims, cameras = random_world(24, n_worlds=2)
    frames = render_torch(*to_device(prims, cameras, "cpu"), height=20, width=30)
    plain = render(prims, cameras, height=20, width=30, backend="torch")
    assert isinstance(frames.rgb, torch.Tensor)
    assert frames.rgb.dtype == torch.uint8
    np.testing.assert_array_equal(frames.rgb.numpy(), plain.rgb)
    np.testing.assert_array_equal(frames.depth_m.numpy(), plain.depth_m)
    np.testing.assert_array_equal(frames.segment.numpy(), plain.segment)


@pytest.mark.gpu
def test_cuda_parity(random_world):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    prims, cameras = random_world(25, n_worlds=4, n_primitives=20)
    truth = render(prims, cameras, height=64, width=64, backend="reference")
    settled, slack = _settled(prims, cameras, 64, 64, truth)
    frames = render(prims, cameras, height=64, width=64, device="cuda")
    assert (frames.segment == truth.segment)[settled].all()
    assert (np.abs(frames.rgb.astype(int) - truth.rgb)[settled] <= 1).all()
    error = np.abs(frames.depth_m - truth.depth_m)
    assert (error <= 1e-4 * truth.depth_m + slack)[settled].all()
    alone = render(*_pick(prims, cameras, [2]), height=64, width=64, device="cuda")
    np.testing.assert_array_equal(alone.rgb[0], frames.rgb[2])


def _pick(prims, cameras, worlds):
    chosen = Primitives(**{name: value[worlds] for name, value in vars(prims).items()})
    return chosen, Cameras(cameras.position[worlds], cameras.rotation[worlds], cameras.fov_y_deg)
