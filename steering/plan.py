"""The plan: which tokens each lane must edit in a forward, decided on the host before it runs.

A lane is one vectorised operation at a site; row r of lane l holds at most one intervention.
Everything here is numpy: the counts of planned tokens are made without the accelerator and without
the hooks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.steering.batches import Batch, Rows
from pilotage.steering.interventions import PHASES, Intervention
from pilotage.steering.recent import Recent
from pilotage.steering.tokens import group_bits

_ALWAYS = (np.iinfo(np.int64).min, np.iinfo(np.int64).max)  # env steps
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
        self.first_step = np.zeros((0, n_rows), np.int64)
        self.stop_step = np.zeros((0, n_rows), np.int64)
        self.active = np.zeros((0, n_rows), bool)  # holds an intervention, coefficient not 0
        self.planned = np.zeros((0, len(PHASES), n_rows), np.int64)
        self.forwards = np.zeros((len(PHASES), n_rows), np.int64)
        self._decode_tokens: dict[tuple[int, int], tuple[int, ...]] = {}
        self._bounded = False  # some row acts in some env steps only
        self._edits: Recent[tuple[Any, ...], Edits] = Recent(_KEPT)
        self._planned: dict[Edits, int] = {}  # forwards that are not in `planned` yet

    @property
    def n_lanes(self) -> int:
        return len(self.groups)

    def add_lane(self) -> int:
        """Append an empty lane; returns its number."""
        self.count()
        for name in ("groups", "first_step", "stop_step", "active"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros((1, self.n_rows), table.dtype)]))
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
            self._decode_tokens[lane, row] = selector.decode_tokens
        self.first_step[lane, row], self.stop_step[lane, row] = selector.env_steps or _ALWAYS
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
        for key in [k for k in self._decode_tokens if k[1] == row]:
            del self._decode_tokens[key]
        self._changed()

    def edits(
        self,
        batch: Batch,
        phase: int,
        decode_token: int,
        env_steps: np.ndarray,
        live: np.ndarray,
    ) -> Edits:
        """What this forward edits; counts it as planned. env_steps, live: `[R]`."""
        token = decode_token if self._decode_tokens and PHASES[phase] == "decode" else None
        steps = env_steps if self._bounded else None
        key = (batch, phase, token, live.tobytes(), None if steps is None else steps.tobytes())
        edits = self._edits.get(key, lambda: self._select(batch, phase, token, steps, live.copy()))
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
        decode_token: int | None,
        env_steps: np.ndarray | None,
        live: np.ndarray,
    ) -> Edits:
        at = batch.rows.at
        gate = self._gate(phase, decode_token)[:, at] & live
        if env_steps is not None:
            gate &= (self.first_step[:, at] <= env_steps) & (env_steps < self.stop_step[:, at])
        masks = (np.where(gate, self.groups[:, at], 0)[:, :, None] & batch.token_bits) != 0
        counts = masks.sum(-1)
        lanes = frozenset(np.flatnonzero(counts.any(-1)).tolist())
        return Edits(batch.rows, phase, live, masks, counts, lanes)

    def _gate(self, phase: int, decode_token: int | None) -> np.ndarray:
        """bool `[n_lanes, n_rows]`: who acts in this phase and, if any minds, decode forward."""
        gate = self.active & self.phases[phase]
        if decode_token is not None:
            for (lane, row), tokens in self._decode_tokens.items():
                gate[lane, row] &= decode_token in tokens
        return gate

    def _changed(self) -> None:
        """A row's selector has changed: forget what was worked out from the old ones."""
        bounded = (self.first_step > _ALWAYS[0]) | (self.stop_step < _ALWAYS[1])
        self._bounded = bool((self.active & bounded).any())
        self._edits.clear()
