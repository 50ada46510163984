"""One step of PIBT for all agents, compiled: priority inheritance, backtracking, and swaps.

Okumura et al. 2022 (arXiv:1901.11282): an agent takes the free cell nearest to its goal; who stands
there inherits its priority and moves first, or says that it cannot, and the next cell is tried.
Swap (Okumura 2023, arXiv:2305.03632): where two agents must pass each other on a passage without a
second exit, the one in front pushes away from its goal until a junction, and pulls the other along.

Recursion is written as a stack: chains can be as long as the team.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

NONE, SUCCESS, FAILURE = 0, 1, 2


class PibtMemory(NamedTuple):
    """Scratch arrays; `now` and `then` must be -1 everywhere between steps."""

    now: np.ndarray  # int32 [V], who stands there
    then: np.ndarray  # int32 [V], who will stand there
    planned: np.ndarray  # int32 [N], the next vertex, -1: not yet
    choices: np.ndarray  # int32 [N, 5], next vertices, the best first
    n_choices: np.ndarray  # int32 [N]
    tried: np.ndarray  # int32 [N], how many choices were tried; -1: none looked at
    partner: np.ndarray  # int32 [N], with whom to swap, or -1
    stack: np.ndarray  # int32 [N]
    random: np.ndarray  # uint64 [1], state of the generator


def pibt_memory(n_agents: int, n_vertices: int, seed: int) -> PibtMemory:
    state = np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1)
    return PibtMemory(
        np.full(n_vertices, -1, np.int32),
        np.full(n_vertices, -1, np.int32),
        np.full(n_agents, -1, np.int32),
        np.empty((n_agents, 5), np.int32),
        np.zeros(n_agents, np.int32),
        np.full(n_agents, -1, np.int32),
        np.full(n_agents, -1, np.int32),
        np.empty(n_agents, np.int32),
        state,
    )


@numba.njit(cache=True)
def next_random(state):  # type: ignore[no-untyped-def]
    """xorshift64* (Vigna 2016, arXiv:1402.6246): uint64."""
    x = state[0]
    x ^= x >> np.uint64(12)
    x ^= x << np.uint64(25)
    x ^= x >> np.uint64(27)
    state[0] = x
    return x * np.uint64(2685821657736338717)


@numba.njit(cache=True)
def plan_step(neighbours, degree, table, rows, goals, order, here, strict, m):  # type: ignore[no-untyped-def]
    """Next vertices into `m.planned`, in which those not -1 are already decided.

    Decided ones must be in `m.then`, and `m.now` must hold `here`. With `strict` False is returned
    as soon as an agent cannot keep to the decided ones; without, such an agent stays.
    """
    for i in order:
        if m.planned[i] < 0:
            moved = _inherit(i, neighbours, degree, table, rows, goals, here, m)
            if not moved and strict:
                return False
    return True


@numba.njit(cache=True)
def _inherit(first, neighbours, degree, table, rows, goals, here, m):  # type: ignore[no-untyped-def]
    """Plan `first` and whom it pushes; False when it has to stay where it cannot choose to."""
    size = 1
    m.stack[0] = first
    m.tried[first] = -1
    answer = NONE  # what the agent that was pushed said
    while size > 0:
        i = m.stack[size - 1]
        if m.tried[i] < 0:
            _rank(i, neighbours, table, rows, here, m)
            m.partner[i] = _find_partner(i, neighbours, degree, table, rows, goals, here, m)
            if m.partner[i] >= 0:
                _reverse(m.choices[i], m.n_choices[i])
            m.tried[i] = 0
        elif answer == SUCCESS:
            _pull(i, here, m)
            size -= 1
            continue
        answer = NONE
        while m.tried[i] < m.n_choices[i]:
            u = m.choices[i, m.tried[i]]
            m.tried[i] += 1
            if m.then[u] >= 0:
                continue
            j = m.now[u]
            if j >= 0 and j != i and m.planned[j] == here[i]:
                continue
            m.then[u] = i
            m.planned[i] = u
            if j >= 0 and j != i and m.planned[j] < 0:
                m.stack[size] = j
                size += 1
                m.tried[j] = -1
                answer = NONE
                break
            _pull(i, here, m)
            size -= 1
            answer = SUCCESS
            break
        else:
            m.then[here[i]] = i  # who pushed us held our cell: it will look for another one
            m.planned[i] = here[i]
            size -= 1
            answer = FAILURE
    return answer == SUCCESS


@numba.njit(cache=True)
def _rank(i, neighbours, table, rows, here, m):  # type: ignore[no-untyped-def]
    """Sort the vertices that i can go to by distance to its goal, ties at random."""
    keys = np.empty(5, np.int64)
    n = 0
    for action in range(5):
        u = neighbours[here[i], action]
        if u < 0:
            continue
        noise = np.int64(next_random(m.random) >> np.uint64(48))
        key = (np.int64(table[rows[i], u]) << 16) | noise
        at = n
        while at > 0 and keys[at - 1] > key:
            keys[at] = keys[at - 1]
            m.choices[i, at] = m.choices[i, at - 1]
            at -= 1
        keys[at] = key
        m.choices[i, at] = u
        n += 1
    m.n_choices[i] = n


@numba.njit(cache=True)
def _reverse(choices, n):  # type: ignore[no-untyped-def]
    for k in range(n // 2):
        choices[k], choices[n - 1 - k] = choices[n - 1 - k], choices[k]


@numba.njit(cache=True)
def _pull(i, here, m):  # type: ignore[no-untyped-def]
    """i moves away as the front of a swap: its partner follows into the cell it leaves."""
    j = m.partner[i]
    first_choice = m.planned[i] == m.choices[i, 0]
    if j >= 0 and first_choice and m.planned[j] < 0 and m.then[here[i]] < 0:
        m.then[here[i]] = j
        m.planned[j] = here[i]


@numba.njit(cache=True)
def _find_partner(i, neighbours, degree, table, rows, goals, here, m):  # type: ignore[no-untyped-def]
    """With whom i has to swap places, and can: the agent in its way, or one that it blocks."""
    best = m.choices[i, 0]
    if best == here[i]:
        return -1
    j = m.now[best]
    if (
        j >= 0
        and m.planned[j] < 0
        and _must_swap(i, j, here[i], here[j], neighbours, degree, table, rows, goals, m)
        and _can_swap(here[j], here[i], neighbours, degree, goals, m)
    ):
        return j
    for action in range(1, 5):
        u = neighbours[here[i], action]
        if u < 0 or u == best:
            continue
        k = m.now[u]
        if k < 0:
            continue
        if _must_swap(k, i, here[i], best, neighbours, degree, table, rows, goals, m) and _can_swap(
            best, here[i], neighbours, degree, goals, m
        ):
            return k
    return -1


@numba.njit(cache=True)
def _onward(pusher, puller, neighbours, degree, goals, m):  # type: ignore[no-untyped-def]
    """How many ways the puller has besides back, and one of them. Dead ends that are taken by an
    agent at its goal do not count."""
    ways, way = 0, -1
    for action in range(1, 5):
        u = neighbours[puller, action]
        if u < 0 or u == pusher:
            continue
        holder = m.now[u]
        if degree[u] == 1 and holder >= 0 and goals[holder] == u:
            continue
        ways += 1
        way = u
    return ways, way


@numba.njit(cache=True)
def _must_swap(pusher, puller, at_pusher, at_puller, neighbours, degree, table, rows, goals, m):  # type: ignore[no-untyped-def]
    """Would the pusher chase the puller along the passage to its end, and the puller come back?"""
    far, near = table[rows[pusher]], table[rows[puller]]
    while far[at_puller] < far[at_pusher]:
        ways, way = _onward(at_pusher, at_puller, neighbours, degree, goals, m)
        if ways >= 2:
            return False
        if ways == 0:
            break
        at_pusher, at_puller = at_puller, way
    wants_back = near[at_pusher] < near[at_puller]
    return wants_back and (far[at_pusher] == 0 or far[at_puller] < far[at_pusher])


@numba.njit(cache=True)
def _can_swap(at_pusher, at_puller, neighbours, degree, goals, m):  # type: ignore[no-untyped-def]
    """Does the passage lead to a junction before it ends or comes round?"""
    origin = at_pusher
    while at_puller != origin:
        ways, way = _onward(at_pusher, at_puller, neighbours, degree, goals, m)
        if ways >= 2:
            return True
        if ways == 0:
            return False
        at_pusher, at_puller = at_puller, way
    return False


@numba.njit(cache=True)
def run_pibt(neighbours, degree, table, rows, goals, priority, ties, here, steps, out, m):  # type: ignore[no-untyped-def]
    """Up to `steps` steps from `here`, written into out int32 [steps, N]; how many were made.

    Stops when all agents are at their goals. `priority` grows by one for each step away from the
    goal and falls back to its tie-breaker at it.
    """
    for step in range(steps):
        done = True
        for i in range(len(here)):
            if here[i] != goals[i]:
                done = False
                priority[i] += 1
            else:
                priority[i] = ties[i]
        if done:
            return step
        order = np.argsort(-priority)
        for i in range(len(here)):
            m.planned[i] = -1
            m.now[here[i]] = i
        plan_step(neighbours, degree, table, rows, goals, order, here, False, m)
        for i in range(len(here)):
            m.now[here[i]] = -1
            out[step, i] = m.planned[i]
        for i in range(len(here)):
            here[i] = m.planned[i]
            m.then[here[i]] = -1
    return steps
