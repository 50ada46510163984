"""Where episodes of route instructions go wrong, door by door."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from pilotage.envs.rooms import make_house
from pilotage.envs.rooms.routes import rooms_along
from pilotage.episodes.types import EpisodeRecord

OUTCOMES = (
    "success",
    "wrong door first",  # the first door that the agent went through is not the route's
    "wrong door later",
    "short of a door",  # it never left a room of the route that is not the last
    "beside the goal",  # it ended in the last room, too far from the goal
    "beyond the goal",  # it left the last room again
)


def route_outcome(record: EpisodeRecord) -> str:
    """One of `OUTCOMES`, from the rooms of the agent's path beside those of the reference path.

    Raises:
        ValueError: the record is of no route instruction of the rooms world.
    """
    task = record.task
    if task.family != "instruction" or "house_seed" not in task.scene:
        raise ValueError(
            f"task {task.task_id} ({task.env}, family {task.family!r}) has no route to follow; "
            "give records of route instructions in pilotage/Rooms-v0"
        )
    if record.success:
        return "success"
    house = make_house(int(task.scene["house_seed"]))
    route = rooms_along(house, np.array(task.reference_path)[:, :2])
    walked = rooms_along(house, np.asarray(record.trace["position"])[:, :2])
    n_right = 0
    while n_right < min(len(route), len(walked)) and route[n_right] == walked[n_right]:
        n_right += 1
    if n_right == len(route):
        return "beyond the goal" if len(walked) > len(route) else "beside the goal"
    if n_right == len(walked):
        return "short of a door"
    return "wrong door first" if n_right <= 1 else "wrong door later"


def outcome_row(agent: str, records: Sequence[EpisodeRecord]) -> dict[str, str | int]:
    """How many episodes of an agent had each outcome; errors are no outcome of their own."""
    counts = Counter(route_outcome(r) for r in records if not r.end.is_error)
    return {"agent": agent, "n": sum(counts.values()), **{name: counts[name] for name in OUTCOMES}}
