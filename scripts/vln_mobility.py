"""Mobility-VLA-style agents by name: `mobility:SCORER`, `mobility:SCORER@LOST`."""

from __future__ import annotations

from collections.abc import Sequence

from pilotage.agents.vln.maps.mobility import MobilityAgent, OracleMobilityAgent
from pilotage.envs.r2r.dataset import R2RData
from pilotage.episodes.types import Task
from pilotage.scripts.reverie_tours import Tours

SCHEME = "mobility"
ORACLE = "oracle"


def is_mobility(name: str) -> bool:
    return name.partition(":")[0] == SCHEME


def open_mobility(name: str, data: R2RData, tasks: Sequence[Task], seed: int) -> MobilityAgent:
    """`mobility:lexical@0.1` localises itself wrongly at one step in ten.

    Raises ValueError for tasks that are not REVERIE's or an unreadable chance, KeyError for an
    unknown scorer.
    """
    others = {task.family for task in tasks} - {"reverie"}
    if others:
        raise ValueError(
            f"{name!r} looks for objects: it needs --family reverie, got {', '.join(others)}"
        )
    scorer, _, lost = name.partition(":")[2].partition("@")
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
