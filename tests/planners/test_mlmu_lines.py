"""Lines of the learned maze planner: read back by the text reader, and against enumeration."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from pilotage.envs.maze import dfs, loops, read_tokens, to_graph
from pilotage.envs.maze.endpoints import anywhere
from pilotage.envs.maze.grid import from_free
from pilotage.planners.mlmu import Mazes, labels, vocabulary
from pilotage.planners.mlmu.lines import PAD, read_paths, write_paths, write_prompts


def some_mazes(n: int, size: int = 4, make=dfs) -> Mazes:  # type: ignore[no-untyped-def]
    keys = torch.arange(n)
    cells = make(keys, size, size)
    ends = anywhere(cells, keys)
    return Mazes(cells.numpy(), ends.starts.numpy(), ends.goals.numpy())


def noise_for(mazes: Mazes, seed: int = 0) -> np.ndarray:
    h, w = mazes.cells.shape[1:]
    return np.random.default_rng(seed).random((len(mazes), 2, 2 * h * w))


@pytest.mark.parametrize("make", [dfs, loops])
@pytest.mark.parametrize("size", [4, 7])
def test_a_line_is_read_back_as_its_maze_by_the_text_reader(make, size: int) -> None:  # type: ignore[no-untyped-def]
    mazes = some_mazes(40, make=make)
    prompts = write_prompts(mazes, size, noise_for(mazes))
    plans = labels(mazes)
    lines = np.concatenate([prompts, write_paths(plans.cells, plans.n_moves, size)], axis=1)
    words = np.array(vocabulary(size))
    for i, line in enumerate(lines):
        used = line[line != PAD]
        found = read_tokens(" ".join(words[used]), shape=(4, 4))
        assert np.array_equal(found.cells, mazes.cells[i])
        assert found.start == tuple(mazes.starts[i])
        assert found.goal == tuple(mazes.goals[i])
        shortest = nx.shortest_path_length(to_graph(mazes.cells[i]), found.start, found.goal)
        assert len(found.path) == shortest + 1
        assert (found.path[0], found.path[-1]) == (found.start, found.goal)
        n_left = int((line[: prompts.shape[1]] != PAD).argmax())
        assert (line[n_left : prompts.shape[1]] != PAD).all()  # padding is on the left alone


def test_every_connection_comes_first_and_is_turned_equally_often() -> None:
    one = some_mazes(1, 3)
    mazes = one[np.zeros(4000, np.int64)]
    first = write_prompts(mazes, 3, noise_for(mazes))[:, 1:3]
    pairs, counts = np.unique(first, axis=0, return_counts=True)
    assert len(pairs) == 16  # 8 connections of a tree on 9 cells, both ways round
    assert abs(counts - 250).max() < 5 * 250**0.5


def test_paths_are_read_back_and_broken_lines_are_none() -> None:
    mazes = some_mazes(30)
    plans = labels(mazes)
    cells, n_moves = read_paths(write_paths(plans.cells, plans.n_moves, 5), 5)
    assert np.array_equal(n_moves, plans.n_moves)
    for mine, wanted, moves in zip(cells, plans.cells, n_moves, strict=True):
        assert np.array_equal(mine[: moves + 1], wanted[: moves + 1])
    word = {text: k for k, text in enumerate(vocabulary(3))}
    lines = [
        "(0,0) (0,1) <PATH_END> ;",
        "(0,0) (0,1) (0,2) (1,2)",
        "(0,0) ; (0,1) <PATH_END>",
        "<PATH_END> (0,0) (0,1) (0,2)",
    ]
    numbers = np.array([[word[text] for text in line.split()] for line in lines])
    assert read_paths(numbers, 3)[1].tolist() == [1, -1, -1, -1]


def test_bad_mazes_are_named() -> None:
    mazes = some_mazes(3)
    with pytest.raises(ValueError, match="4 x 4 cells are larger than a vocabulary of 3 x 3"):
        write_prompts(mazes, 3, noise_for(mazes))
    with pytest.raises(ValueError, match=r"maze 1: start and goal are both"):
        Mazes(mazes.cells, mazes.starts, np.where([[0], [1], [0]], mazes.starts, mazes.goals))
    with pytest.raises(ValueError, match=r"maze 0: goal \(4, 0\) is outside 4 x 4"):
        Mazes(mazes.cells[:1], np.array([[0, 0]]), np.array([[4, 0]]))
    free = np.ones((1, 3, 3), bool)
    free[0, 1] = False
    with pytest.raises(ValueError, match=r"maze 0: start \(1, 1\) is blocked"):
        Mazes(from_free(free), np.array([[1, 1]]), np.array([[0, 0]]))
    with pytest.raises(ValueError, match="maze 0 has no way from start to goal"):
        labels(Mazes(from_free(free), np.array([[2, 1]]), np.array([[0, 0]])))
    with pytest.raises(ValueError, match=r"starts must be integers \[3, 2\]"):
        Mazes(mazes.cells, mazes.starts[:2], mazes.goals)
    one_way = mazes.cells.copy()
    one_way[0, 0, 0] ^= 2
    with pytest.raises(ValueError, match="one way only"):
        Mazes(one_way, mazes.starts, mazes.goals)
