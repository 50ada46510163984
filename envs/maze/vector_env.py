"""The maze world as a Gymnasium vector environment: n slots, one batched step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from pilotage.envs.maze.distances import flood
from pilotage.envs.maze.dynamics import N_ACTIONS, MazeDynamics
from pilotage.envs.maze.grid import BLOCKED, DIRECTIONS, MOVES, from_rows
from pilotage.envs.maze.observations import (
    VIEWS,
    full_view,
    local_view,
    observation_space,
    text_view,
)
from pilotage.envs.maze.tasks import make_tasks
from pilotage.envs.slots import LIMIT, REACHED, REASONS, tasks_to_begin, whole_actions
from pilotage.episodes.types import Task

_KNOWN = "none of 0 stop, 1 up, 2 down, 3 left, 4 right"


class MazeVectorEnv(gym.vector.VectorEnv):
    """Walking in grid mazes.

    Actions: 0 stop, 1 up, 2 down, 3 left, 4 right. A move into a wall leaves the agent where it is.

    Observations, batched over n slots: `position` and `goal` int32 [n, 2] (row, col);
    `instruction`, a tuple of n str; and by `view`: "full" gives `cells` uint8 [n, H, W] (bits of
    `grid`, with AGENT and GOAL), "local" the (2 radius + 1)^2 cells around the agent, "text" gives
    `text`, a tuple of n prompts in the `maze-dataset` format whose origin is where the agent is.
    With `expert_actions`, `expert_action` int64 [n], a shortest way's next action (privileged).

    Start: the task's cell. Reward: 1 for reaching the goal, else 0. End: the goal is reached
    (success), the agent stops, or `max_steps`.

    Infos: `trace` (position float64 [n, 3] = column, row, 0 in metres, a cell being 1 m wide;
    distance_to_goal [n, 1] in moves; collision [n, 1]), `end_reason`, `success`, `env_error`.

    Args:
        n_slots: lanes, at least 1.
        max_size: rows and cols (or one number) of the largest maze; smaller ones lie top left in
            blocked cells.
        view, radius, expert_actions: see above.
        device: where the mazes are stepped, "cpu" or a torch device.

    Raises:
        ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    def __init__(
        self,
        n_slots: int,
        *,
        max_size: int | tuple[int, int] = 10,
        view: str = "full",
        radius: int = 2,
        expert_actions: bool = False,
        device: str = "cpu",
    ) -> None:
        if n_slots < 1:
            raise ValueError(f"n_slots must be >= 1, got {n_slots}")
        if view not in VIEWS:
            raise ValueError(f"view must be one of {VIEWS}, got {view!r}")
        if radius < 1:
            raise ValueError(f"radius must be >= 1, got {radius}")
        rows, cols = (max_size, max_size) if isinstance(max_size, int) else max_size
        if rows < 2 or cols < 2:
            raise ValueError(f"max_size must be at least 2 x 2, got {rows} x {cols}")
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs = n_slots
        self.rows, self.cols = rows, cols
        self.view, self.radius, self.expert_actions = view, radius, expert_actions
        self.device = device
        self.single_observation_space = observation_space(view, rows, cols, radius, expert_actions)
        self.single_action_space = gym.spaces.Discrete(N_ACTIONS)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self.mazes = MazeDynamics(n_slots, rows, cols, device=device)
        self._cells = self.mazes.cells.cpu().numpy().copy()  # what the device has, for observing
        self._fields = np.zeros((n_slots, rows * cols), np.int32)
        self._ends = np.zeros(n_slots, np.uint8)
        self._bumped = np.zeros(n_slots, bool)
        self._instructions = [""] * n_slots

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self.mazes.live.cpu().numpy().copy()

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot gets one of the train split, drawn by its seed (`seed`, `seed + 1`,
        ... for an int). Other slots stay as they are; nothing changes when a task is refused.
        """
        tasks = tasks_to_begin(self, seed, options, self._draw)
        slots = np.array(list(tasks), dtype=np.int64)
        loaded = [self._read(slot, task) for slot, task in tasks.items()]
        if loaded:
            cells, starts, goals = (np.stack([x[i] for x in loaded]) for i in range(3))
            steps = np.array([x[3] for x in loaded], np.int32)
            at, grid, start, goal, budget = (
                torch.from_numpy(x).to(self.device) for x in (slots, cells, starts, goals, steps)
            )
            self.mazes.load(at, grid, start, goal, budget)
            fields = flood(grid, goal).cpu().numpy()
            self._cells[slots] = cells
            self._fields[slots] = fields.reshape(len(slots), -1)
            self._ends[slots], self._bumped[slots] = 0, False
            for slot, task in tasks.items():
                self._instructions[slot] = task.instruction
        return self._observations(), self._infos()

    def _draw(self, seed: int) -> Task:
        size = (self.rows, self.cols)
        return make_tasks("train", 1, seed=seed, families=["dfs"], size=size)[0]

    def _read(self, slot: int, task: Task) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
        """(cells [rows, cols], start [2], goal [2], max_steps) of a task that fits this world."""
        where = f"slot {slot}, task {task.task_id!r}"
        if task.env != "maze":
            raise ValueError(f"{where} is of the world {task.env!r}, expected 'maze'")
        maze = from_rows(task.scene["rows"])
        h, w = maze.shape
        if h > self.rows or w > self.cols:
            raise ValueError(
                f"{where} has {h} x {w} cells, this world at most {self.rows} x {self.cols}; build "
                f"it with max_size=({h}, {w})"
            )
        cells = np.full((self.rows, self.cols), BLOCKED, np.uint8)
        cells[:h, :w] = maze
        ends = []
        for name, place in (("start", task.start), ("goal", task.goal)):
            row, col = place["cell"]
            if not (0 <= row < h and 0 <= col < w) or maze[row, col] & BLOCKED:
                raise ValueError(f"{where}: {name} {(row, col)} is blocked or outside the maze")
            ends.append(np.array([row, col], np.int64))
        if (ends[0] == ends[1]).all():
            raise ValueError(f"{where}: start and goal are both {tuple(ends[0].tolist())}")
        return cells, ends[0], ends[1], task.max_steps

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        live = self.live
        chosen = whole_actions(actions, live, N_ACTIONS, _KNOWN)
        outcome = self.mazes.step(torch.from_numpy(chosen).to(self.device))
        end = outcome.end.cpu().numpy()
        self._bumped = np.where(live, outcome.bumped.cpu().numpy(), self._bumped)
        self._ends = np.where(live, end, self._ends)
        rewards = (end == REACHED).astype(np.float64)
        truncated = end == LIMIT
        terminated = (end != 0) & ~truncated
        return self._observations(), rewards, terminated, truncated, self._infos()

    def _observations(self) -> dict[str, Any]:
        at, goal = self._places()
        obs: dict[str, Any] = {
            "position": np.stack(np.divmod(at, self.cols), axis=1).astype(np.int32),
            "goal": np.stack(np.divmod(goal, self.cols), axis=1).astype(np.int32),
            "instruction": tuple(self._instructions),
        }
        if self.view == "text":
            obs["text"] = tuple(text_view(self._cells, at, goal))
        else:
            seen = full_view(self._cells, at, goal)
            obs["cells"] = seen if self.view == "full" else local_view(seen, at, self.radius)
        if self.expert_actions:
            obs["expert_action"] = self._advice(at)
        return obs

    def _places(self) -> tuple[np.ndarray, np.ndarray]:
        return self.mazes.at.cpu().numpy(), self.mazes.goal.cpu().numpy()

    def _advice(self, at: np.ndarray) -> np.ndarray:
        """The first action that comes nearer to the goal; 0 at the goal or without a way."""
        n = self.num_envs
        lane = np.arange(n)
        byte, here = self._cells.reshape(n, -1)[lane, at], self._fields[lane, at]
        advice = np.zeros(n, np.int64)
        for action in (4, 3, 2, 1):  # the first direction has the last word
            dr, dc = MOVES[action - 1]
            is_open = byte & DIRECTIONS[action - 1] > 0
            there = np.where(is_open, at + dr * self.cols + dc, at)
            advice[is_open & (here > 0) & (self._fields[lane, there] == here - 1)] = action
        return advice

    def _infos(self) -> dict[str, Any]:
        n = self.num_envs
        at, _ = self._places()
        position = np.zeros((n, 3))
        position[:, 1], position[:, 0] = np.divmod(at, self.cols)
        distance = self._fields[np.arange(n), at].astype(np.float64)[:, None]
        trace = {
            "position": position,
            "distance_to_goal": distance,
            "collision": self._bumped.astype(np.float64)[:, None],
        }
        return {
            "trace": trace,
            "end_reason": REASONS[self._ends].tolist(),
            "success": self._ends == REACHED,
            "env_error": [None] * n,
        }
