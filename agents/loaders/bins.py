"""Actions as the last tokens of a vocabulary, and back to the units of the training data.

OpenVLA (arXiv:2406.09246, section 3.2): each number of an action, scaled so that the 1st and 99th
percentile of the training data are -1 and 1, falls into one of 256 bins; bin k is the token
`vocabulary - k`, so the highest id is the lowest value.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.episodes.names import hint


@dataclass(frozen=True)
class BinCodec:
    """vocabulary: ids below the padding of the embedding table (32,000 for Llama-2)."""

    vocabulary: int
    n_bins: int = 256

    def __post_init__(self) -> None:
        if not 2 <= self.n_bins <= self.vocabulary:
            raise CheckpointError(
                f"{self.n_bins} action bins do not fit into a vocabulary of {self.vocabulary}"
            )

    @property
    def ids(self) -> range:
        """The ids of the action tokens."""
        return range(self.vocabulary - self.n_bins, self.vocabulary)

    @property
    def centres(self) -> np.ndarray:
        """float64 `[n_bins - 1]`: the middles between the edges of the bins."""
        edges = np.linspace(-1.0, 1.0, self.n_bins)
        return (edges[:-1] + edges[1:]) / 2

    def decode(self, ids: np.ndarray) -> np.ndarray:
        """Numbers in (-1, 1), float64, from token ids of the same shape.

        There is one bin less than ids; the lowest id means the same as the next. So, as published,
        do ids of words: they are cut to the ends.
        """
        place = self.vocabulary - 1 - np.asarray(ids, dtype=np.int64)
        return self.centres[np.clip(place, 0, self.n_bins - 2)]

    def encode(self, values: np.ndarray) -> np.ndarray:
        """Ids int64 from numbers; those outside [-1, 1] are cut. ValueError for NaN."""
        array = np.asarray(values, dtype=np.float64)
        if not np.isfinite(array).all():
            raise ValueError(f"actions must be finite, got {array}")
        edges = np.linspace(-1.0, 1.0, self.n_bins)
        return self.vocabulary - np.digitize(np.clip(array, -1.0, 1.0), edges)


@dataclass(frozen=True, eq=False)
class NormStats:
    """Percentiles of the actions of a data set: low (q01), high (q99) float64 `[A]`; mask bool
    `[A]`, False where a number is not scaled (the gripper)."""

    low: np.ndarray
    high: np.ndarray
    mask: np.ndarray

    @classmethod
    def read(cls, stats: Mapping[str, Any], key: str | None, where: str) -> tuple[str, NormStats]:
        """The statistics of one data set and their key; key None: of the only one.

        Raises CheckpointError listing the data sets, or naming what one lacks.
        """
        names = ", ".join(stats) or "none"
        if key is None:
            if len(stats) != 1:
                raise CheckpointError(
                    f"{where} has action statistics of {len(stats)} data sets; choose one with "
                    f"key=NAME behind the path. There are: {names}"
                )
            key = next(iter(stats))
        if key not in stats:
            raise CheckpointError(
                f"{where} has no action statistics {key!r}{hint(key, stats)}; there are: {names}"
            )
        action = stats[key].get("action", {})
        lacking = [name for name in ("q01", "q99") if name not in action]
        if lacking:
            raise CheckpointError(f"{where}: norm_stats[{key!r}]['action'] lacks {lacking}")
        low, high = (np.asarray(action[name], dtype=np.float64) for name in ("q01", "q99"))
        mask = np.asarray(action.get("mask", np.ones(low.shape, bool)), dtype=bool)
        if not low.shape == high.shape == mask.shape or low.ndim != 1:
            raise CheckpointError(
                f"{where}: q01, q99 and mask of {key!r} have shapes {low.shape}, {high.shape} and "
                f"{mask.shape}, expected three lists of one length"
            )
        return key, cls(low, high, mask)

    @property
    def n_numbers(self) -> int:
        return len(self.low)

    def restore(self, normalised: np.ndarray) -> np.ndarray:
        """From [-1, 1] to the data's units, `[..., A]`."""
        scaled = 0.5 * (normalised + 1.0) * (self.high - self.low) + self.low
        return np.where(self.mask, scaled, normalised)
