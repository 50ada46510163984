"""Which agent takes which goal, when any may take any: by the sum or by the largest distance."""

from __future__ import annotations

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.sparse import csr_array
from scipy.sparse.csgraph import maximum_bipartite_matching

from pilotage.planners.mapf.graph import FAR


def linear_assignment(distances: np.ndarray) -> np.ndarray | None:
    """int64 [N]: the goal of each agent, with the least sum of distances; None when some agent
    would get a goal that it cannot reach. `distances` is int [N agents, N goals], FAR: no way."""
    _, chosen = linear_sum_assignment(distances)
    reached = distances[np.arange(len(chosen)), chosen] < FAR
    return chosen if reached.all() else None


def bottleneck_assignment(distances: np.ndarray) -> np.ndarray | None:
    """As `linear_assignment`, but with the least largest distance, and among those the least sum.

    The least largest distance is found by halving, with a maximum matching for each try.
    """
    values = np.unique(distances[distances < FAR])
    if not len(values) or not _matches(distances, values[-1]):
        return None
    needed = max(distances.min(axis=0).max(), distances.min(axis=1).max())
    low, high = int(np.searchsorted(values, needed)), len(values) - 1
    while low < high:
        middle = (low + high) // 2
        if _matches(distances, values[middle]):
            high = middle
        else:
            low = middle + 1
    return linear_assignment(np.where(distances <= values[low], distances, FAR))


def _matches(distances: np.ndarray, limit: int) -> bool:
    """Can every agent have a goal of its own within `limit`?"""
    within = csr_array(distances <= limit)
    return bool((maximum_bipartite_matching(within) >= 0).all())
