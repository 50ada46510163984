"""The vision tower: a small convolutional network that turns an image into a few tokens."""

from __future__ import annotations

import torch
from torch import nn


class VisionTower(nn.Module):
    """Images uint8 `[N, H, W, C]` -> tokens `[N, n_tokens, d_model]`.

    Four strided convolutions halve the image to an H/8 grid, two residual blocks mix it, and
    space-to-depth (the connector of Idefics3, arXiv:2408.12637, there called pixel shuffle) folds
    neighbouring cells into one token. Each token gets a learned position. Two coordinate channels
    (CoordConv, arXiv:1807.03247) let the network say where things are.
    """

    coordinates: torch.Tensor

    def __init__(
        self, *, channels: int, image_size: int, width: int, fold: int, d_model: int
    ) -> None:
        super().__init__()
        grid = image_size // 8
        if image_size % 8 or grid % fold:
            raise ValueError(
                f"image_size must be a multiple of 8 * fold = {8 * fold}, got {image_size}"
            )
        self.fold = fold
        self.channels = channels
        self.n_tokens = (grid // fold) ** 2
        self.stem = nn.Sequential(
            nn.Conv2d(channels + 2, width // 4, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 4, width // 2, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
        )
        self.blocks = nn.ModuleList([_Residual(width) for _ in range(2)])
        self.connector = nn.Linear(width * fold * fold, d_model)
        self.position = nn.Parameter(torch.zeros(self.n_tokens, d_model))
        axis = torch.linspace(-1.0, 1.0, image_size)
        rows, cols = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("coordinates", torch.stack([rows, cols])[None], persistent=False)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = torch.cat([pixels, self.coordinates.expand(len(pixels), -1, -1, -1)], dim=1)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        x = nn.functional.pixel_unshuffle(nn.functional.gelu(x), self.fold)  # [N, w f f, g/f, g/f]
        tokens = self.connector(x.flatten(2).transpose(1, 2))
        return tokens + self.position


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(nn.functional.gelu(self.first(self.norm(x))))
