"""Ranking sites and neurons by what they carry, and checking the ranking by real patches.

Attribution is coefficient times difference of the activations, summed over a group's tokens, at the
negative side (see `steering.patching` for the two sides). The coefficient is the gradient (`atp`,
Nanda 2023), or that of RelP (arXiv:2508.21258; `steering.relp`), with attention patterns as they
are differentiated (`relp`) or held (`relp-attention`). A patch of a place at its tokens, alone, is
the truth that attribution estimates; the places it ranks first are biased towards overestimates, so
agreement is measured on places drawn at random, and never on the top.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from pilotage.steering.agreement import (
    Agreement,
    Control,
    Difference,
    agreement,
    pearson_difference,
    random_control,
)
from pilotage.steering.gradients import site_gradients
from pilotage.steering.patching import Forward, Patch, Sides, group_mask, share_of_gap
from pilotage.steering.relp import Relevance

METHODS = ("atp", "relp", "relp-attention")


@dataclass(frozen=True, order=True)
class Place:
    """Something to patch: a site, or one unit of it (a neuron of `mlp.down_proj:in`), at the tokens
    of a group."""

    site: str
    group: str
    unit: int | None = None

    @property
    def part(self) -> str:
        """What kind of thing it is: the place of its site, without the layer."""
        return self.site.split(".", 2)[2]


@dataclass(frozen=True, eq=False)
class Scores:
    """What a method says that each place carries: `carried` float64 `[n_places, R]`, in units of
    the metric."""

    places: tuple[Place, ...]
    carried: np.ndarray

    @property
    def means(self) -> np.ndarray:
        """Float64 `[n_places]`."""
        return np.asarray(self.carried.mean(1))

    def top(self, k: int) -> list[Place]:
        """The k places with the largest mean, in size."""
        order = np.argsort(-np.abs(self.means), kind="stable")
        return [self.places[i] for i in order[:k]]

    def of(self, places: Sequence[Place]) -> np.ndarray:
        """Rows of `carried`, for these places."""
        index = {place: i for i, place in enumerate(self.places)}
        return self.carried[[index[place] for place in places]]

    def can_carry(self) -> list[Place]:
        """Places with a score other than 0: there the two sides differ, and it reaches the metric.
        A patch of the others changes nothing."""
        live = np.abs(self.carried).max(1) > 0.0
        return [place for place, alive in zip(self.places, live, strict=True) if alive]


def attribute(
    decoder: nn.Module,
    forward: Forward,
    sides: Sides,
    token_groups: torch.Tensor,
    groups: Sequence[str],
    *,
    method: str,
    by_unit: Sequence[str] = (),
) -> Scores:
    """Score every site of `sides` at every token group, by one forward and one backward pass; the
    sites in `by_unit` are scored unit by unit.

    token_groups int8 `[R, S]`, the same on both sides. Raises ValueError for an unknown method.
    """
    if method not in METHODS:
        raise ValueError(f"unknown method {method!r}; there are: {', '.join(METHODS)}")
    rules: AbstractContextManager[object] = nullcontext()
    if method != "atp":
        rules = Relevance(decoder, attention=method == "relp-attention")
    with rules:
        coefficients = site_gradients(decoder, lambda: forward("negative"), sides.activations)
    masks = {group: group_mask(token_groups, group).cpu().float() for group in groups}
    places, carried = [], []
    for site, (positive, negative) in sides.activations.items():
        along = coefficients[site] * (positive - negative)  # [R, S, d]
        for group, mask in masks.items():
            if site in by_unit:
                units = torch.einsum("rsd,rs->dr", along, mask).double().numpy()
                places += [Place(site, group, unit) for unit in range(len(units))]
                carried.append(units)
            else:
                total = (along.sum(-1) * mask).double().sum(1).numpy()
                places.append(Place(site, group))
                carried.append(total[None])
    return Scores(tuple(places), np.concatenate(carried))


def patch_places(
    decoder: nn.Module,
    forward: Forward,
    sides: Sides,
    token_groups: torch.Tensor,
    places: Sequence[Place],
    *,
    progress: Callable[[int], None] = lambda done: None,
) -> Scores:
    """What each place really carries: how far the negative run moves when it alone is patched. One
    forward a place."""
    found = np.zeros((len(places), len(sides.negative)))
    for i, place in enumerate(places):
        positive = sides.activations[place.site][0]
        mask = group_mask(token_groups, place.group)
        if place.unit is not None:
            chosen = torch.arange(positive.shape[2], device=mask.device) == place.unit
            mask = mask[..., None] & chosen
        with torch.no_grad(), Patch(decoder, place.site, positive, mask):
            found[i] = (forward("negative").double() - sides.negative).cpu().numpy()
        progress(i + 1)
    return Scores(tuple(places), found)


@dataclass(frozen=True)
class Verified:
    """A place with its attributed and its true effect, as shares of the gap, and the 95 % interval
    of the true one over clusters of rows."""

    place: Place
    attributed: float
    true: float
    low: float
    high: float


@dataclass(frozen=True)
class Verification:
    """A method's top places, each patched, and how it does on places drawn at random.

    by_part: `agreement` for each kind of place. better: for each kind and for "all", its Pearson
    correlation less that of the first method verified with it (0 for that one itself).
    """

    method: str
    top: tuple[Verified, ...]
    agreement: Agreement
    by_part: Mapping[str, Agreement]
    better: Mapping[str, Difference]
    control: Control


def verify(
    decoder: nn.Module,
    forward: Forward,
    sides: Sides,
    token_groups: torch.Tensor,
    scores: Mapping[str, Scores],
    *,
    clusters: Sequence[int] | np.ndarray,
    k: int = 10,
    n_sample: int = 40,
    seed: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Verification]:
    """Patch the k places that each method ranks first, a random one matched to each of these (the
    same tokens, and for a unit the same site), and `n_sample` places drawn at random from those
    that can carry something, which are the same for all methods.

    scores: by method, over the same places. progress: called with patches done and in all.
    Raises ValueError where fewer than three places can carry anything.
    """
    carry = next(iter(scores.values())).can_carry()
    if len(carry) < 3:
        raise ValueError(f"only {len(carry)} places can carry anything: nothing to compare")
    rng = np.random.default_rng(seed)
    sample = [carry[i] for i in sorted(rng.permutation(len(carry))[:n_sample])]
    tops = {method: found.top(k) for method, found in scores.items()}
    matched = {method: _matched(top, carry, rng) for method, top in tops.items()}
    wanted = [*sample, *(p for kind in (tops, matched) for places in kind.values() for p in places)]
    distinct = list(dict.fromkeys(wanted))
    true = patch_places(
        decoder,
        forward,
        sides,
        token_groups,
        distinct,
        progress=lambda done: progress(done, len(distinct)),
    )
    first = next(iter(scores.values()))
    checks = _Checks(sides, true, sample, first, np.asarray(clusters), seed)
    return [
        checks.of(method, found, tops[method], matched[method]) for method, found in scores.items()
    ]


def _matched(top: list[Place], carry: list[Place], rng: np.random.Generator) -> list[Place]:
    """For each place another one, drawn at random, with its tokens, and for units of its site."""
    found = []
    for place in top:
        alike = [
            p
            for p in carry
            if p.group == place.group
            and p != place
            and (place.unit is None or p.site == place.site)
        ]
        if alike:
            found.append(alike[int(rng.integers(len(alike)))])
    return found


@dataclass(frozen=True, eq=False)
class _Checks:
    """What all methods are held against: true effects, and the places drawn at random."""

    sides: Sides
    true: Scores
    sample: list[Place]
    first: Scores
    clusters: np.ndarray
    seed: int

    def of(
        self, method: str, scores: Scores, top: list[Place], matched: list[Place]
    ) -> Verification:
        gap = self.sides.gap
        best = []
        for place, guess, effect in zip(top, scores.of(top), self.true.of(top), strict=True):
            share = share_of_gap(effect, self.sides, self.clusters, self.seed)
            best.append(Verified(place, float(guess.mean()) / gap, *share))
        parts = {part: [p for p in self.sample if p.part == part] for part in self._parts()}
        everything = {"all": self.sample, **parts}
        return Verification(
            method,
            tuple(best),
            self._agreement(scores, self.sample),
            {part: self._agreement(scores, places) for part, places in parts.items()},
            {part: self._better(scores, places) for part, places in everything.items()},
            random_control(
                *(self.true.of(places).mean(1) / gap for places in (top, matched, self.sample)),
                seed=self.seed,
            ),
        )

    def _parts(self) -> list[str]:
        return list(dict.fromkeys(place.part for place in self.sample))

    def _agreement(self, scores: Scores, places: list[Place]) -> Agreement:
        true = self.true.of(places)
        return agreement(scores.of(places), true, self.clusters, seed=self.seed)

    def _better(self, scores: Scores, places: list[Place]) -> Difference:
        other, true = self.first.of(places), self.true.of(places)
        return pearson_difference(scores.of(places), other, true, self.clusters, seed=self.seed)
