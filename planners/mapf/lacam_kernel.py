"""The search of LaCAM and LaCAM*, compiled, in steps that can be stopped and gone on with.

Okumura 2023 (arXiv:2211.13432, arXiv:2305.03632). A node of the high-level search is a
configuration: where all agents are. Its successors are generated one at a time by PIBT under
constraints ("agent i goes to u next"), which a low-level tree adds level by level, so that after
enough visits every successor has been seen: the search is complete. LaCAM* goes on after the first
solution: it keeps all edges it has seen, and when a shorter way to a known configuration turns up,
the new costs are spread by a label-correcting search.

All arrays are made in Python (`lacam_search`), which makes them larger when `ROOM` is answered.
"""

from __future__ import annotations

from typing import NamedTuple

import numba
import numpy as np

from pilotage.planners.mapf.pibt_kernel import next_random, plan_step

RUNNING, FOUND, EXHAUSTED, ROOM = 0, 1, 2, 3
RESTART_ODDS = 1000  # one in so many known configurations sends the search back to the start


class World(NamedTuple):
    """What does not change."""

    neighbours: np.ndarray  # int32 [V, 5]
    degree: np.ndarray  # int32 [V]
    table: np.ndarray  # int32 [rows, V], distances
    rows: np.ndarray  # int32 [N]
    goals: np.ndarray  # int32 [N]


class Tree(NamedTuple):
    """Nodes [M], constraints [P], edges [E], the stack [S], buckets [B] (a power of two)."""

    where: np.ndarray  # int32 [M, N], configurations
    order: np.ndarray  # int32 [M, N], agents by priority
    priority: np.ndarray  # float32 [M, N]
    parent: np.ndarray  # int32 [M]
    cost: np.ndarray  # int64 [M], from the start, so far
    bound: np.ndarray  # int64 [M], to the goal, at least
    first: np.ndarray  # int32 [M], its next constraint, -1: none
    last: np.ndarray  # int32 [M]
    edges: np.ndarray  # int32 [M], its newest edge, -1: none
    chain: np.ndarray  # int32 [M], the next node in its bucket
    flag: np.ndarray  # int8 [M], scratch
    queue: np.ndarray  # int32 [M], scratch
    buckets: np.ndarray  # int32 [B]
    stack: np.ndarray  # int32 [S]
    above: np.ndarray  # int32 [P], the constraint that this one adds to
    who: np.ndarray  # int32 [P], -1: no constraint
    to: np.ndarray  # int32 [P]
    depth: np.ndarray  # int32 [P]
    following: np.ndarray  # int32 [P], the next in the node's queue
    edge_to: np.ndarray  # int32 [E]
    edge_cost: np.ndarray  # int32 [E]
    edge_next: np.ndarray  # int32 [E]
    counts: np.ndarray  # int64 [6]: nodes, constraints, edges, stack, goal node, iterations


NODES, CONSTRAINTS, EDGES, STACK, GOAL, ITERATIONS = range(6)


@numba.njit(cache=True)
def begin(start, priority, world, tree):  # type: ignore[no-untyped-def]
    """Put the start configuration in."""
    tree.counts[:] = 0
    tree.counts[GOAL] = -1
    tree.buckets[:] = -1
    node = _add_node(start, -1, priority, world, tree)
    tree.cost[node] = 0


@numba.njit(cache=True)
def advance(world, tree, pibt, iterations, until_first):  # type: ignore[no-untyped-def]
    """Up to `iterations` visits. FOUND only with `until_first`; EXHAUSTED: all has been seen."""
    counts = tree.counts
    for _ in range(iterations):
        if _is_full(tree, len(world.goals)):
            return ROOM
        if counts[STACK] == 0:
            return EXHAUSTED
        counts[ITERATIONS] += 1
        node = tree.stack[counts[STACK] - 1]
        if counts[GOAL] < 0 and tree.bound[node] == 0:
            counts[GOAL] = node
            if until_first:
                return FOUND
        goal = counts[GOAL]
        if goal >= 0 and tree.cost[node] + tree.bound[node] >= tree.cost[goal]:
            counts[STACK] -= 1
            continue
        constraint = tree.first[node]
        if constraint < 0:
            counts[STACK] -= 1
            continue
        tree.first[node] = tree.following[constraint]
        _branch(node, constraint, world, tree, pibt.random)
        if _successor(node, constraint, world, tree, pibt):
            _connect(node, pibt.planned, world, tree, pibt.random)
        _clear(node, tree, pibt)
    return RUNNING


