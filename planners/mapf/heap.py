"""A binary heap of 64-bit keys with a payload each, compiled: the open lists of the searches."""

from __future__ import annotations

import numba


@numba.njit(cache=True)
def push(heap, size, key, state):  # type: ignore[no-untyped-def]
    """Puts one entry into `heap` int64 [2, room], keys and payloads; the size afterwards."""
    at = size
    while at > 0:
        above = (at - 1) >> 1
        if heap[0, above] <= key:
            break
        heap[0, at], heap[1, at] = heap[0, above], heap[1, above]
        at = above
    heap[0, at], heap[1, at] = key, state
    return size + 1


@numba.njit(cache=True)
def pop(heap, size):  # type: ignore[no-untyped-def]
    """Takes the entry with the least key out: (its payload, the size afterwards)."""
    top = heap[1, 0]
    size -= 1
    key, state = heap[0, size], heap[1, size]
    at = 0
    while True:
        below = 2 * at + 1
        if below >= size:
            break
        if below + 1 < size and heap[0, below + 1] < heap[0, below]:
            below += 1
        if heap[0, below] >= key:
            break
        heap[0, at], heap[1, at] = heap[0, below], heap[1, below]
        at = below
    heap[0, at], heap[1, at] = key, state
    return top, size
