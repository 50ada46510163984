"""The one way to take pictures: checked inputs, then the back-end that fits the device."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pilotage.envs.camera.types import Cameras, Frames, Primitives
from pilotage.envs.camera.validation import check_inputs

Backend = Literal["auto", "numba", "torch", "reference"]
BACKENDS = ("auto", "numba", "torch", "reference")
MAX_SUPERSAMPLE = 8


def render(
    prims: Primitives,
    cameras: Cameras,
    *,
    height: int,
    width: int,
    backend: Backend = "auto",
    device: str = "cpu",
    supersample: int = 1,
) -> Frames:
    """Take one picture per world: colour, z-depth and segment ids.

    Rays go through pixel centres. A body is solid and is seen where a ray enters it at a z-depth
    in [near_m, far_m): a camera inside a body looks through it, and a plane is seen from the side
    of its normal only. Where two surfaces are at the same depth the lower primitive index wins.
    The picture of a world is bit-identical whatever other worlds are in the call.

    Args:
        prims: bodies, structure of arrays [B, P, ...].
        cameras: one camera per world [B, ...].
        height, width: pixels.
        backend: "auto" is numba on the cpu and torch on any other device; "reference" is the slow
            float64 numpy program that the others are tested against.
        device: torch device; only for back-end "torch".
        supersample: s > 1 takes s x s samples per pixel: rgb is their mean, depth and segment are
            those of the nearest sample.

    Returns:
        Frames with rgb uint8 [B, H, W, 3], depth_m float32 [B, H, W], segment int32 [B, H, W].

    Raises:
        ValueError: an input has a wrong shape or value (names field, world and value), or the
            back-end is unknown or does not run on the device.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown: use one of {', '.join(BACKENDS)}")
    if not isinstance(supersample, int) or not 1 <= supersample <= MAX_SUPERSAMPLE:
        raise ValueError(
            f"supersample must be a whole number in 1..{MAX_SUPERSAMPLE}, got {supersample}"
        )
    check_inputs(prims, cameras, height, width)
    if supersample > 1:
        fine = _draw(prims, cameras, height * supersample, width * supersample, backend, device)
        return _pooled(fine, supersample)
    return _draw(prims, cameras, height, width, backend, device)


def _draw(
    prims: Primitives, cameras: Cameras, height: int, width: int, backend: str, device: str
) -> Frames:
    """Checked inputs to the back-end; the heavy libraries are imported on first use."""
    if backend == "auto":
        backend = "numba" if str(device) == "cpu" else "torch"
    if backend != "torch" and str(device) != "cpu":
        raise ValueError(f"backend {backend!r} runs on the cpu only, got device {device!r}")
    if backend == "numba":
        from pilotage.envs.camera.numba_kernel import render_numba

        return render_numba(prims, cameras, height, width)
    if backend == "torch":
        from pilotage.envs.camera.torch_backend import render_on_device

        return render_on_device(prims, cameras, height, width, device)
    from pilotage.envs.camera.reference import render_reference

    return render_reference(prims, cameras, height, width)


def _pooled(fine: Frames, s: int) -> Frames:
    """One pixel from each block of s x s: mean colour, depth and segment of the nearest sample."""
    offsets = [(i, j) for i in range(s) for j in range(s)]
    total = np.zeros_like(fine.rgb[:, ::s, ::s], dtype=np.uint16)
    depth, segment = fine.depth_m[:, ::s, ::s].copy(), fine.segment[:, ::s, ::s].copy()
    for i, j in offsets:  # strided passes: several times faster than one sum over blocks
        total += fine.rgb[:, i::s, j::s]
        sample = fine.depth_m[:, i::s, j::s]
        closer = sample < depth
        np.copyto(depth, sample, where=closer)
        np.copyto(segment, fine.segment[:, i::s, j::s], where=closer)
    rgb = ((total + s * s // 2) // (s * s)).astype(np.uint8)
    return Frames(rgb=rgb, depth_m=depth, segment=segment)
