"""Metrics of one episode: pure functions of its record.

Code bases compute the same metric name in different ways, so navigation metrics belong to a named
convention (`CONVENTIONS`). An episode that ended by an error is not an attempt and has no metrics:
it is counted elsewhere, never averaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .metrics_paths import cls, ndtw, path_length, without_repeats
from .types import EndReason, EpisodeRecord

NAVIGATION_METRICS = (
    *("success", "oracle_success", "spl", "soft_spl", "navigation_error", "oracle_error"),
    *("path_length", "ndtw", "sdtw", "cls", "collisions", "steps"),
)
MANIPULATION_METRICS = (
    *("success", "steps", "path_length", "mean_speed_per_step", "mean_speed", "mean_height"),
    *("peak_height", "jerk", "final_distance"),
)
UNITS = {
    "navigation_error": "m",
    "oracle_error": "m",
    "path_length": "m",
    "mean_speed_per_step": "m/step",
    "mean_speed": "m/s",
    "mean_height": "m",
    "peak_height": "m",
    "jerk": "m/s^3",
    "final_distance": "m",
}


@dataclass(frozen=True)
class Convention:
    """How a code base turns a path into navigation metrics."""

    needs_stop: bool  # success asks that the agent stopped, not only that it stands there
    shortest: Literal["trace", "task", "reference"]  # where L* of SPL comes from
    floor_m: float = 0.0  # the divisor of SPL is at least this
    drops_repeats: bool = False  # points equal to the one before are dropped for nDTW and sDTW


CONVENTIONS: Mapping[str, Convention] = {
    # habitat-lab: stop was called and d < radius; L* is the geodesic distance at reset.
    "habitat": Convention(needs_stop=True, shortest="trace"),
    # VLN-CE on top of it: nDTW over positions without exact repeats.
    "vlnce": Convention(needs_stop=True, shortest="trace", drops_repeats=True),
    # Matterport3DSimulator R2R eval.py: where the path ends is the answer; L* = d(start, goal).
    "r2r": Convention(needs_stop=False, shortest="task"),
    # The DUET family: L* is the length of the reference path, divided by at least 0.01 m.
    "duet": Convention(needs_stop=False, shortest="reference", floor_m=0.01),
}
STOPPED = (EndReason.AGENT_STOPPED, EndReason.GOAL_REACHED)  # worlds end at the goal on a stop
DEFAULT_RADIUS_M = 3.0


def navigation_metrics(
    record: EpisodeRecord,
    *,
    convention: str = "habitat",
    success_radius_m: float = DEFAULT_RADIUS_M,
) -> dict[str, float]:
    """The metrics named in `NAVIGATION_METRICS`, in metres and steps, from two traces.

    `trace["position"]` [T + 1, 3] and `trace["distance_to_goal"]` [T + 1, 1] (geodesic; infinite
    when the goal cannot be reached). Worlds whose positions are not places in a flat space (nodes
    of a graph, a torus) say how far the agent went in `trace["travelled"]` [T + 1, 1], which then
    is TL. With p_0..p_T the positions, d the distances, r the radius:

        success           d_T < r, and the agent stopped if the convention asks; strict
        oracle_success    min d < r, the start included
        navigation_error  d_T;  oracle_error: min d
        path_length (TL)  sum |p_i - p_(i-1)|
        spl               S L* / max(TL, L*), Anderson et al. 2018 (arXiv:1807.06757); a success
                          with L* = TL = 0 is 1
        soft_spl          max(0, 1 - d_T / d_0) L* / max(TL, L*), Datta et al. 2020
                          (arXiv:2009.03231); 1 when L* = TL = d_T = 0
        ndtw, sdtw, cls   see `metrics_paths`; R is `task.reference_path` as it is, d_th = r;
                          sdtw = S nDTW; NaN for a task without one
        collisions        number of steps with a collision; NaN without `trace["collision"]`
        steps             number of actions, a stop included

    Raises KeyError for an unknown convention, ValueError for a record that ended by an error, that
    lacks a trace, or a radius that is not positive.
    """
    if convention not in CONVENTIONS:
        raise KeyError(f"unknown convention {convention!r}; known are {sorted(CONVENTIONS)}")
    rules = CONVENTIONS[convention]
    if not success_radius_m > 0:
        raise ValueError(f"success_radius_m must be > 0, got {success_radius_m}")
    positions = _trace(record, "position")
    to_goal = _trace(record, "distance_to_goal").reshape(-1)
    stopped = record.end in STOPPED or not rules.needs_stop
    success = float(stopped and to_goal[-1] < success_radius_m)
    length = _travelled(record, positions)
    shortest = _shortest(record, rules, to_goal)
    efficiency = _efficiency(shortest, length, rules.floor_m)
    metrics = {
        "success": success,
        "oracle_success": float(to_goal.min() < success_radius_m),
        "spl": success * efficiency,  # NaN when the goal cannot be reached, as in habitat
        "soft_spl": _progress(to_goal) * efficiency,
        "navigation_error": float(to_goal[-1]),
        "oracle_error": float(to_goal.min()),
        "path_length": length,
        "collisions": _collisions(record),
        "steps": float(record.n_steps),
    }
    fidelity = _fidelity(record, positions, rules, success_radius_m)
    return metrics | fidelity | {"sdtw": success * fidelity["ndtw"]}


def manipulation_metrics(record: EpisodeRecord, *, control_hz: float = 10.0) -> dict[str, float]:
    """The metrics named in `MANIPULATION_METRICS`, from the path of the end effector.

    `trace["ee_position"]` [T + 1, 3] in metres, z up. With p_0..p_T the positions and T steps:

        success, steps       of the record
        path_length          sum |p_i - p_(i-1)|, m
        mean_speed_per_step  path_length / T, m per step; mean_speed: times `control_hz`, m/s
        mean_height          mean of z over all T + 1 positions, m; peak_height: its maximum
        jerk                 root mean square of |third difference of p| * control_hz^3, m/s^3
        final_distance       last `trace["distance_to_goal"]`, m; NaN without that trace

    What needs more steps than there are is NaN. Raises ValueError for a record that ended by an
    error or lacks the trace.
    """
    positions = _trace(record, "ee_position")
    steps = record.n_steps
    length = path_length(positions)
    per_step = length / steps if steps else np.nan
    third = np.diff(positions, n=3, axis=0) * control_hz**3  # [T - 2, 3]
    jerk = float(np.sqrt((third**2).sum(axis=1).mean())) if len(third) else np.nan
    to_goal = record.trace.get("distance_to_goal")
    return {
        "success": float(record.success),
        "steps": float(steps),
        "path_length": length,
        "mean_speed_per_step": per_step,
        "mean_speed": per_step * control_hz,
        "mean_height": float(positions[:, 2].mean()),
        "peak_height": float(positions[:, 2].max()),
        "jerk": jerk,
        "final_distance": float(np.ravel(to_goal[-1])[0]) if to_goal is not None else np.nan,
    }


def episode_metrics(
    record: EpisodeRecord,
    *,
    convention: str = "habitat",
    success_radius_m: float = DEFAULT_RADIUS_M,
    control_hz: float = 10.0,
) -> dict[str, float]:
    """Metrics that fit the traces: manipulation for `ee_position`, else navigation for `position`,
    else success and steps. Empty for an episode that ended by an error.
    """
    if record.end.is_error:
        return {}
    if "ee_position" in record.trace:
        return manipulation_metrics(record, control_hz=control_hz)
    if "position" in record.trace and "distance_to_goal" in record.trace:
        return navigation_metrics(record, convention=convention, success_radius_m=success_radius_m)
    return {"success": float(record.success), "steps": float(record.n_steps)}


def delivered_dose(record: EpisodeRecord) -> float:
    """Mean dose over the interventions in the receipt (`receipt["interventions"][i]["mean_dose"]`).

    0 for a receipt without interventions, NaN when one has a dose that was not finite.
    """
    doses = [entry.get("mean_dose") for entry in record.receipt.get("interventions", ())]
    if not doses:
        return 0.0
    return float(np.mean([np.nan if dose is None else dose for dose in doses]))


def _trace(record: EpisodeRecord, name: str) -> np.ndarray:
    if record.end.is_error:
        raise ValueError(
            f"episode {record.key} ended by {record.end.value}: an error is not an attempt; count "
            "it apart instead of measuring it"
        )
    if name not in record.trace:
        raise ValueError(
            f"episode {record.key} has no trace {name!r}, only {sorted(record.trace)}; "
            f"this metric does not fit the world {record.task.env!r}"
        )
    return np.asarray(record.trace[name], np.float64)


def _travelled(record: EpisodeRecord, positions: np.ndarray) -> float:
    """TL, as the world counts it or along the positions."""
    counted = record.trace.get("travelled")
    return path_length(positions) if counted is None else float(np.ravel(counted[-1])[0])


def _shortest(record: EpisodeRecord, rules: Convention, to_goal: np.ndarray) -> float:
    """L* in metres."""
    if rules.shortest == "trace":
        return float(to_goal[0])
    if rules.shortest == "task":
        return record.task.shortest_path_length
    reference = record.task.reference_path
    return path_length(np.asarray(reference)) if len(reference) else np.nan


def _efficiency(shortest: float, length: float, floor_m: float) -> float:
    """L* / max(TL, L*): 1 for 0/0; NaN when the goal cannot be reached."""
    if not np.isfinite(shortest):
        return np.nan
    longest = max(length, shortest, floor_m)
    return 1.0 if longest == 0.0 else shortest / longest


def _progress(to_goal: np.ndarray) -> float:
    """max(0, 1 - d_T / d_0)."""
    if to_goal[0] == 0.0:
        return 1.0 if to_goal[-1] == 0.0 else 0.0
    return max(0.0, 1.0 - to_goal[-1] / to_goal[0]) if np.isfinite(to_goal[0]) else np.nan


def _fidelity(
    record: EpisodeRecord, positions: np.ndarray, rules: Convention, radius_m: float
) -> dict[str, float]:
    reference = np.asarray(record.task.reference_path, np.float64)
    if len(reference) == 0:
        return {"ndtw": np.nan, "cls": np.nan}
    points = without_repeats(positions) if rules.drops_repeats else positions
    return {
        "ndtw": ndtw(points, reference, radius_m=radius_m),
        "cls": cls(positions, reference, radius_m=radius_m),
    }


def _collisions(record: EpisodeRecord) -> float:
    collision = record.trace.get("collision")
    return np.nan if collision is None else float(np.count_nonzero(collision[1:]))
