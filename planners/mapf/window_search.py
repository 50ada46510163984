"""Paths of one window of steps, compiled: search around the others, in order, and neighbourhoods.

A window's plan says where every agent is for the next W steps; nobody meets in it, and what comes
after it is not looked at (Li et al. 2021, Lifelong Multi-Agent Path Finding in Large-Scale
Warehouses, arXiv:2005.07371). An agent has a sequence of goals; its path costs what its steps cost
until the last of them, or, where the window ends earlier, what the way from there on would cost
alone. Once at its last goal it may go anywhere, which costs a little only where it moves.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.heap import pop, push
from pilotage.planners.mapf.neighbourhoods import below, shuffle

MOST = 8  # agents in a neighbourhood
_TRIES = 6  # of which the agent with the largest delay leads a neighbourhood
_MOVED = 1  # cost of a move that leads nowhere


class Journeys(NamedTuple):
    """The map and where the team goes, with K goals each."""

    neighbours: np.ndarray  # int32 [V, 5]
    costs: np.ndarray  # int32 [V, 5], of each action at each vertex
    table: np.ndarray  # int32 [n_rows, V], cheapest ways to goals
    rows: np.ndarray  # int32 [N, K]
    goals: np.ndarray  # int32 [N, K]
    later: np.ndarray  # int32 [N, K], what the goals after each one cost from it on
    ideal: np.ndarray  # int32 [N], what the whole way would cost alone


class WindowPlan(NamedTuple):
    """A plan and scratch."""

    where: np.ndarray  # int32 [W + 1, N], vertices; -1 in row 1 for those taken out
    who: np.ndarray  # int32 [W + 1, V], the agent there, or -1
    cost: np.ndarray  # int32 [N]
    states: np.ndarray  # int32 [3, (K + 1) * (W + 1) * V], cost, parent, mark
    heap: np.ndarray  # int64 [2, room]
    counts: np.ndarray  # int64 [2], expansions so far, mark of the last search
    group: np.ndarray  # int32 [MOST]
    saved: np.ndarray  # int32 [MOST, W + 1]
    path: np.ndarray  # int32 [W + 1]
    random: np.ndarray  # uint64 [1]


def window_plan(n_agents: int, n_vertices: int, window: int, n_goals: int, seed: int) -> WindowPlan:
    n_states = (n_goals + 1) * (window + 1) * n_vertices
    return WindowPlan(
        where=np.zeros((window + 1, n_agents), np.int32),
        who=np.full((window + 1, n_vertices), -1, np.int32),
        cost=np.zeros(n_agents, np.int32),
        states=np.zeros((3, n_states), np.int32),
        heap=np.empty((2, 5 * n_states + 5), np.int64),
        counts=np.zeros(2, np.int64),
        group=np.zeros(MOST, np.int32),
        saved=np.zeros((MOST, window + 1), np.int32),
        path=np.zeros(window + 1, np.int32),
        random=np.random.SeedSequence(seed).generate_state(1, np.uint64) | np.uint64(1),
    )


@numba.njit(cache=True)
def path_cost(i, path, w):  # type: ignore[no-untyped-def]
    """What the path int32 [W + 1] of agent i costs, the way after the window included."""
    n_goals, stage, cost = w.goals.shape[1], 0, np.int64(0)
    if path[0] == w.goals[i, 0]:
        stage = 1
    for t in range(len(path) - 1):
        v, u = path[t], path[t + 1]
        if stage == n_goals:
            cost += _MOVED if u != v else 0
            continue
        for action in range(5):
            if w.neighbours[v, action] == u:
                cost += w.costs[v, action]
                break
        if u == w.goals[i, stage]:
            stage += 1
    if stage < n_goals:
        cost += w.table[w.rows[i, stage], path[-1]] + w.later[i, stage]
    return cost


@numba.njit(cache=True)
def lay(i, path, p):  # type: ignore[no-untyped-def]
    """Puts the path of agent i into the plan."""
    for t in range(len(path)):
        p.where[t, i] = path[t]
        p.who[t, path[t]] = i


@numba.njit(cache=True)
def lift(i, p):  # type: ignore[no-untyped-def]
    """Takes the path of agent i out of the plan, its start excepted."""
    for t in range(1, len(p.where)):
        p.who[t, p.where[t, i]] = -1


@numba.njit(cache=True)
def find(i, limit, w, p):  # type: ignore[no-untyped-def]
    """The cost of the cheapest path of agent i around the others, not above `limit`, written into
    `p.path`; -1 when there is none."""
    n_vertices, n_goals, last = p.who.shape[1], w.goals.shape[1], len(p.where) - 1
    cost, parent, mark = p.states[0], p.states[1], p.states[2]
    neighbours, costs, who, heap = w.neighbours, w.costs, p.who, p.heap
    p.counts[1] += 2
    epoch = np.int32(p.counts[1])  # marks: epoch = open, epoch + 1 = closed
    start = p.where[0, i]
    state = np.int64(start)
    if start == w.goals[i, 0]:
        state += (last + 1) * n_vertices
    cost[state], parent[state], mark[state] = 0, -1, epoch
    size = push(heap, 0, 0, state)
    while size > 0:
        state, size = pop(heap, size)
        if mark[state] == epoch + 1:
            continue
        mark[state] = epoch + 1
        v, layer = state % n_vertices, state // n_vertices
        t, stage = layer % (last + 1), layer // (last + 1)
        if t == last:
            return _trace(state, i, w, p)
        p.counts[0] += 1
        for action in range(5):
            u = neighbours[v, action]
            if u < 0 or who[t + 1, u] >= 0:
                continue
            other = who[t, u]
            if action > 0 and other >= 0 and who[t + 1, v] == other:
                continue
            if stage == n_goals:
                paid, then, f = cost[state] + (_MOVED if action > 0 else 0), stage, np.int64(0)
            else:
                paid = cost[state] + costs[v, action]
                then = stage + 1 if u == w.goals[i, stage] else stage
                f = np.int64(0)
                if then < n_goals:
                    f = np.int64(w.table[w.rows[i, then], u]) + w.later[i, then]
            f += paid
            following = (then * (last + 1) + t + 1) * n_vertices + u
            if f > limit or mark[following] == epoch + 1:
                continue
            if mark[following] == epoch and cost[following] <= paid:
                continue
            cost[following], parent[following], mark[following] = paid, state, epoch
            size = push(heap, size, (f << 8) | (last - t), following)
    return -1


@numba.njit(cache=True)
def _trace(state, i, w, p):  # type: ignore[no-untyped-def]
    n_vertices, last = p.who.shape[1], len(p.where) - 1
    for t in range(last, -1, -1):
        p.path[t] = state % n_vertices
        state = p.states[1, state]
    return path_cost(i, p.path, w)


@numba.njit(cache=True)
def take_plan(w, p):  # type: ignore[no-untyped-def]
    """Reads `p.where` into the rest of the plan."""
    p.who[:] = -1
    for i in range(p.where.shape[1]):
        p.path[:] = p.where[:, i]
        lay(i, p.path, p)
        p.cost[i] = path_cost(i, p.path, w)


@numba.njit(cache=True)
def plan_in_order(order, w, p):  # type: ignore[no-untyped-def]
    """Windowed prioritised planning from the first row of `p.where`; the place in the order of the
    agent that found no path, len(order) when all have one."""
    p.who[:] = -1
    for k in range(len(order)):
        i = order[k]
        cost = find(i, FAR, w, p)
        if cost < 0:
            return k
        lay(i, p.path, p)
        p.cost[i] = cost
    return len(order)


@numba.njit(cache=True)
def improve(work, w, p):  # type: ignore[no-untyped-def]
    """Neighbourhoods, for as many expansions: a delayed agent and who is in its way are planned
    again, and keep their new paths when these are together not dearer."""
    n, until = len(p.cost), p.counts[0] + work
    while p.counts[0] < until:
        p.counts[0] += 1
        leader, delay = -1, 0
        for _ in range(_TRIES):
            i = below(n, p.random)
            if p.cost[i] - w.ideal[i] > delay:
                leader, delay = i, p.cost[i] - w.ideal[i]
        if leader < 0:
            continue
        size = _gather(leader, 2 + below(MOST - 1, p.random), w, p)
        _plan_again(size, w, p)


@numba.njit(cache=True)
def _gather(leader, wanted, w, p):  # type: ignore[no-untyped-def]
    """Writes the leader, and who is met on walks near its path, into `p.group`; how many."""
    p.group[0] = leader
    size, last = 1, len(p.where) - 1
    for attempt in range(2 * wanted):
        i = leader if attempt < 2 else p.group[below(size, p.random)]
        t = 0 if attempt == 0 else below(last, p.random)
        v, field = p.where[t, i], w.table[w.rows[i, 0]]
        while t < last and size < wanted:
            u, tries = v, 0
            while tries < 5:  # a step that does not lead away, if there is one
                option = w.neighbours[v, below(5, p.random)]
                if option >= 0 and field[option] < field[v]:
                    u = option
                    break
                tries += 1
            for j in (p.who[t + 1, u], p.who[t, u]):
                if j >= 0 and size < wanted and not _among(j, size, p.group):
                    p.group[size] = j
                    size += 1
            v, t = u, t + 1
        if size >= wanted:
            break
    return size


@numba.njit(cache=True)
def _among(i, size, group):  # type: ignore[no-untyped-def]
    found = False
    for k in range(size):
        found = found or group[k] == i
    return found


@numba.njit(cache=True)
def _plan_again(size, w, p):  # type: ignore[no-untyped-def]
    shuffle(p.group, size, p.random)
    left, least = np.int64(0), np.int64(0)
    for k in range(size):
        i = p.group[k]
        p.saved[k] = p.where[:, i]
        left += p.cost[i]
        least += w.ideal[i]
        lift(i, p)
    planned = 0
    while planned < size:
        i = p.group[planned]
        least -= w.ideal[i]
        cost = find(i, left - least, w, p)
        if cost < 0:
            break
        lay(i, p.path, p)
        left -= cost
        planned += 1
    if planned == size:
        for k in range(size):
            p.path[:] = p.where[:, p.group[k]]
            p.cost[p.group[k]] = path_cost(p.group[k], p.path, w)
        return
    for k in range(planned):
        lift(p.group[k], p)
    for k in range(size):
        lay(p.group[k], p.saved[k], p)
