"""Tasks: a graph, a start, a goal. Task k of a split is a function of (split, seed, k) alone.

Families: "alpine" (one DAG a seed; train and test pairs as published, val a fifth of the test
pairs), "blocksworld" (the 4-block graph; pairs by stable hash) and "star" (a new graph each; graphs
by stable hash). `graph_task` makes one of any networkx graph.
"""

from __future__ import annotations

import zlib
from collections.abc import Hashable, Iterator, Sequence
from functools import lru_cache

import networkx as nx
import numpy as np

from pilotage.envs.pathgraph.alpine import alpine_dag, split_pairs
from pilotage.envs.pathgraph.blocks import blocksworld
from pilotage.envs.pathgraph.star import star_graph
from pilotage.envs.requests import SPLITS, check_request, in_turns
from pilotage.episodes.types import Json, Task, digest

FAMILIES = ("alpine", "blocksworld", "star")
STEPS_PER_MOVE = 4
SPARE_STEPS = 4
ALPINE_NODES = 100
STAR_DEGREE, STAR_LENGTH = 2, 5


def make_tasks(
    split: str, n: int, *, seed: int = 0, families: Sequence[str] | None = None
) -> list[Task]:
    """`n` tasks of a split ("train", "val", "test"); families take turns.

    A pair (alpine of one seed, blocksworld) or a star graph belongs to one split. More tasks than
    pairs repeat the pairs, in another order.

    Raises ValueError: unknown split or family, negative n or seed.
    """
    families = check_request(split, n, seed, families, FAMILIES)
    return in_turns(families, lambda f: _SOURCES[f](split, seed), n)


def graph_task(
    graph: nx.Graph,
    start: Hashable,
    goal: Hashable,
    *,
    split: str = "test",
    family: str = "networkx",
    info: dict[str, Json] | None = None,
) -> Task:
    """The task of going from `start` to `goal` in any networkx graph, by the fewest edges.

    Nodes are numbered in the graph's own order (`info["labels"]` has their names when they are not
    the numbers already); directions count, self-loops, parallel edges and weights do not.

    Raises KeyError for a start or goal not in the graph, ValueError when there is no path or they
    are the same.
    """
    for name, node in (("start", start), ("goal", goal)):
        if node not in graph:
            raise KeyError(f"{name} {node!r} is not one of the graph's {len(graph)} nodes")
    if start == goal:
        raise ValueError(f"start and goal are both {start!r}; an episode would be over at once")
    try:
        moves = nx.shortest_path_length(graph, start, goal)
    except nx.NetworkXNoPath:
        raise ValueError(f"no path leads from {start!r} to {goal!r}: that is not a task") from None
    number = {node: i for i, node in enumerate(graph)}
    edges = {(number[a], number[b]) for a, b in graph.edges() if a != b}
    if not graph.is_directed():
        edges |= {(b, a) for a, b in edges}
    scene = {"n_nodes": len(graph), "edges": [list(edge) for edge in sorted(edges)]}
    content = {"scene": scene, "start": number[start], "goal": number[goal]}
    labels = [str(node) for node in graph]
    plain = labels == [str(i) for i in range(len(graph))]
    return Task(
        task_id=f"pathgraph-{split}-{family}-{digest(content)[:12]}",
        env="pathgraph",
        split=split,
        family=family,
        instruction=f"go from node {number[start]} to node {number[goal]}",
        max_steps=STEPS_PER_MOVE * moves + SPARE_STEPS,
        scene=scene,
        start={"node": number[start]},
        goal={"node": number[goal]},
        shortest_path_length=float(moves),
        info={**({} if plain else {"labels": labels}), **(info or {})},
    )


def _alpine(split: str, seed: int) -> Iterator[Task]:
    graph = alpine_dag(ALPINE_NODES, seed=seed)
    train, rest = split_pairs(graph, seed=seed)
    fifth = [pair for pair in rest if _bucket(["alpine", *pair]) < 20]
    held = set(fifth)
    pairs = {"train": train, "val": fifth, "test": [p for p in rest if p not in held]}[split]
    for s, t in _endless(pairs, [15, SPLITS.index(split), seed]):
        yield graph_task(graph, s, t, split=split, family="alpine", info={"graph_seed": seed})


@lru_cache(maxsize=1)
def _four_blocks() -> nx.DiGraph:
    return blocksworld(4)


def _blocksworld(split: str, seed: int) -> Iterator[Task]:
    graph = _four_blocks()
    pairs = [
        (s, t) for s in graph for t in graph if s != t and _split_of(["blocks", s, t]) == split
    ]
    for s, t in _endless(pairs, [16, SPLITS.index(split), seed]):
        yield graph_task(graph, s, t, split=split, family="blocksworld")


def _star(split: str, seed: int) -> Iterator[Task]:
    rng = np.random.default_rng([17, SPLITS.index(split), seed])
    while True:
        number = int(rng.integers(2**31))
        if _split_of(["star", number]) != split:
            continue
        graph, start, goal = star_graph(STAR_DEGREE, STAR_LENGTH, seed=number)
        yield graph_task(
            graph, start, goal, split=split, family="star", info={"graph_seed": number}
        )


_SOURCES = {"alpine": _alpine, "blocksworld": _blocksworld, "star": _star}


def _endless(pairs: Sequence[tuple[int, int]], key: list[int]) -> Iterator[tuple[int, int]]:
    """All pairs in a random order, then again in another one."""
    rng = np.random.default_rng(key)
    while True:
        for i in rng.permutation(len(pairs)):
            yield pairs[i]


def _bucket(words: list[Json]) -> int:
    """A stable number from 0 to 99."""
    return zlib.crc32("|".join(map(str, words)).encode()) % 100


def _split_of(words: list[Json]) -> str:
    bucket = _bucket(words)
    return "test" if bucket < 10 else "val" if bucket < 20 else "train"
