"""The plan: which tokens each lane must edit in a forward, decided on the host before it runs.

A lane is one vectorised operation at a site; row r of lane l holds at most one intervention.
Everything here is numpy: the counts of planned tokens are made without the accelerator and without
the hooks.
"""

from __future__ import annotations

import numpy as np

from pilotage.steering.interventions import PHASES, Intervention
from pilotage.steering.tokens import N_GROUPS, PAD, group_bits, group_name

_NEVER = np.iinfo(np.int64).max


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
        self._decode_cache: dict[int, np.ndarray] = {}

    @property
    def n_lanes(self) -> int:
        return len(self.groups)

    def add_lane(self) -> int:
        """Append an empty lane; returns its number."""
        for name in ("groups", "first_step", "stop_step", "active"):
            table = getattr(self, name)
            setattr(self, name, np.concatenate([table, np.zeros((1, self.n_rows), table.dtype)]))
        empty = np.zeros((len(PHASES), 1, self.n_rows), bool)
        self.phases = np.concatenate([self.phases, empty], axis=1)
        counts = np.zeros((1, len(PHASES), self.n_rows), np.int64)
        self.planned = np.concatenate([self.planned, counts])
        self._decode_cache.clear()
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
        self.first_step[lane, row], self.stop_step[lane, row] = selector.env_steps or (0, _NEVER)
        self.active[lane, row] = intervention.coefficient != 0.0
        self._decode_cache.clear()

    def clear_row(self, row: int) -> None:
        """Forget a row: no interventions, counts at zero."""
        self.active[:, row] = False
        self.planned[:, :, row] = 0
        self.forwards[:, row] = 0
        for key in [k for k in self._decode_tokens if k[1] == row]:
            del self._decode_tokens[key]
        self._decode_cache.clear()

    def masks(
        self,
        rows: np.ndarray,
        groups: np.ndarray,
        phase: int,
        decode_token: int,
        env_steps: np.ndarray,
        live: np.ndarray,
    ) -> np.ndarray:
        """The tokens to edit, bool `[n_lanes, R, S]`; adds them to `planned`."""
        gate = self.active[:, rows] & self.phases[phase][:, rows] & live
        gate &= (self.first_step[:, rows] <= env_steps) & (env_steps < self.stop_step[:, rows])
        if PHASES[phase] == "decode" and self._decode_tokens:
            gate &= self._decode_allowed(decode_token)[:, rows]
        token_bits = np.where(groups == PAD, 0, 1 << np.maximum(groups, 0).astype(np.int64))
        allowed = np.where(gate, self.groups[:, rows], 0)
        masks = (allowed[:, :, None] & token_bits) != 0
        self.planned[:, phase, rows] += masks.sum(-1)
        self.forwards[phase, rows] += live
        return masks

    def _decode_allowed(self, decode_token: int) -> np.ndarray:
        """bool `[n_lanes, n_rows]`: False where the decode-token clause excludes this forward."""
        if decode_token not in self._decode_cache:
            allowed = np.ones((self.n_lanes, self.n_rows), bool)
            for (lane, row), tokens in self._decode_tokens.items():
                allowed[lane, row] = decode_token in tokens
            self._decode_cache[decode_token] = allowed
        return self._decode_cache[decode_token]


def check_groups(groups: np.ndarray) -> None:
    """Raise ValueError for a token group id that does not exist."""
    if groups.size and (groups.min() < PAD or groups.max() >= N_GROUPS):
        worst = groups[(groups < PAD) | (groups >= N_GROUPS)][0]
        group_name(int(worst))
