"""Played episodes as `Walk`s, which every metric convention can score."""

from __future__ import annotations

import numpy as np

from pilotage.envs.r2r.continuous import ExpertTrace
from pilotage.episodes.types import EpisodeRecord
from pilotage.episodes.vln_metrics import Walk


def walk_of_record(record: EpisodeRecord, trace: ExpertTrace | None = None) -> Walk | None:
    """The walk of a played episode; None when it ended by an error: that is not an attempt.

    With the expert's trace its points are the reference, as in VLN-CE; else those of the path,
    which gives another nDTW. L* of the episode is that of its file, L* at reset the world's own.
    """
    if record.end.is_error:
        return None
    reference = record.task.reference_path if trace is None else trace.locations
    return Walk(
        positions=record.trace["position"],
        to_goal=record.trace["distance_to_goal"].ravel(),
        goal=np.array(record.task.goal["position"], float),
        reference=np.array(reference, float),
        shortest_m=record.task.shortest_path_length,
        stopped=record.end.value in ("agent_stopped", "goal_reached"),
    )
