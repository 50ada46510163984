"""The path-graph world as a Gymnasium vector environment: n slots, one batched step."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra

from pilotage.envs.pathgraph.tasks import make_tasks
from pilotage.envs.slots import (
    GOING,
    LIMIT,
    REACHED,
    REASONS,
    STOPPED,
    tasks_to_begin,
    whole_actions,
)
from pilotage.episodes.types import Task

_WORDS = "abcdefghijklmnopqrstuvwxyz 0123456789"


class PathGraphVectorEnv(gym.vector.VectorEnv):
    """Walking on the edges of graphs.

    Actions: 0 stop, k go to node k - 1. Without an edge to that node the agent stays where it is.

    Observations, batched over n slots, N being `max_nodes`: `adjacency` uint8 [n, N, N] ([i, j] is
    1 where an edge leads from i to j), `node` and `goal` int64 [n], `instruction`, a tuple of n
    str, and with `expert_actions` `expert_action` int64 [n] (privileged; 0 where no way is left).

    Start: the task's node. Reward: 1 for reaching the goal, else 0. End: the goal is reached
    (success), the agent stops, or `max_steps`.

    Infos: `trace` (position float64 [n, 3] = node, 0, 0; travelled [n, 1], edges so far;
    distance_to_goal [n, 1] in edges, N + 1 where no way is left; collision [n, 1], a hop without an
    edge), `end_reason`, `success`, `env_error`.

    Raises ValueError: an argument, action or task is out of its range (named with slot and value).
    """

    def __init__(self, n_slots: int, *, max_nodes: int = 100, expert_actions: bool = False) -> None:
        if n_slots < 1 or max_nodes < 2:
            raise ValueError(
                f"need n_slots >= 1 and max_nodes >= 2, got n_slots={n_slots}, "
                f"max_nodes={max_nodes}"
            )
        self.metadata = {"autoreset_mode": AutoresetMode.DISABLED, "render_modes": []}
        self.num_envs, self.max_nodes, self.expert_actions = n_slots, max_nodes, expert_actions
        spaces: dict[str, gym.Space] = {
            "adjacency": gym.spaces.Box(0, 1, (max_nodes, max_nodes), np.uint8),
            "node": gym.spaces.Discrete(max_nodes),
            "goal": gym.spaces.Discrete(max_nodes),
            "instruction": gym.spaces.Text(min_length=0, max_length=200, charset=_WORDS),
        }
        if expert_actions:
            spaces["expert_action"] = gym.spaces.Discrete(max_nodes + 1)
        self.single_observation_space = gym.spaces.Dict(spaces)
        self.single_action_space = gym.spaces.Discrete(max_nodes + 1)
        self.observation_space = batch_space(self.single_observation_space, n_slots)
        self.action_space = batch_space(self.single_action_space, n_slots)
        self._adjacency = np.zeros((n_slots, max_nodes, max_nodes), np.uint8)
        self._distance = np.zeros((n_slots, max_nodes), np.int32)
        self._node, self._goal = np.zeros((2, n_slots), np.int64)
        self._n_steps, self._n_hops, self._max_steps = np.zeros((3, n_slots), np.int64)
        self._live, self._bumped = np.zeros((2, n_slots), bool)
        self._ends = np.zeros(n_slots, np.uint8)
        self._instructions = [""] * n_slots

    @property
    def live(self) -> np.ndarray:
        """bool [n]: slots with an episode under way."""
        return self._live.copy()

    def reset(
        self,
        *,
        seed: int | list[int | None] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Begin episodes in the slots of `options["reset_mask"]` with `options["tasks"]`.

        Without tasks every slot gets a star graph of the train split, drawn by its seed (`seed`,
        `seed + 1`, ... for an int). Other slots stay; nothing changes when a task is refused.
        """
        tasks = tasks_to_begin(self, seed, options, _draw)
        read = [self._read(slot, task) for slot, task in tasks.items()]
        for (slot, task), adjacency in zip(tasks.items(), read):
            self._adjacency[slot] = adjacency
            self._node[slot], self._goal[slot] = task.start["node"], task.goal["node"]
            self._distance[slot] = _distances(adjacency, task.goal["node"])
            self._n_steps[slot], self._n_hops[slot] = 0, 0
            self._max_steps[slot] = task.max_steps
            self._live[slot], self._bumped[slot], self._ends[slot] = True, False, GOING
            self._instructions[slot] = task.instruction
        return self._observations(), self._infos()

    def _read(self, slot: int, task: Task) -> np.ndarray:
        """A fitting task's adjacency uint8 [N, N]; nodes beyond the task's have no edges."""
        where = f"slot {slot}, task {task.task_id!r}"
        if task.env != "pathgraph":
            raise ValueError(f"{where} is of the world {task.env!r}, expected 'pathgraph'")
        n_nodes = task.scene["n_nodes"]
        if n_nodes > self.max_nodes:
            raise ValueError(
                f"{where} has {n_nodes} nodes, this world at most {self.max_nodes}; build it with "
                f"max_nodes={n_nodes}"
            )
        edges = np.array(task.scene["edges"], np.int64).reshape(-1, 2)
        if len(edges) and (edges.min() < 0 or edges.max() >= n_nodes):
            raise ValueError(f"{where}: an edge names a node outside 0 to {n_nodes - 1}")
        ends = {"start": task.start["node"], "goal": task.goal["node"]}
        for name, node in ends.items():
            if not 0 <= node < n_nodes:
                raise ValueError(f"{where}: {name} {node} is outside 0 to {n_nodes - 1}")
        if ends["start"] == ends["goal"]:
            raise ValueError(f"{where}: start and goal are both {ends['goal']}")
        adjacency = np.zeros((self.max_nodes, self.max_nodes), np.uint8)
        adjacency[edges[:, 0], edges[:, 1]] = 1
        return adjacency

    def step(
        self, actions: np.ndarray
    ) -> tuple[dict[str, Any], np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One action in every live slot; the others are frozen (reward 0, flags False)."""
        live = self._live.copy()
        known = f"neither 0 (stop) nor 1 + a node number, at most {self.max_nodes}"
        chosen = whole_actions(actions, live, self.max_nodes + 1, known)
        lane = np.arange(self.num_envs)
        target = np.maximum(chosen - 1, 0)
        hops = live & (chosen > 0) & (self._adjacency[lane, self._node, target] > 0)
        self._node = np.where(hops, target, self._node)
        self._n_hops += hops
        self._bumped = np.where(live, (chosen > 0) & ~hops, self._bumped)
        self._n_steps += live
        reached = hops & (self._node == self._goal)
        stopped = live & (chosen == 0)
        limit = live & ~(reached | stopped) & (self._n_steps >= self._max_steps)
        self._ends[reached], self._ends[stopped], self._ends[limit] = REACHED, STOPPED, LIMIT
        self._live = live & ~(reached | stopped | limit)
        rewards = reached.astype(np.float64)
        return self._observations(), rewards, reached | stopped, limit, self._infos()

    def _observations(self) -> dict[str, Any]:
        obs: dict[str, Any] = {
            "adjacency": self._adjacency.copy(),
            "node": self._node.copy(),
            "goal": self._goal.copy(),
            "instruction": tuple(self._instructions),
        }
        if self.expert_actions:
            lane = np.arange(self.num_envs)
            nearer = self._distance == self._distance[lane, self._node][:, None] - 1
            good = (self._adjacency[lane, self._node] > 0) & nearer
            obs["expert_action"] = np.where(good.any(axis=1), good.argmax(axis=1) + 1, 0)
        return obs

    def _infos(self) -> dict[str, Any]:
        n = self.num_envs
        position = np.zeros((n, 3))
        position[:, 0] = self._node
        distance = self._distance[np.arange(n), self._node].astype(np.float64)[:, None]
        return {
            "trace": {
                "position": position,
                "travelled": self._n_hops.astype(np.float64)[:, None],
                "distance_to_goal": distance,
                "collision": self._bumped.astype(np.float64)[:, None],
            },
            "end_reason": REASONS[self._ends].tolist(),
            "success": self._ends == REACHED,
            "env_error": [None] * n,
        }


def _draw(seed: int) -> Task:
    return make_tasks("train", 1, seed=seed, families=["star"])[0]


def _distances(adjacency: np.ndarray, goal: int) -> np.ndarray:
    """Edges to the goal, int32 [N]; N + 1 where there is no way."""
    far = np.asarray(dijkstra(csr_array(adjacency.T), unweighted=True, indices=[goal]))[0]
    return np.where(np.isfinite(far), far, len(adjacency) + 1).astype(np.int32)
