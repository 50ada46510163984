"""Maps of aliased rooms: `python -m pilotage.scripts.bench_cscg --seeds 0,1,2`.

Learns a clone-structured graph from a random walk in a room whose cells look alike, and prints its
edges against the truth, and how its plans do when they are carried out in the room.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import networkx as nx
import numpy as np

from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom, random_room, random_walk
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.tables import to_markdown
from pilotage.planners.cscg import CSCG, LearnedMap, learn_map, score_map
from pilotage.planners.maps import cells_of, main_states


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--height", type=int, default=6)
    parser.add_argument("--width", type=int, default=8)
    parser.add_argument("--symbols", type=int, default=4)
    parser.add_argument("--clones", type=int, default=70)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--pseudocount", type=float, default=2e-3)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--plans", type=int, default=500, help="pairs of cells, a seed")
    a = parser.parse_args(argv)
    _compile()
    rows = [_row(a, int(seed)) for seed in a.seeds.split(",")]
    print(
        f"{a.height} x {a.width} cells, {a.symbols} symbols, {a.clones} clones a symbol, "
        f"{a.steps} random steps\n"
    )
    print(to_markdown(rows))
    return 0


def _compile() -> None:
    """Numba compiles on a toy, so that the table's seconds are of the work."""
    room = random_room(2, 2, 2, seed=0)
    seen, actions, _ = random_walk(room, 50, seed=0)
    model = CSCG(2, 3, len(ACTIONS), seed=0)
    model.fit(seen, actions, max_iterations=2)
    model.refine(seen, actions)


def _row(a: argparse.Namespace, seed: int) -> dict[str, Any]:
    room = random_room(a.height, a.width, a.symbols, seed=seed)
    seen, actions, cells = random_walk(room, a.steps, seed=seed + 1000)
    model = CSCG(room.n_symbols, a.clones, len(ACTIONS), seed=seed)
    started = time.perf_counter()
    fit = model.fit(seen, actions, pseudocount=a.pseudocount)
    soft = score_map(learn_map(model, seen, actions), cells, room.transitions())
    bits_after_em = fit.bits[-1]
    refined = model.refine(seen, actions)
    seconds = time.perf_counter() - started
    found = learn_map(model, seen, actions)
    score = score_map(found, cells, room.transitions())
    solved, ratio = try_plans(found, room, cells, n=a.plans, seed=seed)
    rate = wilson_interval(solved, a.plans)
    return {
        "seed": seed,
        "EM iterations": fit.n_iterations,
        "seconds": f"{seconds:.1f}",
        "bits/step EM": f"{bits_after_em:.4f}",
        "refined": f"{refined.bits[-1]:.5f}",
        "states / cells": f"{score.n_states} / {score.n_cells}",
        "purity": f"{score.purity:.3f}",
        "edge F1 EM": f"{soft.f1:.3f}",
        "edge F1 refined": f"{score.f1:.3f}",
        "plans that arrive": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
        "length / shortest": f"{ratio:.3f}",
    }


def try_plans(
    found: LearnedMap, room: AliasedRoom, cells: np.ndarray, *, n: int, seed: int
) -> tuple[int, float]:
    """Plans between random cells, carried out in the room: how many end in the goal's cell, and the
    mean of their length over the true shortest (of those). A cell is known by the state that it was
    most often decoded to; plans from or to a cell that is not on the map do not arrive."""
    rng = np.random.default_rng(seed)
    places = cells_of(found, cells)
    states = {places[state]: state for state in main_states(found, places)}
    leads, graph = room.transitions(), room.graph()
    arrived, ratios = 0, []
    for _ in range(n):
        start, goal = rng.choice(room.n_cells, size=2, replace=False).tolist()
        if start not in states or goal not in states:
            continue
        plan, actions = found.plan(states[start], states[goal])
        cell = start
        for action in actions:
            cell = int(leads[cell, action])
        if plan.is_solved and cell == goal:
            arrived += 1
            ratios.append(len(actions) / nx.shortest_path_length(graph, start, goal))
    return arrived, float(np.mean(ratios)) if ratios else float("nan")


if __name__ == "__main__":
    raise SystemExit(main())
