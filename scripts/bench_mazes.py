"""Mazes, steps and plans per second, each beside a named peer in the same run.

    python -m pilotage.scripts.bench_mazes [--peer-python PATH] [--device cpu] [--quick]

1. Mazes per second of the batched generators beside `maze-dataset` (one maze a call, as it is
   meant). That package is no dependency: give the interpreter of an environment that has it
   (`python -m venv peer && peer/bin/pip install maze-dataset==1.4.2 'muutils<0.9'`). Without it the
   peer is not measured, and that is said.
2. Steps per second of the maze world: the tensor form (`MazeDynamics`), and the Gymnasium form.
3. Batched exact planning beside networkx and scipy.sparse.csgraph, one maze a call.

All times are processor time of one process with one thread ("--threads" changes that); the median
of three rounds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial

import networkx as nx
import numpy as np
import torch
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order

from pilotage.envs.maze import MazeDynamics, MazeVectorEnv, make_tasks, to_graph
from pilotage.envs.maze.endpoints import anywhere, far_apart
from pilotage.envs.maze.tasks import GENERATORS
from pilotage.planners.grids import solve_grids

PEER_NAMES = {"dfs": "gen_dfs", "wilson": "gen_wilson", "percolation": "gen_percolation"}
PEER_PROGRAM = """
import json, sys, time, warnings
warnings.simplefilter("ignore")
import numpy as np
from maze_dataset.generation import LatticeMazeGenerators
make, size, seconds = getattr(LatticeMazeGenerators, sys.argv[1]), int(sys.argv[2]), 1.0
shape, n = np.array([size, size]), 0
make(shape)
start = time.process_time()
while time.process_time() - start < seconds:
    make(shape)
    n += 1
print(json.dumps(n / (time.process_time() - start)))
"""


def rate(count: int, work: Callable[[], object], rounds: int = 3) -> float:
    """`count` per second of processor time, the median of some rounds; one more warms up."""
    work()
    times = []
    for _ in range(rounds):
        begin = time.process_time()
        work()
        times.append(time.process_time() - begin)
    return count / statistics.median(times)


def peer_rate(python: str | None, family: str, size: int) -> float | None:
    """Mazes per second of maze-dataset, or None without an interpreter or such a generator."""
    if python is None or family not in PEER_NAMES:
        return None
    command = [python, "-c", PEER_PROGRAM, PEER_NAMES[family], str(size)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(f"the peer failed in {python}:\n{result.stderr[-800:]}")
    value: float = json.loads(result.stdout.splitlines()[-1])
    return value


def generators(python: str | None, batch: int, device: str, sizes: list[int]) -> None:
    print(f"mazes per second, batch {batch}, {device}; peer: maze-dataset, one maze a call")
    for family, make in GENERATORS.items():
        for size in sizes:
            keys = torch.arange(batch, device=device)

            def work(m=make, k=keys, s=size) -> None:  # type: ignore[no-untyped-def]
                m(k, s, s)
                if device != "cpu":
                    torch.cuda.synchronize()

            ours, theirs = rate(batch, work), peer_rate(python, family, size)
            beside = "peer not measured" if theirs is None else f"peer {theirs:8.1f}"
            ratio = "" if theirs is None else f"   x{ours / theirs:.0f}"
            print(f"  {family:12} {size:2} x {size:2}   {ours:10.0f}   {beside}{ratio}", flush=True)


def steps(n_slots: int, device: str) -> None:
    print(f"steps per second, {n_slots} slots of 10 x 10, random actions, {device}")
    keys = torch.arange(n_slots, device=device)
    cells = GENERATORS["dfs"](keys, 10, 10)
    ends = anywhere(cells, keys)
    mazes = MazeDynamics(n_slots, 10, 10, device=device)
    forever = torch.full((n_slots,), 2**31 - 1, dtype=torch.int32, device=device)
    mazes.load(keys, cells, ends.starts, ends.goals, forever)
    actions = torch.randint(1, 5, (64, n_slots), device=device)

    def tensors() -> None:
        mazes.live[:] = True  # nobody rests at the goal
        for row in actions:
            mazes.step(row)
        if device != "cpu":
            torch.cuda.synchronize()

    print(f"  tensors (MazeDynamics)          {rate(64 * n_slots, tensors):12.0f}", flush=True)
    for view, n in (("full", 4096), ("local", 4096), ("text", 64)):
        env = MazeVectorEnv(n, view=view, device=device)
        tasks = (make_tasks("train", 64, families=["dfs"]) * -(-n // 64))[:n]
        env.reset(options={"tasks": tasks})
        chosen = np.random.default_rng(0).integers(1, 5, (10, n))

        def gymnasium(e=env, a=chosen) -> None:  # type: ignore[no-untyped-def]
            e.mazes.live[:] = True
            e.mazes.max_steps[:] = 2**31 - 1
            for row in a:
                e.step(row)

        name = f"Gymnasium, {view} view, {n} slots"
        print(f"  {name:31} {rate(10 * n, gymnasium):12.0f}", flush=True)


def planning(batch: int, sizes: list[int]) -> None:
    print(f"shortest paths per second, batch {batch}; peers: one maze a call, graph already built")
    for family in ("dfs", "astar"):
        for size in sizes:
            keys = torch.arange(batch)
            mazes = GENERATORS[family](keys, size, size)
            ends = (far_apart if family == "astar" else anywhere)(mazes, keys)
            good = ends.found
            cells, starts, goals = (x[good].numpy() for x in (mazes, ends.starts, ends.goals))
            few = min(len(cells), 100)
            graphs = [to_graph(cells[i]) for i in range(few)]
            pairs = [(tuple(starts[i].tolist()), tuple(goals[i].tolist())) for i in range(few)]
            sparse = [
                (csr_array(nx.to_scipy_sparse_array(g)), {c: k for k, c in enumerate(g)})
                for g in graphs
            ]

            def with_networkx(g=graphs, p=pairs) -> None:  # type: ignore[no-untyped-def]
                for graph, (a, b) in zip(g, p):
                    nx.shortest_path(graph, a, b)

            def with_scipy(s=sparse, p=pairs) -> None:  # type: ignore[no-untyped-def]
                for (matrix, number), (a, b) in zip(s, p):
                    _, before = breadth_first_order(matrix, number[a])
                    at = number[b]
                    while at != number[a]:
                        at = before[at]

            theirs = {"networkx": rate(few, with_networkx), "scipy": rate(few, with_scipy)}
            for algorithm in ("bfs", "astar"):
                solve = partial(solve_grids, cells, starts, goals, algorithm=algorithm)
                ours = rate(len(cells), solve)
                peers = "   ".join(f"{n} {v:6.0f} x{ours / v:.0f}" for n, v in theirs.items())
                print(
                    f"  {family:6} {size:2} x {size:2} {algorithm:6} {ours:9.0f}   {peers}",
                    flush=True,
                )


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--peer-python", help="interpreter that has maze-dataset")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--quick", action="store_true", help="10 x 10 only")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sizes = [10] if args.quick else [10, 30]
    generators(args.peer_python, args.batch, args.device, sizes)
    steps(65536, args.device)
    planning(args.batch, sizes)


if __name__ == "__main__":
    main()
