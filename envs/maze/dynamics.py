"""What an action does, in n mazes at once: tensors in, tensors out, on the CPU or CUDA.

This is the fast form of the world, for training on the device: no dictionaries, no copies.
`MazeVectorEnv` is the Gymnasium form around it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pilotage.envs.maze.grid import BLOCKED, DIRECTIONS, MOVES
from pilotage.envs.slots import GOING, LIMIT, REACHED, STOPPED

N_ACTIONS = 5  # 0 stop, 1 up, 2 down, 3 left, 4 right


@dataclass(frozen=True)
class Outcome:
    """What a step did, each [n]. Slots that were not live: GOING, not bumped."""

    end: Tensor  # uint8: GOING, REACHED (the goal), STOPPED (by the agent), LIMIT (of steps)
    bumped: Tensor  # bool: the move led into a wall and the agent stayed where it was


class MazeDynamics:
    """n slots with one maze each, of at most (rows, cols) cells; smaller ones lie top left."""

    def __init__(self, n_slots: int, rows: int, cols: int, *, device: str = "cpu") -> None:
        self.rows, self.cols = rows, cols
        self.cells = torch.full((n_slots, rows, cols), BLOCKED, dtype=torch.uint8, device=device)
        self.at = torch.zeros(n_slots, dtype=torch.int64, device=device)  # row * cols + col
        self.goal = torch.zeros(n_slots, dtype=torch.int64, device=device)
        self.n_steps = torch.zeros(n_slots, dtype=torch.int32, device=device)
        self.max_steps = torch.zeros(n_slots, dtype=torch.int32, device=device)
        self.live = torch.zeros(n_slots, dtype=torch.bool, device=device)
        self._base = torch.arange(n_slots, device=device) * (rows * cols)
        self._side = torch.tensor([0, *DIRECTIONS], dtype=torch.uint8, device=device)
        self._leap = torch.tensor([0, *(dr * cols + dc for dr, dc in MOVES)], device=device)

    def load(
        self, slots: Tensor, cells: Tensor, starts: Tensor, goals: Tensor, max_steps: Tensor
    ) -> None:
        """Begin in `slots` int64 [k]: cells uint8 [k, rows, cols], starts and goals [k, 2]."""
        self.cells[slots] = cells
        self.at[slots] = starts[:, 0] * self.cols + starts[:, 1]
        self.goal[slots] = goals[:, 0] * self.cols + goals[:, 1]
        self.n_steps[slots] = 0
        self.max_steps[slots] = max_steps
        self.live[slots] = True

    def step(self, actions: Tensor) -> Outcome:
        """One action int64 [n] (0 to 4) in every live slot; the others stand still.

        A move into the goal ends the episode, and so does the action stop, wherever it is taken.
        """
        byte = self.cells.view(-1)[self._base + self.at]
        is_open = (byte & self._side[actions]) != 0
        moves = is_open & self.live
        wanted = actions != 0
        self.at += self._leap[actions] * moves
        self.n_steps += self.live
        reached = moves & (self.at == self.goal)
        stopped = self.live & ~wanted
        limit = self.live & ~(reached | stopped) & (self.n_steps >= self.max_steps)
        bumped = self.live & wanted & ~is_open
        end = reached * REACHED + stopped * STOPPED + limit * LIMIT
        self.live = self.live & (end == GOING)
        return Outcome(end.to(torch.uint8), bumped)
