"""Random numbers as a pure function of (key, counter): the same maze in any batch, on any device.

A 32-bit integer hash (the "lowbias32" finaliser found by C. Wellons, hash-prospector) of a 63-bit
key and a counter. Torch's own generators give other numbers on CUDA than on the CPU, and the place
in a batch would matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF


def _mix(x: Tensor) -> Tensor:
    """Each of int64 values in [0, 2^32) to another one; a bijection that looks random."""
    x = ((x ^ (x >> 16)) * 0x7FEB352D) & _MASK
    x = ((x ^ (x >> 15)) * 0x846CA68B) & _MASK
    return x ^ (x >> 16)


def draws(keys: Tensor, first: int, n: int) -> Tensor:
    """Numbers int64 [n, B] in [0, 2^32): counters `first` to `first + n - 1` of every key [B]."""
    counter = torch.arange(first, first + n, device=keys.device)
    low, high = keys & _MASK, (keys >> 32) & _MASK
    return _mix(low ^ _mix((counter[:, None] * 0x9E3779B9 + high) & _MASK))


def below(numbers: Tensor, limit: Tensor | int) -> Tensor:
    """Draws scaled to integers in [0, limit); uneven by less than limit / 2^32."""
    return (numbers * limit) >> 32


def derived(keys: Tensor, purpose: int) -> Tensor:
    """Other keys [B], one for each; `purpose` keeps uses apart that must not share numbers."""
    low, high = draws(keys, -1 - 2 * purpose, 1)[0], draws(keys, -2 - 2 * purpose, 1)[0]
    return low | ((high & 0x7FFFFFFF) << 32)
