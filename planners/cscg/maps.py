"""From a clone-structured model to a map."""

from __future__ import annotations

import numpy as np

from pilotage.planners.cscg.model import CSCG
from pilotage.planners.maps import LearnedMap, read_map


def learn_map(
    model: CSCG,
    observations: np.ndarray,
    actions: np.ndarray,
    *,
    least: float = 0.05,
    merge: bool = True,
) -> LearnedMap:
    """The map of the likeliest path of states on a walk; `least` and `merge` as in `read_map`."""
    path = model.decode(observations, actions)
    return read_map(path, actions, model.n_clones, least=least, merge=merge)


def map_walk(
    model: CSCG, observations: np.ndarray, actions: np.ndarray, *, pseudocount: float
) -> LearnedMap:
    """The map of one walk from beginning to end: EM, hard EM, and what the model then knows."""
    model.fit(observations, actions, pseudocount=pseudocount)
    model.refine(observations, actions)
    return learn_map(model, observations, actions)
