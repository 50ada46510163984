"""Large neighbourhood search on a table of paths that meet, compiled, until none do.

One neighbourhood: take a group out, plan its agents one after another, and keep the new paths when
not more pairs of agents meet than before; otherwise put the old ones back. How often each way to
choose a group, and each size, is used follows what it has gained for its work (adaptive large
neighbourhood search, Ropke and Pisinger 2006).
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.neighbourhoods import choose
from pilotage.planners.mapf.pibt_kernel import next_random
from pilotage.planners.mapf.soft_intervals import NO_BUDGET, NO_PATH, NO_ROOM, find
from pilotage.planners.mapf.team_table import PAIRS, WORK, met_by, put, take

DONE, RUNNING = 0, 1  # other answers: NO_ROOM, NO_BUDGET
N_WAYS = 3
REACTION = 0.1  # how fast the gains follow
LEAST_SHARE = 0.1  # of the best gain: what a way counts at least, so that it is tried at times
SLACK = 2  # meetings counted by spans are more than the pairs that meet: give up beyond as often
EACH = 30  # work of a neighbourhood besides its searches, in expansions


class Groups(NamedTuple):
    """What is known of the ways to choose, and memory for the paths that are taken out."""

    sizes: np.ndarray  # int64 [S]
    gains: np.ndarray  # float64 [N_WAYS, S], gain for each unit of work, smoothed
    saved: np.ndarray  # int32 [max(sizes), T]
    lengths: np.ndarray  # int32 [max(sizes)]
    tries: np.ndarray  # int64 [1], neighbourhoods so far


def new_groups(sizes: tuple[int, ...], n_steps: int) -> Groups:
    return Groups(
        np.array(sizes, np.int64),
        np.zeros((N_WAYS, len(sizes))),
        np.zeros((max(sizes), n_steps), np.int32),
        np.zeros(max(sizes), np.int32),
        np.zeros(1, np.int64),
    )


@numba.njit(cache=True)
def plan_first(order, begin, price, max_work, ways, team, labels, group):  # type: ignore[no-untyped-def]
    """First paths for the agents of `order` from `begin` on, around those before them but through
    them where they must. Returns (status, how far it came)."""
    for k in range(begin, len(order)):
        i = order[k]
        length = find(i, price, FAR, max_work, ways, team, labels)
        if length < 0:
            return length, k
        put(i, labels.path, length, team)
        _count(i, 1, team, group)
    return DONE, len(order)


@numba.njit(cache=True)
def repair(until, price, max_work, ways, team, labels, group, groups):  # type: ignore[no-untyped-def]
    """Neighbourhoods until WORK exceeds `until`, or nobody meets. One that is under way when it
    exceeds `max_work` is undone."""
    while team.counts[WORK] < until:
        if team.counts[PAIRS] == 0:
            return DONE
        way, size = _draw(groups.gains, group.random)
        choose(way, min(groups.sizes[size], len(group.members)), ways, team, group)
        groups.tries[0] += 1
        before = team.counts[WORK]
        team.counts[WORK] += EACH
        gain = _plan_again(price, max_work, ways, team, labels, group, groups)
        if gain in (NO_ROOM, NO_BUDGET):
            return gain
        pace = 100.0 * max(gain, 0) / (team.counts[WORK] - before)
        groups.gains[way, size] += REACTION * (pace - groups.gains[way, size])
    return RUNNING


@numba.njit(cache=True)
def _draw(gains, random):  # type: ignore[no-untyped-def]
    """A way and a size, as often as they gain."""
    floor = max(LEAST_SHARE * gains.max(), 1e-9)
    total = 0.0
    for value in gains.flat:
        total += max(value, floor)
    left = total * (np.float64(next_random(random) >> np.uint64(11)) / 9007199254740992.0)
    n = gains.shape[1]
    for k in range(gains.size):
        left -= max(gains[k // n, k % n], floor)
        if left < 0:
            return k // n, k % n
    return gains.shape[0] - 1, n - 1


@numba.njit(cache=True)
def _count(i, sign, team, group):  # type: ignore[no-untyped-def]
    """Counts the meetings of i in (1) or out (-1)."""
    n = met_by(i, team, group.others)
    for k in range(n):
        group.degree[group.others[k]] += sign
    group.degree[i] += sign * n
    team.counts[PAIRS] += sign * n


@numba.njit(cache=True)
def _plan_again(price, max_work, ways, team, labels, group, groups):  # type: ignore[no-untyped-def]
    """New paths for the group if they are not worse; the gain, or NO_PATH, NO_ROOM, NO_BUDGET."""
    n, pairs = group.size[0], team.counts[PAIRS]
    for k in range(n):
        i = group.members[k]
        groups.lengths[k] = team.arrive[i]
        groups.saved[k, : team.arrive[i]] = team.where[i, : team.arrive[i]]
        _count(i, -1, team, group)
        take(i, team)
    status, planned = 0, 0
    while planned < n:
        i = group.members[planned]
        spare = SLACK * (pairs - team.counts[PAIRS] + 1)
        status = find(i, price, spare, max_work, ways, team, labels)
        if status < 0:
            break
        put(i, labels.path, status, team)
        planned += 1
        _count(i, 1, team, group)
        if team.counts[PAIRS] > pairs:
            status = NO_PATH
            break
    if status >= 0:
        return pairs - team.counts[PAIRS]
    for k in range(planned):
        _count(group.members[k], -1, team, group)
        take(group.members[k], team)
    for k in range(n):
        put(group.members[k], groups.saved[k], groups.lengths[k], team)
        _count(group.members[k], 1, team, group)
    return status
