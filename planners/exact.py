"""Exact search on one networkx graph: breadth-first, Dijkstra, A* and bidirectional Dijkstra.

    plan = dijkstra(graph, "a", "z")
    plan.status, plan.path, plan.cost

All four find a cheapest path. Which one of several, `tie_break` says: among frontier nodes of equal
priority the one with the smallest key is expanded first (`tie_break=None`: the one found first).
A path label can only be matched exactly by a search with the same tie-break: on 30 x 30 obstacle
mazes a shortest path is unique in about 1 % of the tasks.

Errors for bad input are those of `adjacency.read_graph`. Thousands of grids: see `grids.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any

from pilotage.planners.adjacency import Adjacency, read_graph, reversed_adjacency
from pilotage.planners.plan import Node, Plan, PlanStatus

TieBreak = Callable[[Node], Any]  # a sort key


def bfs(
    graph: Any,
    start: Node,
    goal: Node,
    *,
    tie_break: TieBreak | None = None,
    max_expanded: int | None = None,
) -> Plan:
    """A path of the fewest edges (weights are not looked at); its cost is that number.

    With `max_expanded`, gives up as TIMED_OUT after that many expansions.
    """
    adjacency = read_graph(graph, start, goal, None)
    return _best_first(adjacency, start, goal, None, tie_break, max_expanded)


def dijkstra(
    graph: Any,
    start: Node,
    goal: Node,
    *,
    weight: str = "weight",
    tie_break: TieBreak | None = None,
    max_expanded: int | None = None,
) -> Plan:
    """A path of least cost (Dijkstra 1959, doi:10.1007/BF01386390)."""
    adjacency = read_graph(graph, start, goal, weight)
    return _best_first(adjacency, start, goal, None, tie_break, max_expanded)


def astar(
    graph: Any,
    start: Node,
    goal: Node,
    *,
    heuristic: Callable[[Node, Node], float],
    weight: str = "weight",
    tie_break: TieBreak | None = None,
    max_expanded: int | None = None,
) -> Plan:
    """A path of least cost, led by `heuristic(node, goal)` (Hart, Nilsson, Raphael 1968).

    The heuristic must never exceed the true cost to the goal; it need not be consistent (a node
    that turns out cheaper is opened again). ValueError where it is negative, NaN, or not 0 at the
    goal: no such heuristic is admissible.
    """
    adjacency = read_graph(graph, start, goal, weight)
    if heuristic(goal, goal) != 0:
        raise ValueError(
            f"the heuristic is {heuristic(goal, goal)} at the goal {goal!r}, expected 0: it would "
            "overestimate"
        )

    def guess(node: Node) -> float:
        value = float(heuristic(node, goal))
        if not value >= 0:
            raise ValueError(f"the heuristic is {value} at {node!r}, expected a number >= 0")
        return value

    return _best_first(adjacency, start, goal, guess, tie_break, max_expanded)


def _best_first(
    adjacency: Adjacency,
    start: Node,
    goal: Node,
    guess: Callable[[Node], float] | None,
    tie_break: TieBreak | None,
    max_expanded: int | None,
) -> Plan:
    """Smallest (cost + guess, tie-break, order of discovery) first; parents change if cheaper."""
    _check_budget(max_expanded)
    order = itertools.count()
    guesses: dict[Node, float] = {}
    cost, parent = {start: 0.0}, {start: start}
    heap: list[tuple[Any, ...]] = []
    n_expanded = 0

    def push(node: Node) -> None:
        if guess is not None and node not in guesses:
            guesses[node] = guess(node)
        priority = cost[node] + guesses.get(node, 0.0)
        key = tie_break(node) if tie_break is not None else 0
        heappush(heap, (priority, key, next(order), cost[node], node))

    push(start)
    while heap:
        *_, found_at, node = heappop(heap)
        if found_at > cost[node]:
            continue  # was reached more cheaply since
        if n_expanded == max_expanded:
            return Plan(PlanStatus.TIMED_OUT, n_expanded=n_expanded)
        n_expanded += 1
        if node == goal:
            return Plan(PlanStatus.SOLVED, _trace(parent, start, goal), cost[goal], n_expanded)
        for neighbour, step in adjacency[node].items():
            candidate = found_at + step
            if candidate < cost.get(neighbour, math.inf):
                cost[neighbour], parent[neighbour] = candidate, node
                push(neighbour)
    return Plan(PlanStatus.INFEASIBLE, n_expanded=n_expanded)


def bidirectional(
    graph: Any,
    start: Node,
    goal: Node,
    *,
    weight: str = "weight",
    tie_break: TieBreak | None = None,
    max_expanded: int | None = None,
) -> Plan:
    """A path of least cost by two Dijkstra searches that meet (Pohl 1971).

    Stops when the two smallest frontier costs together reach the best meeting found. `tie_break`
    orders both frontiers: the path is a function of it, but not the one that `dijkstra` picks.
    """
    _check_budget(max_expanded)
    forward = read_graph(graph, start, goal, weight)
    sides = (_Side(forward, start, tie_break), _Side(reversed_adjacency(forward), goal, tie_break))
    best, meeting, n_expanded = math.inf, None, 0
    if start == goal:
        best, meeting = 0.0, start
    while sides[0].least() + sides[1].least() < best:
        if n_expanded == max_expanded:
            return Plan(PlanStatus.TIMED_OUT, n_expanded=n_expanded)
        n_expanded += 1
        here, there = sides if sides[0].least() <= sides[1].least() else sides[::-1]
        for node in here.expand():
            through = here.cost[node] + there.cost.get(node, math.inf)
            if through < best:
                best, meeting = through, node
    if math.isinf(best):
        return Plan(PlanStatus.INFEASIBLE, n_expanded=n_expanded)
    head = _trace(sides[0].parent, start, meeting)
    tail = _trace(sides[1].parent, goal, meeting)
    return Plan(PlanStatus.SOLVED, head + tail[-2::-1], best, n_expanded)


class _Side:
    """One of the two frontiers."""

    def __init__(self, adjacency: Adjacency, source: Node, tie_break: TieBreak | None) -> None:
        self.adjacency, self.tie_break = adjacency, tie_break
        self.cost, self.parent = {source: 0.0}, {source: source}
        self._order = itertools.count()
        self._heap: list[tuple[Any, ...]] = []
        self._push(source)

    def _push(self, node: Node) -> None:
        key = self.tie_break(node) if self.tie_break is not None else 0
        heappush(self._heap, (self.cost[node], key, next(self._order), node))

    def least(self) -> float:
        """The smallest cost of the frontier; infinite when it is empty."""
        while self._heap and self._heap[0][0] > self.cost[self._heap[0][-1]]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else math.inf

    def expand(self) -> list[Node]:
        """Expand the first node; the nodes that became cheaper."""
        *_, node = heappop(self._heap)
        changed = []
        for neighbour, step in self.adjacency[node].items():
            candidate = self.cost[node] + step
            if candidate < self.cost.get(neighbour, math.inf):
                self.cost[neighbour], self.parent[neighbour] = candidate, node
                self._push(neighbour)
                changed.append(neighbour)
        return changed


def _trace(parent: dict[Node, Node], source: Node, node: Node) -> tuple[Node, ...]:
    """From `source` to `node` along the parents."""
    path = [node]
    while path[-1] != source:
        path.append(parent[path[-1]])
    return tuple(reversed(path))


def _check_budget(max_expanded: int | None) -> None:
    if max_expanded is not None and max_expanded < 1:
        raise ValueError(f"max_expanded must be >= 1 or None, got {max_expanded}")
