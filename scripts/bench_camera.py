"""Frames per second of the camera's back-ends, beside PyBullet's TinyRenderer in the same run.

    python scripts/bench_camera.py [--size 64] [--primitives 30] [--worlds 64] [--json]

Every back-end draws the same worlds: boxes, spheres, cylinders and capsules on a checkered plane,
from one camera each. TinyRenderer draws the first world, built in PyBullet, without shadows. The
rates are medians over the repeats, which take turns, with their smallest and largest; the ratio is
the median of the ratios to TinyRenderer's rate in the same turn.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

import numpy as np
from scipy.spatial.transform import Rotation

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

Drawers = dict[str, tuple[int, Callable[[], Any]]]  # name -> (frames per call, call)

FOV, NEAR, FAR = 50.0, 0.05, 10.0
TARGET = (0.0, 0.0, 0.2)


def make_worlds(n_worlds: int, n_primitives: int, seed: int) -> tuple[Primitives, Cameras]:
    """Random worlds of a table's size; primitive 0 is the ground."""
    rng = np.random.default_rng(seed)
    shape = (n_worlds, n_primitives)
    kind = rng.choice([BOX, SPHERE, CYLINDER, CAPSULE], size=shape)
    position = rng.uniform([-0.5, -0.5, 0.02], [0.5, 0.5, 0.5], (*shape, 3))
    turns = Rotation.random(kind.size, rng=rng).as_matrix().reshape(*shape, 3, 3)
    size = rng.uniform(0.03, 0.12, (*shape, 3))
    kind[:, 0], position[:, 0], turns[:, 0], size[:, 0] = PLANE, 0, np.eye(3), 0.25
    prims = Primitives(
        kind=kind.astype(np.int8),
        position=position.astype(np.float32),
        rotation=turns.astype(np.float32),
        size=size.astype(np.float32),
        color=rng.uniform(0.1, 1, (*shape, 3)).astype(np.float32),
        segment_id=np.tile(np.arange(n_primitives, dtype=np.int32), (n_worlds, 1)),
    )
    angle = rng.uniform(0, 2 * np.pi, n_worlds)
    eye = np.stack([1.2 * np.cos(angle), 1.2 * np.sin(angle), np.full(n_worlds, 0.9)], axis=1)
    rotation = np.stack([look_at(e, TARGET) for e in eye])
    return prims, Cameras(eye.astype(np.float32), rotation, FOV, NEAR, FAR)


def tiny_renderer(prims: Primitives, cameras: Cameras, size: int) -> Callable[[], None]:
    """A function that draws world 0 once with PyBullet's TinyRenderer."""
    import pybullet

    client = pybullet.connect(pybullet.DIRECT)
    for p in range(prims.kind.shape[1]):
        a, b, c = (float(v) for v in prims.size[0, p])
        geometries: dict[int, tuple[int, dict[str, Any]]] = {
            PLANE: (pybullet.GEOM_BOX, {"halfExtents": [FAR, FAR, 1e-3]}),
            BOX: (pybullet.GEOM_BOX, {"halfExtents": [a, b, c]}),
            SPHERE: (pybullet.GEOM_SPHERE, {"radius": a}),
            CYLINDER: (pybullet.GEOM_CYLINDER, {"radius": a, "length": 2 * b}),
            CAPSULE: (pybullet.GEOM_CAPSULE, {"radius": a, "length": 2 * b}),
        }
        geometry, arguments = geometries[int(prims.kind[0, p])]
        color = [*prims.color[0, p].tolist(), 1]
        visual = pybullet.createVisualShape(
            geometry, rgbaColor=color, physicsClientId=client, **arguments
        )
        quaternion = Rotation.from_matrix(prims.rotation[0, p]).as_quat().tolist()
        position = prims.position[0, p].tolist()
        pybullet.createMultiBody(0, -1, visual, position, quaternion, physicsClientId=client)
    view = pybullet.computeViewMatrix(cameras.position[0].tolist(), TARGET, [0, 0, 1])
    projection = pybullet.computeProjectionMatrixFOV(FOV, 1, NEAR, FAR)

    def draw() -> None:
        pybullet.getCameraImage(
            size,
            size,
            view,
            projection,
            shadow=0,
            renderer=pybullet.ER_TINY_RENDERER,
            physicsClientId=client,
        )

    return draw


