"""Graphs and walks, against counts from the literature and networkx."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
from scipy.stats import chisquare

from pilotage.envs.pathgraph import blocksworld, make_dataset, star_graph, write_star
from pilotage.envs.pathgraph.alpine import (
    alpine_dag,
    degree,
    encode,
    observations,
    random_walk,
    reachable,
    read_line,
    split_pairs,
)
from pilotage.envs.pathgraph.blocks import describe, moves


@pytest.mark.parametrize(("n_blocks", "n_nodes"), [(1, 1), (2, 3), (3, 13), (4, 73), (5, 501)])
def test_blocksworld_counts_are_the_numbers_of_sets_of_lists(n_blocks, n_nodes):
    assert len(blocksworld(n_blocks)) == n_nodes  # OEIS A000262


def test_four_blocks_make_the_graph_of_the_literature():
    graph = blocksworld(4)
    assert (graph.number_of_nodes(), graph.number_of_edges()) == (73, 240)
    assert nx.is_strongly_connected(graph)
    assert all(graph.has_edge(b, a) for a, b in graph.edges)
    # independent: two arrangements are joined when one block lies elsewhere and both are free
    on = {
        node: {(block, stack[:i][-1:]) for stack in state for i, block in enumerate(stack)}
        for node, state in graph.nodes(data="state")
    }
    for a, b in itertools.combinations(graph, 2):
        changed = on[a] - on[b]
        ours = graph.has_edge(a, b)
        if len(changed) != 1:
            assert not ours
            continue
        block = next(iter(changed))[0]
        tops = [any(s[-1] == block for s in graph.nodes[n]["state"]) for n in (a, b)]
        assert ours == all(tops)
    assert describe(((0, 1), (2,))) == "A on table, B on A, C on table"
    assert len(moves(((0, 1, 2, 3),))) == 1
    with pytest.raises(ValueError, match="from 1 to 6, got 7"):
        blocksworld(7)


def test_the_published_size_of_the_alpine_data():
    data = make_dataset(seed=0)
    n_edges, n_pairs = data.graph.number_of_edges(), len(data.train) + len(data.test)
    assert abs(n_edges - 495) < 4 * 495**0.5  # 4950 pairs with p = 0.1
    assert 2400 < n_pairs < 3400  # 2881 for one published seed
    assert len(data.lines) == 20 * len(data.train) + n_edges  # 34771 = 20 * 1713 + 511
    assert set(data.graph.edges) <= set(data.train)
    assert not set(data.train) & set(data.test)
    assert {t for _, t in data.train} == {t for _, t in data.train + data.test}
    share = (len(data.train) - n_edges) / (n_pairs - n_edges)
    assert abs(share - 0.5) < 0.06
    degrees = np.bincount([d for d in degree(data).values() if d >= 0])
    assert degrees[0] > degrees[1] > degrees[2:].sum()  # 767, 383, 17 for one published seed
    assert 0.5 < degrees[0] / len(data.test) < 0.8


def test_reachability_is_networkx_s():
    graph = alpine_dag(40, p=0.08, seed=3)
    reach = reachable(graph)
    for node in graph:
        assert set(np.flatnonzero(reach[node])) == nx.descendants(graph, node)
    train, test = split_pairs(graph, train_fraction=0.2, seed=1)
    assert len(train) + len(test) == reach.sum()
    assert split_pairs(graph, train_fraction=1.0)[1] == []


def test_walks_are_uniform_over_the_successors_that_lead_there():
    graph = nx.DiGraph([(0, 1), (0, 2), (0, 3), (1, 4), (2, 4), (2, 1), (3, 5)])
    reach = reachable(graph)
    rng = np.random.default_rng(0)
    walks = [tuple(random_walk(graph, reach, 0, 4, rng)) for _ in range(4000)]
    counts = {w: walks.count(w) for w in set(walks)}
    expected = {(0, 1, 4): 2000, (0, 2, 4): 1000, (0, 2, 1, 4): 1000}
    assert counts.keys() == expected.keys()
    assert chisquare([counts[w] for w in expected], [*expected.values()]).pvalue > 1e-3
    with pytest.raises(ValueError, match="no path leads from 3 to 4"):
        random_walk(graph, reach, 3, 4, rng)


def test_lines_and_tokens():
    tokens = encode((5, 9, 5, 7, 9))
    assert tokens.tolist() == [7, 11, 7, 9, 11, 1] + [0] * 26
    assert read_line(tokens) == (5, 9, [5, 7, 9])
    assert read_line([7, 11, 7]) == (5, 9, [5])
    with pytest.raises(ValueError, match="got 1 tokens"):
        read_line([7, 1])
    with pytest.raises(ValueError, match="6 tokens, more than the length 5"):
        encode((5, 9, 5, 7, 9), 5)
    adjacent, observed = observations([(0, 3, 0, 1, 3)], 4)
    assert np.argwhere(adjacent).tolist() == [[0, 1], [1, 3]]
    assert np.argwhere(observed).tolist() == [[3, 1], [3, 3]]


def test_star_graphs():
    goals = []
    for seed in range(200):
        graph, start, goal = star_graph(3, 4, n_labels=20, seed=seed)
        assert nx.is_tree(graph.to_undirected())
        assert graph.out_degree(start) == 3
        assert nx.shortest_path_length(graph, start, goal) == 3
        assert sorted(d for n, d in graph.out_degree if n != start) == [0] * 3 + [1] * 6
        goals.append(goal)
    assert len(set(goals)) == 20  # every label is somebody's goal
    assert write_star([(1, 2), (1, 3)], 1, 3, [1, 3]) == "1,2|1,3/1,3=1,3"
    with pytest.raises(ValueError, match="n_labels >= 10"):
        star_graph(3, 4, n_labels=9)


def test_bad_dag_sizes_are_named():
    with pytest.raises(ValueError, match="got n_nodes=1"):
        alpine_dag(1)
    with pytest.raises(ValueError, match="train_fraction must be from 0 to 1, got 2"):
        split_pairs(alpine_dag(5), train_fraction=2)
