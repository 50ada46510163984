"""Train a planner: `pilotage train mlmu`, `alpine`, `stars`, `tdb` or `cscg`.

A training that was stopped goes on by the same command. Its folder holds the live curves
(`log.jsonl`) and, at the end, the checkpoint: `net.safetensors`, and `net.json` with the command,
the options, and how the planner did on what it was not trained on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilotage.envs.pathgraph.aliased import ACTIONS
from pilotage.envs.pathgraph.alpine import degree
from pilotage.planners import alpine, mlmu, tdb
from pilotage.planners.alpine.checkpoint import save_net as save_alpine
from pilotage.planners.alpine.training import AlpineRecipe, train_alpine
from pilotage.planners.cscg import CSCG, learn_map
from pilotage.planners.cscg.checkpoint import save_net as save_cscg
from pilotage.planners.cscg.training import train_cscg
from pilotage.planners.tdb.checkpoint import save_net as save_tdb
from pilotage.scripts.bench_alpine import dataset_of, read_outs
from pilotage.scripts.bench_mlmu import distinct, draw_mazes
from pilotage.scripts.bench_tdb import draw_walk, map_row, row_of
from pilotage.scripts.clamping import path_net_clamps
from pilotage.scripts.train_stars import Stars, run_stars
from pilotage.scripts.trainings import Run, read_flags


@dataclass(frozen=True)
class Mlmu:
    """MLM-U and its twins on depth-first mazes (arXiv:2412.05117)."""

    out: str = "runs/train/mlmu"
    grid: int = 5
    objective: str = "mlm-u"
    updates: int = 10_000
    train_mazes: int = 100_000
    test_mazes: int = 2_000
    width: int = 64
    layers: int = 2
    heads: int = 4
    batch: int = 16
    learning_rate: float = 3e-3
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    every: int = 200
    prompt: str = "edges"  # or "walls": a token a cell, with its open sides


@dataclass(frozen=True)
class Alpine:
    """Next-token planning on a random DAG, or on Blocksworld's graph (arXiv:2405.09220)."""

    out: str = "runs/train/alpine"
    nodes: int = 100
    train_fraction: float = 0.1
    walks: int = 10
    iterations: int = 10_000
    layers: int = 1
    heads: int = 1
    clamp: str = ""  # what is held while it learns, and until when (`steering/clamp_specs.py`)
    release: str = ""
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    every: int = 500
    graph: str = "dag"  # or "blocksworld": 4 blocks, 73 arrangements; `nodes` does not count


@dataclass(frozen=True)
class Tdb:
    """A transformer with discrete bottlenecks in an aliased room (arXiv:2401.05946)."""

    out: str = "runs/train/tdb"
    height: int = 6
    width: int = 8
    symbols: int = 4
    steps: int = 60_000
    updates: int = 3000
    batch: int = 16
    learning_rate: float = 3e-3
    free_share: float = 0.6
    noise: float = 0.3
    context: int = 40
    n_gram: int = 8
    ahead: int = 3
    bottlenecks: int = 1
    codes: int = 192
    d_model: int = 64
    layers: int = 2
    test_steps: int = 10_000
    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    every: int = 50


@dataclass(frozen=True)
class Cscg:
    """A clone-structured model of an aliased room (Nature Communications 12:2392)."""

    out: str = "runs/train/cscg"
    height: int = 6
    width: int = 8
    symbols: int = 4
    clones: int = 70
    steps: int = 10_000
    pseudocount: float = 2e-3
    test_steps: int = 10_000
    seed: int = 0
    threads: int = 1
    every: int = 20


def run_mlmu(o: Mlmu) -> Path:
    """Train on mazes; test on other layouts."""
    run = Run("mlmu", o)
    train = draw_mazes("train", o.train_mazes, o.grid, seed=o.seed)
    test = distinct(draw_mazes("test", o.test_mazes, o.grid, seed=o.seed))
    config = mlmu.MazeNetConfig(
        o.grid, mlmu.Objective(o.objective), o.width, o.layers, o.heads, mlmu.PromptKind(o.prompt)
    )
    net = mlmu.train_mlmu(
        train,
        config,
        mlmu.MlmuRecipe(o.updates, o.batch, o.learning_rate, seed=o.seed),
        device=o.device,
        every=o.every,
        tell=lambda p, _: run.log.rounded({"update": p.n_updates, "loss": p.loss}),
        state=run.state,
    )
    found = mlmu.score(test, mlmu.answer(net, test, device=o.device))
    shares = {"exact": found.n_exact, "optimal": found.n_optimal, "valid": found.n_valid}
    told = {"mazes": found.n} | {name: round(n / found.n, 4) for name, n in shares.items()}
    mlmu.save_net(net.cpu(), run.out, run.about(told))
    return run.out


