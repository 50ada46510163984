"""Star graphs: arms of equal length from one node; find the arm that ends in the goal.

Bachmann & Nagarajan 2024 (arXiv:2403.06963). G(d, l): d arms of l nodes each, the centre included.
A next-token learner that cannot look ahead picks the right arm with probability 1 / d.
"""

from __future__ import annotations

from collections.abc import Sequence

import networkx as nx
import numpy as np


def star_graph(
    degree: int = 2, length: int = 5, *, n_labels: int = 50, seed: int = 0
) -> tuple[nx.DiGraph, int, int]:
    """(graph, start, goal): edges lead outwards, labels are drawn from 0 to n_labels - 1.

    Nodes are listed in a random order, so that the order of edges tells nothing.
    """
    size = degree * (length - 1) + 1
    if degree < 1 or length < 2 or n_labels < size:
        raise ValueError(
            f"need degree >= 1, length >= 2 and n_labels >= {size} (the number of nodes), got "
            f"degree={degree}, length={length}, n_labels={n_labels}"
        )
    rng = np.random.default_rng([14, seed])
    labels = rng.permutation(n_labels)[:size].tolist()
    start, arms = labels[0], np.array(labels[1:]).reshape(degree, length - 1).tolist()
    edges = [(a, b) for arm in arms for a, b in zip([start, *arm], arm)]
    graph = nx.DiGraph()
    graph.add_nodes_from(rng.permutation(labels).tolist())
    graph.add_edges_from(edges[i] for i in rng.permutation(len(edges)))
    return graph, start, arms[int(rng.integers(degree))][-1]


def write_star(
    edges: Sequence[tuple[int, int]], start: int, goal: int, path: Sequence[int] = ()
) -> str:
    """The text `a,b|c,d|.../start,goal=path` of the star-graph data sets."""
    listed = "|".join(f"{a},{b}" for a, b in edges)
    return f"{listed}/{start},{goal}=" + ",".join(map(str, path))
