"""Plays POGEMA itself and writes down what it did: the traces that the MAPF simulator is held to.

POGEMA 1.4.0 needs old versions of numpy and gymnasium, so it lives in an environment of its own:

    python -m venv pogema-venv && pogema-venv/bin/pip install pogema==1.4.0
    pogema-venv/bin/python scripts/make_mapf_traces.py tests/envs/mapf/pogema_traces.json

Random maps crowded with agents, random actions, every collision system; lifelong episodes go
through lists of goals. POGEMA 1.4.0 loses agents that follow one another from the channel that
shows agents (the positions stay right), so the channel is drawn anew from the positions before it
is read. That changes no move: where the channel decides about moves, agents move one by one.
"""

from __future__ import annotations

import argparse
import json
import warnings
from importlib import import_module
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

SYSTEMS = ("soft", "priority", "block_both")
N_STEPS = 25
OBS_RADIUS = 2
N_GOALS = 4


def make_episode(pogema: Any, system: str, lifelong: bool, seed: int) -> dict[str, Any]:
    """One episode with random actions: what was asked, and what POGEMA answered."""
    rng = np.random.default_rng(seed)
    height, width = (int(v) for v in rng.integers(4, 8, 2))
    walls = rng.random((height, width)) < 0.15
    cells = rng.permutation(np.argwhere(~walls))
    n = int(len(cells) * rng.uniform(0.3, 0.7))
    starts = cells[:n].tolist()
    goals = rng.permutation(cells)[:n].tolist()
    lists = [cells[rng.integers(0, len(cells), N_GOALS)].tolist() for _ in range(n)]
    lists = [_without_repeats(goals) for goals in lists]
    config = pogema.GridConfig(
        map=walls.astype(int).tolist(),
        agents_xy=starts,
        targets_xy=lists if lifelong else goals,
        num_agents=n,
        on_target="restart" if lifelong else "nothing",
        obs_radius=OBS_RADIUS,
        collision_system=system,
        observation_type="default",
        max_episode_steps=10 * N_STEPS,
        seed=0,
    )
    env = pogema.pogema_v0(grid_config=config)
    env.reset()
    # many agents push the same way for a while, so that chains and contests come about
    favourite = rng.integers(0, 5, n)
    steps = [_look(env, [0.0] * n)]
    actions = []
    for _ in range(N_STEPS):
        favourite = np.where(rng.random(n) < 0.2, rng.integers(0, 5, n), favourite)
        chosen = favourite.tolist()
        actions.append(chosen)
        _, rewards, _, _, _ = env.step(list(chosen))
        steps.append(_look(env, rewards))
    return {
        "system": system,
        "lifelong": lifelong,
        "map": ["".join("#" if w else "." for w in row) for row in walls],
        "starts": starts,
        "goals": lists if lifelong else goals,
        "actions": ["".join(map(str, row)) for row in actions],
        "cells": [s["cells"] for s in steps],
        "targets": [s["targets"] for s in steps] if lifelong else [],
        "rewards": ["".join(str(int(r)) for r in s["rewards"]) for s in steps],
        "observations": [s["observation"] for s in steps[::8]],
    }


def _without_repeats(goals: list[list[int]]) -> list[list[int]]:
    """A goal that follows itself would be reached by standing still; leave such ones in only once
    in the list, POGEMA wants at least two."""
    kept = [goals[0]] + [b for a, b in pairwise(goals) if a != b]
    return kept if len(kept) > 1 else [*kept, kept[0]]


def _look(env: Any, rewards: list[float]) -> dict[str, Any]:
    """Flat cells of all agents, their goals, and what the first three of them see, as bits."""
    grid = env.unwrapped.grid
    grid.positions[:] = 0
    for cell in grid.positions_xy:
        grid.positions[cell] = 1
    width = grid.obstacles.shape[1] - 2 * OBS_RADIUS
    flat = [
        [row * width + col for row, col in each]
        for each in (
            grid.get_agents_xy(ignore_borders=True),
            grid.get_targets_xy(ignore_borders=True),
        )
    ]
    seen = [np.asarray(env.unwrapped._get_agents_obs(i)).ravel() for i in range(3)]
    bits = ["".join(str(int(v)) for v in each) for each in seen]
    return {"cells": flat[0], "targets": flat[1], "rewards": rewards, "observation": bits}


def main() -> None:
    """Reads the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--episodes", type=int, default=3, help="per system and kind")
    args = parser.parse_args()
    try:
        pogema = import_module("pogema")
    except ModuleNotFoundError:
        parser.error("pogema is missing; see the head of this file for its own environment")
    warnings.simplefilter("ignore")  # POGEMA says when it begins a list of goals again
    episodes = [
        make_episode(pogema, system, lifelong, 100 * k + 10 * lifelong + s)
        for s, system in enumerate(SYSTEMS)
        for lifelong in (False, True)
        for k in range(args.episodes)
    ]
    head = {"pogema": version("pogema"), "obs_radius": OBS_RADIUS}
    text = json.dumps(head | {"episodes": episodes}, separators=(",", ":"))
    args.out.write_text(text.replace('{"system"', '\n{"system"') + "\n")
    print(f"{args.out}: {len(episodes)} episodes of pogema {head['pogema']}")


if __name__ == "__main__":
    main()
