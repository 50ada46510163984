"""Lines completed by a network, or by a perfect memoriser; how many are paths, by degree."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import networkx as nx
import numpy as np
import torch

from pilotage.envs.pathgraph.alpine import END, FIRST_NODE, PAD, Pair, read_line
from pilotage.planners.alpine.model import PathGPT
from pilotage.planners.plan import Plan, PlanStatus
from pilotage.planners.problems import GraphPlanner, GraphProblem
from pilotage.planners.validate import check_path


@torch.inference_mode()
def complete(
    model: PathGPT,
    pairs: Sequence[Pair],
    *,
    seed: int = 0,
    temperature: float = 1.0,
    device: str = "cpu",
) -> list[list[int]]:
    """A path for each (source, target), which may be wrong; temperature 0 takes the likeliest.

    The random numbers of a line depend on the seed and its own pair alone, so that a line is the
    same in any batch. A line without an end within `n_positions` is cut there.
    """
    if temperature < 0:
        raise ValueError(f"temperature must be >= 0, got {temperature}")
    if not pairs:
        return []
    longest = model.config.n_positions
    noise = np.stack([_gumbel(seed, pair, longest, model.config.vocab_size) for pair in pairs])
    lines = torch.tensor(pairs, device=device) + FIRST_NODE
    done = torch.zeros(len(pairs), dtype=torch.bool, device=device)
    while lines.shape[1] < longest and not done.all():
        logits = model(lines)[:, -1].float()
        logits[:, PAD] = -torch.inf
        if temperature > 0:
            drawn = torch.from_numpy(noise[:, lines.shape[1]]).to(device)
            logits = logits / temperature + drawn
        chosen = torch.where(done, torch.full_like(lines[:, 0], PAD), logits.argmax(-1))
        lines = torch.cat([lines, chosen[:, None]], dim=1)
        done |= chosen == END
    return [read_line(line)[2] for line in lines.tolist()]


def _gumbel(seed: int, pair: Pair, length: int, n_tokens: int) -> np.ndarray:
    rng = np.random.default_rng([21, seed, *pair])
    return rng.gumbel(size=(length, n_tokens)).astype(np.float32)


def memoriser(
    adjacent: np.ndarray, observed: np.ndarray, pairs: Sequence[Pair], *, seed: int = 0
) -> list[list[int]]:
    """The ceiling of a learner that remembers all it saw and infers nothing.

    adjacent [i, k] and observed [t, k], bool, as `envs.pathgraph.alpine.observations` gives them.
    From i it goes to any k that is adjacent and was seen on a path to t; to any adjacent k where
    there is none such; it stops at t, at a dead end, and after n moves.
    """
    rng = np.random.default_rng([22, seed])
    paths = []
    for source, target in pairs:
        path = [source]
        while path[-1] != target and len(path) <= len(adjacent):
            here = adjacent[path[-1]]
            options = np.flatnonzero(here & observed[target])
            options = options if len(options) else np.flatnonzero(here)
            if not len(options):
                break
            path.append(int(options[rng.integers(len(options))]))
        paths.append(path)
    return paths


@dataclass(frozen=True)
class Score:
    """Shares of valid and of shortest paths, and per degree (valid, number of pairs)."""

    n: int
    valid: float
    optimal: float
    by_degree: Mapping[int, tuple[float, int]]


def score(
    graph: nx.DiGraph,
    pairs: Sequence[Pair],
    paths: Sequence[Sequence[int]],
    degrees: Mapping[Pair, int] | None = None,
) -> Score:
    """Judge paths with `validate.check_path`. ValueError when paths and pairs differ in number,
    or there are none."""
    if len(pairs) != len(paths):
        raise ValueError(f"{len(paths)} paths for {len(pairs)} pairs")
    lengths = dict(nx.all_pairs_shortest_path_length(graph))
    found = [
        check_path(graph, path, s, t, distance=float(lengths[s][t]))
        for (s, t), path in zip(pairs, paths, strict=True)
    ]
    valid = np.array([verdict.is_valid for verdict in found], dtype=bool)
    optimal = np.array([bool(verdict.is_optimal) for verdict in found], dtype=bool)
    of = np.array([degrees[pair] if degrees else 0 for pair in pairs], dtype=int)
    groups = {int(d): (float(valid[of == d].mean()), int((of == d).sum())) for d in np.unique(of)}
    if not len(pairs):
        raise ValueError("no pairs to score")
    groups = groups if degrees else {}
    return Score(len(pairs), float(valid.mean()), float(optimal.mean()), groups)


def learned_graph_planner(model: PathGPT, *, temperature: float = 1.0) -> GraphPlanner:
    """For `verified.VerifiedPlanner`: what the network says, drawn anew at each attempt.

    The network knows one graph, the one it was trained on or built from; what it says of another
    is for the check to find out.
    """

    def plan(problems: Sequence[GraphProblem], attempt: int) -> list[Plan]:
        pairs = [(_number(p.start, model), _number(p.goal, model)) for p in problems]
        paths = complete(model, pairs, seed=attempt, temperature=temperature)
        return [
            Plan(PlanStatus.SOLVED, tuple(path), float(len(path) - 1))
            if path
            else Plan(PlanStatus.TIMED_OUT)
            for path in paths
        ]

    return plan


def _number(node: object, model: PathGPT) -> int:
    n = model.config.vocab_size - FIRST_NODE
    if not isinstance(node, (int, np.integer)) or not 0 <= node < n:
        raise ValueError(f"node {node!r} is none of the {n} that the network knows, 0 to {n - 1}")
    return int(node)
