"""The one way to take pictures: checked inputs, then the back-end that fits the device."""

from __future__ import annotations

from typing import Literal

from pilotage.envs.camera.types import Cameras, Frames, Primitives
from pilotage.envs.camera.validation import check_inputs

Backend = Literal["auto", "numba", "torch", "reference"]
BACKENDS = ("auto", "numba", "torch", "reference")


def render(
    prims: Primitives,
    cameras: Cameras,
    *,
    height: int,
    width: int,
    backend: Backend = "auto",
    device: str = "cpu",
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

    Returns:
        Frames with rgb uint8 [B, H, W, 3], depth_m float32 [B, H, W], segment int32 [B, H, W].

    Raises:
        ValueError: an input has a wrong shape or value (names field, world and value), or the
            back-end is unknown or does not run on the device.
    """
    if backend not in BACKENDS:
        raise ValueError(f"backend {backend!r} is unknown: use one of {', '.join(BACKENDS)}")
    check_inputs(prims, cameras, height, width)
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
