"""Agent-steps per second of the MAPF simulator beside POGEMA, in the same run where it is there.

    python scripts/bench_mapf.py

POGEMA 1.4.0 needs old versions of numpy and gymnasium and so an environment of its own; give its
interpreter with `--pogema-python`, and it is timed in a second process, in turns with ours, so that
other load on the machine falls on both:

    python -m venv pogema-venv && pogema-venv/bin/pip install pogema==1.4.0
    python scripts/bench_mapf.py --pogema-python pogema-venv/bin/python

Both play the same lifelong teams (32 x 32, a fifth walls, collision system soft, random actions)
and make the default observation of every agent in every step.

    python scripts/bench_mapf.py --low-levels

times SIPP beside space-time A* instead: one agent among walkers, one of which crosses its goal
until the end of a horizon, so that longer horizons mean longer paths.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

import numpy as np

Runner = Callable[[int], float]  # plays that many steps and returns the seconds they took
SIZE, DENSITY = 32, 0.2

# What the other interpreter runs: it reads a number of steps a line and answers with seconds.
SERVER = """
import json, sys, time, warnings
import numpy as np
import pogema
warnings.simplefilter("ignore")
what = json.loads(sys.stdin.readline())
config = pogema.GridConfig(map=what["map"], agents_xy=what["starts"], targets_xy=what["lists"],
    num_agents=len(what["starts"]), on_target="restart", collision_system="soft", obs_radius=5,
    max_episode_steps=10**9, seed=0)
env = pogema.pogema_v0(grid_config=config)
env.reset()
rng = np.random.default_rng(0)
print("ready", flush=True)
for line in sys.stdin:
    steps = int(line)
    actions = rng.integers(0, 5, (steps, len(what["starts"]))).tolist()
    start = time.perf_counter()
    for row in actions:
        env.step(row)
    print(time.perf_counter() - start, flush=True)
