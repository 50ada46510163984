"""Prompts of one token a cell: read back by hand, and what a network makes of them."""

from __future__ import annotations

import functools
from pathlib import Path

import numpy as np
import pytest
import torch

from pilotage.envs.maze.grid import DIRECTIONS, MOVES
from pilotage.planners.mlmu import (
    MazeNet,
    MazeNetConfig,
    MlmuRecipe,
    answer,
    load_net,
    save_net,
    score,
    train_mlmu,
)
from pilotage.planners.mlmu.lines import FIRST_CELL, vocabulary, write_walls
from pilotage.planners.mlmu.training import _about

from .test_mlmu import some_mazes

WALLS = functools.partial(MazeNetConfig, d_model=32, n_layers=2, prompt="walls")


@pytest.mark.parametrize("size", [4, 6])
def test_a_prompt_tells_the_maze_and_nothing_else(size: int) -> None:
    """Every connection, start and goal, read back from the numbers alone."""
    mazes = some_mazes(30, 4)
    n_words = len(vocabulary(size))
    lines = write_walls(mazes, size)
    assert lines.shape == (30, 16)
    for line, cells, start, goal in zip(lines, mazes.cells, mazes.starts, mazes.goals):
        roles = {}
        for token, (row, col) in zip(line.tolist(), np.ndindex(4, 4)):
            state, word = divmod(token, n_words)
            assert vocabulary(size)[word] == f"({row},{col})"
            role, sides = divmod(state - 1, 16)
            roles.setdefault(role, []).append((row, col))
            for side, (down, right) in zip(DIRECTIONS, MOVES):
                there = (row + down, col + right)
                inside = min(there) >= 0 and max(there) < 4
                linked = inside and bool(cells[row, col] & side)
                assert bool(sides & side) == linked
        assert roles[1] == [tuple(start)]
        assert roles[2] == [tuple(goal)]
        assert sorted(roles) == [0, 1, 2]
    with pytest.raises(ValueError, match="4 x 4 cells are larger than a vocabulary of 3 x 3"):
        write_walls(mazes, 3)


def test_cells_of_a_prompt_say_their_state_and_cells_of_a_path_do_not() -> None:
    net = MazeNet(WALLS(3))
    n_words = net.config.vocab_size
    cell, state = FIRST_CELL + 4, 37
    tokens = torch.tensor([[cell + n_words * (1 + state), cell + n_words, cell, 0]])
    with torch.no_grad():
        told, bare, path, pad = net._embedded(tokens)[0]
    assert torch.equal(path, net.tokens.weight[cell])
    assert torch.equal(pad, net.tokens.weight[0])
    assert torch.equal(told, path + net.states.weight[state])
    assert torch.equal(bare, path + net.states.weight[0])


def test_mazes_are_learned_from_walls_and_the_network_is_kept(tmp_path: Path) -> None:
    mazes = some_mazes(4)
    config = WALLS(3, "mlm-u")
    net = train_mlmu(mazes, config, MlmuRecipe(150, 8, learning_rate=5e-3))
    assert score(mazes, answer(net, mazes)).n_exact == 4
    save_net(net, tmp_path)
    again = load_net(tmp_path, size=3)
    assert again.config == config
    assert np.array_equal(answer(again, mazes).cells, answer(net, mazes).cells)


def test_a_training_from_before_the_choice_is_still_known() -> None:
    mazes, recipe = some_mazes(3), MlmuRecipe()
    edges, walls = (_about(mazes, MazeNetConfig(3, prompt=p), recipe) for p in ("edges", "walls"))
    before = {"size", "objective", "d_model", "n_layers", "n_heads"}
    assert set(edges["config"]) == before  # type: ignore[call-overload]
    assert set(walls["config"]) == before | {"prompt"}  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="'drawing' is not a valid PromptKind"):
        MazeNetConfig(3, prompt="drawing")  # type: ignore[arg-type]
