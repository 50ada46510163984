"""Is a part needed to learn to plan? `python -m pilotage.scripts.bench_clamped_training`.

ALPINE networks (arXiv:2405.09220) of two layers learn a random graph while neurons are held at 0
from the first update, and let go half way ("artificial optogenetics", arXiv:2404.07129): the FFN of
one layer, both FFNs, or, as a control of the same number, a random half of all neurons. All
networks of a seed see the same graph, start and batches. Test pairs are judged

- half way, as trained: what is learnt without the part (is it necessary?);
- at the end, with nothing held: what a late start costs;
- at the end with each part switched off: who does the work now? Where switching off the part that
  was held costs less than in the free network, the work has moved and stays where it went.

Of sampled lines (temperature 1): valid, the share that are paths to the target; edges, the share of
steps that follow an edge (adjacency); leads, the share of these after which the target is still
reachable (reachability).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from multiprocessing import get_context

import numpy as np
import torch

from pilotage.envs.pathgraph.alpine import AlpineData, make_dataset, reachable
from pilotage.planners.alpine import PathGPT, complete, score
from pilotage.planners.alpine.training import AlpineRecipe, train_alpine
from pilotage.scripts.planner_sites import PATH_NET
from pilotage.steering import describe_model
from pilotage.steering.clamp_specs import hold_units, random_units
from pilotage.steering.training_clamps import Release, TrainingClamp, TrainingClamps

N_LAYERS = 2
CONDITIONS = ("free", "FFN 0", "FFN 1", "random half", "both FFNs")
PARTS = CONDITIONS[1:4]  # switched off one at a time at the end


@dataclass(frozen=True)
class Setting:
    """Sizes of one training."""

    nodes: int = 40
    edge_share: float = 0.2
    train_fraction: float = 0.3
    walks: int = 10
    d_model: int = 64
    iterations: int = 1000
    learning_rate: float = 2e-3
    release_share: float = 0.1  # of the training, from half way on

    @property
    def half(self) -> int:
        return self.iterations // 2

    @property
    def release(self) -> Release:
        return Release(self.half, self.half + round(self.release_share * self.iterations))


@dataclass(frozen=True)
class Judged:
    """Shares over a network's lines for the test pairs; NaN where there is nothing to count."""

    valid: float
    edges: float
    leads: float


def held(part: str, net: PathGPT, seed: int) -> list[TrainingClamp]:
    """The clamps of a condition; empty for "free"."""
    width = net.config.ff_width
    units: dict[int, torch.Tensor] = {}
    if part == "random half":
        chosen = random_units(width * N_LAYERS // 2, width * N_LAYERS, seed)
        units = {k: chosen[chosen // width == k] % width for k in range(N_LAYERS)}
    elif part == "both FFNs":
        units = {k: torch.arange(width) for k in range(N_LAYERS)}
    elif part != "free":
        units = {int(part.removeprefix("FFN ")): torch.arange(width)}
    return [hold_units(f"layers.{k}.mlp.down_proj:in", u, 0.0) for k, u in units.items() if len(u)]


def judge(net: PathGPT, data: AlpineData) -> Judged:
    """Lines for all test pairs, against the graph."""
    pairs = list(data.test)
    paths = complete(net, pairs)
    leads = reachable(data.graph) | np.eye(len(data.graph), dtype=bool)
    n_steps = n_edges = n_leads = 0
    for (_, target), path in zip(pairs, paths, strict=True):
        for here, there in pairwise(path):
            edge = data.graph.has_edge(here, there)
            n_steps += 1
            n_edges += edge
            n_leads += bool(edge and leads[there, target])
    return Judged(
        score(data.graph, pairs, paths).valid,
        n_edges / n_steps if n_steps else float("nan"),
        n_leads / n_edges if n_edges else float("nan"),
    )


def run(condition: str, seed: int, s: Setting) -> tuple[dict[str, Judged], float]:
    """One training, judged "half way", at the "end", and with each part off; its seconds of CPU."""
    torch.set_num_threads(1)
    started = time.process_time()
    data = make_dataset(
        s.nodes, p=s.edge_share, train_fraction=s.train_fraction, n_walks=s.walks, seed=seed
    )
    found: dict[str, Judged] = {}

    def clamp(net: PathGPT) -> TrainingClamps:
        describe_model(net, PATH_NET)
        return TrainingClamps(net, held(condition, net, seed), s.release)

    def tell(step: int, loss: float, net: PathGPT) -> None:
        if step == s.half:
            found["half way"] = judge(net, data)

    net = train_alpine(
        data,
        AlpineRecipe(s.iterations, learning_rate=s.learning_rate, seed=seed),
        n_layers=N_LAYERS,
        d_model=s.d_model,
        every=s.half,
        tell=tell,
        clamp=None if condition == "free" else clamp,
    )
    describe_model(net, PATH_NET)
    found["end"] = judge(net, data)
    for part in PARTS:
        with TrainingClamps(net, held(part, net, seed)):
            found[f"{part} off"] = judge(net, data)
    return found, time.process_time() - started


def table(results: Mapping[str, Sequence[Mapping[str, Judged]]], value: str) -> str:
    """Markdown: a row a condition, a column a moment; percent, mean over seeds (least to most)."""
    moments = list(next(iter(results.values()))[0])
    lines = [f"| held until half way | {' | '.join(f'{value}, {m}' for m in moments)} |"]
    lines.append("|---|" + "---|" * len(moments))
    for condition, runs in results.items():
        cells = []
        for moment in moments:
            shares = 100 * np.array([getattr(r[moment], value) for r in runs])
            cells.append(f"{shares.mean():.1f} ({shares.min():.1f} to {shares.max():.1f})")
        lines.append(f"| {condition} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--nodes", type=int, default=Setting.nodes)
    parser.add_argument("--iterations", type=int, default=Setting.iterations)
    parser.add_argument("--width", type=int, default=Setting.d_model)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--processes", type=int, default=2, help="trainings side by side")
    a = parser.parse_args(argv)
    if a.seeds < 1 or a.iterations < 2 or a.processes < 1:
        print(
            f"bench_clamped_training: --seeds {a.seeds}, --iterations {a.iterations} and "
            f"--processes {a.processes} must be at least 1, 2 and 1",
            file=sys.stderr,
        )
        return 2
    setting = Setting(nodes=a.nodes, iterations=a.iterations, d_model=a.width)
    wanted = [(name, seed) for seed in range(a.seeds) for name in CONDITIONS]
    results: dict[str, list[dict[str, Judged]]] = {name: [] for name in CONDITIONS}
    minutes = 0.0
    with ProcessPoolExecutor(a.processes, mp_context=get_context("spawn")) as pool:
        runs = [pool.submit(run, name, seed, setting) for name, seed in wanted]
        for (name, seed), future in zip(wanted, runs, strict=True):
            judged, seconds = future.result()
            results[name].append(judged)
            minutes += seconds / 60
            shares = {moment: round(j.valid, 3) for moment, j in judged.items()}
            print(f"seed {seed}, {name}: {shares}", file=sys.stderr, flush=True)
    until = setting.release
    print(
        f"{a.seeds} seeds, {a.nodes} nodes, {a.iterations} updates, held until {until.begin}, let "
        f"go until {until.end}; {minutes:.1f} minutes of one core\n"
    )
    for value in ("valid", "edges", "leads"):
        print(table(results, value), end="\n\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
