"""Frames: the device buffers of a forward's masks and counts, reused for every forward of one
shape.
"""

from __future__ import annotations

import torch

from pilotage.steering.plan import Edits
from pilotage.steering.recent import Recent

_KEPT = 16  # shapes (R, S) whose buffers are kept


class Frame:
    """Buffers of one shape, and views of them by lane.

    masks: bool `[R, S, 1]` of each lane, the tokens to edit. fired: the same as float32. stats:
    float64 `[3, R, S, 1]` of each lane, summed over the forwards of one set of rows in one phase:
    edits, |dh|, dose.
    """

    def __init__(self, shape: tuple[int, ...], device: torch.device) -> None:
        n_lanes, n_rows, n_tokens = shape
        self._masks = torch.zeros(*shape, 1, dtype=torch.bool, device=device)
        self._fired = torch.zeros(*shape, 1, device=device)
        stats = torch.zeros(n_lanes, 3, n_rows, n_tokens, 1, dtype=torch.float64, device=device)
        self._stats = stats
        self.masks = self._masks.unbind()
        self.fired = self._fired.unbind()
        self.stats = self._stats.unbind()
        self.edits: Edits | None = None  # what the masks hold

    def load(self, edits: Edits) -> None:
        """Put these masks into the buffers."""
        if edits is not self.edits:
            self._masks.copy_(torch.from_numpy(edits.masks[..., None]))
            self._fired.copy_(self._masks)
            self.edits = edits

    def move_to(self, totals: torch.Tensor) -> None:
        """Add the stats to totals `[n_lanes, n_phases, 3, n_rows]`, and start at zero again."""
        if self.edits is not None:
            of_phase = totals.select(1, self.edits.phase)
            of_phase.index_add_(2, self.edits.rows.index, self._stats.sum((3, 4)))
            self._stats.zero_()


class Frames:
    """Buffers by shape, written in place so that a compiled forward finds them where they were."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._frames: Recent[tuple[int, ...], Frame] = Recent(_KEPT)

    def clear(self) -> None:
        """Forget the buffers: the number of lanes has changed."""
        self._frames.clear()

    def of(self, shape: tuple[int, ...]) -> Frame:
        """The frame of masks `[n_lanes, R, S]`."""
        return self._frames.get(shape, lambda: self._make(shape))

    @torch.inference_mode(False)
    def _make(self, shape: tuple[int, ...]) -> Frame:
        return Frame(shape, self.device)
