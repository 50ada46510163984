"""Lifelong instances drawn as POGEMA draws them: starts and goals where the map's symbols allow.

Skrynnik et al. 2024 (arXiv:2407.14931). Starts are distinct. Every goal of an agent is uniform over
the allowed cells of its connected component, and never the cell that the agent stands on when it
gets the goal. The random numbers are this project's, so single episodes differ from POGEMA's.
"""

from __future__ import annotations

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.envs.mapf.pogema_files import PogemaRoles


def draw_lifelong(
    roles: PogemaRoles, n_agents: int, *, n_goals: int, seed: int, name: str = "drawn"
) -> MapfInstance:
    """An instance with `n_goals` goals an agent; as many as steps are enough for any episode.

    The goals of an agent depend on the seed, the agent and its start only: smaller teams are the
    first agents of larger ones.

    Raises:
        ValueError: more agents than cells to start on, a start from which no other goal can be
            reached, `n_agents` or `n_goals` < 1.
    """
    from scipy.ndimage import label

    if n_agents < 1 or n_goals < 1:
        raise ValueError(f"n_agents and n_goals must be >= 1, got {n_agents} and {n_goals}")
    may_start = np.argwhere(roles.may_start)
    if n_agents > len(may_start):
        raise ValueError(
            f"{name}: {n_agents} agents do not fit on the {len(may_start)} cells that they may "
            "start on; ask for fewer"
        )
    starts = np.random.default_rng(seed).permutation(may_start)[:n_agents]
    component, _ = label(roles.free)
    may_be_goal = np.argwhere(roles.may_be_goal)
    part_of_goal = component[tuple(may_be_goal.T)]
    lists = []
    for i, start in enumerate(starts):
        reachable = may_be_goal[part_of_goal == component[tuple(start)]]
        if len(reachable) < 2:
            raise ValueError(
                f"{name}: from {start.tolist()} {len(reachable)} goals can be reached; a lifelong "
                "agent needs two"
            )
        lists.append(_goals(np.random.default_rng([seed, i]), reachable, start, n_goals))
    return MapfInstance.lifelong(roles.free, starts, lists, name=f"{name}/{n_agents}/{seed}")


def _goals(rng: np.random.Generator, cells: np.ndarray, start: np.ndarray, n: int) -> np.ndarray:
    """int64 [n, 2]: rows of `cells`, each uniform over those that differ from the one before."""
    first = rng.choice(np.flatnonzero((cells != start).any(axis=1)))
    onward = rng.integers(1, len(cells), n - 1)
    return cells[(np.concatenate([[first], onward]).cumsum()) % len(cells)]
