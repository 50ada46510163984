"""What both worlds of rooms share: one room a slot, moves in all of them at once, ways to goals."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom
from pilotage.envs.slots import whole_actions

WORDS = "abcdefghijklmnopqrstuvwxyz 0123456789"
N_ACTIONS = 1 + len(ACTIONS)


class RoomLanes(gym.vector.VectorEnv):
    """Slots with a room, a cell and a goal each. `still` names the action that is no move (0)."""

    still: str

    def __init__(
        self,
        n_slots: int,
        spaces: dict[str, gym.Space],
        *,
        max_cells: int,
        expert_actions: bool,
    ) -> None:
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs, self.max_cells, self.expert_actions = n_slots, max_cells, expert_actions
        spaces = {
            **spaces,
            "instruction": gym.spaces.Text(min_length=0, max_length=200, charset=WORDS),
        }
        if expert_actions:
            spaces["expert_action"] = gym.spaces.Discrete(N_ACTIONS)
        self.single_observation_space = gym.spaces.Dict(spaces)
        self.single_action_space = gym.spaces.Discrete(N_ACTIONS)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._lane = np.arange(n_slots)
        self._symbols = np.zeros((n_slots, max_cells), np.int64)
        self._leads = np.zeros((n_slots, max_cells, len(ACTIONS)), np.int64)
        self._far = np.zeros((n_slots, max_cells, max_cells), np.int64)
        self._width = np.ones(n_slots, np.int64)
        self._cell, self._goal = np.zeros((2, n_slots), np.int64)
        self._n_steps, self._n_moves, self._max_steps = np.zeros((3, n_slots), np.int64)
        self._live, self._bumped = np.zeros((2, n_slots), bool)
        self._instructions = [""] * n_slots

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self._live.copy()

    def _begin(
        self, slot: int, room: AliasedRoom, cell: int, goal: int, max_steps: int, words: str
    ) -> None:
        n = room.n_cells
        self._symbols[slot, :n] = room.symbols.ravel()
        self._leads[slot, :n] = room.transitions()
        self._far[slot, :n, :n] = distances(self._leads[slot, :n])
        self._width[slot] = room.symbols.shape[1]
        self._cell[slot], self._goal[slot] = cell, goal
        self._n_steps[slot], self._n_moves[slot], self._max_steps[slot] = 0, 0, max_steps
        self._live[slot], self._bumped[slot] = True, False
        self._instructions[slot] = words

    def _move(self, chosen: np.ndarray) -> np.ndarray:
        """Carries out moves in live slots and counts their steps; bool [n]: who changed cells."""
        ends = self._leads[self._lane, self._cell, np.maximum(chosen - 1, 0)]
        moves = self._live & (chosen > 0)
        went = moves & (ends != self._cell)
        self._bumped = np.where(self._live, moves & ~went, self._bumped)
        self._cell = np.where(went, ends, self._cell)
        self._n_moves += went
        self._n_steps += self._live
        return went

    def _check_actions(self, actions: np.ndarray) -> np.ndarray:
        moves = ", ".join(f"{k} {name}" for k, name in enumerate(ACTIONS, 1))
        return whole_actions(actions, self._live, N_ACTIONS, f"none of 0 {self.still}, {moves}")

    def _seen(self) -> dict[str, Any]:
        """The parts of an observation that both worlds have."""
        seen: dict[str, Any] = {
            "symbol": self._symbols[self._lane, self._cell],
            "instruction": tuple(self._instructions),
        }
        if self.expert_actions:
            ends = self._leads[self._lane, self._cell]  # [n, 4]
            left = self._far[self._lane[:, None], ends, self._goal[:, None]]
            nearer = left == self._distance()[:, None] - 1
            seen["expert_action"] = np.where(nearer.any(axis=1), nearer.argmax(axis=1) + 1, 0)
        return seen

    def _distance(self) -> np.ndarray:
        """Moves to the goal, int64 [n]."""
        return self._far[self._lane, self._cell, self._goal]

    def _trace(self) -> dict[str, np.ndarray]:
        position = np.zeros((self.num_envs, 3))
        position[:, 1], position[:, 0] = np.divmod(self._cell, self._width)
        return {
            "position": position,
            "travelled": self._n_moves.astype(np.float64)[:, None],
            "distance_to_goal": self._distance().astype(np.float64)[:, None],
            "collision": self._bumped.astype(np.float64)[:, None],
        }


def check_sizes(**sizes: int) -> None:
    """ValueError naming the first argument that is below 1."""
    for name, value in sizes.items():
        if value < 1:
            raise ValueError(f"{name} must be >= 1, got {value}")


def distances(leads: np.ndarray) -> np.ndarray:
    """Moves from each cell to each, int64 [C, C], of leads int [C, A]."""
    n, n_actions = leads.shape
    edges = np.repeat(np.arange(n), n_actions), leads.ravel()
    graph = csr_array((np.ones(leads.size), edges), shape=(n, n))
    return np.asarray(dijkstra(graph, unweighted=True)).astype(np.int64)
