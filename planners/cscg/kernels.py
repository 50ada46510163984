"""The recursions of a cloned hidden Markov model, compiled.

`transitions` float32 `[A, O, O, M, M]`: entry [a, i, j, k, l] is the probability that action a
leads from clone k of observation i to clone l of observation j. A step touches the one block of
what was seen before and after, O(M^2), which is what makes clones cheap.
"""

from __future__ import annotations

import numba
import numpy as np

_FAST = {"reassoc", "contract", "nsz"}  # sums in any order; infinities and NaN stay what they are


@numba.njit(cache=True, fastmath=_FAST, error_model="numpy")
def forward(
    transitions: np.ndarray, seen: np.ndarray, actions: np.ndarray, messages: np.ndarray
) -> float:
    """Fills messages float32 `[T, M]`, p(clone at t | seen up to t); returns the log2 of
    p(seen | actions, first observation)."""
    n, m = messages.shape
    bits = 0.0
    messages[0] = np.float32(1.0 / m)
    for t in range(1, n):
        block = transitions[actions[t - 1], seen[t - 1], seen[t]]
        out = messages[t]
        out[:] = 0
        for k in range(m):
            share = messages[t - 1, k]
            if share > 0:
                row = block[k]
                for j in range(m):
                    out[j] += share * row[j]
        total = np.float32(0)
        for j in range(m):
            total += out[j]
        if total <= 0:
            return -np.inf
        bits += np.log2(total)
        scale = np.float32(1) / total
        for j in range(m):
            out[j] *= scale
    return bits


@numba.njit(cache=True, fastmath=_FAST, error_model="numpy")
def expected_counts(
    transitions: np.ndarray,
    seen: np.ndarray,
    actions: np.ndarray,
    messages: np.ndarray,
    counts: np.ndarray,
) -> None:
    """Adds the expected number of uses of every transition to counts (as `transitions`)."""
    n, m = messages.shape
    later = np.full(m, np.float32(1.0 / m), np.float32)
    before = np.empty(m, np.float32)
    for t in range(n - 2, -1, -1):
        block = transitions[actions[t], seen[t], seen[t + 1]]
        into = counts[actions[t], seen[t], seen[t + 1]]
        total, norm = np.float32(0), np.float32(0)
        for k in range(m):
            row = block[k]
            found = np.float32(0)
            for j in range(m):
                found += row[j] * later[j]
            before[k] = found
            total += found
            norm += messages[t, k] * found
        scale = np.float32(1) / norm
        for k in range(m):
            share = messages[t, k] * scale
            if share > 0:
                row, add = block[k], into[k]
                for j in range(m):
                    add[j] += share * row[j] * later[j]
        scale = np.float32(1) / total
        for k in range(m):
            later[k] = before[k] * scale


@numba.njit(cache=True, fastmath=_FAST, error_model="numpy")
def likeliest_path(
    transitions: np.ndarray, seen: np.ndarray, actions: np.ndarray, start: np.ndarray
) -> np.ndarray:
    """Clones int64 `[T]` of the likeliest path (Viterbi); start: float32 `[M]`, prior of the
    first. An impossible sequence gives -1 throughout."""
    n, m = len(seen), len(start)
    best = start.copy()
    came = np.zeros((n, m), np.int32)
    out = np.empty(m, np.float32)
    for t in range(1, n):
        block = transitions[actions[t - 1], seen[t - 1], seen[t]]
        out[:] = -1
        for k in range(m):
            share = best[k]
            if share > 0:
                for j in range(m):
                    value = share * block[k, j]
                    if value > out[j]:
                        out[j] = value
                        came[t, j] = k
        top = out.max()
        if top <= 0:
            return np.full(n, -1, np.int64)
        for j in range(m):
            best[j] = max(out[j], np.float32(0)) / top
    path = np.empty(n, np.int64)
    path[-1] = best.argmax()
    for t in range(n - 1, 0, -1):
        path[t - 1] = came[t, path[t]]
    return path
