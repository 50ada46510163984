"""Clamps during training, and their release: which circuit has to form, and what forms without it?

As in optogenetics, chosen activations are held while a network learns ("artificial optogenetics",
Singh et al. 2024, arXiv:2404.07129), at the sites that a Steerer knows. With strength s, 1 until
the release begins and 0 once it is over, and a unit x that is held to c (or a direction v to l):

    x <- (1 - s) x + s c          h <- h + s (l - h.v) v

in every forward, so that gradients flow around it: at s = 1 what is held passes none at all. What
is written by held units still learns (their output weights see c), and an optimiser's weight decay
still acts on the weights that lead to them.

The strength is a function of the step alone, so that a resumed training needs no state of it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from types import TracebackType

import torch
from torch import nn

from pilotage.steering import operations as ops
from pilotage.steering.captures import hook_site
from pilotage.steering.checks import check_fits
from pilotage.steering.frozen import FrozenStart
from pilotage.steering.handles import HookHandles
from pilotage.steering.interventions import Intervention, Selector
from pilotage.steering.sites import Site, parse_site, resolve

KINDS = ("ablate", "clamp", "setpoint")
SHAPES = ("linear", "cosine")


@dataclass(frozen=True)
class Release:
    """Full strength before step `begin`, none from step `end` on, in between a straight line or
    half a cosine. `begin == end` lets go at once; `begin == 0 == end` never holds."""

    begin: int
    end: int
    shape: str = "cosine"

    def __post_init__(self) -> None:
        if not 0 <= self.begin <= self.end:
            raise ValueError(
                f"a release needs 0 <= begin <= end, got begin={self.begin}, end={self.end}"
            )
        if self.shape not in SHAPES:
            raise ValueError(f"unknown shape {self.shape!r} of a release; there are: {SHAPES}")

    def strength(self, step: int) -> float:
        """From 1 (held) to 0 (free), for the update with this number, from 0."""
        if step < self.begin:
            return 1.0
        if step >= self.end:
            return 0.0
        done = (step - self.begin) / (self.end - self.begin)
        return 1.0 - done if self.shape == "linear" else 0.5 * (1 + math.cos(math.pi * done))


@dataclass(frozen=True, eq=False)
class TrainingClamp:
    """What is held, and to what.

    intervention: `ablate` (neurons or a direction, held at 0), `clamp` (neurons, held at the
    coefficient; 0 is written as `ablate`) or `setpoint` (a direction, held within the bounds), at
    every token. It says also which part of a site is meant where `to_start` is set.
    to_start: hold that part to what the network as it was when the clamps were made gives there
    for the same input.
    """

    intervention: Intervention
    to_start: bool = False

    def __post_init__(self) -> None:
        edit = self.intervention
        if edit.kind not in KINDS:
            raise ValueError(
                f"{edit.kind} at {edit.site} holds nothing; a training clamp is one of: "
                f"{', '.join(KINDS)}"
            )
        if self.to_start and edit.kind != "ablate":
            raise ValueError(
                f"{edit.kind} at {edit.site} gives a value of its own; write what is held to the "
                "network's start as `ablate`"
            )
        if edit.kind != "clamp" and edit.coefficient != 1.0:
            raise ValueError(
                f"{edit.kind} at {edit.site} has coefficient {edit.coefficient:g}; a training "
                "clamp holds with 1, and its release lowers that"
            )
        if edit.selector != Selector() or edit.matched_to is not None:
            raise ValueError(
                f"{edit.kind} at {edit.site}: a training clamp acts at every token and is matched "
                "to no other; leave `selector` and `matched_to` out"
            )

    @property
    def site(self) -> Site:
        return parse_site(self.intervention.site)


class TrainingClamps:
    """The clamps on one network; a context manager, or `attach` and `close`.

    decoder: what the sites are of. root: the module whose forward a training calls, where that is
    not the decoder; a frozen copy of it is made where something is held to the start.
    release: None holds to the end.

    Before each update call `at(step)`. Attach first, then `torch.compile`; once the strength is 0
    the forward is that of a network without hooks, bit for bit. A checkpoint knows nothing of them.
    Raises SiteError or ValueError for what does not fit the network.
    """

    def __init__(
        self,
        decoder: nn.Module,
        clamps: Sequence[TrainingClamp],
        release: Release | None = None,
        *,
        root: nn.Module | None = None,
    ) -> None:
        if not clamps:
            raise ValueError("there are no clamps; leave TrainingClamps out")
        self.clamps, self.release = tuple(clamps), release
        device = next(decoder.parameters()).device
        for clamp in clamps:
            check_fits(decoder, device, clamp.intervention)
        self.on = True
        self._strength = torch.ones((), device=device)  # in place: a compiled forward reads it
        self._decoder = decoder
        self._root = decoder if root is None else root
        self._handles = HookHandles()
        self._start = _start(self._root, decoder, clamps)
        by_site: dict[Site, list[_Edit]] = {}
        for clamp in clamps:
            by_site.setdefault(clamp.site, []).append(_edit(decoder, clamp, self._start))
        # What a branch writes is edited before the stream that it is added to.
        self._edits = dict(sorted(by_site.items(), key=lambda item: "resid" in item[0].place))
        self.at(0)

    def at(self, step: int) -> None:
        """The next forwards are of this update, counted from 0."""
        if step < 0:
            raise ValueError(f"step must be >= 0, got {step}")
        strength = 1.0 if self.release is None else self.release.strength(step)
        self._strength.fill_(strength)
        self.on = strength > 0

    @property
    def strength(self) -> float:
        """Of the present step, 1 (held) to 0 (free)."""
        return float(self._strength)

    @property
    def digest(self) -> str:
        """Hex SHA-256 of what is held, to what, and until when."""
        until = None if self.release is None else vars(self.release)
        held = [(clamp.intervention.digest, clamp.to_start) for clamp in self.clamps]
        return hashlib.sha256(json.dumps([held, until], sort_keys=True).encode()).hexdigest()

    def onto(self, decoder: nn.Module) -> TrainingClamps:
        """The same clamps, of the same strength, attached to a copy of the network that is to be
        judged as it is trained. Raises ValueError where something is held to the start."""
        if self._start is not None:
            raise ValueError("clamps to the start need the training's own forward; they stay there")
        twin = TrainingClamps(decoder, self.clamps, self.release)
        twin._strength.fill_(self._strength)
        twin.on = self.on
        return twin.attach()

    # ---------------------------------------------------------------- attaching and removing

    def attach(self) -> TrainingClamps:
        """Put the hooks on. RuntimeError where they are on already."""
        if self._handles.n:
            raise RuntimeError("these clamps are attached already; close them first")
        if self._start is not None:
            self._start.attach(self._handles, lambda: self.on)
        for site, edits in self._edits.items():
            see = partial(self._held, edits)
            hook_site(self._handles, resolve(self._decoder, site), see, replaces=True)
        return self

    def close(self) -> None:
        """Take every hook off. Safe to call twice."""
        self._handles.remove()

    def __enter__(self) -> TrainingClamps:
        return self.attach()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _held(self, edits: Sequence[_Edit], value: torch.Tensor) -> torch.Tensor | None:
        if not self.on:
            return None
        strength = self._strength.to(value.dtype)
        for edit in edits:
            value = edit(value, strength)
        return value


def _start(
    root: nn.Module, decoder: nn.Module, clamps: Sequence[TrainingClamp]
) -> FrozenStart | None:
    """The frozen copy, where something is held to the start."""
    sites = {clamp.site for clamp in clamps if clamp.to_start}
    return FrozenStart(root, decoder, sites) if sites else None


# ------------------------------------------------------------------------------ the arithmetic

_Edit = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]  # (value, strength) -> value


def _edit(decoder: nn.Module, clamp: TrainingClamp, start: FrozenStart | None) -> _Edit:
    """One clamp on `[R, S, width]`, its settings on the network's device."""
    edit = clamp.intervention
    site = resolve(decoder, edit.site)
    device = site.weight.device
    recall = start.recall(clamp.site) if start is not None and clamp.to_start else None
    if edit.neurons is not None:
        held = torch.zeros(site.width, dtype=torch.bool)
        held[edit.neurons] = True
        level = edit.coefficient if edit.kind == "clamp" else 0.0
        exact = torch.tensor(level, dtype=torch.float64, device=device)
        return partial(_hold_units, held.to(device), exact, recall)
    if edit.direction is None:
        raise ValueError(f"{edit.kind} at {edit.site} has neither neurons nor a direction")
    bounds = (0.0, 0.0) if edit.bounds is None else edit.bounds
    return partial(_hold_direction, edit.direction.to(device), bounds, recall)


def _hold_units(
    held: torch.Tensor,
    level: torch.Tensor,
    recall: Callable[[], torch.Tensor] | None,
    value: torch.Tensor,
    strength: torch.Tensor,
) -> torch.Tensor:
    """`torch.lerp` gives the level exactly at 1, and passes back (1 - strength) of the gradient."""
    goal = level if recall is None else recall()
    return torch.where(held, torch.lerp(value, goal.to(value.dtype), strength), value)


def _hold_direction(
    direction: torch.Tensor,
    bounds: tuple[float, float],
    recall: Callable[[], torch.Tensor] | None,
    value: torch.Tensor,
    strength: torch.Tensor,
) -> torch.Tensor:
    v = direction.to(value.dtype)
    there = ops.dot(value, v)
    goal = there.clamp(*bounds) if recall is None else ops.dot(recall().to(value.dtype), v)
    return value + strength * (goal - there) * v
