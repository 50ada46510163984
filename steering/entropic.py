"""Directions of being unsure and of being quick, from what an agent did.

- EAST (arXiv:2406.00244): the direction along which activations go with the entropy of the action
  distribution. The paper samples actions and sums activations weighted by entropy; a policy over
  bins tells its entropy exactly, and the sum is centred here, since without that it is mostly the
  mean activation:   v = sum_i (H_i - mean H) z_i / sum_i |H_i - mean H|
  Entropy goes with the phase of a task as well: means are taken within `strata` where given.
- efficiency (after arXiv:2506.15647): the shortest minus the longest success at one task.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from pilotage.steering.vectors import SteeringVector, mean_difference


def entropy_vector(
    activations: torch.Tensor,
    entropies: torch.Tensor,
    *,
    site: str,
    strata: Sequence[Any] | None = None,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """The direction of a higher entropy; its norm is that of v above.

    activations: `[n, d]`. entropies: `[n]`, nats, of the action distribution there. strata: a label
    for each (a phase, a scene), within which entropies are centred.
    Raises ValueError for shapes that do not fit, numbers that are not finite, and entropies that do
    not vary.
    """
    z, h = activations.double(), entropies.double()
    if z.dim() != 2 or h.shape != z.shape[:1] or len(z) < 2:
        raise ValueError(
            f"activations {list(z.shape)} and entropies {list(h.shape)} must be [n, d] and [n], "
            "n >= 2"
        )
    if not (torch.isfinite(z).all() and torch.isfinite(h).all()):
        raise ValueError(f"activations and entropies at {site} must be finite")
    if strata is not None and len(strata) != len(z):
        raise ValueError(f"there are {len(strata)} strata for {len(z)} activations")
    centred = h - (h.mean() if strata is None else _stratum_means(h, strata))
    weight = float(centred.abs().sum())
    if weight <= 1e-9 * max(float(h.abs().sum()), 1.0):
        raise ValueError(f"the entropies at {site} do not vary: there is nothing to follow")
    vector = (centred @ z) / weight
    norm = float(vector.norm())
    if norm == 0.0:
        raise ValueError(f"activations at {site} do not go with the entropy at all")
    origin = {
        "n": len(z),
        "mean_entropy": round(float(h.mean()), 4),
        "n_strata": 1 if strata is None else len(set(strata)),
        **(source or {}),
    }
    method = "entropy_vector arXiv:2406.00244"
    return SteeringVector(site, vector / norm, norm, model_digest, method, origin)


def efficiency_vector(
    activations: torch.Tensor,
    tasks: Sequence[Any],
    steps: Sequence[int],
    successes: Sequence[bool],
    *,
    site: str,
    min_pairs: int = 1,
    model_digest: str = "",
    source: Mapping[str, Any] | None = None,
) -> SteeringVector:
    """Mean over tasks of (activation of the shortest success - of the longest).

    activations: `[n, d]`, one an episode. A task is one start, so that length is not the scene's
    doing. Raises ValueError where fewer than `min_pairs` tasks make a pair, saying why.
    """
    if not len(activations) == len(tasks) == len(steps) == len(successes):
        raise ValueError(
            f"there are {len(activations)} activations, {len(tasks)} tasks, {len(steps)} lengths, "
            f"{len(successes)} outcomes; each episode has one of each"
        )
    pairs = efficiency_pairs(tasks, steps, successes)
    if len(pairs) < max(min_pairs, 1):
        raise ValueError(f"at {site}: {_why_unpaired(tasks, successes, len(pairs), min_pairs)}")
    short, long = (activations[list(side)] for side in zip(*pairs, strict=True))
    saved = sum(steps[b] - steps[a] for a, b in pairs) / len(pairs)
    origin = {"mean_steps_saved": saved, **(source or {})}
    made = mean_difference(short, long, site=site, model_digest=model_digest, source=origin)
    method = "efficiency_vector arXiv:2506.15647"
    return SteeringVector(site, made.direction, made.norm, model_digest, method, made.source)


def efficiency_pairs(
    tasks: Sequence[Any], steps: Sequence[int], successes: Sequence[bool]
) -> list[tuple[int, int]]:
    """For every task the indices of its shortest and its longest success, the first of equal ones.

    Tasks with fewer than two successes of different length say nothing and are left out.
    """
    done: dict[Any, list[int]] = {}
    for i, task in enumerate(tasks):
        if successes[i]:
            done.setdefault(task, []).append(i)
    return [
        (min(episodes, key=steps.__getitem__), max(episodes, key=steps.__getitem__))
        for episodes in done.values()
        if len({steps[i] for i in episodes}) > 1
    ]


def _why_unpaired(
    tasks: Sequence[Any], successes: Sequence[bool], n_pairs: int, needed: int
) -> str:
    """What is missing, in words."""
    wins = dict.fromkeys(tasks, 0)
    for task, success in zip(tasks, successes, strict=True):
        wins[task] += bool(success)
    counts = list(wins.values())
    found = "no task has" if n_pairs == 0 else f"only {n_pairs} of {len(counts)} tasks have"
    return (
        f"{found} two successes of different length, {max(needed, 1)} are needed (without a "
        f"success: {counts.count(0)} tasks, with one: {counts.count(1)}, with more of one length: "
        f"{len(counts) - counts.count(0) - counts.count(1) - n_pairs}); play each task more often, "
        "at a higher temperature, or play more tasks"
    )


def _stratum_means(h: torch.Tensor, strata: Sequence[Any]) -> torch.Tensor:
    """The mean of each value's stratum `[n]`."""
    labels = {label: number for number, label in enumerate(dict.fromkeys(strata))}
    index = torch.tensor([labels[label] for label in strata])
    total = torch.zeros(len(labels), dtype=h.dtype).index_add_(0, index, h)
    return (total / torch.bincount(index))[index]