def run_alpine(o: Alpine) -> Path:
    """Train on lines; test on the pairs that have none."""
    run = Run("alpine", o)
    data = dataset_of(
        o.graph, o.nodes, train_fraction=o.train_fraction, n_walks=o.walks, seed=o.seed
    )
    net = train_alpine(
        data,
        AlpineRecipe(n_iterations=o.iterations, seed=o.seed),
        n_layers=o.layers,
        n_heads=o.heads,
        device=o.device,
        every=o.every,
        tell=lambda step, loss, _: run.log.rounded({"iteration": step, "loss": loss}),
        state=run.state,
        clamp=path_net_clamps(o.clamp, o.release),
    )
    pairs, degrees = list(data.test), degree(data)
    told: dict[str, Any] = {"pairs": len(pairs)}
    for name, temperature in (("sampled", 1.0), ("likeliest", 0.0)):
        paths = alpine.complete(net, pairs, temperature=temperature, device=o.device)
        found = alpine.score(data.graph, pairs, paths, degrees)
        by_degree = {str(d): round(share, 4) for d, (share, _) in found.by_degree.items()}
        told[name] = {
            "valid": round(found.valid, 4),
            "optimal": round(found.optimal, 4),
            "valid_by_degree": by_degree,
        }
    if o.layers == o.heads == 1:
        told["read_outs"] = read_outs(net.cpu(), data)
    save_alpine(net.cpu(), run.out, run.about(told))
    return run.out


def run_tdb(o: Tdb) -> Path:
    """Train on a random walk; test on another in the same room."""
    run = Run("tdb", o)
    walk = draw_walk(o.height, o.width, o.symbols, o.steps, seed=o.seed, number=0)
    config = tdb.TDBConfig(
        o.symbols,
        len(ACTIONS),
        context=o.context,
        n_ahead=o.ahead,
        n_bottlenecks=o.bottlenecks,
        n_codes=o.codes,
        d_model=o.d_model,
        n_layers=o.layers,
        n_gram=o.n_gram,
    )
    recipe = tdb.TdbRecipe(
        o.updates,
        o.batch,
        o.learning_rate,
        free_share=o.free_share,
        noise=o.noise,
        seed=o.seed,
    )

    def tell(p: tdb.Progress, _: tdb.TDB) -> None:
        run.log.rounded(
            {"update": p.n_updates, "loss": p.loss, "accuracy": p.accuracy, "codes": p.n_codes}
        )

    net = tdb.train_tdb(
        walk.observations,
        walk.actions,
        config,
        recipe,
        device=o.device,
        every=o.every,
        tell=tell,
        state=run.state,
    ).cpu()
    test = draw_walk(o.height, o.width, o.symbols, o.test_steps, seed=o.seed, number=1)
    save_tdb(net, run.out, run.about(row_of(net, test, n_plans=500)))
    return run.out


def run_cscg(o: Cscg) -> Path:
    """Learn from a random walk; the likelihood of another, and the map of the first."""
    run = Run("cscg", o)
    sizes = (o.height, o.width, o.symbols)
    walk = draw_walk(*sizes, o.steps, seed=o.seed, number=0)
    test = draw_walk(*sizes, o.test_steps, seed=o.seed, number=1)
    model = CSCG(o.symbols, o.clones, len(ACTIONS), seed=o.seed)
    train_cscg(
        model,
        walk.observations,
        walk.actions,
        pseudocount=o.pseudocount,
        every=o.every,
        tell=lambda k, bits: run.log.rounded({"iteration": k, "bits_per_step": bits}),
        state=run.state,
    )
    new = model.bits_per_step(test.observations, test.actions)
    model.refine(walk.observations, walk.actions)
    found = learn_map(model, walk.observations, walk.actions)
    told = map_row(found, walk.room, walk.cells, 500)
    save_cscg(model, run.out, run.about({"bits_per_step_of_a_new_walk": round(new, 4), **told}))
    return run.out


PLANNERS: dict[str, tuple[type[Any], Callable[[Any], Path]]] = {
    "mlmu": (Mlmu, run_mlmu),
    "alpine": (Alpine, run_alpine),
    "stars": (Stars, run_stars),
    "tdb": (Tdb, run_tdb),
    "cscg": (Cscg, run_cscg),
}


def main(verb: str, argv: Sequence[str] | None = None) -> int:
    """Train one of `PLANNERS`; prints the checkpoint's folder."""
    kind, run = PLANNERS[verb]
    options = read_flags(kind, kind.__doc__, argv)
    print(run(options))
    return 0
