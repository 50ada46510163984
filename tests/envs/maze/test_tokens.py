"""Token formats, against lines written by the programs that define them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pilotage.envs.maze import (
    dfs,
    from_free,
    obstacles,
    read_searchformer,
    read_tokens,
    write_searchformer,
    write_tokens,
)
from pilotage.envs.maze.grid import join

# Printed by maze-dataset 1.4.2 (gen_dfs, 3 x 3, AOTP_UT_rasterized), with its connection list:
# for each cell, whether it is connected to the one below and to the one on its right.
LINE = (
    "<ADJLIST_START> (1,0) <--> (1,1) ; (2,2) <--> (2,1) ; (1,2) <--> (2,2) ; (0,1) <--> (0,0) ; "
    "(2,1) <--> (2,0) ; (1,0) <--> (0,0) ; (1,2) <--> (0,2) ; (2,1) <--> (1,1) ; <ADJLIST_END> "
    "<ORIGIN_START> (0,0) <ORIGIN_END> <TARGET_START> (2,2) <TARGET_END> <PATH_START> (0,0) (1,0) "
    "(1,1) (2,1) (2,2) <PATH_END>"
)
DOWN = np.array([[[1, 0, 1], [0, 1, 1]]], bool)
RIGHT = np.array([[[1, 0], [1, 0], [1, 1]]], bool)


def test_reads_what_maze_dataset_wrote():
    read = read_tokens(LINE)
    assert np.array_equal(read.cells, join(DOWN, RIGHT)[0])
    assert (read.start, read.goal) == ((0, 0), (2, 2))
    assert read.path == ((0, 0), (1, 0), (1, 1), (2, 1), (2, 2))


def test_writes_the_same_words_as_maze_dataset():
    read = read_tokens(LINE)
    ours = write_tokens(read.cells, read.start, read.goal, read.path)
    assert ours.split("<ADJLIST_END>")[1] == LINE.split("<ADJLIST_END>")[1]

    def sides(text):
        inside = text.split("<ADJLIST_START>")[1].split("<ADJLIST_END>")[0]
        return {frozenset(part.split(" <--> ")) for part in inside.strip(" ;").split(" ; ")}

    assert sides(ours) == sides(LINE)
    assert ours.count(";") == LINE.count(";") == 8
    shuffled = write_tokens(
        read.cells, read.start, read.goal, read.path, rng=np.random.default_rng(0)
    )
    assert shuffled != ours
    assert sides(shuffled) == sides(LINE)


@given(st.integers(0, 2**40), st.integers(2, 6), st.booleans(), st.integers(0, 99))
def test_mazes_come_back(key, size, arrows, seed):
    maze = dfs(torch.tensor([key]), size, size)[0].numpy()
    text = write_tokens(maze, (0, 1), (1, 0), None, rng=np.random.default_rng(seed), arrows=arrows)
    read = read_tokens(text)
    assert np.array_equal(read.cells, maze)
    assert (read.start, read.goal, read.path) == ((0, 1), (1, 0), ())
    assert text.endswith("<PATH_START>")
    # 3 (n^2 - 1) + 9 words without "<-->", of which <PATH_START> is the last
    assert arrows or len(text.split()) == 3 * (size**2 - 1) + 9


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("<ADJLIST_END>", "", "ADJLIST_END> is missing"),
        ("<PATH_START>", "", "expected one <PATH_START>, found 0"),
        ("(2,1) <--> (2,0)", "(2,1) <--> (0,0)", r"'\(2,1\) <--> \(0,0\)' is not two neighbour"),
        ("(2,1) <--> (2,0)", "(2,1)", "is not two neighbour"),
        ("(0,0) <ORIGIN_END>", "<ORIGIN_END>", "section ORIGIN has 0 cells"),
        ("(2,2) <TARGET_END>", "(2,b) <TARGET_END>", r"section TARGET: '\(2,b\)' is not a cell"),
    ],
)
def test_bad_texts_are_named(old, new, message):
    with pytest.raises(ValueError, match=message):
        read_tokens(LINE.replace(old, new))


def test_the_shape_can_be_given():
    assert read_tokens(LINE, shape=(3, 5)).cells.shape == (3, 5)
    with pytest.raises(ValueError, match=r"cell \(2,2\) is outside 2 x 3"):
        read_tokens(LINE, shape=(2, 3))


def test_the_searchformer_format():
    maze = from_free(np.array([[[True, False, True], [True, True, True]]]))[0]
    text = write_searchformer(maze, (0, 0), (0, 2), [(0, 0), (1, 0)])
    assert text == "start 0 0 goal 2 0 wall 1 0 plan 0 0 plan 0 1"  # x is the column
    big = obstacles(torch.tensor([4]), 6, 6)[0].numpy()
    read = read_searchformer(write_searchformer(big, (1, 2), (3, 4)), shape=(6, 6))
    assert np.array_equal(read.cells, big)
    assert (read.start, read.goal) == ((1, 2), (3, 4))
    with pytest.raises(ValueError, match="use write_tokens"):
        write_searchformer(dfs(torch.tensor([4]), 3, 3)[0].numpy(), (0, 0), (1, 1))
    for bad, message in [
        ("start 0 0 goal 2", "word 3: 'goal 2' is not"),
        ("start 0 0 goal 3 0", "word 3: 'goal 3 0' is outside 2 x 3"),
        ("start 0 0", "0 cells are named 'goal'"),
        ("start 0 0 goal 1 0 hole 1 1", "word 6"),
    ]:
        with pytest.raises(ValueError, match=message):
            read_searchformer(bad, shape=(2, 3))
