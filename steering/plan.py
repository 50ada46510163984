"""The plan: which tokens each lane must edit in a forward, decided on the host before it runs.

A lane is one vectorised operation at a site; row r of lane l holds at most one intervention.
Everything here is numpy: the counts of planned tokens are made without the accelerator and without
the hooks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.steering.batches import Batch, Rows
from pilotage.steering.interventions import PHASES, Intervention
from pilotage.steering.recent import Recent
from pilotage.steering.tokens import group_bits

COUNTERS = ("env_steps", "replans")  # clauses that bound what counts up in a row's episode
PICKS = ("decode_tokens", "denoise_steps")  # clauses that name single forwards
_ALWAYS = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)
_KEPT = 64  # different forwards


@dataclass(frozen=True, eq=False)
class Edits:
    """What a forward edits. Equal forwards share one object; nothing may write to it.

    rows, phase, live (bool `[R]`): of the forward. masks: the tokens to edit, bool `[n_lanes, R,
    S]`. counts: how many per row, int64 `[n_lanes, R]`. lanes: the numbers of those with any.
    """

    rows: Rows
    phase: int
    live: np.ndarray
    masks: np.ndarray
    counts: np.ndarray
    lanes: frozenset[int]


class Plan:
    """Selectors of all lanes and rows as arrays `[n_lanes, n_rows]`, and the planned counts."""

    def __init__(self, n_rows: int) -> None:
        self.n_rows = n_rows
        self.groups = np.zeros((0, n_rows), np.int64)  # bit masks of token groups
        self.phases = np.zeros((len(PHASES), 0, n_rows), bool)
        # [first, stop) of each counter that a selector can bound
        self.first = {name: np.zeros((0, n_rows), np.int64) for name in COUNTERS}
        self.stop = {name: np.zeros((0, n_rows), np.int64) for name in COUNTERS}
        self.active = np.zeros((0, n_rows), bool)  # holds an intervention, coefficient not 0
        self.planned = np.zeros((0, len(PHASES), n_rows), np.int64)
        self.forwards = np.zeros((len(PHASES), n_rows), np.int64)
        # of each clause that names single forwards: (lane, row) -> their indices
        self._picked: dict[str, dict[tuple[int, int], tuple[int, ...]]] = {c: {} for c in PICKS}
        self._bounded: frozenset[str] = frozenset()  # counters that some row minds
        self._edits: Recent[tuple[Any, ...], Edits] = Recent(_KEPT)
        self._planned: dict[Edits, int] = {}  # forwards that are not in `planned` yet

    @property
    def n_lanes(self) -> int:
        return len(self.groups)

    def add_lane(self) -> int:
        """Append an empty lane; returns its number."""
        self.count()
        for name in ("groups", "active"):
            setattr(self, name, _longer(getattr(self, name)))
        for bounds in (self.first, self.stop):
            for name, table in bounds.items():
                bounds[name] = _longer(table)
        empty = np.zeros((len(PHASES), 1, self.n_rows), bool)
        self.phases = np.concatenate([self.phases, empty], axis=1)
        counts = np.zeros((1, len(PHASES), self.n_rows), np.int64)
        self.planned = np.concatenate([self.planned, counts])
        self._changed()
        return self.n_lanes - 1

    def set(self, lane: int, row: int, intervention: Intervention) -> None:
        """Put an intervention's selector into a lane's row."""
        selector = intervention.selector
        self.groups[lane, row] = group_bits(selector.token_groups)
        for number, name in enumerate(PHASES):
            self.phases[number, lane, row] = selector.phases is None or name in selector.phases
        if selector.decode_tokens is not None:
            self.phases[PHASES.index("prefill"), lane, row] = False
        for clause, picked in self._picked.items():
            if (indices := getattr(selector, clause)) is not None:
                picked[lane, row] = indices
        for name in COUNTERS:
            span = getattr(selector, name) or _ALWAYS
            self.first[name][lane, row], self.stop[name][lane, row] = span
        self.active[lane, row] = intervention.coefficient != 0.0
        self._changed()

    def set_active(self, lane: int, row: int, active: bool) -> None:
        """Let a row act in a lane or not, as its coefficient becomes other than 0, or 0."""
        if self.active[lane, row] != active:
            self.active[lane, row] = active
            self._changed()

    def clear_row(self, row: int) -> None:
        """Forget a row: no interventions, counts at zero."""
        self.count()
        self.active[:, row] = False
        self.planned[:, :, row] = 0
        self.forwards[:, row] = 0
        for picked in self._picked.values():
            for key in [k for k in picked if k[1] == row]:
                del picked[key]
        self._changed()

    def edits(
        self,
        batch: Batch,
        phase: int,
        indices: Mapping[str, int | None],
        counters: Mapping[str, np.ndarray],
        live: np.ndarray,
    ) -> Edits:
        """What this forward edits; counts it as planned.

        indices: of the forward, by the names of `PICKS`; None where it has none. counters: `[R]`,
        by the names of `COUNTERS`. live: `[R]`.
        """
        minded = {c: indices[c] for c in PICKS if self._picked[c]}
        bounded = {name: counters[name] for name in COUNTERS if name in self._bounded}
        words = tuple(values.tobytes() for values in bounded.values())
        key = (batch, phase, tuple(minded.values()), live.tobytes(), words)
        edits = self._edits.get(
            key, lambda: self._select(batch, phase, minded, bounded, live.copy())
        )
        self._planned[edits] = self._planned.get(edits, 0) + 1
        if len(self._planned) > _KEPT:
            self.count()
        return edits

    def count(self) -> None:
        """Bring `planned` and `forwards` up to date."""
        for edits, times in self._planned.items():
            at = edits.rows.at
            self.forwards[edits.phase, at] += times * edits.live
            self.planned[:, edits.phase, at] += times * edits.counts
        self._planned.clear()

    def _select(
        self,
        batch: Batch,
        phase: int,
        indices: Mapping[str, int | None],
        counters: Mapping[str, np.ndarray],
        live: np.ndarray,
    ) -> Edits:
        at = batch.rows.at
        gate = self._gate(phase, indices)[:, at] & live
        for name, now in counters.items():
            gate &= (self.first[name][:, at] <= now) & (now < self.stop[name][:, at])
        masks = (np.where(gate, self.groups[:, at], 0)[:, :, None] & batch.token_bits) != 0
        counts = masks.sum(-1)
        lanes = frozenset(np.flatnonzero(counts.any(-1)).tolist())
        return Edits(batch.rows, phase, live, masks, counts, lanes)

    def _gate(self, phase: int, indices: Mapping[str, int | None]) -> np.ndarray:
        """bool `[n_lanes, n_rows]`: who acts in this phase and, if any minds, in this forward."""
        gate = self.active & self.phases[phase]
        for clause, index in indices.items():
            for (lane, row), wanted in self._picked[clause].items():
                gate[lane, row] &= index in wanted
        return gate

    def _changed(self) -> None:
        """A row's selector has changed: forget what was worked out from the old ones."""
        self._bounded = frozenset(
            name
            for name in COUNTERS
            if (
                self.active & ((self.first[name] > _ALWAYS[0]) | (self.stop[name] < _ALWAYS[1]))
            ).any()
        )
        self._edits.clear()


def _longer(table: np.ndarray) -> np.ndarray:
    """With a row of zeros behind the last."""
    return np.concatenate([table, np.zeros((1, *table.shape[1:]), table.dtype)])
