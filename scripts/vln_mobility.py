"""Mobility-VLA-style agents by name: `mobility:SCORER`, `mobility:SCORER@LOST`."""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.agents.vln.maps.mobility import MobilityAgent, OracleMobilityAgent
from pilotage.envs.r2r.dataset import R2RData
from pilotage.episodes.types import Task
from pilotage.scripts.reverie_tours import Tours
from pilotage.scripts.vln_tasks import object_agent

SCHEME = "mobility"
ORACLE = "oracle"


def open_mobility(name: str, data: R2RData, tasks: Sequence[Task], seed: int) -> MobilityAgent:
    """`mobility:lexical@0.1` localises itself wrongly at one step in ten.

    Raises ValueError for tasks that are not REVERIE's or an unreadable chance, KeyError for an
    unknown scorer.
    """
    scorer, lost = object_agent(name, tasks)
    try:
        chance = float(lost or 0)
    except ValueError:
        raise ValueError(
            f"{name!r}: {lost!r} is no number in [0, 1); e.g. {SCHEME}:lexical@0.1"
        ) from None
    tours = Tours(data, seed=seed)
    if scorer == ORACLE:
        return OracleMobilityAgent(tours.__getitem__, lost=chance)
    return MobilityAgent(tours.__getitem__, tours.scorer(scorer, tasks), lost=chance)
