"""Random numbers as a pure function of (key, counter): the same maze in any batch, on any device.

A 32-bit integer hash (the "lowbias32" finaliser found by C. Wellons, hash-prospector) of a 63-bit
key and a counter. Torch's own generators give other numbers on CUDA than on the CPU, and the place
in a batch would matter.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MASK = 0xFFFFFFFF
_AT_ONCE = 2**16


def _mix_(x: Tensor) -> Tensor:
    """Each of int64 values in [0, 2^32) to another one, in place; a bijection that looks random."""
    x ^= x >> 16
    x *= 0x7FEB352D
    x &= _MASK
    x ^= x >> 15
    x *= 0x846CA68B
    x &= _MASK
    x ^= x >> 16
    return x


def draws(keys: Tensor, first: int, n: int) -> Tensor:
    """Numbers int64 [n, B] in [0, 2^32): counters `first` to `first + n - 1` of every key [B]."""
    counter = torch.arange(first, first + n, device=keys.device)[:, None] * 0x9E3779B9
    low, high = keys & _MASK, (keys >> 32) & _MASK
    numbers = torch.empty((n, len(keys)), dtype=torch.int64, device=keys.device)
    # On a CPU, as many at a time as its caches hold: nine times as fast.
    block = n if keys.is_cuda else max(1, _AT_ONCE // max(1, len(keys)))
    for start in range(0, n, max(1, block)):
        x = counter[start : start + block] + high
        x &= _MASK
        x = _mix_(x)
        x ^= low
        numbers[start : start + block] = _mix_(x)
    return numbers


def below(numbers: Tensor, limit: Tensor | int) -> Tensor:
    """Draws scaled to integers in [0, limit); uneven by less than limit / 2^32."""
    return (numbers * limit) >> 32


def derived(keys: Tensor, purpose: int) -> Tensor:
    """Other keys [B], one for each; `purpose` keeps uses apart that must not share numbers."""
    low, high = draws(keys, -1 - 2 * purpose, 1)[0], draws(keys, -2 - 2 * purpose, 1)[0]
    return low | ((high & 0x7FFFFFFF) << 32)