@numba.njit(cache=True)
def _is_full(tree, n_agents):  # type: ignore[no-untyped-def]
    counts = tree.counts
    return (
        counts[NODES] + 1 >= len(tree.parent)
        or counts[CONSTRAINTS] + 6 >= len(tree.above)
        or counts[EDGES] + 1 >= len(tree.edge_to)
        or counts[STACK] + counts[NODES] + 2 >= len(tree.stack)
    )


@numba.njit(cache=True)
def _add_node(where, parent, priority, world, tree):  # type: ignore[no-untyped-def]
    node = tree.counts[NODES]
    tree.counts[NODES] += 1
    bound = 0
    for i in range(len(where)):
        away = world.table[world.rows[i], where[i]]
        bound += away
        tree.where[node, i] = where[i]
        if away > 0:
            tree.priority[node, i] = priority[i] + 1
        else:
            tree.priority[node, i] = priority[i] - np.floor(priority[i])
    tree.order[node] = np.argsort(-tree.priority[node])
    tree.parent[node], tree.bound[node], tree.edges[node] = parent, bound, -1
    tree.flag[node] = 0
    root = tree.counts[CONSTRAINTS]
    tree.counts[CONSTRAINTS] += 1
    tree.above[root], tree.who[root], tree.depth[root] = -1, -1, 0
    tree.following[root] = -1
    tree.first[node], tree.last[node] = root, root
    bucket = _bucket(where, tree.buckets)
    tree.chain[node] = tree.buckets[bucket]
    tree.buckets[bucket] = node
    _push(node, tree)
    return node


@numba.njit(cache=True)
def _push(node, tree):  # type: ignore[no-untyped-def]
    tree.stack[tree.counts[STACK]] = node
    tree.counts[STACK] += 1


