"""Metrics of navigation from dialogue history (NDH, Thomason et al. 2019, arXiv:1907.04957).

Progress is measured to a room, the other errors to the end of the path that supervises: two goals.
"""

from __future__ import annotations

import numpy as np

from .vln_metrics import SUCCESS_RADIUS_M, Walk, vln_metrics

NDH_METRICS = (
    *("goal_progress", "oracle_goal_progress", "success", "oracle_success", "spl"),
    *("navigation_error", "oracle_error", "path_length"),
)


def ndh_metrics(
    walk: Walk, to_ends: np.ndarray, *, success_radius_m: float = SUCCESS_RADIUS_M
) -> dict[str, float]:
    """The metrics named in `NDH_METRICS`, in metres. p_0..p_n is the walk, G the end panoramas.

        goal_progress         d(p_0, G) - d(p_n, G), negative for a walk away from G
        oracle_goal_progress  d(p_0, G) - min_i d(p_i, G)
        spl                   as in "r2r"; where the path's end is the start, 1 for standing still
                              and 0 for any move

    and the rest as `vln_metrics` has them in "r2r", with the end of the supervising path for goal.

    Args:
        walk: beside the supervising path.
        to_ends: float64 [n], metres from each point of the walk to the nearest end panorama.

    Raises ValueError for another number of distances than points, or an end without a way to it.
    """
    if np.shape(to_ends) != (len(walk.positions),):
        raise ValueError(
            f"to_ends has shape {list(np.shape(to_ends))}, expected [{len(walk.positions)}]"
        )
    if not np.isfinite(to_ends).all():
        raise ValueError("no end panorama can be reached from the walk: to_ends is not finite")
    found = vln_metrics(walk, "r2r", success_radius_m=success_radius_m)
    found["goal_progress"] = float(to_ends[0] - to_ends[-1])
    found["oracle_goal_progress"] = float(to_ends[0] - np.min(to_ends))
    if walk.shortest_m == 0:
        found["spl"] = float(found["path_length"] == 0)
    return {name: found[name] for name in NDH_METRICS}
