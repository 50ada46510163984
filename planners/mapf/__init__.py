"""Solvers of multi-agent path finding: plain functions from an instance to a plan and a status.

    result = lacam_star(instance, time_limit_s=10.0)
    if result.status is PlanStatus.SOLVED:
        paths = result.paths  # int32 [N, T + 1, 2]

| function | guarantee |
|---|---|
| `prioritised` | none: fast on sparse maps, restarts with other orders |
| `cbs` | least sum of costs |
| `pibt` | none for one-shot; `PibtPolicy` plans lifelong, step by step |
| `lacam` | complete: a plan, or the proof that there is none |
| `lacam_star` | as `lacam`; then improves until the time is up |

The judge of their plans is `pilotage.envs.mapf.validate_paths`, which knows none of them.
Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.planners.mapf.conflict_based_search import cbs
    from pilotage.planners.mapf.graph import DistanceFields, GridGraph
    from pilotage.planners.mapf.lacam_search import lacam, lacam_star
    from pilotage.planners.mapf.prioritised_planning import prioritised
    from pilotage.planners.mapf.priority_inheritance import PibtPolicy, pibt
    from pilotage.planners.mapf.results import PlanResult, PlanStatus

_HOMES = {
    "DistanceFields": "graph",
    "GridGraph": "graph",
    "PibtPolicy": "priority_inheritance",
    "PlanResult": "results",
    "PlanStatus": "results",
    "cbs": "conflict_based_search",
    "lacam": "lacam_search",
    "lacam_star": "lacam_search",
    "pibt": "priority_inheritance",
    "prioritised": "prioritised_planning",
}

__all__ = [
    "DistanceFields",
    "GridGraph",
    "PibtPolicy",
    "PlanResult",
    "PlanStatus",
    "cbs",
    "lacam",
    "lacam_star",
    "pibt",
    "prioritised",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
