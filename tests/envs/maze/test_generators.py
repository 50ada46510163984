"""Generators: spanning trees by networkx, uniform where promised, the same in any batch."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from pilotage.envs.maze import dfs, loops, obstacles, percolation, split_of, to_graph, wilson
from pilotage.envs.maze.distances import descend, flood
from pilotage.envs.maze.draws import below, derived, draws
from pilotage.envs.maze.endpoints import anywhere, far_apart
from pilotage.envs.maze.grid import BLOCKED, SIDES, check_cells, draw, from_rows, to_rows
from pilotage.envs.maze.splits import layout_hash, transform, transform_places

GENERATORS = (dfs, wilson, percolation, loops, obstacles)
KEYS = torch.arange(40) * 977


@pytest.mark.parametrize("make", GENERATORS)
def test_a_maze_is_a_function_of_its_key(make):
    together = make(KEYS, 5, 7)
    check_cells(together.numpy())
    assert torch.equal(make(KEYS.flip(0), 5, 7).flip(0), together)
    for i in (0, 13, 39):
        assert torch.equal(make(KEYS[i : i + 1], 5, 7)[0], together[i])
    assert len({maze.tobytes() for maze in together.numpy()}) == 40


@pytest.mark.gpu
@pytest.mark.parametrize("make", GENERATORS)
def test_the_device_does_not_matter(make):
    assert torch.equal(make(KEYS.cuda(), 9, 8).cpu(), make(KEYS, 9, 8))


@pytest.mark.parametrize("make", [dfs, wilson])
def test_trees_are_spanning_trees(make):
    for maze in make(KEYS, 6, 5).numpy():
        graph = to_graph(maze)
        assert nx.is_tree(graph)
        assert len(graph) == 30
    assert make(KEYS[:1], 1, 1).tolist() == [[[0]]]
    assert nx.is_tree(to_graph(make(KEYS[:1], 1, 6)[0].numpy()))


def test_wilson_draws_every_spanning_tree_of_3_by_3_equally_often():
    cells = wilson(torch.arange(19200), 3, 3).numpy()
    _, counts = np.unique(cells.reshape(len(cells), 9), axis=0, return_counts=True)
    assert len(counts) == 192  # Kirchhoff
    assert chisquare(counts).pvalue > 1e-3


def brute_force_dfs(graph):
    """Probability of each tree of randomised depth-first search, by enumerating every choice."""
    found = {}

    def go(stack, seen, edges, p):
        while stack:
            options = [n for n in graph[stack[-1]] if n not in seen]
            if options:
                for n in options:
                    edge = frozenset({stack[-1], n})
                    go([*stack, n], seen | {n}, edges | {edge}, p / len(options))
                return
            stack = stack[:-1]
        found[edges] = found.get(edges, 0.0) + p

    for start in graph:
        go([start], {start}, frozenset(), 1 / len(graph))
    return found


def test_dfs_has_the_distribution_of_depth_first_search():
    expected = brute_force_dfs(nx.grid_2d_graph(3, 3))
    counts = dict.fromkeys(expected, 0)
    cells = dfs(torch.arange(20000), 3, 3).numpy()
    different, n = np.unique(cells.reshape(-1, 3, 3), axis=0, return_counts=True)
    for maze, times in zip(different, n):
        counts[frozenset(frozenset(edge) for edge in to_graph(maze).edges)] += int(times)
    p = chisquare([*counts.values()], [20000 * v for v in expected.values()]).pvalue
    assert p > 1e-3


def test_without_forks_there_is_one_corridor():
    for maze in dfs(KEYS, 6, 6, forks=False).numpy():
        degrees = sorted(d for _, d in to_graph(maze).degree if d)
        assert degrees[:2] == [1, 1]
        assert set(degrees[2:]) <= {2}


def test_percolation_opens_sides_with_the_probability_asked():
    n_sides = 2 * 10 * 9 * 400
    opened = np.unpackbits(percolation(torch.arange(400), 10, 10, p=0.3).numpy()).sum() / 2
    assert abs(opened / n_sides - 0.3) < 4 * (0.3 * 0.7 / n_sides) ** 0.5
    assert (percolation(KEYS, 3, 3, p=0.0) == 0).all()
    with pytest.raises(ValueError, match=r"probability, got 1\.5"):
        percolation(KEYS, 3, 3, p=1.5)


def test_loops_only_open_more_sides():
    tree, more = dfs(KEYS, 8, 8), loops(KEYS, 8, 8, p=0.2)
    assert torch.equal(tree & more, tree)
    assert all(nx.is_connected(to_graph(maze)) for maze in more.numpy())
    extra = [to_graph(maze).number_of_edges() - 63 for maze in more.numpy()]
    assert abs(np.mean(extra) / 49 - 0.2) < 0.05  # 112 sides, 63 in the tree


def test_obstacle_counts_are_uniform_from_three_to_five_tenths():
    blocked = (obstacles(torch.arange(4200), 10, 10) & BLOCKED > 0).sum((1, 2)).numpy()
    values, counts = np.unique(blocked, return_counts=True)
    assert values.tolist() == list(range(30, 51))
    assert chisquare(counts).pvalue > 1e-3


def test_distances_and_the_way_down_are_networkx_s():
    cells = percolation(KEYS, 6, 7, p=0.6)
    ends = anywhere(cells, KEYS)
    field = flood(cells, ends.goals)
    ways = descend(cells, field, ends.starts)
    for i in range(len(KEYS)):
        graph = to_graph(cells[i].numpy())
        start, goal = tuple(ends.starts[i].tolist()), tuple(ends.goals[i].tolist())
        lengths = nx.single_source_shortest_path_length(graph, goal)
        for cell in itertools.product(range(6), range(7)):
            assert field[i][cell] == lengths.get(cell, -1)
        assert lengths[start] == ends.n_moves[i]
        way = [tuple(c) for c in ways[i].tolist()][: lengths[start] + 1]
        assert (way[0], way[-1]) == (start, goal)
        assert nx.is_path(graph, way)


def test_start_and_goal_are_uniform_over_all_pairs_of_a_tree():
    keys = torch.arange(14400)
    tree = dfs(torch.tensor([5]), 3, 3).repeat(len(keys), 1, 1)
    ends = anywhere(tree, keys)
    pairs = ends.starts @ torch.tensor([3, 1]) * 9 + ends.goals @ torch.tensor([3, 1])
    values, counts = np.unique(pairs.numpy(), return_counts=True)
    assert len(values) == 72
    assert chisquare(counts).pvalue > 1e-3
    assert ends.found.all()


def test_ends_are_not_found_where_there_are_none():
    closed = torch.zeros((2, 3, 3), dtype=torch.uint8)
    assert not anywhere(closed, KEYS[:2]).found.any()
    assert not far_apart(closed, KEYS[:2]).found.any()


def test_the_searchformer_rule_for_ends():
    keys = torch.arange(300)
    cells = obstacles(keys, 10, 10)
    ends = far_apart(cells, keys)
    assert ends.found.float().mean() > 0.85  # the others are cut into small parts
    assert (ends.n_moves[ends.found] + 1 >= 10).all()
    mean_cells = ends.n_moves[ends.found].double().mean() + 1
    assert 11.8 < mean_cells < 13.6  # 12.6 over the published distribution
    byte = cells[torch.arange(300), ends.starts[:, 0], ends.starts[:, 1]]
    assert ((byte & BLOCKED) == 0)[ends.found].all()


def test_draws_look_uniform_and_keys_do_not_share_them():
    numbers = draws(torch.arange(100) + 2**61, 5, 100)
    assert numbers.min() >= 0
    assert numbers.max() < 2**32
    digit = below(numbers, 10).flatten().numpy()
    assert chisquare(np.bincount(digit, minlength=10)).pvalue > 1e-3
    assert len(numbers.unique()) > 9990
    assert torch.equal(draws(torch.arange(100) + 2**61, 7, 1)[0], numbers[2])
    other = derived(torch.arange(100), 1)
    assert (other >= 0).all()
    assert len(torch.cat([other, derived(torch.arange(100), 2)]).unique()) == 200
    with pytest.raises(ValueError, match="keys must be int64"):
        dfs(torch.tensor([-1]), 3, 3)
    with pytest.raises(ValueError, match="got 0 x 3"):
        dfs(KEYS, 0, 3)


@pytest.mark.parametrize("symmetry", range(8))
def test_symmetric_mazes_are_the_same_graph_and_the_same_split(symmetry):
    cells = loops(KEYS, 4, 6).numpy()
    turned = transform(cells, symmetry)
    check_cells(turned)
    assert turned.shape[1:] == ((6, 4) if symmetry & 1 else (4, 6))
    assert (layout_hash(turned) == layout_hash(cells)).all()
    assert (split_of(turned) == split_of(cells)).all()
    for a, b in to_graph(cells[0]).edges:
        ends = transform_places(np.array([a, b]), (4, 6), symmetry)
        assert to_graph(turned[0]).has_edge(*map(tuple, ends.tolist()))


def test_the_eight_symmetries_differ_and_hashes_spread():
    cells = loops(torch.arange(4000), 5, 5).numpy()
    assert len({transform(cells[:1], s).tobytes() for s in range(8)}) == 8
    copies = [transform(cells, s) for s in range(8)]
    canonical = {min(copy[i].tobytes() for copy in copies) for i in range(4000)}
    assert len(set(layout_hash(cells).tolist())) == len(canonical) > 3950
    share = np.bincount(split_of(cells), minlength=3) / 4000
    assert np.abs(share - [0.8, 0.1, 0.1]).max() < 0.03


def test_rows_of_text_come_back_and_bad_ones_are_named():
    for make in GENERATORS:
        maze = make(KEYS[:1], 5, 4)[0].numpy()
        assert np.array_equal(from_rows(to_rows(maze)), maze)
    for rows, message in [
        (["80", "x0"], r"row 1 is 'x0'.*found \['x'\]"),
        (["84", "0"], "row 1 is '0': expected 2 hex digits"),
        (["80"], "one way only"),
        ([], "no rows"),
    ]:
        with pytest.raises(ValueError, match=message):
            from_rows(rows)


def test_the_drawing():
    maze = from_rows(["a4", "1#"])
    assert draw(maze, (1, 0), (0, 1)) == "#####\n#  G#\n# ###\n#S###\n#####"
    assert maze[0, 0] & SIDES == 10
