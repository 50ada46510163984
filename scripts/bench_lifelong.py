"""Throughput of lifelong policies: `python -m pilotage.scripts.bench_lifelong --policy pibt`.

The protocol of POGEMA's benchmark (Skrynnik et al. 2024, arXiv:2407.14931) and of Learn to Follow
(arXiv:2310.01207): starts and goals are drawn where the map's symbols allow, an agent that arrives
gets another goal, collisions are resolved by the soft rule, and throughput is goals reached a step.
One team a seed; all teams are stepped by one simulator. Every walk is judged afterwards by
`lifelong_report`, which knows neither the policy nor the simulator. "Alone" is the throughput of
shortest paths that pass through each other, a bound. Times are of one core, for one team.

Published means stand beside ours: POGEMA's raw data (128 seeds, 256 steps; mazes 128 steps). The
seeds are not the same, and they were measured with older versions of POGEMA.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.envs.mapf.lifelong import draw_lifelong
from pilotage.envs.mapf.pogema_files import PogemaRoles, read_pogema_roles
from pilotage.envs.mapf.simulator import MapfSimulator
from pilotage.envs.mapf.validation import lifelong_report
from pilotage.envs.r2r.files import data_root
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import paired_bootstrap
from pilotage.episodes.tables import to_markdown
from pilotage.planners.mapf import (
    DistanceFields,
    FollowerPolicy,
    GridGraph,
    PibtPolicy,
    PibtShield,
    RhcrPolicy,
    WindowedPibtPolicy,
    load_follower_lite,
)
from pilotage.planners.mapf.guidance import crossing_lanes
from pilotage.scripts.cli_options import numbers


class LifelongPolicy(Protocol):
    """What decides for one team: cells and goals int [N, 2] to actions int [N]."""

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray: ...


class MapSet(NamedTuple):
    """A set of POGEMA's benchmark."""

    folder: str
    steps: int
    published: dict[str, dict[int, float]]  # throughput by method and number of agents


