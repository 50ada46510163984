"""Judges paths on graphs. Knows no planner: it reads the graph and the path, and nothing else."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import networkx as nx

from pilotage.planners.adjacency import check_weight
from pilotage.planners.plan import Node


class Fault(StrEnum):
    """What is wrong with a path; the first that applies, in this order."""

    EMPTY = "empty"
    WRONG_START = "wrong_start"
    NOT_A_NODE = "not_a_node"
    NOT_ADJACENT = "not_adjacent"
    WRONG_GOAL = "wrong_goal"
    WRONG_COST = "wrong_cost"  # the planner's claim is not the path's cost


@dataclass(frozen=True)
class PathVerdict:
    """A path is valid without a fault. `at` is the index in the path of the fault.

    `cost` is the sum of the edge costs (NaN unless valid or WRONG_COST). `is_optimal` is None when
    no distance was given. Exact match with a label is a third thing: compare the paths.
    """

    fault: Fault | None
    at: int | None
    cost: float
    is_optimal: bool | None

    @property
    def is_valid(self) -> bool:
        return self.fault is None


def check_path(
    graph: Any,
    path: Sequence[Node] | None,
    start: Node,
    goal: Node,
    *,
    weight: str | None = None,
    claimed_cost: float | None = None,
    distance: float | None = None,
) -> PathVerdict:
    """Is `path` a walk from `start` to `goal` along edges of the networkx `graph`?

    With `distance`, the true least cost by an independent source, also whether it is optimal.
    Costs are compared to 1e-9 relative. Of parallel edges the cheapest counts; staying on a node
    is no hop unless the graph has the self-loop.

    Raises ValueError when a valid path is cheaper than `distance`: then the distance is wrong.
    """
    path = list(path or ())
    fault, at = _first_fault(graph, path, start, goal)
    if fault is not None:
        return PathVerdict(fault, at, math.nan, None if distance is None else False)
    cost = math.fsum(_hop_cost(graph, a, b, weight) for a, b in itertools.pairwise(path))
    if claimed_cost is not None and not math.isclose(claimed_cost, cost, abs_tol=1e-12):
        return PathVerdict(
            Fault.WRONG_COST, len(path) - 1, cost, None if distance is None else False
        )
    return PathVerdict(None, None, cost, None if distance is None else is_least(cost, distance))


def is_least(cost: float, distance: float) -> bool:
    """Whether a valid path's cost is the distance; ValueError when it is below it."""
    if math.isclose(cost, distance, abs_tol=1e-12):
        return True
    if cost < distance or math.isnan(distance):
        raise ValueError(
            f"a valid path of cost {cost} contradicts the distance {distance}; check its source"
        )
    return False


def _first_fault(
    graph: Any, path: Sequence[Node], start: Node, goal: Node
) -> tuple[Fault | None, int | None]:
    if not path:
        return Fault.EMPTY, 0
    if path[0] != start:
        return Fault.WRONG_START, 0
    for at, node in enumerate(path):
        if node not in graph:
            return Fault.NOT_A_NODE, at
        if at and not graph.has_edge(path[at - 1], node):
            return Fault.NOT_ADJACENT, at
    if path[-1] != goal:
        return Fault.WRONG_GOAL, len(path) - 1
    return None, None


def _hop_cost(graph: nx.Graph, tail: Node, head: Node, weight: str | None) -> float:
    if weight is None:
        return 1.0
    data = graph.get_edge_data(tail, head)
    edges = data.values() if graph.is_multigraph() else [data]
    return min(check_weight(edge.get(weight, 1), (tail, head), weight) for edge in edges)
