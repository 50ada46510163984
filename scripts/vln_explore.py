"""Meta-Explore-style agents by name: `metaexplore:SEARCH`, `metaexplore:SEARCH@BUDGET`."""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.agents.vln.maps.explore import BUDGET, Boxes, ExploringAgent
from pilotage.envs.r2r.dataset import R2RData
from pilotage.episodes.types import Task
from pilotage.scripts.vln_tasks import object_agent

SCHEME = "metaexplore"


def open_exploring(name: str, data: R2RData, tasks: Sequence[Task]) -> ExploringAgent:
    """`metaexplore:sos@30` explores for 30 steps.

    Raises ValueError for tasks that are not REVERIE's or an unreadable budget, KeyError for an
    unknown search.
    """
    search, steps = object_agent(name, tasks)
    if steps and not steps.isdecimal():
        raise ValueError(f"{name!r}: {steps!r} is no number of steps; e.g. {SCHEME}:sos@{BUDGET}")

    def boxes_at(scan: str, viewpoint: str) -> Boxes:
        found: Boxes = data.boxes(scan).get(viewpoint, {})
        return found

    return ExploringAgent(boxes_at, search=search or "sos", budget=int(steps or BUDGET))
