"""Which agents to plan again so that fewer paths meet, compiled: three ways to choose a group.

Li et al. 2022, MAPF-LNS2 (AAAI-22):
  colliding  connected by meetings, then whom random walks from their paths come upon
  failing    one that meets others, who rests on its path, and who passes its goal
  any        at random, half of them among those that meet somebody
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from pilotage.planners.mapf.pibt_kernel import next_random
from pilotage.planners.mapf.results import Problem
from pilotage.planners.mapf.team_table import met_by, place

_TRIES = 20  # random walks, or agents asked for whom they meet, for one group


class Group(NamedTuple):
    """The group that is chosen, and scratch."""

    members: np.ndarray  # int32 [N]
    size: np.ndarray  # int64 [1], how many are in use
    chosen: np.ndarray  # uint8 [N]
    degree: np.ndarray  # int32 [N], how many agents each meets
    others: np.ndarray  # int32 [N]
    random: np.ndarray  # uint64 [1]


def new_group(problem: Problem, seed: int) -> Group:
    n = problem.n_agents
    return Group(
        members=np.zeros(n, np.int32),
        size=np.zeros(1, np.int64),
        chosen=np.zeros(n, np.uint8),
        degree=np.zeros(n, np.int32),
        others=np.zeros(n, np.int32),
        random=np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1),
    )


@numba.njit(cache=True)
def choose(way, wanted, ways, team, group):  # type: ignore[no-untyped-def]
    """Fills `group.members` with up to `wanted` agents, by one of the three ways."""
    for k in range(group.size[0]):
        group.chosen[group.members[k]] = 0
    group.size[0] = 0
    if way == 0:
        _colliding(wanted, ways, team, group)
    elif way == 1:
        _failing(wanted, team, group)
    else:
        _any(wanted, group)
    shuffle(group.members, group.size[0], group.random)


@numba.njit(cache=True)
def below(n, random):  # type: ignore[no-untyped-def]
    """A random number of 0..n - 1."""
    return np.int64(next_random(random) >> np.uint64(11)) % n


@numba.njit(cache=True)
def shuffle(values, n, random):  # type: ignore[no-untyped-def]
    for k in range(n - 1, 0, -1):
        other = below(k + 1, random)
        values[k], values[other] = values[other], values[k]


@numba.njit(cache=True)
def _add(i, group):  # type: ignore[no-untyped-def]
    if group.chosen[i] == 0:
        group.chosen[i] = 1
        group.members[group.size[0]] = i
        group.size[0] += 1


@numba.njit(cache=True)
def _one_that_meets(group):  # type: ignore[no-untyped-def]
    """A random agent that meets somebody; any if none does."""
    n = len(group.degree)
    i = below(n, group.random)
    for k in range(n):
        j = (i + k) % n
        if group.degree[j] > 0:
            return j
    return i


@numba.njit(cache=True)
def _any(wanted, group):  # type: ignore[no-untyped-def]
    n = len(group.members)
    for k in range(4 * wanted):
        if group.size[0] >= wanted:
            return
        if k % 2 == 0:
            _add(_one_that_meets(group), group)
        else:
            _add(below(n, group.random), group)


@numba.njit(cache=True)
def _colliding(wanted, ways, team, group):  # type: ignore[no-untyped-def]
    _add(_one_that_meets(group), group)
    for _ in range(_TRIES):
        if group.size[0] >= wanted:
            return
        i = group.members[below(group.size[0], group.random)]
        n = met_by(i, team, group.others)
        if n > 0:
            _add(group.others[below(n, group.random)], group)
    for _ in range(_TRIES):
        if group.size[0] >= wanted:
            return
        _walk(group.members[below(group.size[0], group.random)], wanted, ways, team, group)


@numba.njit(cache=True)
def _failing(wanted, team, group):  # type: ignore[no-untyped-def]
    i = _one_that_meets(group)
    _add(i, group)
    for t in range(team.arrive[i]):
        owner = team.owner[team.where[i, t]]
        if owner >= 0 and group.size[0] < wanted:
            _add(owner, group)
    for t in range(team.head.shape[1]):
        j = team.head[team.goals[i], t]
        while j >= 0 and group.size[0] < wanted:
            _add(j, group)
            j = team.following[j, t]
    _any(wanted, group)


@numba.njit(cache=True)
def _walk(i, wanted, ways, team, group):  # type: ignore[no-untyped-def]
    """A random walk from somewhere on the path of i; who is come upon joins the group."""
    length = team.arrive[i]
    if length == 0:
        return
    t = below(length, group.random)
    v = team.where[i, t]
    options = np.empty(5, np.int32)
    while t <= length and t + 1 < team.head.shape[1] and group.size[0] < wanted:
        n = 0
        for action in range(5):
            u = ways.neighbours[v, action]
            if u >= 0:
                options[n] = u
                n += 1
        u = options[below(n, group.random)]
        _add_those_at(u, t + 1, wanted, team, group)
        j = team.head[u, t] if u != v else -1
        while j >= 0 and group.size[0] < wanted:
            if place(j, t + 1, team) == v:
                _add(j, group)
            j = team.following[j, t]
        v, t = u, t + 1


@numba.njit(cache=True)
def _add_those_at(v, t, wanted, team, group):  # type: ignore[no-untyped-def]
    j = team.head[v, t]
    while j >= 0 and group.size[0] < wanted:
        _add(j, group)
        j = team.following[j, t]
    owner = team.owner[v]
    if owner >= 0 and 0 <= team.arrive[owner] <= t and group.size[0] < wanted:
        _add(owner, group)
