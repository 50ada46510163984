"""The memory & planning game: `python -m pilotage.scripts.bench_planning_game`.

Rewards per episode, with 95 % intervals, of one who knows all labels, one who knows the structure
alone, schemas learned from a few training episodes (of random play, and of exploration; every one
in a room with other labels), one who maps each room from nothing, and random play. No labelling of
a test episode occurs in training.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from functools import partial, reduce
from typing import Any

import numpy as np

from pilotage.agents.explorers import (
    COLLECT,
    N_MOVES,
    OwnMap,
    own_map_explorer,
    schema_explorer,
    structure_known_explorer,
)
from pilotage.agents.scripted import ExpertAgent, RandomAgent
from pilotage.envs.aliased import PlanningGameVectorEnv, make_game_tasks
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.statistics import paired_bootstrap
from pilotage.episodes.tables import to_markdown
from pilotage.episodes.types import BASELINE, Agent, Task
from pilotage.planners.schemas import UNKNOWN, Schema, join, learn_schema
from pilotage.scripts.cli_options import numbers

SLOTS = 64
N_ACTIONS = 1 + N_MOVES
Walk = tuple[np.ndarray, np.ndarray]  # symbols int64 [T], moves [T - 1]
Play = Callable[[Task, np.random.Generator], Walk]


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--episodes", type=int, default=500, help="test episodes of each agent")
    parser.add_argument("--training", default="1,2,4,8", help="training episodes of the schemas")
    parser.add_argument("--seeds", default="0,1,2", help="of the training episodes")
    parser.add_argument("--clones", type=int, default=1, help="of each symbol, in learning")
    parser.add_argument("--family", choices=("torus", "walled"), default="torus")
    parser.add_argument("--size", type=int, default=4, help="rows, and columns")
    a = parser.parse_args(argv)
    size, n_symbols = (a.size, a.size), a.size**2
    tasks = make_game_tasks("test", a.episodes, families=[a.family], size=size)
    known = structure_known_explorer(size, wraps=a.family == "torus", n_symbols=n_symbols)
    rows = [_row("labels known", [ExpertAgent()], tasks), _row("structure known", [known], tasks)]
    seeds, counts = numbers(a.seeds, "--seeds", int), numbers(a.training, "--training", int)
    for kind, play in (("random", random_play), ("exploring", exploring_play)):
        learned = [_schemas(a, play, max(counts), seed) for seed in seeds]
        for count in counts:
            schemas = [reduce(join, found[:count]) for found in learned]
            agents = [schema_explorer([schema], n_symbols) for schema in schemas]
            row = _row(f"schema, {kind} play x {count}", agents, tasks)
            rows.append(row | {"slots, edges known": _range(schemas)})
    rows.append(_row("map from nothing", [own_map_explorer(n_symbols)], tasks))
    space = PlanningGameVectorEnv(1).single_action_space
    rows.append(_row("random", [RandomAgent(space, stop_probability=1 / N_ACTIONS)], tasks))
    print(
        f"{a.size} x {a.size} {a.family}, {a.episodes} test episodes of {tasks[0].max_steps} "
        f"steps, {len(seeds)} training runs, {a.clones} clones a symbol\n"
    )
    print(to_markdown(rows))
    return 0


def _range(schemas: Sequence[Schema]) -> str:
    slots = [schema.n_slots for schema in schemas]
    edges = [schema.n_known for schema in schemas]
    return f"{min(slots)} to {max(slots)}, {min(edges)} to {max(edges)}"


def _schemas(a: argparse.Namespace, play: Play, n: int, seed: int) -> list[Schema]:
    """One schema from each of `n` training episodes."""
    tasks = make_game_tasks("train", n, seed=seed, families=[a.family], size=(a.size, a.size))
    learn = partial(
        learn_schema, n_symbols=a.size**2, n_actions=N_MOVES, n_clones=a.clones, seed=seed
    )
    return [
        learn(*play(task, np.random.default_rng([20, seed, k]))) for k, task in enumerate(tasks)
    ]


def random_play(task: Task, rng: np.random.Generator) -> Walk:
    """The moves of uniform play, and the symbols that they led to."""
    return _walk(task, lambda _: int(rng.integers(N_ACTIONS)))


def exploring_play(task: Task, rng: np.random.Generator) -> Walk:
    """The same of one who maps the room and collects nothing; at random once all is tried."""
    own = OwnMap(len(task.scene["symbols"]) ** 2)
    move: int | None = None

    def choose(symbol: int) -> int:
        nonlocal move
        own.see(symbol, move)
        advice = own.advise(UNKNOWN)
        move = int(rng.integers(N_MOVES)) if advice is None else advice
        return 1 + move

    return _walk(task, choose)


def _walk(task: Task, choose: Callable[[int], int]) -> Walk:
    envs = _world(1, task)
    obs, _ = envs.reset(options={"tasks": [task]})
    symbols, moves = [int(obs["symbol"][0])], []
    while envs.live.any():
        action = choose(symbols[-1])
        obs, *_ = envs.step(np.array([action]))
        if action != COLLECT:
            moves.append(action - 1)
            symbols.append(int(obs["symbol"][0]))
    return np.array(symbols), np.array(moves)


def _world(n_slots: int, task: Task, *, expert: bool = False) -> PlanningGameVectorEnv:
    n = len(task.scene["symbols"]) ** 2
    return PlanningGameVectorEnv(n_slots, max_cells=n, max_symbols=n, expert_actions=expert)


def _row(name: str, agents: Sequence[Agent], tasks: Sequence[Task]) -> dict[str, Any]:
    """Mean rewards an episode over agents of one kind; whole tasks are drawn for the interval."""
    started = time.process_time()
    records = []
    for agent in agents:
        envs = _world(SLOTS, tasks[0], expert=bool(agent.observation_needs))
        records += run_episodes(envs, agent, tasks, [BASELINE], on_error="raise")
    seconds = time.process_time() - started
    rewards = np.array([record.rewards.sum() for record in records])
    whole = paired_bootstrap(rewards, clusters=[record.task.task_id for record in records])
    means = rewards.reshape(len(agents), -1).mean(axis=1)
    return {
        "agent": name,
        "rewards / episode": f"{whole.estimate:.2f} ({whole.low:.2f}, {whole.high:.2f})",
        "worst, best run": f"{means.min():.2f}, {means.max():.2f}" if len(means) > 1 else "",
        "ms / step": f"{1000 * seconds / (len(records) * tasks[0].max_steps):.2f}",
        "slots, edges known": "",
    }


if __name__ == "__main__":
    raise SystemExit(main())
