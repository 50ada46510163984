"""Paths read off a network greedily, and how many are exact, shortest, valid: three questions.

The judge is `validate_grids`, which knows no planner.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from pilotage.planners.mlmu.lines import END, PAD, Mazes, labels, prompts_of, read_paths
from pilotage.planners.mlmu.model import MazeNet
from pilotage.planners.mlmu.objectives import Objective, encoder_sight
from pilotage.planners.plan import Plan, PlanStatus
from pilotage.planners.problems import GridPlanner, batched_by_shape
from pilotage.planners.validate_grids import check_grid_paths

_BATCH = 256  # mazes read at once


@dataclass(frozen=True, eq=False)
class Answers:
    """cells int64 [B, L, 2], (row, col), start first; n_moves int64 [B], -1 where the line was no
    path. Cells after n_moves mean nothing."""

    cells: np.ndarray
    n_moves: np.ndarray


def answer(net: MazeNet, mazes: Mazes, *, seed: int = 0, device: str = "cpu") -> Answers:
    """The likeliest token at each place, from left to right, until the end.

    With `teacherless`, which never saw a path's tokens, all places at once. The connections of a
    prompt are shuffled by the seed and the maze alone, so that an answer is the same in any batch
    (up to rounding). A path is cut at size * size cells.

    Raises ValueError for mazes larger than the network's vocabulary.
    """
    size = net.config.size
    longest = size * size + 1
    lines = np.full((len(mazes), longest), PAD)
    for first in range(0, len(mazes), _BATCH):
        part = mazes[first : first + _BATCH]
        prompt = prompts_of(net.config.prompt, part, size, _noise(part, seed))
        read = _read_off(net, torch.from_numpy(prompt).to(device), longest)
        lines[first : first + _BATCH] = read.cpu().numpy()
    return Answers(*read_paths(lines, size))


def _noise(mazes: Mazes, seed: int) -> np.ndarray:
    h, w = mazes.cells.shape[1:]
    noise = np.empty((len(mazes), 2, 2 * h * w))
    for i, maze in enumerate(mazes.cells):
        key = [*maze.ravel().tolist(), *mazes.starts[i].tolist(), *mazes.goals[i].tolist()]
        noise[i] = np.random.default_rng([26, seed, h, w, *key]).random(noise.shape[1:])
    return noise


@torch.inference_mode()
def _read_off(net: MazeNet, prompt: Tensor, longest: int) -> Tensor:
    """Path tokens int64 [B, longest] of prompts [B, S]; what stands after the end means nothing."""
    lines = torch.full((len(prompt), longest), PAD, device=prompt.device)
    if net.config.objective is Objective.TEACHERLESS:
        return _ask(net, prompt, lines[:, :0], longest)
    going = torch.arange(len(prompt), device=prompt.device)
    for place in range(longest):
        chosen = _ask(net, prompt[going], lines[going, :place], 1)[:, 0]
        lines[going, place] = chosen
        going = going[chosen != END]
        if not len(going):
            break
    return lines


def _ask(net: MazeNet, prompt: Tensor, path: Tensor, n_places: int) -> Tensor:
    """The likeliest tokens int64 [B, n_places] after a path [B, P], each by itself."""
    encoder = encoder_sight(net.config.objective, prompt, torch.ones_like(path, dtype=torch.bool))
    tokens = torch.cat([prompt, path], dim=1)
    decoder = torch.ones(len(tokens), n_places, tokens.shape[1], dtype=torch.bool)
    decoder = decoder.to(tokens.device) & (tokens != PAD)[:, None]
    logits = net(tokens, encoder, decoder, tokens.shape[1])
    logits[..., PAD] = -torch.inf
    return logits.argmax(-1)


@dataclass(frozen=True)
class MazeScore:
    """Of n answers: equal to the label, as short as can be, valid; and what was wrong, by name."""

    n: int
    n_exact: int
    n_optimal: int
    n_valid: int
    faults: Mapping[str, int]


def score(mazes: Mazes, answers: Answers) -> MazeScore:
    """Judge answers by `validate_grids.check_grid_paths`.

    The label is breadth-first search's first shortest path. In a maze with several, an answer can
    be optimal and not exact; in a tree never. ValueError when answers and mazes differ in number.
    """
    plans = labels(mazes)
    found = check_grid_paths(
        mazes.cells, answers.cells, answers.n_moves, mazes.starts, mazes.goals,
        distances=plans.n_moves,
    )  # fmt: skip
    optimal = np.asarray(found.optimal)
    length = min(answers.cells.shape[1], plans.cells.shape[1])
    used = np.arange(length) <= plans.n_moves[:, None]
    differs = (answers.cells[:, :length] != plans.cells[:, :length]).any(axis=2)
    exact = (answers.n_moves == plans.n_moves) & ~(differs & used).any(axis=1)
    faults = (found.fault(i) for i in range(len(mazes)))
    counts = Counter(fault.value for fault in faults if fault is not None)
    return MazeScore(
        len(mazes), int(exact.sum()), int(optimal.sum()), int(found.valid.sum()), dict(counts)
    )


def learned_maze_planner(net: MazeNet, *, device: str = "cpu") -> GridPlanner:
    """For `verified.VerifiedPlanner`: another attempt hears the connections in another order.

    Raises as `answer` and `Mazes` do.
    """

    def solve(cells: np.ndarray, starts: np.ndarray, goals: np.ndarray, attempt: int) -> list[Plan]:
        found = answer(net, Mazes(cells, starts, goals), seed=attempt, device=device)
        return [_plan(found, k) for k in range(len(cells))]

    return batched_by_shape(solve)


def _plan(answers: Answers, i: int) -> Plan:
    moves = int(answers.n_moves[i])
    if moves < 0:
        return Plan(PlanStatus.TIMED_OUT)
    path = tuple((int(r), int(c)) for r, c in answers.cells[i, : moves + 1])
    return Plan(PlanStatus.SOLVED, path, float(moves))