@numba.njit(cache=True)
def _bucket(where, buckets):  # type: ignore[no-untyped-def]
    h = np.uint64(14695981039346656037)
    for i in range(len(where)):
        h = (h ^ np.uint64(where[i])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    return np.int64(h & np.uint64(len(buckets) - 1))


@numba.njit(cache=True)
def rehash(tree):  # type: ignore[no-untyped-def]
    """Fill the buckets anew, after there are more of them."""
    tree.buckets[:] = -1
    for node in range(tree.counts[NODES]):
        bucket = _bucket(tree.where[node], tree.buckets)
        tree.chain[node] = tree.buckets[bucket]
        tree.buckets[bucket] = node


@numba.njit(cache=True)
def _find(where, tree):  # type: ignore[no-untyped-def]
    node = tree.buckets[_bucket(where, tree.buckets)]
    while node >= 0:
        if (tree.where[node] == where).all():
            return node
        node = tree.chain[node]
    return -1


@numba.njit(cache=True)
def _branch(node, constraint, world, tree, random):  # type: ignore[no-untyped-def]
    """Add the constraints one level below: the next agent goes to each place that it can."""
    depth = tree.depth[constraint]
    if depth >= tree.where.shape[1]:
        return
    agent = tree.order[node, depth]
    at = tree.where[node, agent]
    actions = np.arange(5)
    for k in range(4, 0, -1):
        other = np.int64(next_random(random) >> np.uint64(33)) % (k + 1)
        actions[k], actions[other] = actions[other], actions[k]
    for action in actions:
        u = world.neighbours[at, action]
        if u < 0:
            continue
        new = tree.counts[CONSTRAINTS]
        tree.counts[CONSTRAINTS] += 1
        tree.above[new], tree.who[new], tree.to[new] = constraint, agent, u
        tree.depth[new], tree.following[new] = depth + 1, -1
        if tree.first[node] < 0:
            tree.first[node] = new
        else:
            tree.following[tree.last[node]] = new
        tree.last[node] = new


@numba.njit(cache=True)
def _successor(node, constraint, world, tree, pibt):  # type: ignore[no-untyped-def]
    """Next vertices of all agents into `pibt.planned`; False when there is no such successor."""
    here = tree.where[node]
    for i in range(len(here)):
        pibt.now[here[i]] = i
        pibt.planned[i] = -1
    while constraint >= 0 and tree.who[constraint] >= 0:
        i, u = tree.who[constraint], tree.to[constraint]
        if pibt.then[u] >= 0:
            return False
        other = pibt.now[u]
        if other >= 0 and other != i and pibt.then[here[i]] == other:
            return False
        pibt.planned[i] = u
        pibt.then[u] = i
        constraint = tree.above[constraint]
    order = tree.order[node]
    return plan_step(
        world.neighbours,
        world.degree,
        world.table,
        world.rows,
        world.goals,
        order,
        here,
        True,
        pibt,
    )


@numba.njit(cache=True)
def _clear(node, tree, pibt):  # type: ignore[no-untyped-def]
    here = tree.where[node]
    for i in range(len(here)):
        pibt.now[here[i]] = -1
        pibt.then[here[i]] = -1
        if pibt.planned[i] >= 0:
            pibt.then[pibt.planned[i]] = -1


@numba.njit(cache=True)
def _connect(node, where, world, tree, random):  # type: ignore[no-untyped-def]
    """A successor was found: a new node, or a new way to a known one."""
    cost = _step_cost(tree.where[node], where, world.goals)
    known = _find(where, tree)
    if known < 0:
        new = _add_node(where, node, tree.priority[node], world, tree)
        tree.cost[new] = tree.cost[node] + cost
        _add_edge(node, new, cost, tree)
        return
    if known != node and not _has_edge(node, known, tree):
        _add_edge(node, known, cost, tree)
        _spread(node, tree)
    goal = tree.counts[GOAL]
    again = known
    if goal < 0 and np.int64(next_random(random) >> np.uint64(33)) % RESTART_ODDS == 0:
        again = 0
    if goal < 0 or tree.cost[again] + tree.bound[again] < tree.cost[goal]:
        _push(again, tree)


@numba.njit(cache=True)
def _step_cost(before, after, goals):  # type: ignore[no-untyped-def]
    """Agents that do not rest at their goals during this step."""
    cost = 0
    for i in range(len(goals)):
        if before[i] != goals[i] or after[i] != goals[i]:
            cost += 1
    return cost


@numba.njit(cache=True)
def _has_edge(node, other, tree):  # type: ignore[no-untyped-def]
    edge = tree.edges[node]
    while edge >= 0:
        if tree.edge_to[edge] == other:
            return True
        edge = tree.edge_next[edge]
    return False


@numba.njit(cache=True)
def _add_edge(node, other, cost, tree):  # type: ignore[no-untyped-def]
    edge = tree.counts[EDGES]
    tree.counts[EDGES] += 1
    tree.edge_to[edge], tree.edge_cost[edge] = other, cost
    tree.edge_next[edge] = tree.edges[node]
    tree.edges[node] = edge


@numba.njit(cache=True)
def _spread(node, tree):  # type: ignore[no-untyped-def]
    """Lower the costs of all that can be reached more cheaply now; look at them again."""
    queue, flag = tree.queue, tree.flag  # flag 1: in the queue, 2: on the stack again
    n = len(queue)
    before = tree.counts[STACK]
    queue[0] = node
    flag[node] |= 1
    head, size = 0, 1
    while size > 0:
        at = queue[head]
        head = (head + 1) % n
        size -= 1
        flag[at] &= 2
        edge = tree.edges[at]
        while edge >= 0:
            other = tree.edge_to[edge]
            cost = tree.cost[at] + tree.edge_cost[edge]
            if cost < tree.cost[other]:
                tree.cost[other], tree.parent[other] = cost, at
                if flag[other] & 1 == 0:
                    flag[other] |= 1
                    queue[(head + size) % n] = other
                    size += 1
                _reopen(other, tree)
            edge = tree.edge_next[edge]
    for k in range(before, tree.counts[STACK]):
        flag[tree.stack[k]] = 0


@numba.njit(cache=True)
def _reopen(node, tree):  # type: ignore[no-untyped-def]
    """Back on the stack, once in a `_spread`, when it could now lead to something better."""
    goal = tree.counts[GOAL]
    if goal < 0 or tree.cost[node] + tree.bound[node] >= tree.cost[goal]:
        return
    if tree.flag[node] & 2 == 0:
        tree.flag[node] |= 2
        _push(node, tree)
