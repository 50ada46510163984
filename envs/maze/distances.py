"""Distances in thousands of mazes at once: a flood whose work is its frontier, in torch."""

from __future__ import annotations

import torch
from torch import Tensor

from pilotage.envs.maze.grid import DIRECTIONS, MOVES


def flood(cells: Tensor, sources: Tensor) -> Tensor:
    """Moves to `sources` int64 [B, 2] from every cell of uint8 [B, H, W]; int32, -1 for no way."""
    n, h, w = cells.shape
    device = cells.device
    flat = cells.reshape(-1)
    field = torch.full((n * h * w,), -1, dtype=torch.int32, device=device)
    owner = torch.zeros(n * h * w, dtype=torch.int64, device=device)
    frontier = torch.arange(n, device=device) * (h * w) + sources[:, 0] * w + sources[:, 1]
    bits = torch.tensor(DIRECTIONS, dtype=torch.uint8, device=device)
    offsets = torch.tensor([dr * w + dc for dr, dc in MOVES], device=device)
    field[frontier] = 0
    depth = 0
    while len(frontier):
        depth += 1
        is_open = (flat[frontier][:, None] & bits) != 0
        there = (frontier[:, None] + offsets)[is_open]
        there = there[field[there] < 0]
        field[there] = depth
        number = torch.arange(len(there), device=device)
        owner[there] = number  # a cell reached twice stays once
        frontier = there[owner[there] == number]
    return field.view(n, h, w)


def descend(cells: Tensor, field: Tensor, starts: Tensor) -> Tensor:
    """Cells int64 [B, longest + 1, 2] downhill from `starts` [B, 2] in `field`; then the source
    again and again. Of several ways down the first of up, down, left, right. Starts must have one.
    """
    n, h, w = cells.shape
    row = torch.arange(n, device=cells.device)
    at = starts.clone()
    path = [at]
    bits = torch.tensor(DIRECTIONS, dtype=torch.uint8, device=cells.device)
    moves = torch.tensor([*MOVES, (0, 0)], device=cells.device)
    longest = int(field[row, at[:, 0], at[:, 1]].max()) if n else 0
    limit = torch.tensor([h - 1, w - 1], device=cells.device)
    for _ in range(longest):
        here = field[row, at[:, 0], at[:, 1]]
        there = torch.minimum((at[:, None] + moves[:4]).clamp(min=0), limit)
        nearer = field[row[:, None], there[..., 0], there[..., 1]] == here[:, None] - 1
        is_open = (cells[row, at[:, 0], at[:, 1]][:, None] & bits) != 0
        good = nearer & is_open
        choice = torch.where(good.any(1), good.to(torch.uint8).argmax(1), 4)
        at = at + moves[choice]
        path.append(at)
    return torch.stack(path, dim=1)
