"""Where a learned planner keeps its goal: patched for another one, judged by the graph.

    python -m pilotage.scripts.patch_planners [--alpine FOLDER] [--mlmu FOLDER] [--n 400]

Each network writes a path step by step. At every step it also reads the same line with another
goal, and what it computes there at one site, at some tokens, is put into its own run (activation
patching, interchange). If the path then leads to the other goal, what a goal is passes there. Every
path is checked edge by edge by code that knows no network. Beside each patch stands one of as long
a difference in a random direction.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pilotage.envs.pathgraph.alpine import END as LINE_END
from pilotage.envs.pathgraph.alpine import FIRST_NODE, reachable, read_line
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.tables import to_markdown
from pilotage.planners.alpine import PathGPT
from pilotage.planners.mlmu import MazeNet, Mazes, Objective
from pilotage.planners.mlmu import load_net as load_mazes
from pilotage.planners.mlmu.lines import END as PATH_END
from pilotage.planners.mlmu.lines import PAD, prompts_of, read_paths
from pilotage.planners.mlmu.objectives import encoder_sight
from pilotage.planners.validate import check_path
from pilotage.planners.validate_grids import check_grid_paths
from pilotage.scripts import bench_alpine, bench_mlmu
from pilotage.scripts.bench_mlmu import distinct, draw_mazes
from pilotage.scripts.planner_sites import MAZE_NET, PATH_NET
from pilotage.steering import describe_model
from pilotage.steering.captures import capture
from pilotage.steering.patching import Patch

Masks = Mapping[str, Tensor]  # token group -> bool [B, S]


@dataclass(frozen=True)
class Lines:
    """What a network reads at one step, with its own goal and with the other: logits float [B, V]
    of the next token, and the token groups of the line."""

    own: Callable[[], Tensor]
    other: Callable[[], Tensor]
    groups: Masks


@dataclass(frozen=True)
class Place:
    """A site, and the group of tokens at it."""

    site: str
    group: str


def swapped(net: nn.Module, place: Place, lines: Lines, noise: torch.Generator | None) -> Tensor:
    """The logits of `lines.own` while the place holds what `lines.other` computes there; with
    `noise`, a random direction as far from what was there instead."""
    mask = lines.groups[place.group]
    values = _values(net, place.site, lines.other, mask)
    if noise is not None:
        here = _values(net, place.site, lines.own, mask)
        random = torch.randn(values.shape, generator=noise)
        far = (values - here).norm(dim=-1, keepdim=True)
        values = here + far * random / random.norm(dim=-1, keepdim=True)
    with Patch(net, place.site, values, mask):
        return lines.own()


def _values(net: nn.Module, site: str, run: Callable[[], Tensor], mask: Tensor) -> Tensor:
    with capture(net, [site]) as seen:
        run()
    return seen.activations(site).view(*mask.shape, -1)


@torch.no_grad()
def walk(
    net: nn.Module,
    read: Callable[[Tensor], Lines],
    n: int,
    *,
    longest: int,
    end: int,
    place: Place | None = None,
    noise: torch.Generator | None = None,
) -> np.ndarray:
    """Tokens int64 [n, at most `longest`], the likeliest at each step until all lines have ended.

    `read` makes the lines of a step from the path tokens so far.
    """
    path = torch.zeros(n, 0, dtype=torch.int64)
    while path.shape[1] < longest and not (path == end).any(1).all():
        lines = read(path)
        logits = lines.own() if place is None else swapped(net, place, lines, noise)
        path = torch.cat([path, logits.argmax(-1)[:, None]], dim=1)
    return path.numpy()


# -- next-token planning on one graph --------------------------------------------------------------


def alpine_rows(folder: Path, n: int, seed: int) -> list[dict[str, Any]]:
    """A row a place; `n` held-out pairs, each with another goal that can be reached as well."""
    net, data = bench_alpine.load(folder)
    describe_model(net, PATH_NET)
    triples = _triples(data.test, reachable(data.graph), n, seed)
    starts, goals, others = (torch.tensor(column) for column in zip(*triples))

    def read(path: Tensor) -> Lines:
        own, other = (
            torch.cat([starts[:, None], to[:, None], path - FIRST_NODE], 1) + FIRST_NODE
            for to in (goals, others)
        )
        return Lines(
            lambda: _next_word(net, own), lambda: _next_word(net, other), _line_groups(own)
        )

    def judge(tokens: np.ndarray, to: Tensor) -> np.ndarray:
        paths = [
            read_line([s + FIRST_NODE, t + FIRST_NODE, *line])[2]
            for s, t, line in zip(starts.tolist(), to.tolist(), tokens.tolist())
        ]
        ends = zip(starts.tolist(), to.tolist(), paths)
        return np.array([check_path(data.graph, p, s, t).is_valid for s, t, p in ends])

    places = [
        Place(f"layers.{layer}.{part}", group)
        for layer in range(net.config.n_layers)
        for part in ("resid:in", "self_attn.o_proj:out", "mlp.down_proj:out", "resid:out")
        for group in ("goal", "source", "here")
    ]
    longest = net.config.n_positions - 2
    return _rows(net, read, judge, (goals, others), places, longest, LINE_END, seed)


def _triples(
    pairs: Sequence[tuple[int, int]], reach: np.ndarray, n: int, seed: int
) -> list[tuple[int, int, int]]:
    rng = np.random.default_rng([31, seed])
    found: list[tuple[int, int, int]] = []
    for k in rng.permutation(len(pairs)).tolist():
        start, goal = pairs[k]
        others = np.setdiff1d(np.flatnonzero(reach[start]), [goal])
        if len(others) and len(found) < n:
            found.append((start, goal, int(rng.choice(others))))
    return found


def _next_word(net: PathGPT, lines: Tensor) -> Tensor:
    logits: Tensor = net(lines)[:, -1].clone()
    logits[:, 0] = -torch.inf  # padding
    return logits


def _line_groups(lines: Tensor) -> Masks:
    """The source and the goal at the head of a line, and where the path has come to."""
    places = torch.arange(lines.shape[1]).expand(lines.shape)
    return {
        "source": places == 0,
        "goal": places == 1,
        "here": places == lines.shape[1] - 1,
    }


# -- paths of mazes --------------------------------------------------------------------------------


def maze_rows(folder: Path, n: int, seed: int) -> list[dict[str, Any]]:
    """A row a place of the encoder; `n` held-out mazes, each with another goal drawn."""
    net = load_mazes(folder)
    if net.config.objective is Objective.TEACHERLESS:
        raise ValueError(f"{folder} writes all of a path at once; take one that goes step by step")
    describe_model(net, MAZE_NET)
    size = net.config.size
    mazes = distinct(draw_mazes("test", n, size, seed=seed))
    rng = np.random.default_rng([32, seed])
    towards = Mazes(mazes.cells, mazes.starts, _other_goals(mazes, rng))
    noise = rng.random((len(mazes), 2, 2 * size * size))
    prompts = [
        torch.from_numpy(prompts_of(net.config.prompt, m, size, noise)) for m in (mazes, towards)
    ]
    differ = prompts[0] != prompts[1]

    def read(path: Tensor) -> Lines:
        runs = [lambda prompt=prompt: _next_cell(net, prompt, path) for prompt in prompts]  # type: ignore[misc]
        rest = torch.zeros_like(path, dtype=torch.bool)
        groups = {
            "goal": torch.cat([differ, rest], 1),
            "other prompt": torch.cat([~differ, rest], 1),
            "path": torch.cat([torch.zeros_like(differ), ~rest], 1),
        }
        return Lines(runs[0], runs[1], groups)

    def judge(tokens: np.ndarray, to: Mazes) -> np.ndarray:
        valid: np.ndarray = check_grid_paths(
            to.cells, *read_paths(tokens, size), to.starts, to.goals
        ).valid
        return valid

    sites = ["layers.0.resid:in"]
    sites += [f"layers.{layer}.resid:out" for layer in range(net.config.n_layers)]
    places = [Place(site, group) for site in sites for group in ("goal", "other prompt", "path")]
    longest = size * size + 1
    return _rows(net, read, judge, (mazes, towards), places, longest, PATH_END, seed)


def _other_goals(mazes: Mazes, rng: np.random.Generator) -> np.ndarray:
    """[B, 2]: a cell that is neither start nor goal, uniform among them."""
    h, w = mazes.cells.shape[1:]
    found = np.empty_like(mazes.goals)
    for k, (start, goal) in enumerate(zip(mazes.starts, mazes.goals)):
        taken = [int(r) * w + int(c) for r, c in (start, goal)]
        found[k] = divmod(int(rng.choice(np.setdiff1d(np.arange(h * w), taken))), w)
    return found


def _next_cell(net: MazeNet, prompt: Tensor, path: Tensor) -> Tensor:
    tokens = torch.cat([prompt, path], dim=1)
    seen = torch.ones_like(path, dtype=torch.bool)
    asks = (tokens != PAD)[:, None]
    encoder = encoder_sight(net.config.objective, prompt, seen)
    logits: Tensor = net(tokens, encoder, asks, tokens.shape[1])[:, 0].clone()
    logits[:, PAD] = -torch.inf
    return logits


# -- tables ----------------------------------------------------------------------------------------


def _rows(
    net: nn.Module,
    read: Callable[[Tensor], Lines],
    judge: Callable[[np.ndarray, Any], np.ndarray],
    goals: tuple[Any, Any],
    places: Sequence[Place],
    longest: int,
    end: int,
    seed: int,
) -> list[dict[str, Any]]:
    """`to its goal`, `to the other`: valid paths there; `random`: the same of the random twin."""
    n = len(goals[0])

    def told(place: Place | None, noise: torch.Generator | None = None) -> tuple[str, str]:
        tokens = walk(net, read, n, longest=longest, end=end, place=place, noise=noise)
        own, other = (int(judge(tokens, to).sum()) for to in goals)
        return _share(own, n), _share(other, n)

    own, other = told(None)
    rows = [{"site": "none", "tokens": "", "to its goal": own, "to the other": other}]
    rows[0] |= {"random, to its goal": "", "random, to the other": ""}
    for place in places:
        own, other = told(place)
        mine, theirs = told(place, torch.Generator().manual_seed(seed))
        rows.append(
            {
                "site": place.site,
                "tokens": place.group,
                "to its goal": own,
                "to the other": other,
                "random, to its goal": mine,
                "random, to the other": theirs,
            }
        )
    return rows


def _share(k: int, n: int) -> str:
    within = wilson_interval(k, n)
    return f"{100 * k / n:.1f} ({100 * within.low:.1f}, {100 * within.high:.1f})"


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point; 2 where a folder holds no such network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--alpine", type=Path, default=bench_alpine.SHIPPED)
    parser.add_argument("--mlmu", type=Path, default=bench_mlmu.SHIPPED, help="a maze network")
    parser.add_argument("--n", type=int, default=400, help="pairs, and mazes")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    if a.n < 1:
        parser.error(f"--n must be at least 1, got {a.n}")
    try:
        print(to_markdown(alpine_rows(a.alpine, a.n, a.seed)))
        print(to_markdown(maze_rows(a.mlmu, a.n, a.seed)))
    except (ValueError, FileNotFoundError) as error:
        print(f"patch_planners: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
