"""From many trajectories to a table: means under a convention's policy, with everything counted.

Nothing is dropped in silence: n_total, n_scored, n_nan and n_inf belong to every row. Intervals
draw whole scenes, because a split has few (val-unseen: 11) and its episodes are not independent.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from .statistics import Interval, paired_bootstrap
from .types import EndReason
from .vln_conventions import VLN_CONVENTIONS, VlnConvention, vln_convention
from .vln_metrics import SUCCESS_RADIUS_M, VLN_METRICS, Walk, vln_metrics

N_RESAMPLES = 2000


@dataclass(frozen=True)
class MetricSummary:
    """A mean with its scene-clustered 95 % interval (NaN where not every value is finite)."""

    interval: Interval
    n_used: int  # values behind the mean, after the policy
    n_nan: int  # of the episodes, before the policy
    n_inf: int


@dataclass(frozen=True)
class VlnSummary:
    """One table row: a set of trajectories under one convention."""

    convention: str
    n_total: int  # episodes that belong to the set
    n_scored: int  # of them with a trajectory; the rest ended by an error or is missing
    n_nan: int  # scored episodes with a NaN in some metric
    n_inf: int  # scored episodes with an infinite value in some metric
    metrics: Mapping[str, MetricSummary]

    def mean(self, name: str) -> float:
        return self.metrics[name].interval.estimate

    def cells(self) -> dict[str, str | int | float]:
        """A row for a table: the counts, then the means."""
        counts: dict[str, str | int | float] = {
            "convention": self.convention,
            "n_total": self.n_total,
            "n_scored": self.n_scored,
            "n_nan": self.n_nan,
            "n_inf": self.n_inf,
        }
        return counts | {name: self.mean(name) for name in self.metrics}


def vln_summary(
    scores: Sequence[Mapping[str, float] | None],
    convention: str | VlnConvention,
    *,
    clusters: Sequence[object] | None = None,
    names: Sequence[str] = VLN_METRICS,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
) -> VlnSummary:
    """Means of `vln_metrics` values over episodes, one entry each; None for one without a score.

    Args:
        clusters: the scene of each episode; whole scenes are drawn for the interval.
        names: the metrics that are wanted; n_nan and n_inf speak of these.

    A NaN or infinite value is kept (the mean is then not finite), counted as 0, or left out, as the
    convention has it. Raises ValueError when `clusters` has another length than `scores`.
    """
    rules = vln_convention(convention) if isinstance(convention, str) else convention
    if clusters is not None and len(clusters) != len(scores):
        raise ValueError(f"clusters has {len(clusters)} labels for {len(scores)} episodes")
    scored = [i for i, score in enumerate(scores) if score is not None]
    table = np.array(
        [[score[name] for name in names] for score in scores if score is not None], float
    ).reshape(len(scored), len(names))
    labels = None if clusters is None else [clusters[i] for i in scored]
    metrics = {}
    for column, name in enumerate(names):
        metrics[name] = _summary(table[:, column], rules, name, labels, n_resamples, seed)
    return VlnSummary(
        rules.name,
        len(scores),
        len(scored),
        int(np.isnan(table).any(axis=1).sum()),
        int(np.isinf(table).any(axis=1).sum()),
        metrics,
    )


def _summary(
    values: np.ndarray,
    rules: VlnConvention,
    name: str,
    labels: list[object] | None,
    n_resamples: int,
    seed: int,
) -> MetricSummary:
    bad = ~np.isfinite(values)
    n_nan, n_inf = int(np.isnan(values).sum()), int(np.isinf(values).sum())
    if bad.any() and rules.policy(name) == "zero":
        values = np.where(bad, 0.0, values)
    elif bad.any() and rules.policy(name) == "drop":
        values = values[~bad]
        labels = None if labels is None else [x for x, b in zip(labels, bad) if not b]
    if np.isfinite(values).all():
        interval = paired_bootstrap(values, clusters=labels, n_resamples=n_resamples, seed=seed)
    else:
        interval = Interval(float(values.mean()), np.nan, np.nan)
    return MetricSummary(interval, len(values), n_nan, n_inf)


def convention_matrix(
    walks: Sequence[Walk | None],
    *,
    conventions: Sequence[str] = tuple(VLN_CONVENTIONS),
    clusters: Sequence[object] | None = None,
    names: Sequence[str] = VLN_METRICS,
    success_radius_m: float = SUCCESS_RADIUS_M,
    n_resamples: int = N_RESAMPLES,
) -> list[VlnSummary]:
    """The same trajectories under every convention, one summary each."""
    return [
        vln_summary(
            [
                None if w is None else vln_metrics(w, name, success_radius_m=success_radius_m)
                for w in walks
            ],
            name,
            clusters=clusters,
            names=names,
            n_resamples=n_resamples,
        )
        for name in conventions
    ]


def end_histogram(ends: Sequence[EndReason | str]) -> dict[str, int]:
    """How often each reason ended an episode, all reasons named, in a fixed order.

    Raises ValueError for a word that is no end reason.
    """
    counts = Counter(EndReason(end) for end in ends)
    return {reason.value: counts[reason] for reason in EndReason}
