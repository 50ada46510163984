"""The vision tower: a small convolutional network that turns an image into a few tokens."""

from __future__ import annotations

import torch
from torch import nn

from pilotage.agents.vla.config import PatchGrid


class VisionTower(nn.Module):
    """Images uint8 `[N, H, W, C]` -> tokens `[N, n_tokens, d_model]`, one per patch, row by row.

    Four strided convolutions halve the image to a grid of 8-pixel cells, two residual blocks mix
    it, and space-to-depth (the connector of Idefics3, arXiv:2408.12637, there called pixel shuffle)
    folds the cells of a patch into one token. Each token gets a learned position. Two coordinate
    channels (CoordConv, arXiv:1807.03247) let the network say where things are.
    """

    coordinates: torch.Tensor

    def __init__(self, *, channels: int, patches: PatchGrid, width: int, d_model: int) -> None:
        super().__init__()
        self.patches = patches
        self.fold = (patches.patch_height // 8, patches.patch_width // 8)
        self.n_tokens = patches.n_tokens
        self.stem = nn.Sequential(
            nn.Conv2d(channels + 2, width // 4, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 4, width // 2, 4, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(width // 2, width, 4, stride=2, padding=1),
        )
        self.blocks = nn.ModuleList([_Residual(width) for _ in range(2)])
        self.connector = nn.Linear(width * self.fold[0] * self.fold[1], d_model)
        self.position = nn.Parameter(torch.zeros(self.n_tokens, d_model))
        rows, cols = torch.meshgrid(
            torch.linspace(-1.0, 1.0, patches.bottom - patches.top),
            torch.linspace(-1.0, 1.0, patches.width),
            indexing="ij",
        )
        self.register_buffer("coordinates", torch.stack([rows, cols])[None], persistent=False)
        nn.Module.to(self, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        images = images[:, self.patches.top : self.patches.bottom]
        pixels = images.permute(0, 3, 1, 2).float() / 127.5 - 1.0
        x = torch.cat([pixels, self.coordinates.expand(len(pixels), -1, -1, -1)], dim=1)
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.connector(self._folded(nn.functional.gelu(x))) + self.position

    def _folded(self, x: torch.Tensor) -> torch.Tensor:
        """`[N, w, rows, columns]` -> `[N, n_tokens, w * fold_rows * fold_columns]`."""
        n, width, rows, columns = x.shape
        down, across = self.fold
        cells = x.view(n, width, rows // down, down, columns // across, across)
        return cells.permute(0, 2, 4, 1, 3, 5).reshape(n, self.n_tokens, -1)


class _Residual(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, width)
        self.first = nn.Conv2d(width, width, 3, padding=1)
        self.second = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.second(nn.functional.gelu(self.first(self.norm(x))))