"""


def team(n_agents: int) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """A map bool [H, W], starts [N, 2], and lists of goals."""
    rng = np.random.default_rng(0)
    free = rng.random((SIZE, SIZE)) >= DENSITY
    cells = rng.permutation(np.argwhere(free))
    lists = [rng.permutation(cells)[:50] for _ in range(n_agents)]
    return free, cells[:n_agents], lists


def our_runner(n_agents: int, n_envs: int, *, observe: bool = True) -> Runner:
    from pilotage.envs.mapf import MapfInstance, MapfSimulator

    free, starts, lists = team(n_agents)
    sim = MapfSimulator(n_envs, n_agents=n_agents, max_height=SIZE, max_width=SIZE)
    for env in range(n_envs):
        sim.reset(env, MapfInstance.lifelong(free, starts, lists))
    rng = np.random.default_rng(0)
    windows = sim.observe()

    def run(steps: int) -> float:
        actions = rng.integers(0, 5, (steps, n_envs, n_agents))
        start = time.perf_counter()
        for row in actions:
            sim.step(row)
            if observe:
                sim.observe(windows)
        return time.perf_counter() - start

    return run


def pogema_runner(python: str, n_agents: int) -> Runner:
    free, starts, lists = team(n_agents)
    what = {
        "map": (~free).astype(int).tolist(),
        "starts": starts.tolist(),
        "lists": [goals.tolist() for goals in lists],
    }
    process = subprocess.Popen(
        [python, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )

    def ask(line: str) -> str:
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("the process has no pipes")
        process.stdin.write(line + "\n")
        process.stdin.flush()
        answer = process.stdout.readline()
        if not answer:
            sys.exit(f"{python} cannot play POGEMA; install it there: pip install pogema==1.4.0")
        return answer

    ask(json.dumps(what))
    return lambda steps: float(ask(str(steps)))


def walkers(free: np.ndarray, n: int, horizon: int) -> list[np.ndarray]:
    """Cells int [horizon + 1, 2] of agents that PIBT leads from goal to goal."""
    from pilotage.planners.mapf import PibtPolicy

    rng = np.random.default_rng(1)
    spots = np.argwhere(free)
    policy = PibtPolicy(free, n)
    cells, goals = rng.permutation(spots)[:n], rng.permutation(spots)[:n]
    walked = [cells]
    for _ in range(horizon):
        cells = policy.next_cells(cells, goals)
        walked.append(cells)
        there = (cells == goals).all(axis=1)
        goals = np.where(there[:, None], spots[rng.integers(0, len(spots), n)], goals)
    return list(np.stack(walked, axis=1))


def low_levels(horizons: list[int], n_walkers: int, rounds: int) -> None:
    """Prints the time of one search by either low level, in turns, on the same paths."""
    from pilotage.planners.mapf import DistanceFields, GridGraph
    from pilotage.planners.mapf.results import Deadline
    from pilotage.planners.mapf.safe_intervals import SafeIntervals, SafeIntervalSearch
    from pilotage.planners.mapf.space_time import Reservations, SpaceTimeSearch

    free = np.random.default_rng(0).random((SIZE, SIZE)) >= DENSITY
    graph = GridGraph(free)
    fields = DistanceFields(graph)
    free = free & (fields.field(graph.n_vertices // 2)[graph.index] < graph.n_vertices)
    by_step, by_interval = SpaceTimeSearch(graph), SafeIntervalSearch(graph)
    for horizon in horizons:
        paths = [graph.vertices(p) for p in walkers(free, n_walkers, horizon)]
        reserved, safe = (
            Reservations(graph.n_vertices, horizon + 1),
            SafeIntervals(len(graph.cells)),
        )
        for i, path in enumerate(paths):
            reserved.add(i, path)
            safe.add(path, graph.neighbours)
        visits = np.where(reserved.table[:-1] >= 0, np.arange(horizon)[:, None], 0).max(axis=0)
        ends = reserved.table[-1] < 0
        goals = np.flatnonzero(ends)[np.argsort(-visits[ends], kind="stable")][:rounds]
        starts = np.flatnonzero((reserved.table[0] < 0) & free[tuple(graph.cells.T)])[:rounds]
        times: list[list[float]] = [[], []]
        lengths = []
        for again in range(2):  # the first time compiles and makes room
            for start, goal in zip(starts.tolist(), goals.tolist()):
                field, found = fields.field(goal), []
                for k in range(2):
                    clock = time.process_time()
                    if k == 0:
                        answer, _ = by_step.find(
                            field, start, goal, deadline=Deadline(600), reserved=reserved.table
                        )
                    else:
                        answer, _ = by_interval.find(
                            field, start, goal, deadline=Deadline(600), safe=safe
                        )
                    if again:
                        times[k].append(time.process_time() - clock)
                    found.append(-1 if answer is None else len(answer) - 1)
                if found[0] != found[1]:
                    sys.exit(f"space-time A* and SIPP disagree: {found}")
                lengths.append(found[0])
        slow, fast = (1e6 * statistics.median(each) for each in times)
        print(
            f"horizon {horizon:5}, {n_walkers} walkers, paths of {statistics.median(lengths):6.0f}:"
            f" space-time A* {slow:10,.0f} us   sipp {fast:8,.0f} us   x{slow / fast:.1f}",
            flush=True,
        )


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pogema-python", help="interpreter of an environment with pogema")
    parser.add_argument("--agents", default="8,64,192", help="team sizes, comma-separated")
    parser.add_argument("--envs", type=int, default=64, help="teams side by side, ours")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--low-levels", action="store_true", help="SIPP beside space-time A*")
    parser.add_argument("--horizons", default="100,400,1600", help="of --low-levels, steps")
    parser.add_argument("--walkers", type=int, default=60, help="of --low-levels")
    args = parser.parse_args()
    if args.low_levels:
        low_levels([int(h) for h in args.horizons.split(",")], args.walkers, args.rounds)
        return
    for n_agents in (int(n) for n in args.agents.split(",")):
        ours = {
            f"{n_envs} teams{'' if observe else ', moves only'}": (
                our_runner(n_agents, n_envs, observe=observe),
                n_envs,
                max(20, 400_000 // (n_envs * n_agents)),
            )
            for n_envs, observe in ((1, True), (args.envs, True), (args.envs, False))
        }
        theirs = pogema_runner(args.pogema_python, n_agents) if args.pogema_python else None
        their_steps = max(10, 5000 // n_agents)
        if theirs:
            theirs(their_steps)
        for name, (run, n_envs, steps) in ours.items():
            run(steps // 4)
            rates, ratios = [], []
            for _ in range(args.rounds):
                rates.append(steps * n_envs * n_agents / run(steps))
                if theirs:
                    ratios.append(rates[-1] / (their_steps * n_agents / theirs(their_steps)))
            rate = statistics.median(rates)
            line = f"{n_agents:4} agents, {name:22} {rate:12,.0f} agent-steps/s"
            if ratios:
                ratio = statistics.median(ratios)
                line += f"   pogema {rate / ratio:9,.0f}   x{ratio:.0f}"
            print(line, flush=True)


if __name__ == "__main__":
    main()
