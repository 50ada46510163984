"""Finding back in rooms whose cells look alike: `python -m pilotage.scripts.bench_recall`.

Every episode has a room that no one has seen; a random walk in it is shown, and the agent is to go
back to where one of its observations was made. For each length of the walk: how many arrive, with
95 % intervals, and the moves of those over the shortest way. A clone-structured graph learned from
the walk alone, beside a schema (learned by such a graph from one long walk in one room of the train
split, whose labels are others), the true structure without its labels, and random moves.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from pilotage.agents.recall import cscg_recall, schema_recall
from pilotage.agents.scripted import RandomAgent
from pilotage.envs.aliased import AliasedRoomVectorEnv, make_tasks
from pilotage.envs.aliased.tasks import follow
from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.tables import to_markdown
from pilotage.episodes.types import BASELINE, Agent, Task
from pilotage.planners.schemas import Schema, learn_schema
from pilotage.scripts.cli_options import numbers

SLOTS = 16


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--episodes", type=int, default=200, help="of each agent and walk length")
    parser.add_argument("--walks", default="100,200,400,800", help="observations shown")
    parser.add_argument("--symbols", type=int, default=4)
    parser.add_argument("--height", type=int, default=4)
    parser.add_argument("--width", type=int, default=4)
    parser.add_argument("--clones", type=int, default=12, help="of each symbol")
    parser.add_argument("--training-steps", type=int, default=4000, help="of the schema's walk")
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args(argv)
    size = (a.height, a.width)
    truth = Schema(AliasedRoom(np.zeros(size, np.int64)).transitions())
    schema = _learned(a)
    rows: list[dict[str, Any]] = []
    for length in numbers(a.walks, "--walks", int):
        tasks = _tasks(a, "test", a.episodes, length)
        agents: dict[str, Agent] = {
            "structure known": schema_recall([truth], a.symbols),
            "schema of another room": schema_recall([schema], a.symbols),
            "map from the walk": cscg_recall(n_clones=a.clones),
            "random": RandomAgent(AliasedRoomVectorEnv(1).single_action_space),
        }
        rows += [{"walk": length, "agent": k} | _row(agents[k], tasks, length) for k in agents]
    print(
        f"{a.height} x {a.width} cells, {a.symbols} symbols, {a.episodes} episodes a row, "
        f"{a.clones} clones a symbol; the schema has {schema.n_slots} slots and {schema.n_known} "
        f"edges, the truth {truth.n_slots} and {truth.n_known}\n"
    )
    print(to_markdown(rows))
    return 0


def _tasks(a: argparse.Namespace, split: str, n: int, length: int) -> list[Task]:
    return make_tasks(
        split,
        n,
        seed=a.seed,
        families=["aliased"],
        size=(a.height, a.width),
        n_symbols=a.symbols,
        walk_length=length,
    )


def _learned(a: argparse.Namespace) -> Schema:
    """A schema of one long walk in a room of the train split."""
    task = _tasks(a, "train", 1, a.training_steps)[0]
    symbols, moves = np.array(task.scene["symbols"]), np.array(task.start["walk"])
    seen = symbols.ravel()[follow(AliasedRoom(symbols), task.start["cell"], moves)]
    return learn_schema(
        seen,
        moves,
        n_symbols=a.symbols,
        n_actions=len(ACTIONS),
        n_clones=a.clones,
        seed=a.seed,
    )


def _row(agent: Agent, tasks: Sequence[Task], walk_length: int) -> dict[str, Any]:
    n_cells = np.size(tasks[0].scene["symbols"])
    envs = AliasedRoomVectorEnv(SLOTS, max_cells=n_cells, walk_length=walk_length)
    started = time.process_time()
    records = run_episodes(envs, agent, tasks, [BASELINE], on_error="raise")
    seconds = time.process_time() - started
    arrived = [record for record in records if record.success]
    rate = wilson_interval(len(arrived), len(records))
    ratios = [record.n_steps / record.task.shortest_path_length for record in arrived]
    return {
        "arrive": f"{rate.estimate:.3f} ({rate.low:.3f}, {rate.high:.3f})",
        "moves / shortest": f"{np.mean(ratios):.3f}" if ratios else "",
        "ms / episode": f"{1000 * seconds / len(records):.1f}",
    }


if __name__ == "__main__":
    raise SystemExit(main())
