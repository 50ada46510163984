"""A linear scorer of frames, trained on instructions whose goal frames are known.

p(frame | instruction) = softmax over the tour of w . f; the loss is -log of the probability of all
frames that see the object. Features are standardised within each tour, so that w carries over to
buildings that no training saw. No word has a weight: what is learned is how far to trust each cue.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.optimize import minimize

from .scorers import Semantic, clauses, standardised
from .tour import Tour, content_words

FEATURES = (
    "names: all words",
    "names: last clause",
    "names: first clause",
    "names: last clause's first word",
    "names: last clause's last word",
    "names: whole names",
    "captions: all words",
    "captions: first clause",
    "captions: last clause",
    "neighbours' names: all words",
    "neighbours' captions: all words",
    "how many names",
    "nearest name: last clause",
    "nearest name: first clause",
    "nearest name: mean of clauses",
)


class Features:
    """float64 [V, F] for an instruction; the last three come from sentence vectors, 0 without."""

    def __init__(self, semantic: Semantic | None = None) -> None:
        self._semantic = semantic

    def of(self, tour: Tour, instruction: str) -> np.ndarray:
        parts = clauses(instruction)
        first, last = content_words(parts[0]), content_words(parts[-1])
        every = content_words(instruction)
        # of "straighten the red pillow": what follows the verb, and the last word
        thing = last[1:2] or last[:1]
        names, captions = tour.words["names"], tour.words["captions"]
        by_names, by_captions = names.overlap(every), captions.overlap(every)
        columns = [
            by_names,
            names.overlap(last),
            names.overlap(first),
            names.overlap(thing),
            names.overlap(last[-1:]),
            _whole_names(tour, every),
            by_captions,
            captions.overlap(first),
            captions.overlap(last),
            _around(tour, by_names),
            _around(tour, by_captions),
            np.log1p([len(frame) for frame in tour.names]),
        ]
        if self._semantic is None:
            columns += [np.zeros(len(tour.viewpoints))] * 3
        else:
            near = self._semantic.by_clause(tour, parts)
            columns += [near[-1], near[0], near.mean(axis=0)]
        return standardised(np.stack(columns)).T


class Learned:
    """Scores w . f."""

    def __init__(self, features: Features, weights: np.ndarray, name: str = "learned") -> None:
        if weights.shape != (len(FEATURES),) or not np.isfinite(weights).all():
            raise ValueError(f"weights must be {len(FEATURES)} finite numbers, got {weights!r}")
        self._features, self.weights, self.name = features, weights, name

    def scores(self, tour: Tour, instruction: str) -> np.ndarray:
        total: np.ndarray = self._features.of(tour, instruction) @ self.weights
        return total


def fit(
    rows: Sequence[np.ndarray], goals: Sequence[np.ndarray], *, ridge: float = 1e-3
) -> np.ndarray:
    """Weights float64 [F] of the least loss plus ridge |w|^2, a mean over instructions.

    `rows[i]` is float64 [V_i, F]; `goals[i]` bool [V_i], true at one frame at least. Raises
    ValueError for instructions without rows or goals.
    """
    if not rows or len(rows) != len(goals) or not all(goal.any() for goal in goals):
        raise ValueError("fit needs instructions, each with at least one goal frame")

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        total, slope = ridge * weights @ weights, 2 * ridge * weights
        for features, goal in zip(rows, goals):
            logits = features @ weights
            shares = np.exp(logits - logits.max())
            hit = shares[goal].sum()
            p = shares / shares.sum()
            total -= np.log(hit / shares.sum()) / len(rows)
            slope = slope + (p @ features - shares[goal] / hit @ features[goal]) / len(rows)
        return float(total), slope

    start = np.zeros(rows[0].shape[1])
    found: np.ndarray = minimize(loss, start, jac=True, method="L-BFGS-B").x
    return found


def _whole_names(tour: Tour, words: Sequence[str]) -> np.ndarray:
    """float64 [V]: words in the longest object name that the instruction has whole."""
    known = set(words)
    length: dict[str, int] = {}
    for name in {name for frame in tour.names for name in frame}:
        parts = content_words(name)
        length[name] = len(parts) if parts and known.issuperset(parts) else 0
    return np.array([max((length[n] for n in frame), default=0) for frame in tour.names], float)


def _around(tour: Tour, values: np.ndarray) -> np.ndarray:
    """float64 [V]: the mean over each frame's neighbours; its own where it has none."""
    means = [
        values[[there for there, _ in near]].mean() if near else value
        for near, value in zip(tour.neighbours, values)
    ]
    return np.array(means)
