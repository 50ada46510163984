"""What the policy reads of a world's observations: colour (and depth), and the body."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotage.episodes.types import Observations

MAX_DEPTH_M = 10.0


def image_of(observations: Observations, key: str, with_depth: bool) -> np.ndarray:
    """uint8 `[n, H, W, 3 or 4]`: the colour image and, if asked, depth as a fourth channel
    (0..10 m mapped to 0..255)."""
    image = np.asarray(observations[key])
    if not with_depth:
        return image
    depth = np.asarray(observations["depth"])
    scaled = np.rint(np.clip(depth, 0.0, MAX_DEPTH_M) * (255.0 / MAX_DEPTH_M)).astype(np.uint8)
    return np.concatenate([image, scaled[..., None]], axis=-1)


def proprio_of(observations: Observations, keys: Sequence[str]) -> np.ndarray:
    """float32 `[n, P]`: what the body senses, the observation keys joined."""
    return np.concatenate([np.asarray(observations[k], dtype=np.float32) for k in keys], axis=1)
