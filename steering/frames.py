"""Frames: the device buffers of a forward's masks and counts, reused for every forward of one
shape.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import torch

_KEPT = 16  # shapes (R, S) whose buffers are kept


@dataclass(frozen=True, eq=False)
class Frame:
    """Buffers of one shape: masks bool `[n_lanes, R, S, 1]`, stats float32 `[n_lanes, 3, R, S]`."""

    masks: torch.Tensor
    stats: torch.Tensor


class Frames:
    """Buffers by shape, written in place so that a compiled forward finds them where they were."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._frames: OrderedDict[tuple[int, ...], Frame] = OrderedDict()
        self._rows: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def clear(self) -> None:
        """Forget the buffers: the number of lanes has changed."""
        self._frames.clear()

    def load(self, masks: np.ndarray) -> Frame:
        """The frame of this shape with these masks `[n_lanes, R, S]` and counts at zero."""
        frame = self._frames.get(masks.shape)
        if frame is None:
            n_lanes, n_rows, n_tokens = masks.shape
            frame = Frame(
                torch.zeros(n_lanes, n_rows, n_tokens, 1, dtype=torch.bool, device=self.device),
                torch.zeros(n_lanes, 3, n_rows, n_tokens, device=self.device),
            )
            self._frames[masks.shape] = frame
            if len(self._frames) > _KEPT:
                self._frames.popitem(last=False)
        self._frames.move_to_end(masks.shape)
        frame.masks.copy_(torch.from_numpy(masks[..., None]))
        frame.stats.zero_()
        return frame

    def rows(self, rows: np.ndarray) -> torch.Tensor:
        """Row numbers on the device, int64 `[R]`."""
        key = rows.tobytes()
        if key not in self._rows:
            self._rows[key] = torch.from_numpy(rows.copy()).to(self.device)
            if len(self._rows) > _KEPT:
                self._rows.popitem(last=False)
        return self._rows[key]
