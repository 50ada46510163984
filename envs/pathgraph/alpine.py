"""ALPINE's data: random DAGs, train and test pairs, random walks, token lines.

Wang et al. 2024 (arXiv:2405.09220): edge (i, j), i < j, with probability p. Every edge pair is a
train pair; every other reachable pair is one with probability `train_fraction`. A line is
`s t s a b ... t`: source, target, then the path. Train: random walks, each step uniform over the
successors from which the target can still be reached, and one direct line for every edge.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np

Pair = tuple[int, int]
PAD, END = 0, 1  # token numbers; node i is i + FIRST_NODE
FIRST_NODE = 2


def alpine_dag(n_nodes: int = 100, *, p: float = 0.1, seed: int = 0) -> nx.DiGraph:
    """A random DAG on nodes 0 to n - 1 with edges from smaller to larger numbers."""
    if n_nodes < 2 or not 0 <= p <= 1:
        raise ValueError(f"need n_nodes >= 2 and 0 <= p <= 1, got n_nodes={n_nodes}, p={p}")
    rng = np.random.default_rng([11, seed])
    chosen = np.triu(rng.random((n_nodes, n_nodes)) < p, k=1)
    graph = nx.DiGraph()
    graph.add_nodes_from(range(n_nodes))
    graph.add_edges_from(np.argwhere(chosen).tolist())
    return graph


def reachable(graph: nx.DiGraph) -> np.ndarray:
    """bool [n, n]: [s, t] says that a path of at least one edge leads from s to t."""
    n = len(graph)
    found = np.zeros((n, n), bool)
    for node in reversed(list(nx.topological_sort(graph))):
        for successor in graph[node]:
            found[node] |= found[successor]
            found[node, successor] = True
    return found


@dataclass(frozen=True)
class AlpineData:
    """A graph's pairs and train lines. `train` holds all edge pairs."""

    graph: nx.DiGraph
    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    lines: tuple[tuple[int, ...], ...]  # train only: (s, t, s, a, b, ..., t)


def split_pairs(
    graph: nx.DiGraph, *, train_fraction: float = 0.5, seed: int = 0
) -> tuple[list[Pair], list[Pair]]:
    """(train, test) pairs; a target that would have no train pair keeps its first one.

    Whether a pair is a train pair is drawn in the order of (s, t), whatever the other pairs do.
    """
    if not 0 <= train_fraction <= 1:
        raise ValueError(f"train_fraction must be from 0 to 1, got {train_fraction}")
    rng = np.random.default_rng([12, seed])
    drawn = rng.random((len(graph), len(graph))) < train_fraction
    pairs = [(s, t) for s, t in np.argwhere(reachable(graph)).tolist()]
    chosen = {pair for pair in pairs if drawn[pair] or graph.has_edge(*pair)}
    targets = {t for _, t in chosen}
    for pair in pairs:
        if pair[1] not in targets:
            chosen.add(pair)
            targets.add(pair[1])
    return [p for p in pairs if p in chosen], [p for p in pairs if p not in chosen]


def make_dataset(
    n_nodes: int = 100,
    *,
    p: float = 0.1,
    train_fraction: float = 0.5,
    n_walks: int = 20,
    seed: int = 0,
) -> AlpineData:
    """The published data set's recipe: `n_walks` walks a train pair, and `s t s t` for edges."""
    graph = alpine_dag(n_nodes, p=p, seed=seed)
    train, test = split_pairs(graph, train_fraction=train_fraction, seed=seed)
    reach = reachable(graph)
    rng = np.random.default_rng([13, seed])
    lines = []
    for s, t in train:
        lines += [(s, t, *random_walk(graph, reach, s, t, rng)) for _ in range(n_walks)]
        if graph.has_edge(s, t):
            lines.append((s, t, s, t))
    return AlpineData(graph, tuple(train), tuple(test), tuple(lines))


def random_walk(
    graph: nx.DiGraph, reach: np.ndarray, source: int, target: int, rng: np.random.Generator
) -> list[int]:
    """From source to target, each step uniform over the successors that still lead there."""
    if not reach[source, target]:
        raise ValueError(f"no path leads from {source} to {target}; `reachable` says which exist")
    walk = [source]
    while walk[-1] != target:
        options = [n for n in graph[walk[-1]] if n == target or reach[n, target]]
        walk.append(options[int(rng.integers(len(options)))])
    return walk


def encode(line: Sequence[int], length: int | None = None) -> np.ndarray:
    """Token numbers int64 of a line with its end, padded on the right to `length`.

    By default that is the next multiple of 32.
    """
    tokens = [node + FIRST_NODE for node in line] + [END]
    length = length if length is not None else -(-len(tokens) // 32) * 32
    if len(tokens) > length:
        raise ValueError(f"the line has {len(tokens)} tokens, more than the length {length}")
    return np.array(tokens + [PAD] * (length - len(tokens)), np.int64)


def read_line(tokens: Sequence[int]) -> tuple[int, int, list[int]]:
    """(source, target, path) of token numbers up to END; the path may be wrong or cut short.

    Raises ValueError when there is no source and target.
    """
    words = [int(token) for token in tokens]
    words = words[: words.index(END)] if END in words else words
    words = [word for word in words if word != PAD]
    if len(words) < 2:
        raise ValueError(f"a line begins with source and target, got {len(words)} tokens")
    source, target, *path = (word - FIRST_NODE for word in words)
    return source, target, path


def degree(data: AlpineData) -> dict[Pair, int]:
    """How far each test pair is from what the train lines show (Wang et al. 2024).

    0: the train lines show the target to be reachable from the source itself; k: only from a node
    k observed hops away. -1 where no such node is within observed hops. A learner of observed
    adjacency and reachability alone knows nothing of pairs of degree 2 and more.
    """
    n = len(data.graph)
    adjacent, observed = observations(data.lines, n)
    graph = nx.from_numpy_array(adjacent, create_using=nx.DiGraph)
    found = {}
    for s, t in data.test:
        hops = nx.single_source_shortest_path_length(graph, s)
        known = [far for node, far in hops.items() if observed[t, node]]
        found[s, t] = min(known, default=-1)
    return found


def observations(lines: Sequence[Sequence[int]], n_nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """What lines `s t s a ... t` show: bool [n, n] adjacency A[i, k] (k follows i in a path) and
    reachability R[t, k] (k is on a path to t, not as its source)."""
    adjacent, observed = np.zeros((2, n_nodes, n_nodes), bool)
    for _, target, *path in lines:
        adjacent[path[:-1], path[1:]] = True
        observed[target, path[1:]] = True
    return adjacent, observed
