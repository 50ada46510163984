"""EM that can be stopped and go on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from pilotage.planners.checkpoints import digest_of, read_state, write_state
from pilotage.planners.cscg.model import CSCG

TOLERANCE = 1e-5  # bits a step


def train_cscg(
    model: CSCG,
    observations: np.ndarray,
    actions: np.ndarray,
    *,
    pseudocount: float = 2e-3,
    every: int = 20,
    tell: Callable[[int, float], None] | None = None,
    state: Path | None = None,
) -> int:
    """`model.fit` until it converges; returns the number of iterations.

    `tell(iteration, bits a step)` is called every `every` iterations. With `state` the model is
    kept in that file at those, and goes on from it where it exists: the same model as without a
    stop. ValueError for a `state` of another training, or every < 1.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1 iteration, got {every}")
    about: dict[str, object] = {
        "sizes": [model.n_observations, model.n_clones, model.n_actions],
        "begun_from": digest_of(model.transitions.view(np.int32)),
        "pseudocount": pseudocount,
        "walk": digest_of(observations, actions),
    }
    bits: list[float] = []
    if state is not None and state.exists():
        found = read_state(state, about, what="a clone-structured model's training")
        model.transitions = found["transitions"].numpy()
        bits = found["bits"].tolist()
        if len(bits) > 1 and bits[-2] - bits[-1] < TOLERANCE:
            return len(bits)
        bits.pop()  # of the transitions as they are, which the next iteration finds again

    def note(_: int, found: float) -> None:
        bits.append(found)
        if (len(bits) - 1) % every:
            return
        if state is not None:
            kept = {
                "transitions": torch.from_numpy(model.transitions),
                "bits": torch.tensor(bits, dtype=torch.float64),
            }
            write_state(state, kept, about)
        if tell is not None:
            tell(len(bits) - 1, found)

    model.fit(observations, actions, pseudocount=pseudocount, tolerance=TOLERANCE, tell=note)
    return len(bits)
