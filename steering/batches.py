"""Batches: the rows and token groups of a forward, checked, and put where they are needed.

An agent announces the same few layouts again and again; each is read once and then found by its
content.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from pilotage.steering.checks import check_groups, host, row_numbers
from pilotage.steering.recent import Recent
from pilotage.steering.tokens import PAD

_KEPT = 32  # layouts, and sets of rows


@dataclass(frozen=True, eq=False)
class Rows:
    """Distinct rows of a Steerer, in the order of a forward.

    at: what indexes host arrays `[n_rows]`: a slice (no copy) where the rows follow each other,
    else `numbers`. index: the same numbers on the device, int64 `[R]`.
    """

    numbers: np.ndarray  # int64 [R]
    at: slice | np.ndarray
    index: torch.Tensor

    @classmethod
    def of(cls, numbers: np.ndarray, device: torch.device) -> Rows:
        first, n = (int(numbers[0]) if len(numbers) else 0), len(numbers)
        follow = bool((numbers == np.arange(first, first + n)).all())
        with torch.inference_mode(False):
            index = torch.from_numpy(numbers.copy()).to(device)
        return cls(numbers, slice(first, first + n) if follow else numbers, index)


@dataclass(frozen=True, eq=False)
class Batch:
    """What a forward carries: rows, and per token the bit of its group, 0 for padding."""

    rows: Rows
    token_bits: np.ndarray  # int64 [R, S]


class Batches:
    """Batches by content; equal arguments give the same object."""

    def __init__(self, n_rows: int, device: torch.device) -> None:
        self.n_rows, self.device = n_rows, device
        self._rows: Recent[tuple[Any, ...], Rows] = Recent(_KEPT)
        self._batches: Recent[tuple[Any, ...], Batch] = Recent(_KEPT)

    def rows(self, rows: Any) -> Rows:
        """Rows from a tensor, array, list or slice. Raises ValueError unless they are distinct row
        numbers.
        """
        if isinstance(rows, slice):
            key: tuple[Any, ...] = (rows.start, rows.stop, rows.step)
            return self._rows.get(key, lambda: self._make_rows(np.arange(self.n_rows)[rows]))
        given = host(rows)
        key = (given.dtype.char, given.shape, given.tobytes())
        return self._rows.get(key, lambda: self._make_rows(given))

    def batch(self, rows: Any, token_groups: Any) -> Batch:
        """Raises ValueError for rows or token groups (`[R, S]`) that do not exist."""
        rows_, groups = self.rows(rows), host(token_groups)
        n_rows = len(rows_.numbers)
        if groups.ndim != 2 or len(groups) != n_rows:
            raise ValueError(f"token_groups has shape {groups.shape}, expected [{n_rows}, S]")
        key = (rows_, groups.dtype.char, groups.shape, groups.tobytes())
        return self._batches.get(key, lambda: Batch(rows_, _bits(groups)))

    def _make_rows(self, given: np.ndarray) -> Rows:
        return Rows.of(row_numbers(given, self.n_rows), self.device)


def _bits(groups: np.ndarray) -> np.ndarray:
    check_groups(groups)
    return np.where(groups == PAD, 0, 1 << np.maximum(groups, 0).astype(np.int64))
