"""Maps by a transformer with discrete bottlenecks: `python -m pilotage.scripts.bench_tdb`.

Reads a checkpoint of `pilotage train tdb` (arXiv:2401.05946), walks anew through the room that it
was trained in, and prints how many observations it foresees, its map against the truth, and how
plans on that map do when they are carried out in the room; beside it what a knower of the room
foresees, and a clone-structured model (CSCG) of the walk that the network was trained on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom, random_room, random_walk
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.tables import to_markdown
from pilotage.planners.checkpoints import read_header
from pilotage.planners.cscg import CSCG, LearnedMap, map_walk, score_map
from pilotage.planners.tdb import TDB, accuracy, read_off_map, read_walk
from pilotage.planners.tdb.checkpoint import FORMAT, WHAT, load_net
from pilotage.scripts.bench_cscg import try_plans
from pilotage.scripts.trainings import shipped

SHIPPED = shipped("tdb-room")


@dataclass(frozen=True)
class Walk:
    """A room and a random walk in it: observations, actions, and the true cells."""

    room: AliasedRoom
    observations: np.ndarray
    actions: np.ndarray
    cells: np.ndarray


def draw_walk(
    height: int, width: int, symbols: int, n_steps: int, *, seed: int, number: int
) -> Walk:
    """Walk `number` in the room of a seed, the same room as in `bench_cscg`. 0: of the training, 1:
    what settings are chosen on, 2: test."""
    room = random_room(height, width, symbols, seed=seed)
    return Walk(room, *random_walk(room, n_steps, seed=seed + 1000 * (1 + number)))


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--load", type=Path, default=SHIPPED, help="the checkpoint's folder")
    parser.add_argument("--test-steps", type=int, default=30_000, help="of the new walk")
    parser.add_argument("--plans", type=int, default=500, help="pairs of cells")
    parser.add_argument("--cscg-steps", type=int, default=10_000, help="0: without CSCG")
    a = parser.parse_args(argv)
    try:
        rows = table(a.load, n_steps=a.test_steps, n_plans=a.plans, cscg_steps=a.cscg_steps)
    except (ValueError, OSError) as error:
        print(f"bench_tdb: {error}", file=sys.stderr)
        return 2
    print(to_markdown(rows))
    return 0


def table(folder: Path, *, n_steps: int, n_plans: int, cscg_steps: int) -> list[dict[str, Any]]:
    """Rows of the network in `folder`, the knower of its room, and CSCG."""
    net = load_net(folder)
    o = read_header(folder, FORMAT, WHAT)["training"]["options"]
    sizes = (o["height"], o["width"], o["symbols"])
    test = draw_walk(*sizes, n_steps, seed=o["seed"], number=2)
    rows = [row_of(net, test, n_plans=n_plans), {"model": "room known"}]
    rows[1]["foreseen"] = f"{foreseen_by_a_knower(test, net.config.context // 2):.4f}"
    if cscg_steps:
        walk = draw_walk(*sizes, min(cscg_steps, o["steps"]), seed=o["seed"], number=0)
        model = CSCG(walk.room.n_symbols, 70, len(ACTIONS), seed=o["seed"])
        found = map_walk(model, walk.observations, walk.actions, pseudocount=2e-3)
        name = f"CSCG, {len(walk.cells)} steps"
        rows.append({"model": name, **map_row(found, walk.room, walk.cells, n_plans)})
    columns = list(rows[0])
    return [{column: row.get(column, "") for column in columns} for row in rows]


def row_of(net: TDB, walk: Walk, *, n_plans: int) -> dict[str, Any]:
    """Predictions, map and plans of a network on a walk that it was not trained on."""
    reading = read_walk(net, walk.observations, walk.actions)
    found = read_off_map(reading, walk.observations, walk.actions)
    return {
        "model": "TDB",
        "foreseen": f"{accuracy(reading, walk.observations):.4f}",
        "codes": len(np.unique(reading.codes, axis=0)),
        **map_row(found, walk.room, walk.cells[reading.first :], n_plans),
    }


def map_row(
    found: LearnedMap, room: AliasedRoom, cells: np.ndarray, n_plans: int
) -> dict[str, Any]:
    """A map against its room; cells: those of the map's path."""
    score = score_map(found, cells, room.transitions())
    arrived, ratio = try_plans(found, room, cells, n=n_plans, seed=0)
    rate = wilson_interval(arrived, n_plans)
    return {
        "states / cells": f"{score.n_states} / {score.n_cells}",
        "purity": f"{score.purity:.3f}",
        "edge F1": f"{score.f1:.3f}",
        "edit distance": f"{score.edit_distance:.3f}",
        "plans that arrive": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
        "length / shortest": f"{ratio:.3f}",
    }


def foreseen_by_a_knower(walk: Walk, first: int) -> float:
    """The share of observations after place `first` that are the likeliest to who knows the room
    but not where in it the walk began."""
    symbols, leads = walk.room.symbols.ravel(), walk.room.transitions()
    belief: np.ndarray = np.ones(walk.room.n_cells)
    right = []
    for t, action in enumerate(walk.actions.tolist()):
        belief = belief * (symbols == walk.observations[t])
        belief = np.bincount(leads[:, action], belief / belief.sum(), len(belief))
        likeliest = int(np.bincount(symbols, belief).argmax())
        if t >= first:
            right.append(likeliest == walk.observations[t + 1])
    return float(np.mean(right))


if __name__ == "__main__":
    raise SystemExit(main())
