"""Bad input is refused with the field, the world and the value; nothing is drawn."""

import subprocess
import sys

import numpy as np
import pytest

from pilotage.envs.camera import Primitives, look_at, render


def _set(field, where, value):
    def change(prims, cameras):
        getattr(prims, field)[where] = value

    return change


def _camera(field, where, value):
    def change(prims, cameras):
        getattr(cameras, field)[where] = value

    return change


def _replace(field, value):
    def change(prims, cameras):
        target = prims if hasattr(prims, field) else cameras
        setattr(target, field, value)

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_set("kind", (1, 2), 6), r"primitives\.kind\[\(1, 2\)\] \(world 1\) is 6"),
        (_set("kind", (0, 3), -1), r"primitives\.kind.*\(world 0\) is -1"),
        (_set("position", (1, 2, 0), np.nan), r"primitives\.position\[1, 2, 0\] \(world 1\).*nan"),
        (_set("position", (2, 1, 1), np.inf), r"primitives\.position\[2, 1, 1\] \(world 2\).*inf"),
        (_set("size", (1, 2, 0), -0.5), r"primitives\.size\[1, 2, 0\] \(world 1\).*> 0.*-0\.5"),
        (_set("size", (1, 2, 0), 0.0), r"primitives\.size\[1, 2, 0\] \(world 1\).*got 0\.0"),
        (_set("size", (1, 0, 0), -0.5), r"primitives\.size\[1, 0\].*checker edge"),
        (_set("color", (0, 2, 1), 1.5), r"primitives\.color\[0, 2, 1\] \(world 0\).*got 1\.5"),
        (_set("color", (0, 2, 1), np.nan), r"primitives\.color\[0, 2, 1\] \(world 0\).*nan"),
        (_set("segment_id", (2, 2), -3), r"primitives\.segment_id\[2, 2\] \(world 2\).*-3"),
        (_set("rotation", (1, 2), 0.0), r"primitives\.rotation\[1, 2\] \(world 1\).*orthonormal"),
        (_set("rotation", (1, 2, 0, 0), np.nan), r"primitives\.rotation\[1, 2\] \(world 1\)"),
        (_camera("position", (2, 0), np.nan), r"cameras\.position\[2, 0\] \(world 2\).*nan"),
        (_camera("rotation", 2, 2.0), r"cameras\.rotation\[2\] \(world 2\).*orthonormal"),
        (_replace("kind", np.zeros(3, np.int8)), r"primitives\.kind must be \[B, P\]"),
        (_replace("size", np.ones((3, 12, 2))), r"primitives\.size must have shape \(3, 12, 3\)"),
        (_replace("color", np.ones((2, 12, 3))), r"primitives\.color must have shape .*\(2, 12"),
        (_replace("fov_y_deg", 180.0), r"fov_y_deg must be in \(0, 180\) degrees, got 180"),
        (_replace("fov_y_deg", float("nan")), r"fov_y_deg.*nan"),
        (_replace("near_m", 0.0), r"near_m=0\.0"),
        (_replace("near_m", 30.0), r"near_m=30\.0, far_m=20\.0"),
        (_replace("far_m", float("inf")), r"far_m=inf"),
    ],
)
@pytest.mark.parametrize("backend", ["numba", "torch", "reference"])
def test_bad_values(random_world, backend, change, message):
    prims, cameras = random_world(2, n_worlds=3)
    prims.kind[:, 2] = 2
    change(prims, cameras)
    with pytest.raises(ValueError, match=message):
        render(prims, cameras, height=8, width=8, backend=backend)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"height": 0}, "height must be in 1..16384 pixels, got 0"),
        ({"width": -4}, "width must be in 1..16384 pixels, got -4"),
        ({"width": 8.0}, "width must be a whole number of pixels, got 8.0"),
        ({"height": True}, "height must be a whole number"),
        ({"supersample": 0}, r"supersample must be a whole number in 1\.\.8, got 0"),
        ({"backend": "cuda"}, "backend 'cuda' is unknown: use one of auto, numba"),
        ({"backend": "numba", "device": "cuda"}, "backend 'numba' runs on the cpu only"),
        ({"backend": "torch", "device": "warp"}, "device 'warp' cannot be used"),
    ],
)
def test_bad_arguments(random_world, arguments, message):
    prims, cameras = random_world(2)
    with pytest.raises(ValueError, match=message):
        render(prims, cameras, **{"height": 8, "width": 8, **arguments})


def test_render_torch_checks_too(random_world):
    from pilotage.envs.camera.torch_backend import render_torch, to_device

    prims, cameras = to_device(*random_world(2, n_worlds=3), "cpu")
    prims.position[1, 2, 0] = float("nan")
    prims.kind[1, 2] = 2
    with pytest.raises(ValueError, match=r"primitives\.position\[1, 2, 0\] \(world 1\)"):
        render_torch(prims, cameras, height=8, width=8)
    prims.position = prims.position[:2]
    with pytest.raises(ValueError, match=r"primitives\.position must have shape"):
        render_torch(prims, cameras, height=8, width=8, check=False)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0, 0, 0), (0, 0, 0)), "same point"),
        (((0, 0, 1), (0, 0, 0)), "up .* is along the view"),
        (((0, 0), (0, 0, 0)), "eye must be three finite numbers"),
        (((0, 0, 0), (0, float("nan"), 0)), "target must be three finite numbers"),
    ],
)
def test_look_at_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        look_at(*arguments)


def test_supersample_averages_colour_and_keeps_the_nearest_sample(random_world):
    prims, cameras = random_world(3)
    fine = render(prims, cameras, height=32, width=48)
    coarse = render(prims, cameras, height=16, width=24, supersample=2)
    for i, j in [(0, 0), (7, 11), (15, 23), (9, 4)]:
        block = (slice(2 * i, 2 * i + 2), slice(2 * j, 2 * j + 2))
        mean = fine.rgb[0][block].reshape(4, 3).astype(float).mean(axis=0)
        assert (np.abs(coarse.rgb[0, i, j] - mean) <= 0.5).all()
        nearest = fine.depth_m[0][block].argmin()
        assert coarse.depth_m[0, i, j] == fine.depth_m[0][block].min()
        assert coarse.segment[0, i, j] == fine.segment[0][block].flatten()[nearest]


def test_inputs_are_not_changed_and_other_dtypes_are_taken(random_world):
    prims, cameras = random_world(4)
    wide = Primitives(
        **{name: value.astype(np.float64) if value.dtype == np.float32 else value.astype(np.int64)
           for name, value in vars(prims).items()}
    )  # fmt: skip
    before = {name: value.copy() for name, value in vars(wide).items()}
    for backend in ("numba", "torch", "reference"):
        frames = render(wide, cameras, height=16, width=16, backend=backend)
        plain = render(prims, cameras, height=16, width=16, backend=backend)
        np.testing.assert_array_equal(frames.rgb, plain.rgb)
        assert (frames.rgb.dtype, frames.depth_m.dtype) == (np.uint8, np.float32)
        assert frames.segment.dtype == np.int32
        for name, value in vars(wide).items():
            np.testing.assert_array_equal(value, before[name])


def test_importing_the_camera_is_light():
    code = (
        "import sys, pilotage.envs.camera;"
        "print(sorted({'numba', 'torch', 'pybullet'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "[]", done.stderr
