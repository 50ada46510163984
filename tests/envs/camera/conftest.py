"""Worlds that the camera's tests take pictures of."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from pilotage.envs.camera import (
    BOX,
    CAPSULE,
    CYLINDER,
    NONE,
    PLANE,
    SPHERE,
    Cameras,
    Primitives,
    look_at,
)


def _random_world(seed, n_worlds=1, n_primitives=12):
    """Worlds of random bodies on a checkered plane, seen from random places around them."""
    rng = np.random.default_rng(seed)
    shape = (n_worlds, n_primitives)
    kind = rng.choice([NONE, BOX, SPHERE, CYLINDER, CAPSULE], size=shape, p=[0.1, *[0.225] * 4])
    kind[:, 0] = PLANE
    position = rng.uniform([-0.4, -0.4, 0.0], [0.4, 0.4, 0.5], size=(*shape, 3))
    position[:, 0] = 0
    rotation = Rotation.random(n_worlds * n_primitives, rng=rng).as_matrix().reshape(*shape, 3, 3)
    rotation[:, 0] = np.eye(3)
    size = rng.uniform(0.03, 0.15, size=(*shape, 3))
    size[:, 0, 0] = rng.choice([0.0, 0.25], size=n_worlds)
    prims = Primitives(
        kind=kind.astype(np.int8),
        position=position.astype(np.float32),
        rotation=rotation.astype(np.float32),
        size=size.astype(np.float32),
        color=rng.uniform(0, 1, size=(*shape, 3)).astype(np.float32),
        segment_id=np.tile(np.arange(n_primitives, dtype=np.int32), (n_worlds, 1)),
    )
    angle = rng.uniform(0, 2 * np.pi, size=n_worlds)
    eye = np.stack([1.2 * np.cos(angle), 1.2 * np.sin(angle), rng.uniform(0.3, 1.2, n_worlds)], 1)
    rotations = np.stack([look_at(e, rng.uniform(-0.1, 0.3, 3)) for e in eye])
    return prims, Cameras(eye.astype(np.float32), rotations, fov_y_deg=50.0)


def _single(kind, size, position=(0.0, 0.0, 2.0), rotation=None, color=(1.0, 0.5, 0.25), **camera):
    """One primitive in front of a camera at the origin that looks along world z, x to the right."""
    prims = Primitives(
        kind=np.array([[kind]], np.int8),
        position=np.array([[position]], np.float32),
        rotation=np.array([[np.eye(3) if rotation is None else rotation]], np.float32),
        size=np.array([[(*size, 0, 0)[:3]]], np.float32),
        color=np.array([[color]], np.float32),
        segment_id=np.zeros((1, 1), np.int32),
    )
    cameras = Cameras(
        position=np.zeros((1, 3), np.float32),
        rotation=np.eye(3, dtype=np.float32)[None],
        **{"fov_y_deg": 60.0, **camera},
    )
    return prims, cameras


@pytest.fixture(scope="session")
def random_world():
    return _random_world


@pytest.fixture(scope="session")
def single():
    return _single
