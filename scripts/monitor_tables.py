"""From records whose agent carried a monitor to tables: signals, commitment depths, voids."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from pilotage.episodes.ranking import auc_interval
from pilotage.episodes.statistics import Interval, paired_bootstrap
from pilotage.episodes.types import EpisodeRecord
from pilotage.steering.commitment import commitment_depth
from pilotage.steering.trajectories import SIGNALS
from pilotage.steering.voids import void_layers

Measure = Callable[[EpisodeRecord], float]


def signals_at(n_steps: int) -> dict[str, Measure]:
    """Signals of the first `n_steps` env steps of an episode: the same number in all of them, since
    every one grows or shrinks with the steps that it has seen."""

    def mean(name: str, *index: Any) -> Measure:
        return lambda r: float(np.mean(r.agent_trace[name][:n_steps][(slice(None), *index)]))

    def through_time(k: int) -> Measure:  # of the stream that the actions are read from
        return lambda r: float(r.agent_trace["time_signals"][n_steps - 1, -1, k])

    return {
        **{f"{name} change over steps": through_time(k) for k, name in enumerate(SIGNALS)},
        **{
            f"{name} change over layers": mean("depth_signals", k) for k, name in enumerate(SIGNALS)
        },
        "entropy of action tokens": mean("action_entropy"),
        "margin of action tokens": mean("action_margin"),
    }


def auc_rows(records: Sequence[EpisodeRecord], at: Sequence[int]) -> list[dict[str, Any]]:
    """How well each signal, at a step that the episode has reached, ranks successes above failures.

    Three areas with 95 % intervals, tasks being clusters: pairs within a condition; within a
    condition and a family, where knowing the kind of task earns nothing; and under the baseline
    alone. Below 0.5 the signal is larger in failures.
    """
    rows = []
    for n_steps in at:
        still = [r for r in records if r.n_steps >= n_steps and not r.end.is_error]
        for name, measure in signals_at(n_steps).items():
            values = [(r, measure(r)) for r in still]
            known = [(r, v) for r, v in values if math.isfinite(v)]
            baseline = [(r, v) for r, v in known if r.condition == "baseline"]
            successes = sum(r.success for r, _ in known)
            rows.append(
                {
                    "step": n_steps,
                    "signal": name,
                    "successes": successes,
                    "failures": len(known) - successes,
                    "within conditions": _area(known, lambda r: r.condition),
                    "and families": _area(known, lambda r: (r.condition, r.task.family)),
                    "baseline": _area(baseline, lambda r: r.condition),
                }
            )
    return rows


def _area(
    values: Sequence[tuple[EpisodeRecord, float]], stratum: Callable[[EpisodeRecord], object]
) -> str:
    if not values:
        return ""
    found = auc_interval(
        np.array([v for _, v in values]),
        np.array([r.success for r, _ in values], dtype=bool),
        clusters=[r.task.task_id for r, _ in values],
        strata=[stratum(r) for r, _ in values],
    )
    return span(found, digits=2)


def commitment_rows(
    records: Sequence[EpisodeRecord], *, tolerance: int, n_bins: int
) -> list[dict[str, Any]]:
    """By condition and action token: the block from which on the chosen bin is the likeliest, and
    the same for any bin within `tolerance` of `n_bins`; means of episodes with 95 % intervals, and
    the paired difference to the baseline."""
    depths = {
        t: {_key(r): _depths(r, t).mean(0) for r in records if _told(r)} for t in (0, tolerance)
    }
    names = list(dict.fromkeys(r.condition for r in records))
    rows = []
    for name in names:
        mine = [k for k in depths[0] if k[0] == name]
        for token in range(len(depths[0][mine[0]]) if mine else 0):
            row: dict[str, Any] = {"condition": name, "action token": token, "n": len(mine)}
            for t, title in ((0, "depth"), (tolerance, f"depth within {tolerance} of {n_bins}")):
                row[title] = span(paired_bootstrap(np.array([depths[t][k][token] for k in mine])))
            pairs = [(k, ("baseline", k[1])) for k in mine if ("baseline", k[1]) in depths[0]]
            last = depths[tolerance]
            change = np.array([last[k][token] - last[b][token] for k, b in pairs])
            row["less baseline"] = "" if name == "baseline" else span(paired_bootstrap(change))
            rows.append(row)
    return rows


def _key(record: EpisodeRecord) -> tuple[str, str]:
    return record.condition, record.task.task_id


def _told(record: EpisodeRecord) -> bool:
    return record.n_steps > 0 and not record.end.is_error


def _depths(record: EpisodeRecord, tolerance: int) -> np.ndarray:
    """int64 `[T, K]`."""
    trace = record.agent_trace
    return commitment_depth(trace["lens_bins"], trace["action_bins"], tolerance=tolerance)


def void_rows(records: Sequence[EpisodeRecord], *, alpha: float) -> list[dict[str, Any]]:
    """By condition, phase and block: the share of tokens for which it is a void, and how far it
    moves the stream, |dh| / |h|, at the positions that predict action tokens: the first is read in
    the prefill, the others are decoded. Means of episodes with 95 % intervals."""
    rows = []
    told = [r for r in records if _told(r)]
    for name in dict.fromkeys(r.condition for r in told):
        mine = [r for r in told if r.condition == name]
        n_tokens, n_layers = mine[0].agent_trace["stream_moves"].shape[1:]
        phases = {"prefill": slice(0, 1), "decode": slice(1, n_tokens)}
        for phase, tokens in phases.items():
            if tokens.start >= n_tokens:
                continue
            voids = np.stack([_voids(r, tokens, alpha) for r in mine])
            moves = np.stack([_moves(r, tokens) for r in mine])
            for layer in range(n_layers):
                rows.append(
                    {
                        "condition": name,
                        "phase": phase,
                        "block": layer,
                        "void": span(paired_bootstrap(voids[:, layer])),
                        "moves": span(paired_bootstrap(moves[:, layer])),
                    }
                )
    return rows


def _voids(record: EpisodeRecord, tokens: slice, alpha: float) -> np.ndarray:
    found = void_layers(record.agent_trace["stream_norms"][:, tokens], alpha=alpha)
    share: np.ndarray = found.mean((0, 1))
    return share


def _moves(record: EpisodeRecord, tokens: slice) -> np.ndarray:
    norms = record.agent_trace["stream_norms"][:, tokens, :-1]
    relative: np.ndarray = (record.agent_trace["stream_moves"][:, tokens] / norms).mean((0, 1))
    return relative


def span(found: Interval, *, digits: int = 3) -> str:
    """`0.731 (0.640, 0.810)`; a dash where an end is not known, nothing without an estimate."""
    if math.isnan(found.estimate):
        return ""
    ends = ["-" if math.isnan(v) else f"{v:.{digits}f}" for v in (found.low, found.high)]
    return f"{found.estimate:.{digits}f} ({ends[0]}, {ends[1]})"