def make_drawers(
    prims: Primitives, cameras: Cameras, size: int, cuda_worlds: int, seed: int
) -> Drawers:
    """What is measured. TinyRenderer is first; it is what the others are held to."""
    import torch

    n = len(prims.kind)
    drawers: Drawers = {
        "pybullet TinyRenderer": (1, tiny_renderer(prims, cameras, size)),
        "numba": (n, lambda: render(prims, cameras, height=size, width=size, backend="numba")),
        "torch cpu": (n, lambda: render(prims, cameras, height=size, width=size, backend="torch")),
    }
    if torch.cuda.is_available():
        from pilotage.envs.camera.torch_backend import render_torch, to_device

        many = make_worlds(cuda_worlds, prims.kind.shape[1], seed)
        on_device = to_device(*many, "cuda")

        def draw() -> None:
            render_torch(*on_device, height=size, width=size, check=False)
            torch.cuda.synchronize()

        drawers["torch cuda"] = (cuda_worlds, draw)
    return drawers


def rate(frames: int, draw: Callable[[], Any], seconds: float) -> float:
    """Frames per second, over at least `seconds`."""
    start = time.perf_counter()
    calls = 0
    while (elapsed := time.perf_counter() - start) < seconds:
        draw()
        calls += 1
    return frames * calls / elapsed


def measure(
    drawers: dict[str, tuple[int, Callable[[], Any]]], repeats: int, seconds: float
) -> list:
    """One row per back-end: rates of the repeats, which take turns, and ratios to the first."""
    rates: dict[str, list[float]] = {name: [] for name in drawers}
    for _, draw in drawers.values():  # compile and warm up
        draw()
    for _ in range(repeats):
        for name, (frames, draw) in drawers.items():
            rates[name].append(rate(frames, draw, seconds))
    peer = next(iter(rates.values()))
    rows = []
    for name, values in rates.items():
        ratios = [value / other for value, other in zip(values, peer, strict=True)]
        rows.append(
            {
                "backend": name,
                "frames_per_s": median(values),
                "min": min(values),
                "max": max(values),
                "ratio": median(ratios),
                "ratio_min": min(ratios),
                "ratio_max": max(ratios),
            }
        )
    return rows


def main(argv: list[str] | None = None) -> int:
    """Measure and print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--size", type=int, default=64, help="height and width, pixels")
    parser.add_argument("--primitives", type=int, default=30)
    parser.add_argument("--worlds", type=int, default=64, help="worlds per call")
    parser.add_argument("--cuda-worlds", type=int, default=4096, help="worlds per call on CUDA")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=0.5, help="of each repeat")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(argv)

    import torch

    torch.set_num_threads(1)
    prims, cameras = make_worlds(args.worlds, args.primitives, args.seed)
    drawers = make_drawers(prims, cameras, args.size, args.cuda_worlds, args.seed)
    rows = measure(drawers, args.repeats, args.seconds)
    if args.json:
        print(json.dumps({"settings": vars(args), "rows": rows}, indent=2))
        return 0
    print(f"{args.size} x {args.size} pixels, {args.primitives} primitives, one CPU thread")
    print(f"{'back-end':24}{'frames/s':>10}{'min':>10}{'max':>10}{'ratio':>9}  (min..max)")
    for row in rows:
        print(
            f"{row['backend']:24}{row['frames_per_s']:10.0f}{row['min']:10.0f}{row['max']:10.0f}"
            f"{row['ratio']:8.1f}x  ({row['ratio_min']:.1f}..{row['ratio_max']:.1f})"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
