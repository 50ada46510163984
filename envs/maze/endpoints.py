"""Start and goal of thousands of mazes at once; each a pure function of the maze's key."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pilotage.envs.maze.distances import flood
from pilotage.envs.maze.draws import below, draws
from pilotage.envs.maze.grid import BLOCKED, SIDES

_PURPOSE = 1 << 20  # counters of the draws, away from those of the generators
ATTEMPTS = 100  # pairs drawn per obstacle grid, as in the Searchformer data


@dataclass(frozen=True)
class Endpoints:
    """For B mazes; rows that are not `found` mean nothing."""

    found: Tensor  # bool [B]
    starts: Tensor  # int64 [B, 2], (row, col)
    goals: Tensor  # int64 [B, 2]
    n_moves: Tensor  # int64 [B], least moves from start to goal


def anywhere(cells: Tensor, keys: Tensor) -> Endpoints:
    """Start uniform among the cells with an exit, goal uniform among the others it can reach."""
    w = cells.shape[2]
    numbers = draws(keys, _PURPOSE, 2)
    candidates = ((cells & SIDES) != 0).flatten(1)
    starts, found = _draw_one(candidates, numbers[0])
    field = flood(cells, _pair(starts, w)).flatten(1)
    goals, reachable = _draw_one(field > 0, numbers[1])
    n_moves = field.gather(1, goals[:, None])[:, 0].to(torch.int64)
    return Endpoints(found & reachable, _pair(starts, w), _pair(goals, w), n_moves)


def far_apart(cells: Tensor, keys: Tensor) -> Endpoints:
    """The rule of the Searchformer mazes: distinct free cells, drawn up to 100 times, until the
    shortest plan exists and has at least max(H, W) cells (Lehnert et al. 2024)."""
    n, h, w = cells.shape
    found = torch.zeros(n, dtype=torch.bool, device=cells.device)
    n_moves = torch.zeros(n, dtype=torch.int64, device=cells.device)
    starts, goals = (torch.zeros_like(n_moves) for _ in range(2))
    free = ((cells & BLOCKED) == 0).flatten(1)
    left = (free.sum(1) > 1).nonzero()[:, 0]
    for attempt in range(ATTEMPTS):
        if not len(left):
            break
        numbers = draws(keys[left], _PURPOSE + 2 * attempt, 2)
        first, _ = _draw_one(free[left], numbers[0])
        others = free[left].scatter(1, first[:, None], False)
        second, _ = _draw_one(others, numbers[1])
        field = flood(cells[left], _pair(first, w)).flatten(1)
        moves = field.gather(1, second[:, None])[:, 0].to(torch.int64)
        good = moves + 1 >= max(h, w)
        hit = left[good]
        found[hit], n_moves[hit] = True, moves[good]
        starts[hit], goals[hit] = first[good], second[good]
        left = left[~good]
    return Endpoints(found, _pair(starts, w), _pair(goals, w), n_moves)


def _draw_one(candidates: Tensor, numbers: Tensor) -> tuple[Tensor, Tensor]:
    """A uniform True of each row of bool [B, N], and whether there was one."""
    count = candidates.sum(1)
    rank = below(numbers, count)
    chosen = (candidates.cumsum(1) <= rank[:, None]).sum(1).clamp(max=candidates.shape[1] - 1)
    return chosen, count > 0


def _pair(cell: Tensor, width: int) -> Tensor:
    return torch.stack([cell // width, cell % width], dim=-1)
