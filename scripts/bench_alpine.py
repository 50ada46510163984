"""ALPINE on this machine: `python -m pilotage.scripts.bench_alpine --train-fraction 0.1`.

Trains the one-layer, one-head network on a random DAG (arXiv:2405.09220), and prints its accuracy
by degree beside a perfect memoriser of the same lines and the network built by hand; then how well
graph and observed reachability stand in its weights.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import networkx as nx
import numpy as np

from pilotage.envs.pathgraph.alpine import AlpineData, Pair, degree, make_dataset, observations
from pilotage.envs.pathgraph.blocks_data import make_blocks_dataset
from pilotage.episodes.statistics import wilson_interval
from pilotage.planners.alpine import (
    complete,
    construct,
    memoriser,
    read_adjacency,
    read_reachability,
    score,
    weight_gap,
)
from pilotage.planners.alpine.checkpoint import FORMAT, WHAT, load_net
from pilotage.planners.alpine.model import PathGPT
from pilotage.planners.alpine.training import AlpineRecipe, train_alpine
from pilotage.planners.checkpoints import read_header
from pilotage.scripts.trainings import shipped


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--graph", default="dag", choices=GRAPHS)
    parser.add_argument("--nodes", type=int, default=100, help="of the dag")
    parser.add_argument("--train-fraction", type=float, default=0.1)
    parser.add_argument("--walks", type=int, default=10, help="lines per train pair")
    parser.add_argument("--iterations", type=int, default=10_000)
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--heads", type=int, default=1)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--load", type=Path, help="a checkpoint of `pilotage train alpine` instead")
    a = parser.parse_args(argv)
    if a.load:
        return _loaded(a.load, a.device)
    data = dataset_of(
        a.graph, a.nodes, train_fraction=a.train_fraction, n_walks=a.walks, seed=a.seed
    )
    adjacent, observed = observations(data.lines, len(data.graph))
    print(
        f"{len(data.graph)} nodes, {data.graph.number_of_edges()} edges, {len(data.train)} train "
        f"and {len(data.test)} test pairs, {len(data.lines)} lines\n"
    )

    def tell(step: int, loss: float, model: PathGPT) -> None:
        gaps = ""
        if a.layers == a.heads == 1:
            gaps = f", gap of adjacency {weight_gap(read_adjacency(model), adjacent).gap:.2f}"
            gaps += f", of reachability {weight_gap(read_reachability(model), observed).gap:.2f}"
        print(f"iteration {step}: loss {loss:.4f}{gaps}", file=sys.stderr, flush=True)

    started = time.perf_counter()
    recipe = AlpineRecipe(n_iterations=a.iterations, seed=a.seed)
    model = train_alpine(
        data, recipe, n_layers=a.layers, n_heads=a.heads, device=a.device, tell=tell
    )
    print(f"trained for {time.perf_counter() - started:.0f} s, {a.iterations} iterations\n")
    _table(data, model, adjacent, observed, a.device)
    if a.layers == a.heads == 1:
        _weights(model.cpu(), data)
    return 0


GRAPHS = ("dag", "blocksworld")
SHIPPED = shipped("alpine-100")


def load(folder: Path) -> tuple[PathGPT, AlpineData]:
    """A network that `pilotage train alpine` trained, and its data set. Raises as `load_net`."""
    net = load_net(folder)
    o = read_header(folder, FORMAT, WHAT)["training"]["options"]
    data = dataset_of(
        o.get("graph", "dag"),
        o["nodes"],
        train_fraction=o["train_fraction"],
        n_walks=o["walks"],
        seed=o["seed"],
    )
    return net, data


def dataset_of(
    graph: str, nodes: int, *, train_fraction: float, n_walks: int, seed: int
) -> AlpineData:
    """The data of a random DAG of `nodes`, or of Blocksworld. ValueError for another graph."""
    if graph not in GRAPHS:
        raise ValueError(f"graph must be one of {', '.join(GRAPHS)}, got {graph!r}")
    if graph == "blocksworld":
        return make_blocks_dataset(train_fraction=train_fraction, n_walks=n_walks, seed=seed)
    return make_dataset(nodes, train_fraction=train_fraction, n_walks=n_walks, seed=seed)


def _loaded(folder: Path, device: str) -> int:
    """The tables of a checkpoint; 2 where there is none."""
    try:
        net, data = load(folder)
    except (ValueError, OSError) as error:
        print(f"bench_alpine: {error}", file=sys.stderr)
        return 2
    adjacent, observed = observations(data.lines, len(data.graph))
    _table(data, net.to(device), adjacent, observed, device)
    if net.config.n_layers == net.config.n_heads == 1:
        _weights(net.cpu(), data)
    return 0


def _table(
    data: AlpineData, model: PathGPT, adjacent: np.ndarray, observed: np.ndarray, device: str
) -> None:
    degrees = degree(data)
    pairs = list(data.test)
    rows: dict[str, list[list[int]]] = {
        "trained, sampled": complete(model, pairs, device=device),
        "trained, likeliest token": complete(model, pairs, temperature=0.0, device=device),
        "perfect memoriser": memoriser(adjacent, observed, pairs),
    }
    if nx.is_directed_acyclic_graph(data.graph):
        rows["built by hand"] = complete(construct(data.graph), pairs)
    kinds = sorted(set(degrees.values()))
    print("| test pairs | valid (95 %) | optimal |" + "".join(f" degree {d} |" for d in kinds))
    print("|---|---|---:|" + "---:|" * len(kinds))
    for name, paths in rows.items():
        _row(name, data.graph, pairs, paths, degrees, kinds)


def _row(
    name: str,
    graph: nx.DiGraph,
    pairs: list[Pair],
    paths: list[list[int]],
    degrees: Mapping[Pair, int],
    kinds: list[int],
) -> None:
    found = score(graph, pairs, paths, degrees)
    within = wilson_interval(round(found.valid * found.n), found.n)
    cells = "".join(
        f" {100 * found.by_degree[d][0]:.1f} (n {found.by_degree[d][1]}) |" for d in kinds
    )
    print(
        f"| {name} | {100 * found.valid:.1f} ({100 * within.low:.1f}, {100 * within.high:.1f}) | "
        f"{100 * found.optimal:.1f} |{cells}"
    )


def _weights(model: PathGPT, data: AlpineData) -> None:
    print(
        "\n| read-out | mean where observed | elsewhere | area under the ROC curve | correlation |"
    )
    print("|---|---:|---:|---:|---:|")
    for name, gap in read_outs(model, data).items():
        print(
            f"| {name} | {gap['observed']:.2f} | {gap['unobserved']:.2f} | {gap['roc_area']:.3f} | "
            f"{gap['correlation']:.3f} |"
        )


def read_outs(model: PathGPT, data: AlpineData) -> dict[str, dict[str, float]]:
    """`weight_gap` of each read-out of a network of one layer and one head."""
    adjacent, observed = observations(data.lines, len(data.graph))
    found = {}
    for name, read, truth in (
        ("adjacency", read_adjacency(model), adjacent),
        ("adjacency, through the norms", read_adjacency(model, through_norms=True), adjacent),
        ("observed reachability", read_reachability(model), observed),
    ):
        off = truth[~np.eye(len(truth), dtype=bool)]
        if 0 < off.sum() < off.size:  # else there is nothing to tell apart
            found[name] = {k: round(v, 4) for k, v in asdict(weight_gap(read, truth)).items()}
    return found


if __name__ == "__main__":
    raise SystemExit(main())
