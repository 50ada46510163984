"""Actions as tokens: 256 uniform bins over [-1, 1], or the first bins for discrete actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class ActionCodec:
    """Between actions and bin indices (0-based; add the tokenizer's `first_bin_id` for ids).

    `n_discrete == 0`: continuous actions `[..., n_tokens]` in [-1, 1]; bin k has the centre
    -1 + 2k / (n_bins - 1), so that -1 and 1 are exact. Otherwise one token, bin = action index.
    """

    n_tokens: int
    n_bins: int = 256
    n_discrete: int = 0

    @property
    def centres(self) -> np.ndarray:
        """float32 [n_bins], the action value of each bin."""
        return np.linspace(-1.0, 1.0, self.n_bins, dtype=np.float32)

    def encode(self, actions: np.ndarray) -> np.ndarray:
        """Bins int64 `[..., n_tokens]`. Values outside the action space are refused."""
        if self.n_discrete:
            bins = np.asarray(actions, dtype=np.int64)[..., None]
            if bins.size and (bins.min() < 0 or bins.max() >= self.n_discrete):
                raise ValueError(f"actions must be in [0, {self.n_discrete}), got {bins.max()}")
            return bins
        values = np.asarray(actions, dtype=np.float64)
        if not np.all(np.isfinite(values)) or np.abs(values).max(initial=0.0) > 1.0 + 1e-6:
            raise ValueError("actions must be finite and in [-1, 1]; clip them before encoding")
        return np.rint((values + 1.0) * 0.5 * (self.n_bins - 1)).astype(np.int64)

    def decode(self, bins: np.ndarray) -> np.ndarray:
        """Actions from bins `[..., n_tokens]`: float32 `[..., n_tokens]`, or int64 `[...]`."""
        if self.n_discrete:
            return np.asarray(bins, dtype=np.int64)[..., 0]
        return self.centres[np.asarray(bins)]

    def describe(self, bin_index: int) -> str:
        """A readable name of one bin, e.g. `+0.40` or `forward`'s index."""
        if self.n_discrete:
            return f"action {bin_index}"
        return f"{self.centres[bin_index]:+.2f}"
