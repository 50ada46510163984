"""Metrics of one vision-and-language trajectory under a named convention: pure functions.

Unlike `metrics.navigation_metrics` these take the trajectory itself, with the distances that the
world measures (along a graph, a nav mesh), so that a prediction file, a record and an expert trace
are scored by the same code; and what is undefined in a convention stays NaN here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from .metrics_paths import distances, dtw_of_costs
from .metrics_paths import path_length as euclidean_length
from .vln_conventions import ForcedStop, VlnConvention, vln_convention

VLN_METRICS = (
    *("success", "spl", "navigation_error", "oracle_success", "oracle_error", "path_length"),
    *("soft_spl", "ndtw", "sdtw", "cls"),
)
GROUNDING_METRICS = ("rgs", "rgspl")  # where an object is to be named
SUCCESS_RADIUS_M = 3.0


@dataclass(frozen=True, eq=False)
class Walk:
    """One trajectory of n points beside a reference path of m points; metres throughout.

    Distances are geodesic where the world knows them. Left out, `hops`, `to_reference` and
    `reference_m` are Euclidean in 3-D.
    """

    positions: np.ndarray  # float64 [n, 3], z up; the start first
    to_goal: np.ndarray  # float64 [n], geodesic; infinite where the goal cannot be reached
    goal: np.ndarray  # float64 [3]
    reference: np.ndarray  # float64 [m, 3]
    shortest_m: float  # the episode's own shortest path from start to goal
    stopped: bool  # the agent called STOP; true for a prediction file, whose end is the answer
    hops: np.ndarray | None = None  # float64 [n - 1]: length of every move
    to_reference: np.ndarray | None = None  # float64 [n, m]
    reference_m: float | None = None  # length of the reference path
    succeeds: np.ndarray | None = None  # bool [n]: success where it is not a matter of distance
    grounded: bool | None = None  # the named object is the one meant; None: none is asked for

    def __post_init__(self) -> None:
        n, m = len(self.positions), len(self.reference)
        expected = {
            "positions": (n, 3),
            "to_goal": (n,),
            "goal": (3,),
            "reference": (m, 3),
            "hops": (n - 1,),
            "to_reference": (n, m),
            "succeeds": (n,),
        }
        for name, shape in expected.items():
            values = getattr(self, name)
            if values is not None and np.shape(values) != shape:
                raise ValueError(f"{name} has shape {list(np.shape(values))}, expected {shape}")
        if n == 0 or m == 0:
            raise ValueError(f"a walk needs at least one point and a reference, got {n} and {m}")


def vln_metrics(
    walk: Walk,
    convention: str | VlnConvention,
    *,
    success_radius_m: float = SUCCESS_RADIUS_M,
) -> dict[str, float]:
    """The metrics named in `VLN_METRICS`, in metres. p_0..p_n is the walk, r_1..r_m the reference.

        success          S = d(p_n, goal) < radius (or <=), and STOP was called if it must be
        oracle_success   the same at the nearest point, the start included, no STOP needed
        navigation_error d(p_n, goal); oracle_error: the least d(p_i, goal)
        path_length      sum of the moves
        spl              S L* / max(TL, L*), arXiv:1807.06757, with the L* of the convention
        soft_spl         max(0, 1 - d(p_n, goal) / d(p_0, goal)) L* / max(TL, L*)
        ndtw             exp(-DTW / (m radius)), arXiv:1907.05446; "proximity": the mean over p of
                         exp(-d(p, R)^2 / (2 radius^2)), horizontal
        sdtw             S ndtw
        cls              arXiv:1905.12255, with the walk's own distances
        rgs, rgspl       only where an object is asked for (REVERIE, arXiv:1904.10151): RGS = the
                         named object is the one meant, and STOP was called if it must be, whether
                         or not it can be seen from p_n; RGSPL = RGS L* / max(TL, L*)

    0/0 and what depends on an unreachable goal is NaN or infinite here; `vln_summary` applies the
    convention's policy. Raises KeyError for an unknown convention, ValueError for a radius <= 0.
    """
    rules = vln_convention(convention) if isinstance(convention, str) else convention
    if not success_radius_m > 0:
        raise ValueError(f"success_radius_m must be > 0, got {success_radius_m}")
    if rules.forced_stop is not None:
        walk = stopped_early(walk, rules.forced_stop)
    if rules.planar:
        walk = _planar(walk)
    to_goal = np.asarray(walk.to_goal, np.float64)
    near = _near(to_goal, rules, success_radius_m) if walk.succeeds is None else walk.succeeds
    success = float(bool(near[-1]) and (walk.stopped or not rules.needs_stop))
    length = float(_hops(walk).sum())
    shortest = _shortest(walk, rules)
    efficiency = _divided(shortest, max(length, shortest, rules.floor_m))
    if rules.standing_is_zero and length == 0.0:
        efficiency = 0.0

    def weighted(rate: float) -> float:
        return 0.0 if rules.failure_is_zero and not rate else rate * efficiency

    found: dict[str, float] = {}
    if walk.grounded is not None:
        rgs = float(walk.grounded and (walk.stopped or not rules.needs_stop))
        found = {"rgs": rgs, "rgspl": weighted(rgs)}
    fidelity = _fidelity(walk, rules, success_radius_m)
    progress = 1.0 - _divided(float(to_goal[-1]), float(to_goal[0]))
    return {
        "success": success,
        "spl": weighted(success),
        "navigation_error": float(to_goal[-1]),
        "oracle_success": float(bool(np.any(near))),
        "oracle_error": float(to_goal.min()),
        "path_length": length,
        "soft_spl": (progress if np.isnan(progress) else max(0.0, progress)) * efficiency,
        "ndtw": fidelity,
        "sdtw": success * fidelity,
        "cls": _cls(walk, length, success_radius_m),
        **found,
    }


def stopped_early(walk: Walk, rule: ForcedStop) -> Walk:
    """The walk as an evaluator leaves it that stops the agent by `rule`."""
    same = np.asarray(walk.to_goal[1:]) == np.asarray(walk.to_goal[:-1])
    idle = 0
    for step, stands in enumerate(same.tolist(), start=1):
        idle = idle + 1 if stands else 0
        if idle > rule.idle_steps or step >= rule.budget:
            return _prefix(walk, step + 1)
    return walk


def _prefix(walk: Walk, n: int) -> Walk:
    """The first n points, ended by a stop."""
    return replace(
        walk,
        positions=walk.positions[:n],
        to_goal=walk.to_goal[:n],
        hops=None if walk.hops is None else walk.hops[: n - 1],
        to_reference=None if walk.to_reference is None else walk.to_reference[:n],
        succeeds=None if walk.succeeds is None else walk.succeeds[:n],
        stopped=True,
    )


def _planar(walk: Walk) -> Walk:
    """Without heights: straight horizontal distances everywhere, whatever the world measured."""
    flat = np.array([1.0, 1.0, 0.0])
    positions, goal = walk.positions * flat, np.asarray(walk.goal) * flat
    return replace(
        walk,
        positions=positions,
        goal=goal,
        reference=np.asarray(walk.reference) * flat,
        to_goal=np.linalg.norm(positions - goal, axis=1),
        hops=None,
        to_reference=None,
        reference_m=None,
    )


def _near(to_goal: np.ndarray, rules: VlnConvention, radius_m: float) -> np.ndarray:
    return to_goal <= radius_m if rules.at_radius else to_goal < radius_m


def _hops(walk: Walk) -> np.ndarray:
    if walk.hops is not None:
        return np.asarray(walk.hops, np.float64)
    return np.linalg.norm(np.diff(walk.positions, axis=0), axis=1)


def _reference_m(walk: Walk) -> float:
    return euclidean_length(walk.reference) if walk.reference_m is None else walk.reference_m


def _to_reference(walk: Walk) -> np.ndarray:
    if walk.to_reference is None:
        return distances(walk.positions, walk.reference)
    return np.asarray(walk.to_reference, np.float64)


def _shortest(walk: Walk, rules: VlnConvention) -> float:
    """L* in metres."""
    if rules.shortest == "episode":
        return walk.shortest_m
    return float(walk.to_goal[0]) if rules.shortest == "reset" else _reference_m(walk)


def _divided(a: float, b: float) -> float:
    """a / b for a, b >= 0 as floating point has it: 0/0 and infinite/infinite are NaN."""
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.float64(a) / np.float64(b))


def _fidelity(walk: Walk, rules: VlnConvention, radius_m: float) -> float:
    costs = _to_reference(walk)
    if rules.fidelity == "proximity":
        return float(np.exp(-(costs.min(axis=1) ** 2) / (2 * radius_m**2)).mean())
    if rules.drops_repeats:
        moved = np.ones(len(costs), bool)
        moved[1:] = (walk.positions[1:] != walk.positions[:-1]).any(axis=1)
        costs = costs[moved]
    return float(np.exp(-dtw_of_costs(costs) / (costs.shape[1] * radius_m)))


def _cls(walk: Walk, length: float, radius_m: float) -> float:
    """PC LS; see `metrics_paths.cls`, here on the walk's own distances."""
    coverage = float(np.exp(-_to_reference(walk).min(axis=0) / radius_m).mean())
    expected = coverage * _reference_m(walk)
    longest = expected + abs(expected - length)
    return coverage * (1.0 if longest == 0.0 else expected / longest)
