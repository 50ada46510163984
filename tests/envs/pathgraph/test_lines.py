"""Lines of Blocksworld and of star graphs, read back as graphs by networkx."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.pathgraph.blocks_data import make_blocks_dataset
from pilotage.envs.pathgraph.star_lines import StarShape, draw_stars


def test_blocksworld_lines_are_shortest_ways_of_train_pairs() -> None:
    data = make_blocks_dataset(n_walks=3, seed=1)
    graph = data.graph
    assert len(data.train) + len(data.test) == 73 * 72
    assert len(data.train) == round(0.8 * 73 * 72)
    assert not set(data.train) & set(data.test)
    assert len(data.lines) == 3 * len(data.train)
    far = dict(nx.all_pairs_shortest_path_length(graph))
    for s, t, *path in data.lines:
        assert far[s][t] == len(path) - 1
        assert (path[0], path[-1]) == (s, t)
        assert nx.is_path(graph, path)
    assert {(s, t) for s, t, *_ in data.lines} == set(data.train)


def test_blocksworld_steps_are_uniform_over_the_nearer_neighbours() -> None:
    """Where there are two of them, both are taken, and the smaller one half the time."""
    data = make_blocks_dataset(train_fraction=0.1, n_walks=30)
    far = dict(nx.all_pairs_shortest_path_length(data.graph))
    seen: dict[tuple[int, int], list[int]] = {}
    for s, t, *path in data.lines:
        seen.setdefault((s, t), []).append(path[1])
    smaller = []
    for (s, t), firsts in seen.items():
        nearer = sorted(n for n in data.graph[s] if far[n][t] < far[s][t])
        assert set(firsts) == set(nearer)
        if len(nearer) == 2:
            smaller += [first == nearer[0] for first in firsts]
    n = len(smaller)
    assert n > 1000
    assert abs(sum(smaller) - n / 2) < 5 * n**0.5 / 2  # five standard deviations


def test_seeds_split_otherwise_and_bad_requests_are_refused() -> None:
    first, again, other = (make_blocks_dataset(3, n_walks=1, seed=s) for s in (0, 0, 1))
    assert first.test == again.test != other.test
    with pytest.raises(ValueError, match=r"got 0\.8, 10 and 1"):
        make_blocks_dataset(1)
    with pytest.raises(ValueError, match=r"got 2, 10 and 4"):
        make_blocks_dataset(train_fraction=2)


@pytest.mark.parametrize(("degree", "length"), [(2, 5), (3, 4), (1, 2)])
def test_a_star_line_is_a_star_and_its_path_the_only_one(degree: int, length: int) -> None:
    shape = StarShape(degree, length, 20)
    prompts, paths = draw_stars(shape, 200, np.random.default_rng(0))
    assert prompts.shape == (200, shape.prompt_length)
    arms, first_edges = [], set()
    for prompt, path in zip(prompts.tolist(), paths.tolist()):
        *edges, slash, start, goal, equals = prompt
        assert (slash, equals, shape.mask, shape.vocab_size) == (20, 21, 22, 23)
        graph = nx.DiGraph(list(zip(edges[::2], edges[1::2])))
        assert len(graph) == shape.n_nodes == graph.number_of_edges() + 1
        assert graph.out_degree(start) == degree
        assert sorted(len(p) for p in leaves(graph, start)) == [length] * degree
        assert list(nx.all_simple_paths(graph, start, goal)) == [path]
        assert len(path) == length
        ends = [p[-1] for p in leaves(graph, start)]
        arms.append(ends.index(goal))  # in the order of the edges
        first_edges.add((edges[0] == start, edges[1] in ends))
    assert len(set(prompts[:, 0].tolist())) == 20
    if degree > 1:
        assert max(arms.count(k) for k in range(degree)) < 200 / degree + 35
        assert len(first_edges) > 2  # edges lie in any order


def leaves(graph: nx.DiGraph, start: int) -> list[list[int]]:
    """The ways from start to each node without a successor."""
    ends = [n for n in graph if graph.out_degree(n) == 0]
    return [nx.shortest_path(graph, start, end) for end in ends]


def test_star_sizes_are_refused_where_labels_do_not_suffice() -> None:
    with pytest.raises(ValueError, match=r"n_labels >= 9 .* got 2, 5 and 8"):
        StarShape(2, 5, 8)
    with pytest.raises(ValueError, match="got 2, 1 and 8"):
        StarShape(2, 1, 8)
