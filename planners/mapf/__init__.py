"""Solvers of multi-agent path finding: plain functions from an instance to a plan and a status.

    result = lacam_star(instance, time_limit_s=10.0)
    if result.status is PlanStatus.SOLVED:
        paths = result.paths  # int32 [N, T + 1, 2]

| function | guarantee |
|---|---|
| `prioritised` | none: fast on sparse maps, restarts with other orders |
| `cbs` | least sum of costs |
| `eecbs` | a sum of costs at most w times the least |
| `pibt` | none for one-shot; see `PibtPolicy` for lifelong |
| `lacam` | complete: a plan, or the proof that there is none |
| `lacam_star` | as `lacam`; then improves until the time is up |
| `lns2` | none: repairs paths that meet, then improves until the time is up |
| `tswap` | complete where it does not matter who takes which goal (unlabelled) |

Lifelong play, step by step, from positions and goals to actions: `PibtPolicy`, `RhcrPolicy` and
`WindowedPibtPolicy` (both plan some steps ahead), `FollowerPolicy` (learned; `load_follower_lite`
reads its network), and `PibtShield`, which takes the conflicts out of any policy that has
preferences.

The judge of their plans is `pilotage.envs.mapf.validate_paths`, which knows none of them.
Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.planners.mapf.conflict_based_search import cbs
    from pilotage.planners.mapf.eecbs_search import eecbs
    from pilotage.planners.mapf.follower import FollowerPolicy
    from pilotage.planners.mapf.follower_network import FollowerLite, load_follower_lite
    from pilotage.planners.mapf.graph import DistanceFields, GridGraph
    from pilotage.planners.mapf.lacam_search import lacam, lacam_star
    from pilotage.planners.mapf.path_repair import lns2
    from pilotage.planners.mapf.pibt_shield import PibtShield
    from pilotage.planners.mapf.prioritised_planning import prioritised
    from pilotage.planners.mapf.priority_inheritance import PibtPolicy, pibt
    from pilotage.planners.mapf.results import PlanResult, PlanStatus
    from pilotage.planners.mapf.target_swapping import relabelled, tswap
    from pilotage.planners.mapf.windowed import RhcrPolicy, WindowedPibtPolicy

_HOMES = {
    "DistanceFields": "graph",
    "FollowerLite": "follower_network",
    "FollowerPolicy": "follower",
    "GridGraph": "graph",
    "PibtPolicy": "priority_inheritance",
    "PibtShield": "pibt_shield",
    "PlanResult": "results",
    "PlanStatus": "results",
    "RhcrPolicy": "windowed",
    "WindowedPibtPolicy": "windowed",
    "cbs": "conflict_based_search",
    "eecbs": "eecbs_search",
    "lacam": "lacam_search",
    "lacam_star": "lacam_search",
    "lns2": "path_repair",
    "load_follower_lite": "follower_network",
    "pibt": "priority_inheritance",
    "prioritised": "prioritised_planning",
    "relabelled": "target_swapping",
    "tswap": "target_swapping",
}

__all__ = [
    "DistanceFields",
    "FollowerLite",
    "FollowerPolicy",
    "GridGraph",
    "PibtPolicy",
    "PibtShield",
    "PlanResult",
    "PlanStatus",
    "RhcrPolicy",
    "WindowedPibtPolicy",
    "cbs",
    "eecbs",
    "lacam",
    "lacam_star",
    "lns2",
    "load_follower_lite",
    "pibt",
    "prioritised",
    "relabelled",
    "tswap",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
