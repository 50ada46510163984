"""How wishes become moves: POGEMA 1.4.0's three collision systems, compiled, for one team.

A cell is an index into a padded map whose rows are `stride` long; 0 stay, 1 up, 2 down, 3 left,
4 right. `table` int32 [3, n_cells] is scratch that is -1 everywhere before and after a call.

soft        swapping agents stay, and so does whoever heads for a wall or for a cell that keeps its
            agent; of several that head for one cell the lowest index moves. Chains and rings of
            followers move.
priority    one after another by index; an agent moves when its cell is free at that moment.
block_both  who heads for a cell that another agent holds or heads for stays. As in POGEMA the
            agents are read by index: the first to head for a cell is blocked by later ones too.
"""

from __future__ import annotations

import numba
import numpy as np

SOFT, PRIORITY, BLOCK_BOTH = 0, 1, 2
COLLISION_SYSTEMS = {"soft": SOFT, "priority": PRIORITY, "block_both": BLOCK_BOTH}


@numba.njit(cache=True)
def move(system, blocked, stride, actions, cells, table, wish, queue):  # type: ignore[no-untyped-def]
    """Moves `cells` int32 [n] in place; how many agents wished to move and stayed.

    blocked: uint8 [n_cells]; actions: int64 [n]; wish, queue: int32 [n], scratch.
    """
    n = len(cells)
    for i in range(n):
        wish[i] = cells[i]
        if actions[i] == 1:
            wish[i] -= stride
        elif actions[i] == 2:
            wish[i] += stride
        elif actions[i] == 3:
            wish[i] -= 1
        elif actions[i] == 4:
            wish[i] += 1
    if system == SOFT:
        return _soft(blocked, cells, table, wish, queue)
    if system == PRIORITY:
        return _priority(blocked, cells, table, wish)
    return _block_both(blocked, cells, table, wish)


@numba.njit(cache=True)
def _soft(blocked, cells, table, wish, queue):  # type: ignore[no-untyped-def]
    n = len(cells)
    holder, claim = table[0], table[1]
    for i in range(n):
        holder[cells[i]] = i
    stopped = 0
    for i in range(n):  # queue: agents that stay
        other = holder[wish[i]]
        swaps = other >= 0 and other != i and wish[other] == cells[i]
        if wish[i] == cells[i] or blocked[wish[i]] or swaps:
            queue[stopped] = i
            stopped += 1
        elif claim[wish[i]] < 0:
            claim[wish[i]] = i
        else:
            queue[stopped] = i
            stopped += 1
    wished = 0
    for i in range(n):
        if wish[i] != cells[i]:
            wished += 1
    at = 0
    while at < stopped:  # who follows an agent that stays, stays
        cell = cells[queue[at]]
        at += 1
        follower = claim[cell]
        if follower >= 0:
            claim[cell] = -1
            queue[stopped] = follower
            stopped += 1
    for i in range(n):
        holder[cells[i]] = -1
    for i in range(n):
        if claim[wish[i]] == i:
            claim[wish[i]] = -1
            cells[i] = wish[i]
            wished -= 1
    return wished


@numba.njit(cache=True)
def _priority(blocked, cells, table, wish):  # type: ignore[no-untyped-def]
    holder = table[0]
    n, stopped = len(cells), 0
    for i in range(n):
        holder[cells[i]] = i
    for i in range(n):
        if wish[i] == cells[i]:
            continue
        if blocked[wish[i]] or holder[wish[i]] >= 0:
            stopped += 1
            continue
        holder[cells[i]] = -1
        cells[i] = wish[i]
        holder[cells[i]] = i
    for i in range(n):
        holder[cells[i]] = -1
    return stopped


@numba.njit(cache=True)
def _block_both(blocked, cells, table, wish):  # type: ignore[no-untyped-def]
    use = table[0]  # -1 free, 0 one agent heads for it, 1 blocked
    n, stopped = len(cells), 0
    for i in range(n):
        use[wish[i]] = 1 if use[wish[i]] >= 0 else 0
        use[cells[i]] = 1
    for i in range(n):
        free = use[wish[i]] == 0 and not blocked[wish[i]]
        if wish[i] != cells[i] and not free:
            stopped += 1
        # what is needed of `use` afterwards is only its cleaning
        table[1, wish[i]] = i if free else -1
    for i in range(n):
        use[wish[i]], use[cells[i]] = -1, -1
    for i in range(n):
        if table[1, wish[i]] == i:
            table[1, wish[i]] = -1
            cells[i] = wish[i]
    return stopped


@numba.njit(cache=True)
def draw(seed, agent, count, n):  # type: ignore[no-untyped-def]
    """A number in [0, n) that depends on (seed, agent, count) only: the counter-based generator.

    Two rounds of the SplitMix64 finaliser (Steele et al. 2014) over the mixed words.
    """
    x = np.uint64(seed) * np.uint64(0x9E3779B97F4A7C15)
    x ^= np.uint64(agent) * np.uint64(0xBF58476D1CE4E5B9)
    x += np.uint64(count) * np.uint64(0x94D049BB133111EB)
    for _ in range(2):
        x += np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    return np.int64((x >> np.uint64(32)) * np.uint64(n) >> np.uint64(32))
