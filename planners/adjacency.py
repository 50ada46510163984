"""The one gate between a networkx graph and the planners: checked, and simple on the other side."""

from __future__ import annotations

import math
from typing import Any

import networkx as nx

from pilotage.planners.plan import Node

Adjacency = dict[Node, dict[Node, float]]


def read_graph(graph: Any, start: Node, goal: Node, weight: str | None) -> Adjacency:
    """`{node: {neighbour: cost}}` of a networkx graph of any kind, in the graph's own order.

    Self-loops are left out (they never shorten a path) and of parallel edges the cheapest counts.
    `weight` names the edge attribute; an edge without it costs 1, as in networkx, and with
    `weight=None` every edge costs 1.

    Raises:
        TypeError: not a networkx graph, or a weight that is not a number.
        ValueError: an empty graph, or a weight that is negative, NaN or infinite.
        KeyError: `start` or `goal` is not in the graph.
    """
    if not isinstance(graph, nx.Graph):
        raise TypeError(f"graph is a {type(graph).__name__}, expected a networkx graph")
    if not len(graph):
        raise ValueError("the graph has no nodes; add the start and the goal at least")
    for name, node in (("start", start), ("goal", goal)):
        if node not in graph:
            raise KeyError(f"{name} {node!r} is not one of the graph's {len(graph)} nodes")
    adjacency: Adjacency = {node: {} for node in graph}
    for tail, head, data in graph.edges(data=True):
        cost = 1.0 if weight is None else check_weight(data.get(weight, 1), (tail, head), weight)
        if tail == head:
            continue
        for a, b in ((tail, head),) if graph.is_directed() else ((tail, head), (head, tail)):
            adjacency[a][b] = min(cost, adjacency[a].get(b, math.inf))
    return adjacency


def check_weight(value: Any, edge: tuple[Node, Node], name: str) -> float:
    """A weight as a float; the errors of `read_graph` for what is not one."""
    try:
        cost = float(value)
    except (TypeError, ValueError):
        raise TypeError(f"edge {edge!r}: {name}={value!r} is not a number") from None
    if math.isnan(cost):
        raise ValueError(f"edge {edge!r}: {name} is NaN; give it a number or remove the edge")
    if cost < 0:
        raise ValueError(
            f"edge {edge!r}: {name}={cost} is negative; these searches need weights >= 0 "
            "(networkx.bellman_ford_path allows less)"
        )
    if math.isinf(cost):
        raise ValueError(f"edge {edge!r}: {name} is infinite; remove the edge instead")
    return cost


def reversed_adjacency(adjacency: Adjacency) -> Adjacency:
    """The same edges backwards."""
    backwards: Adjacency = {node: {} for node in adjacency}
    for tail, heads in adjacency.items():
        for head, cost in heads.items():
            backwards[head][tail] = cost
    return backwards
