"""What recorded episodes give: responses, success probes with their guards, and guides."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.cmd_bench_hold import step_speeds
from pilotage.steering.guard import Guard, GuardState, SuccessProbe, fit_success_probe
from pilotage.steering.responses import Response, identify

NEAR_M = 0.10  # hand to object: closer than this, a guide is to leave the hand alone
THRESHOLDS = tuple(round(0.05 * k, 2) for k in range(1, 20))


def states_of(record: EpisodeRecord, site: str) -> np.ndarray:
    """float32 `[T, d]` at a site that was recorded."""
    return np.asarray(record.agent_trace[f"state.{site}"])


def response_of(records: Sequence[EpisodeRecord], prefix: str) -> Response:
    """How the hand's speed answers to the multiplier, over the conditions `prefix`-SEED.

    What a step measures is the speed of the step before it: x[t] is the speed in step t, u[t] the
    multiplier of step t + 1.
    """
    pairs = []
    for record in records:
        if record.condition.rpartition("-")[0] == prefix and record.n_steps > 2:
            speeds = step_speeds(record)
            multipliers = np.asarray(record.agent_trace["multiplier"])
            pairs.append((speeds, np.append(multipliers[1:], multipliers[-1])))  # the last: unused
    return identify(pairs)


def far_from_object(record: EpisodeRecord) -> np.ndarray:
    """bool `[T]`: whether the hand was farther than `NEAR_M` from the task's object."""
    hand = np.asarray(record.trace["ee_position"])[:-1]
    thing = np.asarray(record.trace["object_positions"])[:-1, record.task.goal["object"]]
    far: np.ndarray = np.linalg.norm(hand - thing, axis=1) > NEAR_M
    return far


@dataclass(frozen=True)
class FittedGuard:
    """A guard, and how it was chosen: `report` is JSON."""

    guard: Guard
    report: dict[str, Any]


def fit_guard(
    train: Sequence[EpisodeRecord],
    val: Sequence[EpisodeRecord],
    sites: Sequence[str],
    *,
    model_digest: str,
    source: dict[str, Any],
) -> FittedGuard:
    """A success probe on train episodes; its site by the AUC over val episodes' mean probability,
    its threshold by how often it would let go in val's failures, less in its successes."""
    probes = {
        site: fit_success_probe(
            [states_of(r, site) for r in train],
            [bool(r.success) for r in train],
            site=site,
            model_digest=model_digest,
            source=source,
        )
        for site in sites
    }
    areas = {site: round(auc_of(probe, val), 3) for site, probe in probes.items()}
    best = max(areas, key=lambda site: areas[site])
    probe = probes[best]
    went_well, failed = [r for r in val if r.success], [r for r in val if not r.success]
    threshold = _threshold(probe, went_well, failed)
    guard = _guard(probe, threshold)
    report = {
        "_auc_on_val": areas,
        "_auc_on_val_within_conditions": _rounded(auc_within(probe, val)),
        "_lets_go_in_successes": round(_alarm_share(probe, threshold, went_well), 3),
        "_lets_go_in_failures": round(_alarm_share(probe, threshold, failed), 3),
        "_val_episodes": len(val),
        "_val_failures": len(failed),
    }
    return FittedGuard(guard, report)


def auc_of(probe: SuccessProbe, records: Sequence[EpisodeRecord]) -> float:
    """The chance that a success has a higher mean probability than a failure."""
    from sklearn.metrics import roc_auc_score

    means = [np.mean(_probabilities(probe, r)) for r in records]
    return float(roc_auc_score([bool(r.success) for r in records], means))


def auc_within(probe: SuccessProbe, records: Sequence[EpisodeRecord]) -> float | None:
    """`auc_of` over pairs of one condition only, so that knowing the dose does not help; None
    where no condition has both outcomes."""
    right, pairs = 0.0, 0
    for name in {r.condition for r in records}:
        group = [r for r in records if r.condition == name]
        n_pairs = sum(bool(r.success) for r in group) * sum(not r.success for r in group)
        if n_pairs:
            right, pairs = right + n_pairs * auc_of(probe, group), pairs + n_pairs
    return right / pairs if pairs else None


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)


def guide_labels(records: Sequence[EpisodeRecord], reads: str) -> tuple[np.ndarray, np.ndarray]:
    """States float `[n, d]` at the site `reads` was recorded as, and bool `[n]`: steer there."""
    states = np.concatenate([states_of(r, reads) for r in records])
    return states, np.concatenate([far_from_object(r) for r in records])


def accuracy_of(guide: Any, states: np.ndarray, wanted: np.ndarray) -> float:
    """The share of states at which the gate is on the right side of 1/2."""
    import torch

    found = guide.gates(torch.from_numpy(states)).numpy() > 0.5
    return float(np.mean(found == wanted))


def _guard(probe: SuccessProbe, threshold: float) -> Guard:
    return Guard(probe, threshold, (1.0 + threshold) / 2)


def _threshold(
    probe: SuccessProbe, went_well: Sequence[EpisodeRecord], failed: Sequence[EpisodeRecord]
) -> float:
    """Where letting go tells failures from successes best; of equals the one in the middle."""
    gains = [_alarm_share(probe, t, failed) - _alarm_share(probe, t, went_well) for t in THRESHOLDS]
    best = [t for t, gain in zip(THRESHOLDS, gains, strict=True) if gain >= max(gains) - 1e-9]
    return best[len(best) // 2]


def _probabilities(probe: SuccessProbe, record: EpisodeRecord) -> list[float]:
    return [probe.probability(h) for h in states_of(record, probe.site)]


def _alarm_share(probe: SuccessProbe, threshold: float, records: Sequence[EpisodeRecord]) -> float:
    """The share of episodes in which a guard of this threshold would have let go."""
    alarms = []
    for record in records:
        state = GuardState(_guard(probe, threshold))
        for probability in _probabilities(probe, record):
            state.see(probability)
        alarms.append(bool(state.receipt()["let_go_at"]))
    return float(np.mean(alarms)) if alarms else 0.0
