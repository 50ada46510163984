"""The memory & planning game as a Gymnasium vector environment."""

from __future__ import annotations

import itertools
from typing import Any

import gymnasium as gym
import numpy as np

from pilotage.envs.aliased.game_tasks import make_game_tasks
from pilotage.envs.aliased.lanes import RoomLanes, check_sizes
from pilotage.envs.aliased.scenes import read_room
from pilotage.envs.pathgraph.aliased import AliasedRoom
from pilotage.envs.slots import tasks_to_begin
from pilotage.episodes.types import EndReason, Task


class PlanningGameVectorEnv(RoomLanes):
    """Collecting symbols in a room whose labels are permuted anew in every episode.

    The memory & planning game of Ritter et al. 2021 ("Rapid task-solving in novel environments",
    arXiv:2006.03662), in which Guntupalli et al. 2023 (arXiv:2302.07350) test graph schemas. As
    published: a 4 x 4 torus with 16 symbols, 100 steps.

    Actions: 0 collect, 1 left, 2 right, 3 up, 4 down. `RandomAgent` draws them all alike with
    `stop_probability=1 / 5`.

    Observations, batched over n slots: `symbol` and `goal_symbol` int64 [n], of the agent's cell
    and of the cell that is asked for; `instruction`, a tuple of n str; and with `expert_actions`
    `expert_action` int64 [n], of one who knows all labels (privileged).

    Start: the task's cell. Reward: 1 for collecting at the goal, upon which the next goal is asked
    for; it is never the agent's own cell. End: `max_steps`. Success: at least one reward.

    Infos: `trace` (position float64 [n, 3] = column, row, 0; distance_to_goal [n, 1] and
    travelled [n, 1] in moves; collision [n, 1], a move into a wall; collected [n, 1],
    rewards so far), `end_reason`, `success`, `env_error`.

    Raises ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    still = "collect"

    def __init__(
        self,
        n_slots: int,
        *,
        max_cells: int = 16,
        max_symbols: int = 16,
        expert_actions: bool = False,
    ) -> None:
        check_sizes(n_slots=n_slots, max_cells=max_cells, max_symbols=max_symbols)
        self.max_symbols = max_symbols
        spaces: dict[str, gym.Space] = {
            "symbol": gym.spaces.Discrete(max_symbols),
            "goal_symbol": gym.spaces.Discrete(max_symbols),
        }
        super().__init__(n_slots, spaces, max_cells=max_cells, expert_actions=expert_actions)
        self._goals: list[list[int]] = [[] for _ in range(n_slots)]
        self._collected = np.zeros(n_slots, np.int64)
        self._over = np.zeros(n_slots, bool)

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot gets a torus of the train split, drawn by its seed (`seed`,
        `seed + 1`, ... for an int). Other slots stay; nothing changes when a task is refused.
        """
        tasks = tasks_to_begin(self, seed, options, _draw)
        read = [self._read(slot, task) for slot, task in tasks.items()]
        for (slot, task), room in zip(tasks.items(), read):
            goals = task.goal["cells"]
            start = task.start["cell"]
            self._begin(slot, room, start, goals[0], task.max_steps, task.instruction)
            self._goals[slot] = list(goals)
            self._collected[slot], self._over[slot] = 0, False
        return self._observations(), self._infos()

    def _read(self, slot: int, task: Task) -> AliasedRoom:
        where = f"slot {slot}, task {task.task_id!r}"
        room = read_room(
            task,
            where,
            world="planning-game",
            max_cells=self.max_cells,
            max_symbols=self.max_symbols,
        )
        cells = [task.start["cell"], *task.goal["cells"]]
        wrong = [cell for cell in cells if not 0 <= cell < room.n_cells]
        if wrong:
            raise ValueError(f"{where}: cell {wrong[0]} is outside 0 to {room.n_cells - 1}")
        if any(a == b for a, b in itertools.pairwise(cells)):
            raise ValueError(f"{where}: a goal is the cell that the agent is in when it is asked")
        if len(cells) < task.max_steps // 2 + 2:
            raise ValueError(
                f"{where}: {len(cells) - 1} goals, but {task.max_steps} steps may need "
                f"{task.max_steps // 2 + 1}"
            )
        return room

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        live, chosen = self.live, self._check_actions(actions)
        self._move(chosen)
        paid = live & (chosen == 0) & (self._cell == self._goal)
        self._collected += paid
        for slot in np.flatnonzero(paid).tolist():
            self._goal[slot] = self._goals[slot][self._collected[slot]]
        limit = live & (self._n_steps >= self._max_steps)
        self._over |= limit
        self._live = live & ~limit
        ends = np.zeros(self.num_envs, bool)
        return self._observations(), paid.astype(np.float64), ends, limit, self._infos()

    def _observations(self) -> dict[str, Any]:
        return {**self._seen(), "goal_symbol": self._symbols[self._lane, self._goal]}

    def _infos(self) -> dict[str, Any]:
        collected = self._collected.astype(np.float64)[:, None]
        return {
            "trace": {**self._trace(), "collected": collected},
            "end_reason": [EndReason.STEP_LIMIT.value if over else "" for over in self._over],
            "success": self._over & (self._collected > 0),
            "env_error": [None] * self.num_envs,
        }


def _draw(seed: int) -> Task:
    return make_game_tasks("train", 1, seed=seed, families=["torus"])[0]
