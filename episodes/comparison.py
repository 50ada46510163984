"""Conditions compared with a baseline over the same tasks and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .metrics import DEFAULT_RADIUS_M, delivered_dose, episode_metrics
from .statistics import N_RESAMPLES, Interval, mcnemar_exact, paired_bootstrap, wilson_interval
from .types import EpisodeRecord


@dataclass(frozen=True)
class MetricEffect:
    """One metric of one condition, and its difference to the baseline over common pairs."""

    n: int  # scored episodes with a finite value
    n_missing: int  # scored episodes without one (NaN or infinite), left out of the mean
    mean: float
    n_pairs: int  # pairs with a finite value on both sides
    delta: Interval  # mean over pairs of (this - baseline)
    relative: float  # delta / |mean of the baseline over these pairs|; NaN for a baseline of 0


@dataclass(frozen=True)
class ConditionRow:
    """One condition. "Scored" episodes are those that did not end by an error.

    A pair is scored on both sides. `n_unpaired` counts this condition's scored episodes without a
    partner; `n_baseline_unpaired` the baseline's.
    """

    condition: str
    n: int
    n_errors: int
    n_successes: int
    success_rate: Interval  # of scored episodes, Wilson
    n_pairs: int
    n_unpaired: int
    n_baseline_unpaired: int
    delta_success: Interval  # over pairs, bootstrap
    mcnemar_p: float  # exact, two-sided; NaN without pairs
    mean_dose: float  # delivered, over scored episodes
    ends: Mapping[str, int]  # end reason -> episodes
    metrics: Mapping[str, MetricEffect]


@dataclass(frozen=True)
class Comparison:
    """Rows in the order in which the conditions appear, the baseline among them."""

    baseline: str
    confidence: float
    metric_convention: str
    rows: tuple[ConditionRow, ...]

    def row(self, condition: str) -> ConditionRow:
        """The row of a condition; KeyError names the known ones."""
        for row in self.rows:
            if row.condition == condition:
                return row
        raise KeyError(f"no condition {condition!r}; known are {[r.condition for r in self.rows]}")


class _Scored(NamedTuple):
    task_id: str
    success: float
    metrics: Mapping[str, float]
    dose: float


Episodes = dict[tuple[str, int, int, int], _Scored]  # task and seeds -> scored episode


def compare(
    records: Iterable[EpisodeRecord],
    baseline: str = "baseline",
    *,
    metrics: Sequence[str] | None = None,
    confidence: float = 0.95,
    n_resamples: int = N_RESAMPLES,
    seed: int = 0,
    metric_convention: str = "habitat",
    success_radius_m: float = DEFAULT_RADIUS_M,
    control_hz: float = 10.0,
) -> Comparison:
    """Compare every condition with `baseline`, paired by task and seeds.

    Episodes that ended by an error are counted and left out of everything else. Success is the
    world's (`record.success`); the other metrics are `episode_metrics`, or those named in
    `metrics`. Differences are bootstrapped over whole tasks, so repeats of a task do not count as
    independent. McNemar's test takes pairs as independent: read it with repeats = 1.

    Raises ValueError when there is no baseline episode, when an episode occurs twice, and for
    metrics that no episode has.
    """
    scored, ends = _sort(
        records,
        convention=metric_convention,
        success_radius_m=success_radius_m,
        control_hz=control_hz,
    )
    if baseline not in ends:
        raise ValueError(f"no episode of the baseline {baseline!r}; conditions are {sorted(ends)}")
    names = _metric_names(scored, metrics)
    rows = []
    for condition, reasons in ends.items():
        settings = _Bootstrap(confidence, n_resamples, seed)
        rows.append(_row(condition, reasons, scored[condition], scored[baseline], names, settings))
    return Comparison(baseline, confidence, metric_convention, tuple(rows))


class _Bootstrap(NamedTuple):
    confidence: float
    n_resamples: int
    seed: int

    def __call__(self, differences: np.ndarray, clusters: Sequence[str]) -> Interval:
        return paired_bootstrap(differences, clusters=clusters, **self._asdict())


def _sort(
    records: Iterable[EpisodeRecord], **settings: str | float
) -> tuple[dict[str, Episodes], dict[str, dict[str, int]]]:
    """(condition -> scored episodes, condition -> end reason -> count)."""
    scored: dict[str, Episodes] = {}
    ends: dict[str, dict[str, int]] = {}
    seen: set[str] = set()
    for record in records:
        if record.key in seen:
            raise ValueError(
                f"task {record.task.task_id!r}, condition {record.condition!r}, {record.seeds} "
                "occurs twice; runs with the same seed repeat episodes: compare one of them"
            )
        seen.add(record.key)
        reasons = ends.setdefault(record.condition, {})
        reasons[record.end.value] = reasons.get(record.end.value, 0) + 1
        episodes = scored.setdefault(record.condition, {})
        if not record.end.is_error:
            found = episode_metrics(record, **settings)  # type: ignore[arg-type]
            dose = delivered_dose(record)
            seeds = record.seeds
            key = (record.task.task_id, seeds.world, seeds.agent, seeds.noise)
            episodes[key] = _Scored(record.task.task_id, float(record.success), found, dose)
    return scored, ends


def _metric_names(scored: Mapping[str, Episodes], wanted: Sequence[str] | None) -> list[str]:
    """Metrics to compare, in the order in which episodes give them; success has its own columns."""
    everything = [e.metrics for episodes in scored.values() for e in episodes.values()]
    known = list(dict.fromkeys(name for metrics in everything for name in metrics))
    if wanted is None:
        return [name for name in known if name != "success"]
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ValueError(f"no episode has the metrics {unknown}; known are {known}")
    return list(wanted)


def _row(
    condition: str,
    reasons: Mapping[str, int],
    ours: Episodes,
    theirs: Episodes,
    names: Sequence[str],
    bootstrap: _Bootstrap,
) -> ConditionRow:
    n = sum(reasons.values())
    common = [key for key in ours if key in theirs]
    tasks = [ours[key].task_id for key in common]
    pairs = np.array([(ours[key].success, theirs[key].success) for key in common]).reshape(-1, 2)
    won, lost = (int((pairs[:, 0] - pairs[:, 1] == sign).sum()) for sign in (1, -1))
    successes = int(sum(episode.success for episode in ours.values()))
    doses = [episode.dose for episode in ours.values()]
    return ConditionRow(
        condition=condition,
        n=n,
        n_errors=n - len(ours),
        n_successes=successes,
        success_rate=wilson_interval(successes, len(ours), confidence=bootstrap.confidence),
        n_pairs=len(common),
        n_unpaired=len(ours) - len(common),
        n_baseline_unpaired=len(theirs) - len(common),
        delta_success=bootstrap(pairs[:, 0] - pairs[:, 1], tasks),
        mcnemar_p=mcnemar_exact(won, lost) if common else np.nan,
        mean_dose=float(np.mean(doses)) if doses else np.nan,
        ends=dict(reasons),
        metrics={name: _effect(name, ours, theirs, common, bootstrap) for name in names},
    )


def _effect(
    name: str,
    ours: Episodes,
    theirs: Episodes,
    common: Sequence[tuple[str, int, int, int]],
    bootstrap: _Bootstrap,
) -> MetricEffect:
    values = np.array([episode.metrics.get(name, np.nan) for episode in ours.values()])
    finite = values[np.isfinite(values)]
    pairs = np.array(
        [
            (ours[key].metrics.get(name, np.nan), theirs[key].metrics.get(name, np.nan))
            for key in common
        ]
    ).reshape(-1, 2)
    usable = np.isfinite(pairs).all(axis=1)
    tasks = [ours[key].task_id for key, use in zip(common, usable, strict=True) if use]
    pairs = pairs[usable]
    delta = bootstrap(pairs[:, 0] - pairs[:, 1], tasks)
    reference = abs(float(pairs[:, 1].mean())) if len(pairs) else np.nan
    return MetricEffect(
        n=len(finite),
        n_missing=len(values) - len(finite),
        mean=float(finite.mean()) if len(finite) else np.nan,
        n_pairs=len(pairs),
        delta=delta,
        relative=delta.estimate / reference if reference else np.nan,
    )
