"""What an agent sees of a maze: all of it, the cells around it, or words."""

from __future__ import annotations

import gymnasium as gym
import numpy as np

from pilotage.envs.maze.grid import AGENT, BLOCKED, GOAL, SIDES
from pilotage.envs.maze.tokens import write_tokens

VIEWS = ("full", "local", "text")
_ALL_BITS = SIDES | BLOCKED | AGENT | GOAL
_WORDS = "abcdefghijklmnopqrstuvwxyz 0123456789"
_TOKENS = "ADGEIJLNOPRSTUH_<>(),;- 0123456789"


def observation_space(
    view: str, rows: int, cols: int, radius: int, expert_actions: bool
) -> gym.spaces.Dict:
    """The observation of one slot."""
    spaces: dict[str, gym.Space] = {
        "position": gym.spaces.Box(0, max(rows, cols) - 1, (2,), np.int32),
        "goal": gym.spaces.Box(0, max(rows, cols) - 1, (2,), np.int32),
        "instruction": gym.spaces.Text(min_length=0, max_length=200, charset=_WORDS),
    }
    if view == "full":
        spaces["cells"] = gym.spaces.Box(0, _ALL_BITS, (rows, cols), np.uint8)
    elif view == "local":
        side = 2 * radius + 1
        spaces["cells"] = gym.spaces.Box(0, _ALL_BITS, (side, side), np.uint8)
    else:
        longest = 300 + 30 * 2 * rows * cols
        spaces["text"] = gym.spaces.Text(min_length=0, max_length=longest, charset=_TOKENS)
    if expert_actions:
        spaces["expert_action"] = gym.spaces.Discrete(5)
    return gym.spaces.Dict(spaces)


def full_view(cells: np.ndarray, at: np.ndarray, goal: np.ndarray) -> np.ndarray:
    """Cells uint8 [n, H, W] (a copy) with the bits AGENT and GOAL; `at` and `goal` are int [n]."""
    seen = cells.copy()
    flat = seen.reshape(len(cells), -1)
    lane = np.arange(len(cells))
    flat[lane, at] |= AGENT
    flat[lane, goal] |= GOAL
    return seen


def local_view(seen: np.ndarray, at: np.ndarray, radius: int) -> np.ndarray:
    """The square of `seen` uint8 [n, H, W] around the agent; blocked outside of the maze."""
    n, _, w = seen.shape
    padded = np.pad(seen, ((0, 0), (radius, radius), (radius, radius)), constant_values=BLOCKED)
    row, col = at // w, at % w
    reach = np.arange(2 * radius + 1)
    lane = np.arange(n)[:, None, None]
    return padded[lane, row[:, None, None] + reach[:, None], col[:, None, None] + reach]


def text_view(cells: np.ndarray, at: np.ndarray, goal: np.ndarray) -> list[str]:
    """The prompt from where the agent is, in the `maze-dataset` format up to <PATH_START>."""
    w = cells.shape[2]
    return [
        write_tokens(maze, divmod(a, w), divmod(g, w), None)
        for maze, a, g in zip(cells, at.tolist(), goal.tolist())
    ]
