"""Blocksworld as ALPINE's data: pairs of arrangements, and shortest ways between them as lines.

Wang et al. 2024 (arXiv:2405.09220) train on four fifths of the pairs of the 73 arrangements. How
their lines were drawn is not published; random walks that only have to stay able to arrive would
never end here, where every arrangement can be reached from every other, so each line is a shortest
way: every step uniform over the neighbours that are nearer to the target.
"""

from __future__ import annotations

import networkx as nx
import numpy as np

from pilotage.envs.pathgraph.alpine import AlpineData
from pilotage.envs.pathgraph.blocks import blocksworld


def make_blocks_dataset(
    n_blocks: int = 4, *, train_fraction: float = 0.8, n_walks: int = 10, seed: int = 0
) -> AlpineData:
    """`n_walks` lines `s t s a ... t` for each train pair; the other pairs are for the test.

    Raises ValueError for a fraction outside 0 to 1, a negative number of walks, or a world without
    pairs.
    """
    if not 0 <= train_fraction <= 1 or n_walks < 0 or n_blocks < 2:
        raise ValueError(
            "need train_fraction from 0 to 1, n_walks >= 0 and n_blocks >= 2, got "
            f"{train_fraction}, {n_walks} and {n_blocks}"
        )
    graph = blocksworld(n_blocks)
    rng = np.random.default_rng([18, seed])
    pairs = [(s, t) for s in graph for t in graph if s != t]
    order = rng.permutation(len(pairs)).tolist()
    n_train = round(train_fraction * len(pairs))
    train = sorted(pairs[k] for k in order[:n_train])
    test = sorted(pairs[k] for k in order[n_train:])
    far = dict(nx.all_pairs_shortest_path_length(graph))
    lines = []
    for s, t in train:
        for _ in range(n_walks):
            way = [s]
            while way[-1] != t:
                nearer = [n for n in graph[way[-1]] if far[n][t] == far[way[-1]][t] - 1]
                way.append(nearer[int(rng.integers(len(nearer)))])
            lines.append((s, t, *way))
    return AlpineData(graph, tuple(train), tuple(test), tuple(lines))
