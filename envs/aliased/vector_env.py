"""The world of finding back in a room whose cells look alike, as a Gymnasium vector environment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.aliased.lanes import N_ACTIONS, RoomLanes, check_sizes
from pilotage.envs.aliased.scenes import read_room
from pilotage.envs.aliased.tasks import WALK_LENGTH, follow, make_tasks
from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom
from pilotage.envs.slots import GOING, LIMIT, REACHED, REASONS, STOPPED, tasks_to_begin
from pilotage.episodes.types import Task


class AliasedRoomVectorEnv(RoomLanes):
    """Going back to a place of a walk, in a room that is new in every episode.

    The cells of a room look alike, so that a symbol does not tell the place, and nothing else of
    the room is shown: a map must come from the walk, in context (the planning problems of Dedieu et
    al. 2024, arXiv:2401.05946, and George et al. 2021, Nature Communications 12:2392).

    Actions: 0 stop, 1 left, 2 right, 3 up, 4 down. A move into a wall leaves the agent where it is.

    Observations, batched over n slots, W being `walk_length`: `symbol` int64 [n], of the agent's
    cell; `walk_symbols` int64 [n, W] and `walk_actions` int64 [n, W - 1], the walk that ended
    where the episode starts (action t leads from symbol t to t + 1; a shorter walk has -1 behind
    its end); `goal_step` int64 [n], the number of the walk's observation that was made at the goal;
    `instruction`, a tuple of n str; and with `expert_actions` `expert_action` int64 [n], a shortest
    way's next action (privileged).

    Start: where the walk ended. Reward: 1 for reaching the goal, else 0. End: the goal is reached
    (success), the agent stops, or `max_steps`.

    Infos: `trace` (position float64 [n, 3] = column, row, 0; distance_to_goal [n, 1] and
    travelled [n, 1] in moves; collision [n, 1], a move into a wall), `end_reason`,
    `success`, `env_error`.

    Raises ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    still = "stop"

    def __init__(
        self,
        n_slots: int,
        *,
        max_cells: int = 64,
        max_symbols: int = 16,
        walk_length: int = WALK_LENGTH,
        expert_actions: bool = False,
    ) -> None:
        check_sizes(n_slots=n_slots, max_cells=max_cells, max_symbols=max_symbols)
        if walk_length < 2:
            raise ValueError(f"walk_length must be >= 2, got {walk_length}")
        self.max_symbols, self.walk_length = max_symbols, walk_length
        spaces: dict[str, gym.Space] = {
            "symbol": gym.spaces.Discrete(max_symbols),
            "walk_symbols": gym.spaces.Box(-1, max_symbols - 1, (walk_length,), np.int64),
            "walk_actions": gym.spaces.Box(-1, N_ACTIONS - 1, (walk_length - 1,), np.int64),
            "goal_step": gym.spaces.Discrete(walk_length),
        }
        super().__init__(n_slots, spaces, max_cells=max_cells, expert_actions=expert_actions)
        self._walk_symbols = np.full((n_slots, walk_length), -1, np.int64)
        self._walk_actions = np.full((n_slots, walk_length - 1), -1, np.int64)
        self._goal_step = np.zeros(n_slots, np.int64)
        self._ends = np.zeros(n_slots, np.uint8)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot gets an aliased room of the train split, drawn by its seed (`seed`,
        `seed + 1`, ... for an int). Other slots stay; nothing changes when a task is refused.
        """
        tasks = tasks_to_begin(self, seed, options, self._draw)
        read = [self._read(slot, task) for slot, task in tasks.items()]
        for (slot, task), (room, cells) in zip(tasks.items(), read):
            step, n = task.goal["step"], len(cells)
            self._begin(slot, room, cells[-1], cells[step], task.max_steps, task.instruction)
            self._walk_symbols[slot], self._walk_actions[slot] = -1, -1
            self._walk_symbols[slot, :n] = room.symbols.ravel()[cells]
            self._walk_actions[slot, : n - 1] = np.array(task.start["walk"]) + 1
            self._goal_step[slot], self._ends[slot] = step, GOING
        return self._observations(), self._infos()

    def _draw(self, seed: int) -> Task:
        families = ["aliased"]
        return make_tasks("train", 1, seed=seed, families=families, walk_length=self.walk_length)[0]

    def _read(self, slot: int, task: Task) -> tuple[AliasedRoom, list[int]]:
        """The room of a fitting task, and the cells of its walk."""
        where = f"slot {slot}, task {task.task_id!r}"
        room = read_room(
            task, where, world="aliased", max_cells=self.max_cells, max_symbols=self.max_symbols
        )
        first, walk, step = task.start["cell"], task.start["walk"], task.goal["step"]
        if not 1 <= len(walk) < self.walk_length:
            raise ValueError(
                f"{where}: a walk of {len(walk) + 1} observations, this world shows 2 to "
                f"{self.walk_length}; build it with walk_length={len(walk) + 1}"
            )
        for name, values, n in (
            ("start cell", [first], room.n_cells),
            ("walk action", walk, len(ACTIONS)),
            ("goal step", [step], len(walk) + 1),
        ):
            wrong = [value for value in values if not 0 <= value < n]
            if wrong:
                raise ValueError(f"{where}: {name} {wrong[0]} is outside 0 to {n - 1}")
        cells = follow(room, first, walk)
        if cells[step] == cells[-1]:
            raise ValueError(f"{where}: the walk ends at the goal, cell {cells[-1]}")
        return room, cells

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        live, chosen = self.live, self._check_actions(actions)
        reached = self._move(chosen) & (self._cell == self._goal)
        stopped = live & (chosen == 0)
        limit = live & ~(reached | stopped) & (self._n_steps >= self._max_steps)
        self._ends[reached], self._ends[stopped], self._ends[limit] = REACHED, STOPPED, LIMIT
        self._live = live & ~(reached | stopped | limit)
        rewards = reached.astype(np.float64)
        return self._observations(), rewards, reached | stopped, limit, self._infos()

    def _observations(self) -> dict[str, Any]:
        return {
            **self._seen(),
            "walk_symbols": self._walk_symbols.copy(),
            "walk_actions": self._walk_actions.copy(),
            "goal_step": self._goal_step.copy(),
        }

    def _infos(self) -> dict[str, Any]:
        return {
            "trace": self._trace(),
            "end_reason": REASONS[self._ends].tolist(),
            "success": self._ends == REACHED,
            "env_error": [None] * self.num_envs,
        }
