"""What gates read: the state of every row where its first token to decode is predicted."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import nn

from pilotage.steering.batches import Rows
from pilotage.steering.gates import reading_layer
from pilotage.steering.handles import HookHandles
from pilotage.steering.sites import Site, SiteError, resolve


class GateReader:
    """Keeps the state that gates read, of every row of a Steerer.

    It sees what the block computes with: edits of the stream before are in it.
    """

    def __init__(self, decoder: nn.Module, reads: str, n_rows: int) -> None:
        attention = resolve(decoder, Site(reading_layer(reads), "self_attn.o_proj:out"))
        if attention.stream is None:
            raise SiteError(
                f"a gate cannot read {reads} of {type(decoder).__name__}: the norm before that "
                "block's attention is not known"
            )
        self._norm, self.width = attention.stream, attention.width
        self._rows: Rows | None = None  # of the forward that is read; None: it is not
        self._live = torch.zeros(0, 1, dtype=torch.bool)
        with torch.inference_mode(False):
            self._states = torch.zeros(n_rows, self.width, device=attention.weight.device)

    def attach(self, handles: HookHandles) -> None:
        """Read from now on, in forwards that are announced."""
        handles.before(self._norm, self._read)

    def announce(self, rows: Rows | None, live: np.ndarray) -> None:
        """The next forward: its rows, or None where it is not to be read; live: bool `[R]`, rows
        that are not keep what they had."""
        self._rows = rows
        if rows is not None:
            self._live = torch.from_numpy(live[:, None].copy()).to(self._states.device)

    def states(self, rows: Rows) -> torch.Tensor:
        """float32 `[R, d]`, of each row's last prefill; zeros before its first."""
        return self._states.index_select(0, rows.index)

    def clear_row(self, row: int) -> None:
        """Forget a row's state."""
        self._states[row] = 0.0

    def _read(self, module: nn.Module, args: tuple[Any, ...]) -> None:
        rows = self._rows
        if rows is not None:
            with torch.no_grad():
                last = torch.where(self._live, args[0][:, -1].float(), self.states(rows))
                self._states.index_copy_(0, rows.index, last)
