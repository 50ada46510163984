"""How well outputs report what lies along an axis inside, and how far an edit moves the report.

In the paper (arXiv:2505.13763) a chat model sees labelled examples and then reports the label of
its own state, or is asked to bring it about. A policy has no such channel. The stand-in here for
its in-context report is a linear probe from *outputs* to labels, fitted on some episodes and judged
on others; control is not asked for in words but by an edit along the axis. So these numbers say
what the outputs reveal and what an edit reaches, not what a model knows of itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

N_FOLDS = 5


def held_out_reports(
    outputs: np.ndarray, labels: np.ndarray, clusters: Sequence[int] | np.ndarray
) -> np.ndarray:
    """float64 `[n]`: what a probe says of each output (log odds of label 1), never having seen its
    cluster. outputs float `[n, m]`, labels bool `[n]`.

    Raises ValueError for fewer clusters than folds, and labels that a fold has only one of.
    """
    from sklearn.model_selection import GroupKFold

    groups = np.asarray(clusters)
    if len(np.unique(groups)) < N_FOLDS:
        raise ValueError(
            f"{len(np.unique(groups))} episodes are too few for {N_FOLDS} folds; look at more"
        )
    found = np.full(len(outputs), np.nan)
    for fit, judge in GroupKFold(N_FOLDS).split(outputs, labels, groups):
        found[judge] = Reporter.fit(outputs[fit], labels[fit]).report(outputs[judge])
    return found


@dataclass(frozen=True, eq=False)
class Reporter:
    """A linear probe from outputs to a label."""

    model: Any
    middle: np.ndarray
    spread: np.ndarray

    @classmethod
    def fit(cls, outputs: np.ndarray, labels: np.ndarray) -> Reporter:
        """Logistic regression (scikit-learn, C = 1) on standardised outputs `[n, m]`."""
        from sklearn.linear_model import LogisticRegression

        if labels.all() or not labels.any():
            raise ValueError("all labels are equal: there is nothing to report")
        middle, spread = outputs.mean(0), np.maximum(outputs.std(0), 1e-9)
        model = LogisticRegression(max_iter=2000).fit((outputs - middle) / spread, labels)
        return cls(model, middle, spread)

    def report(self, outputs: np.ndarray) -> np.ndarray:
        """Log odds of label 1, float64 `[n]`."""
        found: np.ndarray = self.model.decision_function((outputs - self.middle) / self.spread)
        return found


def control_effect(raised: np.ndarray, lowered: np.ndarray, natural: np.ndarray) -> float:
    """How far an edit up and the same edit down carry the mean report apart, in standard deviations
    of the unedited reports (Cohen's d with the natural spread); `[n]` each."""
    return float((raised.mean() - lowered.mean()) / max(float(natural.std()), 1e-12))
