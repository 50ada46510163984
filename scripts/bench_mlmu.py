"""MLM-U beside its twins: `python -m pilotage.scripts.bench_mlmu --grid 3 --minutes 2`.

Trains one encoder-decoder (arXiv:2412.05117) per objective on depth-first mazes: the same weights
to begin with, the same mazes in the same order, the same number of updates, the same cost. Prints
how many paths in mazes of held-out layouts are exact, shortest and valid, with 95 % intervals, and
how many exact in mazes of the training. With `--out` the networks are kept, and an interrupted run
goes on; `--ask TEXT --load FOLDER` prints what a network says of one maze in the words of
`maze-dataset`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import torch

from pilotage.envs.maze import dfs, read_tokens, split_of
from pilotage.envs.maze.endpoints import anywhere
from pilotage.envs.maze.splits import SPLITS
from pilotage.episodes.statistics import wilson_interval
from pilotage.planners.mlmu import (
    MazeNet,
    MazeNetConfig,
    Mazes,
    MlmuRecipe,
    Objective,
    Progress,
    PromptKind,
    answer,
    load_net,
    save_net,
    score,
    train_mlmu,
)
from pilotage.scripts.trainings import shipped

SHIPPED = shipped("mlmu-5")
_BLOCK = 20_000  # mazes drawn at once
_TIMED_UPDATES = 10


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    a = _arguments(argv)
    if a.ask:
        return _ask(a.load, a.ask)
    torch.set_num_threads(a.threads)
    train = draw_mazes("train", a.train_mazes, a.grid, seed=a.seed)
    test = distinct(draw_mazes("test", a.test_mazes, a.grid, seed=a.seed))
    objectives = [Objective(name) for name in a.objective or ("mlm-u", "next-token")]
    configs = [
        MazeNetConfig(a.grid, objective, a.width, a.layers, a.heads, a.prompt)
        for objective in objectives
    ]
    recipe = MlmuRecipe(1, a.batch, a.learning_rate, seed=a.seed)
    n_updates = a.updates or _updates_in(a.minutes, train, configs[0], recipe, a.device)
    recipe = MlmuRecipe(n_updates, a.batch, a.learning_rate, seed=a.seed)
    print(
        f"{a.grid} x {a.grid} depth-first mazes: {len(train)} to train on ({n_layouts(train)} "
        f"layouts), {len(test)} to test ({n_layouts(test)} other layouts); {n_updates} updates of "
        f"{a.batch} mazes, width {a.width}, {a.layers} + {a.layers} layers, told by {a.prompt}, "
        f"seed {a.seed}\n"
    )
    print(
        "| objective | parameters | updates | training FLOPs | exact (95 %) "
        "| optimal (95 %) | valid (95 %) | exact, trained on |"
    )
    print("|---|---:|---:|---:|---|---|---|---:|", flush=True)
    try:
        for config in configs:
            _row(config, recipe, train, test, a.out, a.device)
    except ValueError as error:  # what lies in --out is of another run
        print(f"bench_mlmu: {error}", file=sys.stderr)
        return 2
    return 0


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--grid", type=int, default=3, help="rows and columns")
    parser.add_argument(
        "--objective", action="append", choices=[o.value for o in Objective],
        help="may be given again; mlm-u and next-token by default",
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=2.0, help="of training, per objective")
    parser.add_argument("--updates", type=int, help="instead of --minutes: repeatable")
    parser.add_argument("--train-mazes", type=int, default=100_000)
    parser.add_argument("--test-mazes", type=int, default=2_000)
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--layers", type=int, default=2, help="of encoder and of decoder")
    parser.add_argument("--heads", type=int, default=4)
    parser.add_argument(
        "--prompt", default="edges", choices=[kind.value for kind in PromptKind],
        help="how a maze is told: as published, or a token a cell with its open sides",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=3e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="folder for networks and unfinished trainings")
    parser.add_argument("--ask", metavar="TEXT", help="a maze, as maze-dataset writes it")
    parser.add_argument("--load", type=Path, help="folder of the network that is asked")
    a = parser.parse_args(argv)
    if a.grid < 3:
        parser.error(f"--grid must be at least 3, got {a.grid}: smaller mazes are all alike")
    if min(a.train_mazes, a.test_mazes, a.batch, a.minutes, a.updates or 1) <= 0:
        parser.error("numbers of mazes, minutes and updates must be positive")
    if bool(a.ask) != bool(a.load):
        parser.error("--ask and --load go together: a maze, and the network to ask")
    return a


def draw_mazes(split: str, n: int, size: int, *, seed: int = 0) -> Mazes:
    """`n` depth-first mazes of a split ("train", "val", "test"), endpoints uniform and different.

    A layout and its turned and mirrored copies belong to one split, by a hash of the layout. Maze k
    is a function of split, size, seed and k alone.
    """
    kept: list[Mazes] = []
    first = seed << 40
    while sum(map(len, kept)) < n:
        keys = torch.arange(first, first + _BLOCK)
        first += _BLOCK
        cells = dfs(keys, size, size)
        mine = torch.from_numpy(split_of(cells.numpy()) == SPLITS.index(split))
        if not mine.any():
            raise ValueError(f"no {size} x {size} maze is in split {split!r}; take a larger size")
        ends = anywhere(cells[mine], keys[mine])
        kept.append(Mazes(cells[mine].numpy(), ends.starts.numpy(), ends.goals.numpy()))
    cells, starts, goals = (
        np.concatenate([getattr(mazes, name) for mazes in kept])[:n]
        for name in ("cells", "starts", "goals")
    )
    return Mazes(cells, starts, goals)


def distinct(mazes: Mazes) -> Mazes:
    """Each maze with its endpoints once, in the order of the first time."""
    rows = np.concatenate([mazes.cells.reshape(len(mazes), -1), mazes.starts, mazes.goals], axis=1)
    return mazes[np.sort(np.unique(rows, axis=0, return_index=True)[1])]


def n_layouts(mazes: Mazes) -> int:
    """How many different mazes there are, whatever their endpoints."""
    return len(np.unique(mazes.cells.reshape(len(mazes), -1), axis=0))


def _updates_in(
    minutes: float, mazes: Mazes, config: MazeNetConfig, recipe: MlmuRecipe, device: str
) -> int:
    """How many updates the time is enough for, measured on networks that are thrown away."""
    few = mazes[: 4 * recipe.batch_mazes]
    train_mlmu(few, config, recipe, device=device)  # the first update is slow
    timed = MlmuRecipe(_TIMED_UPDATES, recipe.batch_mazes, recipe.learning_rate)
    begin = time.perf_counter()
    train_mlmu(few, config, timed, device=device)
    return max(1, int(60 * minutes * _TIMED_UPDATES / (time.perf_counter() - begin)))


def _row(
    config: MazeNetConfig, recipe: MlmuRecipe, train: Mazes, test: Mazes, out: Path | None,
    device: str,
) -> None:  # fmt: skip
    name = config.objective.value
    last: list[Progress] = []

    def tell(progress: Progress, net: MazeNet) -> None:
        last.append(progress)
        print(
            f"{name}: update {progress.n_updates}, loss {progress.loss:.4f}",
            file=sys.stderr, flush=True,
        )  # fmt: skip

    state = out / f"{name}-{config.size}-state.safetensors" if out else None
    begin = time.perf_counter()
    net = train_mlmu(
        train, config, recipe, device=device, every=max(1, recipe.n_updates // 10), tell=tell,
        state=state,
    )  # fmt: skip
    seconds = time.perf_counter() - begin
    n_parameters = sum(p.numel() for p in net.parameters())
    found = score(test, answer(net, test, device=device))
    known = train[: len(test)]
    of_known = score(known, answer(net, known, device=device))
    if out:
        save_net(net.cpu(), out / f"{name}-{config.size}", {"recipe": asdict(recipe)})
    cells = " | ".join(_share(n, found.n) for n in (found.n_exact, found.n_optimal, found.n_valid))
    print(
        f"| {name} | {n_parameters} | {recipe.n_updates} | {last[-1].flops:.2e} | {cells} | "
        f"{100 * of_known.n_exact / of_known.n:.1f} |",
        flush=True,
    )
    print(f"{name}: {seconds:.0f} s, faults {found.faults}", file=sys.stderr, flush=True)


def _share(n_yes: int, n: int) -> str:
    within = wilson_interval(n_yes, n)
    return f"{100 * n_yes / n:.1f} ({100 * within.low:.1f}, {100 * within.high:.1f})"


def _ask(folder: Path, text: str) -> int:
    """Print the network's path and the judge's word; 0 when it is valid, 1 when not, 2 for a text
    or a network that is none."""
    try:
        net = load_net(folder)
        maze = read_tokens(text)
        one = Mazes(maze.cells[None], np.array([maze.start]), np.array([maze.goal]))
        found = answer(net, one)
        verdict = score(one, found)
    except (ValueError, OSError) as error:
        print(f"bench_mlmu: {error}", file=sys.stderr)
        return 2
    path = found.cells[0, : found.n_moves[0] + 1].tolist()
    print(" ".join(f"({r},{c})" for r, c in path) or "no path")
    (fault,) = verdict.faults or [""]
    print("optimal" if verdict.n_optimal else "valid" if verdict.n_valid else fault)
    return 0 if verdict.n_valid else 1


if __name__ == "__main__":
    raise SystemExit(main())
