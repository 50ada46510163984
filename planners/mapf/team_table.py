"""Where every agent of a team is at each step, compiled: paths that may meet, put in and taken out.

At each vertex and step the agents that stand there are a linked list, so any number may meet, and
taking one out costs the length of its path. Who rests at its goal is not in the lists: a goal has
one owner, and the step of its arrival tells the rest. The steps of a vertex, cut into stretches
with the same agents on it (`spans`), are what `soft_intervals` searches; they are read anew when a
search comes to a vertex that was touched.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.results import Problem

FOREVER = FAR
OUT = -1  # the arrival of an agent that is taken out
# entries of TeamTable.counts
USED, PAIRS, TOTAL, WORK, STAMP, EPOCH = range(6)
SPAN_ROOM = 4  # spans that a vertex gets at first


class TeamTable(NamedTuple):
    """Arrays for V vertices, N agents and up to T steps."""

    head: np.ndarray  # int32 [V, T], the first agent that is there at a step, -1: nobody
    following: np.ndarray  # int32 [N, T], the next agent in the same place
    where: np.ndarray  # int32 [N, T], vertices before the arrival
    arrive: np.ndarray  # int32 [N], from when on it rests at its goal; OUT
    goals: np.ndarray  # int32 [N]
    owner: np.ndarray  # int32 [V], whose goal a vertex is, or -1
    stale: np.ndarray  # uint8 [V], its spans must be read anew
    first: np.ndarray  # int32 [V], where its spans begin in the pool
    room: np.ndarray  # int32 [V], how many fit there
    n_spans: np.ndarray  # int32 [V]
    spans: np.ndarray  # int32 [P, 3], the pool: first step, last step (FOREVER), agents there
    fresh: np.ndarray  # int32 [T + 2, 3], scratch
    stamp: np.ndarray  # int64 [N], scratch
    counts: np.ndarray  # int64 [6]


def team_table(problem: Problem, n_steps: int, *, old: TeamTable | None = None) -> TeamTable:
    """An empty table for paths of less than `n_steps` steps, or a larger copy of `old`."""
    n, n_vertices = problem.n_agents, problem.graph.n_vertices
    owner = np.full(n_vertices, -1, np.int32)
    owner[problem.goals] = np.arange(n)
    pool = 2 * SPAN_ROOM * n_vertices if old is None else 2 * len(old.spans)
    table = TeamTable(
        head=np.full((n_vertices, n_steps), -1, np.int32),
        following=np.full((n, n_steps), -1, np.int32),
        where=np.zeros((n, n_steps), np.int32),
        arrive=np.full(n, OUT, np.int32),
        goals=problem.goals.astype(np.int32),
        owner=owner,
        stale=np.ones(n_vertices, np.uint8),
        first=np.arange(n_vertices, dtype=np.int32) * SPAN_ROOM,
        room=np.full(n_vertices, SPAN_ROOM, np.int32),
        n_spans=np.zeros(n_vertices, np.int32),
        spans=np.zeros((pool, 3), np.int32),
        fresh=np.zeros((n_steps + 2, 3), np.int32),
        stamp=np.zeros(n, np.int64),
        counts=np.zeros(6, np.int64),
    )
    table.counts[USED] = SPAN_ROOM * n_vertices
    if old is not None:
        for name in ("head", "following", "where"):
            values = getattr(old, name)
            getattr(table, name)[:, : values.shape[1]] = values
        table.arrive[:] = old.arrive
        table.counts[:] = old.counts
        table.counts[[USED, STAMP]] = SPAN_ROOM * n_vertices, 0
    return table


@numba.njit(cache=True, inline="always")
def place(i, t, m):  # type: ignore[no-untyped-def]
    """The vertex of agent i at step t."""
    return m.where[i, t] if t < m.arrive[i] else m.goals[i]


@numba.njit(cache=True)
def put(i, path, length, m):  # type: ignore[no-untyped-def]
    """Let agent i walk `path` [length + 1], at whose end it rests; length is below T."""
    for t in range(length):
        v = path[t]
        m.where[i, t] = v
        m.following[i, t] = m.head[v, t]
        m.head[v, t] = i
        m.stale[v] = 1
    m.arrive[i] = length
    m.stale[m.goals[i]] = 1
    m.counts[TOTAL] += length


@numba.njit(cache=True)
def take(i, m):  # type: ignore[no-untyped-def]
    """Take agent i out; its path stays in `where`."""
    for t in range(m.arrive[i]):
        v = m.where[i, t]
        if m.head[v, t] == i:
            m.head[v, t] = m.following[i, t]
        else:
            j = m.head[v, t]
            while m.following[j, t] != i:
                j = m.following[j, t]
            m.following[j, t] = m.following[i, t]
        m.stale[v] = 1
    m.stale[m.goals[i]] = 1
    m.counts[TOTAL] -= m.arrive[i]
    m.arrive[i] = OUT


@numba.njit(cache=True)
def met_by(i, m, out):  # type: ignore[no-untyped-def]
    """Writes into `out` [N] the agents that i meets, each once, in the order of time; how many."""
    m.counts[STAMP] += 1
    mark = m.counts[STAMP]
    m.stamp[i] = mark
    n, length, n_steps = 0, m.arrive[i], m.head.shape[1]
    for t in range(n_steps):
        v = place(i, t, m)
        j = m.head[v, t]
        while j >= 0:
            if m.stamp[j] != mark:
                m.stamp[j] = mark
                out[n] = j
                n += 1
            j = m.following[j, t]
        if t > length:
            continue
        j = m.owner[v]
        if j >= 0 and m.stamp[j] != mark and m.arrive[j] >= 0 and m.arrive[j] <= t:
            m.stamp[j] = mark
            out[n] = j
            n += 1
        if t == 0:
            continue
        u = m.where[i, t - 1]
        j = m.head[v, t - 1] if u != v else -1
        while j >= 0:
            if m.stamp[j] != mark and place(j, t, m) == u:
                m.stamp[j] = mark
                out[n] = j
                n += 1
            j = m.following[j, t - 1]
    return n


@numba.njit(cache=True)
def read_spans(v, m):  # type: ignore[no-untyped-def]
    """Reads the spans of a vertex anew if it was touched; False when the pool is too small."""
    if m.stale[v] == 0:
        return True
    n_steps = m.head.shape[1]
    owner = m.owner[v]
    resting = m.arrive[owner] if owner >= 0 and m.arrive[owner] >= 0 else FOREVER
    n, here = 0, -1
    for t in range(n_steps + 1):
        there = 1 if t >= resting else 0
        same = True  # whoever was there before is still there
        if t < n_steps:
            j = m.head[v, t]
            while j >= 0:
                there += 1
                j = m.following[j, t]
        if here > 0 and there == here:
            j = m.head[v, t - 1]
            while j >= 0:
                same = same and place(j, t, m) == v
                j = m.following[j, t - 1]
        if there != here or not same:
            if n > 0:
                m.fresh[n - 1, 1] = t - 1
            m.fresh[n, 0], m.fresh[n, 2] = t, there
            n += 1
            here = there
    m.fresh[n - 1, 1] = FOREVER
    if n > m.room[v]:
        if m.counts[USED] + 2 * n > len(m.spans):
            return False
        m.first[v], m.room[v] = m.counts[USED], 2 * n
        m.counts[USED] += 2 * n
    for k in range(n):
        for c in range(3):
            m.spans[m.first[v] + k, c] = m.fresh[k, c]
    m.n_spans[v] = n
    m.stale[v] = 0
    return True
