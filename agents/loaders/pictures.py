"""Pictures as vision towers expect them: resized, scaled, channels first."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch


def stretched(pictures: np.ndarray, size: int) -> np.ndarray:
    """uint8 `[R, H, W, 3]` -> uint8 `[R, size, size, 3]`, bicubic, whatever the aspect ratio."""
    from PIL import Image

    if pictures.shape[1:3] == (size, size):
        return pictures
    resample = Image.Resampling.BICUBIC
    return np.stack(
        [np.asarray(Image.fromarray(p).resize((size, size), resample)) for p in pictures]
    )


def fitted(pictures: torch.Tensor, size: tuple[int, int], *, centred: bool) -> torch.Tensor:
    """Float `[R, 3, H, W]` in [0, 1] -> `[R, 3, *size]`, bilinear, the aspect ratio kept.

    The rest is black: around the picture if centred, else above it and to its left.
    """
    height, width = pictures.shape[-2:]
    if (height, width) == size:
        return pictures
    ratio = max(width / size[1], height / size[0])
    small = (int(height / ratio), int(width / ratio))
    scaled = torch.nn.functional.interpolate(
        pictures, size=small, mode="bilinear", align_corners=False
    ).clamp(0.0, 1.0)
    down, right = size[0] - small[0], size[1] - small[1]
    if centred:
        pads = (right // 2, right - right // 2, down // 2, down - down // 2)
    else:
        pads = (right, 0, down, 0)
    return torch.nn.functional.pad(scaled, pads)


def scaled(pictures: np.ndarray, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """uint8 `[R, H, W, 3]` -> float32 `[R, 3, H, W]`: (value / 255 - mean) / std per channel."""
    values = channels_first(pictures)
    shape = (3, 1, 1)
    return (values - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)


def channels_first(pictures: np.ndarray) -> torch.Tensor:
    """uint8 `[R, H, W, 3]` -> float32 `[R, 3, H, W]` in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 255.0
