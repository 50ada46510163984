"""Follower-lite: each agent plans a path round the crowd, and a network decides how to follow it.

Skrynnik et al. 2024, "Learn to Follow" (AAAI-24, arXiv:2310.01207). Decentralised: an agent knows
the map, its goal and whom it sees. Windows are those of the authors' compiled inference, which
paints the path until it first leaves the 7 x 7 window.
"""

from __future__ import annotations

import numpy as np
import torch

from pilotage.planners.mapf.follower_costs import FollowerCosts
from pilotage.planners.mapf.follower_kernel import draw_windows, remember, search_memory
from pilotage.planners.mapf.follower_network import RADIUS, FollowerLite
from pilotage.planners.mapf.graph import GridGraph, standing_vertices, team_vertices

SIGHT = 5  # agents that are as many rows and columns away, or fewer, are seen and remembered


class FollowerPolicy:
    """Follower-lite for lifelong play: give positions and goals of a team, get its actions.

    Actions may conflict; the world's collision rule decides (soft, in the published evaluation).
    What an agent remembers is forgotten when its goal changes.

    Args:
        free: bool [H, W], True = may stand.
        n_agents: size of the team.
        network: see `load_follower_lite`.
        seed: of the draws of actions.
        static_cost, dynamic_cost: False switches a term of the path's cost off.
        sample: False takes the most likely action.
    """

    def __init__(
        self,
        free: np.ndarray,
        n_agents: int,
        network: FollowerLite,
        *,
        seed: int = 0,
        static_cost: bool = True,
        dynamic_cost: bool = True,
        sample: bool = True,
    ) -> None:
        if n_agents < 1:
            raise ValueError(f"n_agents must be >= 1, got {n_agents}")
        self.graph = GridGraph(free)
        self.costs = FollowerCosts(self.graph, static=static_cost)
        n_vertices = self.graph.n_vertices
        self.network = network
        self.sightings = np.zeros((n_agents, n_vertices), np.int32)  # since the goal was given
        self._dynamic, self._sample = dynamic_cost, sample
        self._goals = np.full(n_agents, -1, np.int32)
        self._holder = np.full(n_vertices, -1, np.int32)
        self._memory = search_memory(n_vertices)
        self._rng = np.random.default_rng(seed)

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Actions int64 [N] (0 stay, 1 up, 2 down, 3 left, 4 right) from cells, goals int [N, 2].

        Raises:
            ValueError: wrong shapes, two agents on one cell, a cell or goal that is not free.
        """
        return np.argmax(self.preferences(cells, goals), axis=1)

    def preferences(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Float64 [N, 5]: the action of the largest is taken.

        Log-probabilities; when sampling with Gumbel noise, so that their order is a draw of actions
        without replacement (Kool et al. 2019, arXiv:1903.06059).
        """
        windows = torch.from_numpy(self.observe(cells, goals))
        with torch.no_grad():
            logits, _ = self.network(windows)
        scores = torch.log_softmax(logits.double(), dim=1).numpy()
        return scores + self._rng.gumbel(size=scores.shape) if self._sample else scores

    def observe(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        """Windows float32 [N, 2, 7, 7] of the network; counts as one step of remembering."""
        n_agents = len(self._goals)
        here = standing_vertices(self.graph, cells, n_agents)
        targets = team_vertices(self.graph, goals, n_agents, "goals")
        rows = self.costs.rows(targets)
        self.sightings[targets != self._goals] = 0
        self._goals = targets
        self._holder[here] = np.arange(n_agents)
        if self._dynamic:
            remember(self.graph.index, self.graph.cells, here, self._holder, SIGHT, self.sightings)
        out = np.empty((n_agents, 2, 2 * RADIUS + 1, 2 * RADIUS + 1), np.float32)
        draw_windows(
            self.graph.neighbours,
            self.graph.index,
            self.graph.cells,
            here,
            targets,
            self._holder,
            self.costs.enter,
            self.costs.table,
            rows,
            self.sightings,
            RADIUS,
            self._memory,
            out,
        )
        self._holder[here] = -1
        return out