MAPS = {
    "warehouse": MapSet(
        "03-warehouse",
        256,
        {
            "RHCR": {32: 1.225, 64: 2.268, 96: 3.103, 128: 3.493, 160: 2.456, 192: 1.568},
            "Follower": {32: 1.127, 64: 1.957, 96: 2.613, 128: 3.151, 160: 3.599, 192: 3.937},
        },
    ),
    "random": MapSet(
        "01-random",
        256,
        {
            "RHCR": {8: 0.625, 32: 2.286, 64: 3.819},
            "Follower": {8: 0.600, 32: 1.829, 64: 2.465},
        },
    ),
    "mazes": MapSet(
        "02-mazes",
        128,
        {
            "RHCR": {8: 0.477, 32: 1.703, 64: 2.587},
            "Follower": {8: 0.449, 32: 1.307, 64: 1.613},
        },
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--map", default="warehouse", help=f"one of {', '.join(MAPS)}")
    parser.add_argument("--agents", default="32,64,128,192", help="team sizes, comma-separated")
    parser.add_argument(
        "--policy", default="pibt", help=f"of {', '.join(POLICIES)}, commas between"
    )
    parser.add_argument("--seeds", type=int, default=10, help="teams of each size")
    parser.add_argument("--steps", type=int, help="default: as published for the map")
    parser.add_argument("--data", type=Path, help="data folder; else PILOTAGE_DATA")
    parser.add_argument("--network", type=Path, help="default: follower-lite.onnx in the data")
    a = parser.parse_args(argv)
    if a.map not in MAPS:
        raise unknown("map", a.map, MAPS)
    names = a.policy.split(",")
    for name in names:
        if name not in POLICIES:
            raise unknown("policy", name, POLICIES)
    if a.seeds < 1:
        raise ValueError(f"--seeds must be >= 1, got {a.seeds}")
    root = data_root(a.data)
    network = a.network or root / "mapf" / "follower" / "follower-lite.onnx"
    steps = a.steps or MAPS[a.map].steps
    roles = list(read_pogema_roles(root / "mapf/pogema" / MAPS[a.map].folder / "maps.yaml").items())
    rows = []
    for n in numbers(a.agents, "--agents", int):
        instances = []
        for seed in range(a.seeds):
            name, role = roles[seed % len(roles)]
            instances.append(draw_lifelong(livable(role), n, n_goals=steps, seed=seed, name=name))
        bound = np.mean([alone(instance, steps) for instance in instances])
        for name in names:
            played = play(instances, POLICIES[name](network), steps)
            row = {"agents": n, "policy": name, **played, "alone": round(float(bound), 3)}
            published = MAPS[a.map].published
            rows.append(
                row | {f"{who}, published": means.get(n) for who, means in published.items()}
            )
    print(f"{a.map}, {a.seeds} seeds, {steps} steps\n")
    print(to_markdown(rows))
    return 0


def livable(role: PogemaRoles) -> PogemaRoles:
    """The same without the starts from which fewer than two goals can be reached."""
    from scipy.ndimage import label

    part, n_parts = label(role.free)
    n_goals = np.bincount(part[role.may_be_goal], minlength=n_parts + 1)
    return PogemaRoles(role.free, role.may_start & (n_goals[part] >= 2), role.may_be_goal)


Maker = Callable[[MapfInstance, int], LifelongPolicy]  # for an instance and a seed


def _pibt(network: Path) -> Maker:
    return lambda instance, seed: PibtPolicy(instance.free, instance.n_agents, seed=seed)


def _windowed(
    make: type[RhcrPolicy] | type[WindowedPibtPolicy], *, lanes: float = 0.0, **options: Any
) -> Callable[[Path], Maker]:
    def choose(network: Path) -> Maker:
        def of_team(instance: MapfInstance, seed: int) -> LifelongPolicy:
            costs = crossing_lanes(GridGraph(instance.free), penalty=lanes)
            return make(instance.free, instance.n_agents, seed=seed, costs=costs, **options)

        return of_team

    return choose


def _follower(*, shield: bool = False, **options: Any) -> Callable[[Path], Maker]:
    def choose(network: Path) -> Maker:
        loaded = load_follower_lite(network)

        def make(instance: MapfInstance, seed: int) -> LifelongPolicy:
            team = instance.free, instance.n_agents
            policy = FollowerPolicy(*team, loaded, seed=seed, **options)
            return PibtShield(policy, *team, seed=seed) if shield else policy

        return make

    return choose


POLICIES: dict[str, Callable[[Path], Maker]] = {
    "pibt": _pibt,
    "rhcr": _windowed(RhcrPolicy),
    "rhcr-lanes": _windowed(RhcrPolicy, lanes=1.0),
    "pibt-lns": _windowed(WindowedPibtPolicy),
    "pibt-lns-lanes": _windowed(WindowedPibtPolicy, lanes=1.0, window=20, work=40_000),
    "follower-lite": _follower(),
    "follower-lite-shield": _follower(shield=True),
    "follower-lite-argmax": _follower(sample=False),
    "follower-lite-no-dynamic": _follower(dynamic_cost=False),
    "follower-lite-no-static": _follower(static_cost=False),
}


def play(instances: Sequence[MapfInstance], make: Maker, n_steps: int) -> dict[str, Any]:
    """Throughput of one policy, mean over teams with a 95 % bootstrap interval, and its time.

    Raises:
        RuntimeError: a walk that breaks a rule, or simulator and judge count differently.
    """
    n = instances[0].n_agents
    height, width = np.max([x.free.shape for x in instances], axis=0).tolist()
    sim = MapfSimulator(len(instances), n_agents=n, max_height=height, max_width=width)
    for env, instance in enumerate(instances):
        sim.reset(env, instance)
    policies = [make(instance, seed) for seed, instance in enumerate(instances)]
    walked, seconds, held_up = [sim.positions()], 0.0, 0
    for step in range(n_steps):
        goals = sim.positions("goals")
        started = time.process_time()
        actions = [p.act(c, g) for p, c, g in zip(policies, walked[-1], goals)]
        if step > 0:  # the first step compiles
            seconds += time.process_time() - started
        sim.step(np.stack(actions))
        held_up += int(sim.stopped.sum())
        walked.append(sim.positions())
    paths = np.stack(walked, axis=2)  # [n_envs, N, T + 1, 2]
    for env, instance in enumerate(instances):
        report = lifelong_report(instance, paths[env])
        if report.violations or report.goals_reached.tolist() != sim.reached[env].tolist():
            raise RuntimeError(f"{instance.name}: simulator and judge disagree")
    interval = paired_bootstrap(sim.reached.sum(axis=1) / n_steps)
    return {
        "throughput": f"{interval.estimate:.3f} ({interval.low:.3f}, {interval.high:.3f})",
        "held up": f"{held_up / (n * len(instances) * n_steps):.1%}",
        "CPU ms/step": f"{1000 * seconds / max(n_steps - 1, 1) / len(instances):.2f}",
    }


def alone(instance: MapfInstance, n_steps: int) -> float:
    """The throughput of agents that are never in each other's way: no policy has a greater one."""
    graph = GridGraph(instance.free)
    fields = DistanceFields(graph)
    reached = 0
    for start, goals in zip(instance.starts, instance.goal_lists or ()):
        stops = graph.vertices(np.concatenate([start[None], goals]))
        rows = fields.rows(stops[1:])
        arrivals = fields.table[rows, stops[:-1]].cumsum(dtype=np.int64)
        reached += int((arrivals <= n_steps).sum())
    return reached / n_steps


if __name__ == "__main__":
    raise SystemExit(main())
