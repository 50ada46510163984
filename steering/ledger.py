"""The ledger: what the hooks have delivered, by lane, phase and row.

Hooks write into the buffers of a frame. They are brought into the totals only when somebody reads
them, or when the buffers are needed for other rows or another phase; nothing waits for the device
before that.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from pilotage.steering.batches import Rows
from pilotage.steering.frames import Frame, Frames
from pilotage.steering.interventions import PHASES
from pilotage.steering.plan import Edits


class Ledger:
    """Edits, delivered norms and doses, in total and since the start of each row's env step."""

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self.n_rows, self.device = n_rows, device
        self._frames = Frames(device)
        self._written: list[Frame] = []  # frames that may hold stats
        self._open: Frame | None = None  # the one that hooks write into now
        with torch.inference_mode(False):
            self._totals = self._zeros(0, len(PHASES))  # [n_lanes, n_phases, 3, n_rows]
            self._step_start = self._zeros()  # [3, n_rows], over lanes and phases
        self._last_env_step = np.full(n_rows, -1, np.int64)
        self._last_steps: tuple[Any, ...] = ()  # what it was last updated from

    @torch.inference_mode(False)
    def add_lane(self) -> None:
        """Make room for one more lane. Frames are made anew."""
        self.collect()
        self._totals = torch.cat([self._totals, self._zeros(1, len(PHASES))])
        self._frames.clear()
        self._written, self._open = [], None

    def open(self, edits: Edits) -> Frame:
        """The buffers for forwards with these edits."""
        frame = self._frames.of(edits.masks.shape)
        held = frame.edits
        if held is not None and (held.rows, held.phase) != (edits.rows, edits.phase):
            frame.move_to(self._totals)
        if frame not in self._written:
            self._written.append(frame)
        frame.load(edits)
        self._open = frame
        return frame

    def collect(self) -> None:
        """Bring the totals up to date."""
        for frame in self._written:
            frame.move_to(self._totals)
        self._written = [] if self._open is None else [self._open]

    def start_steps(self, rows: Rows, steps: np.ndarray, live: np.ndarray) -> None:
        """Where the env step is a new one, restart the step's dose. steps, live: `[R]`."""
        announced = (rows, steps.dtype.char, steps.tobytes(), live.tobytes())
        if announced == self._last_steps:
            return
        self._last_steps = announced
        new = live & (steps != self._last_env_step[rows.at])
        if not new.any():
            return
        started = rows.numbers[new]
        self._last_env_step[started] = steps[new]
        if len(self._totals):
            index = rows.index if new.all() else torch.from_numpy(started).to(self.device)
            self._step_start.index_copy_(1, index, self._row_totals().index_select(1, index))

    def clear_row(self, row: int) -> None:
        """Forget what a row was given."""
        self.collect()
        self._totals[..., row] = 0
        self._step_start[:, row] = 0
        self._last_env_step[row], self._last_steps = -1, ()

    def row(self, row: int) -> np.ndarray:
        """float64 `[n_lanes, n_phases, 3]`: edits, sum of |dh|, sum of doses."""
        self.collect()
        return self._totals[..., row].cpu().numpy()

    def last_dose(self) -> np.ndarray:
        """Mean dose per edited token in each row's last env step, float32 `[n_rows]`; 0 if none."""
        count, _, dose = (self._row_totals() - self._step_start).cpu().numpy()
        return np.where(count > 0, dose / np.maximum(count, 1), 0).astype(np.float32)

    def _row_totals(self) -> torch.Tensor:
        """float64 `[3, n_rows]`, over lanes and phases."""
        self.collect()
        return self._totals.sum((0, 1))

    def _zeros(self, *shape: int) -> torch.Tensor:
        return torch.zeros(*shape, 3, self.n_rows, dtype=torch.float64, device=self.device)
