"""`pilotage bench planning`: planners on their worlds, a table each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pilotage.envs.pathgraph.alpine import make_dataset
from pilotage.episodes.names import unknown
from pilotage.episodes.statistics import wilson_interval
from pilotage.episodes.tables import to_markdown
from pilotage.planners.alpine import construct, learned_graph_planner
from pilotage.planners.mlmu import learned_maze_planner, load_net
from pilotage.planners.plan import Plan
from pilotage.planners.problems import (
    GraphProblem,
    GridProblem,
    exact_graph_planner,
    exact_grid_planner,
    graph_fault,
    grid_fault,
)
from pilotage.planners.verified import VerifiedPlanner
from pilotage.scripts import bench_alpine, bench_cscg, bench_mazes, bench_mlmu, bench_tdb

Problem = TypeVar("Problem")
Planner = Callable[[Sequence[Problem], int], Sequence[Plan]]
RETRIES = 3


@dataclass(frozen=True)
class _Asked:
    """What the command was asked for. Folders: of trained networks."""

    quick: bool
    seed: int
    alpine: Path
    tdb: Path
    mlmu: Path


def planning(
    *,
    quick: bool,
    only: Sequence[str],
    seed: int,
    alpine: Path | None,
    tdb: Path | None,
    mlmu: Path | None,
) -> None:
    """Print the tables `only` (empty: all).

    Raises KeyError for an unknown name; ValueError for a folder that holds no such network.
    """
    folders = (alpine or bench_alpine.SHIPPED, tdb or bench_tdb.SHIPPED, mlmu or bench_mlmu.SHIPPED)
    asked = _Asked(quick, seed, *folders)
    for name in only:
        if name not in TABLES:
            raise unknown("table", name, TABLES)
    for name, (title, table) in TABLES.items():
        if name in only or not only:
            print(f"## {title}\n", flush=True)
            table(asked)
            print(flush=True)


def _exact(asked: _Asked) -> None:
    bench_mazes.planning(256 if asked.quick else 4096, [10] if asked.quick else [10, 30])


def _verified(asked: _Asked) -> None:
    """Paths on a random graph: by the trained network, or in haste by one that was built by hand
    and is drawn from at a high temperature."""
    if asked.quick:
        data = make_dataset(40, train_fraction=0.1, seed=asked.seed)
        learned = learned_graph_planner(construct(data.graph), temperature=3.0)
    else:
        net, data = bench_alpine.load(asked.alpine)
        learned = learned_graph_planner(net)
    problems = [GraphProblem(data.graph, source, target) for source, target in data.test]
    print(to_markdown(verified_rows(learned, graph_fault, exact_graph_planner(), problems)))


def _alpine(asked: _Asked) -> None:
    if asked.quick:
        sizes = ["--nodes", "30", "--iterations", "200"]
        _call(bench_alpine.main, [*sizes, "--seed", str(asked.seed)])
    else:
        _call(bench_alpine.main, ["--load", str(asked.alpine)])


def _cscg(asked: _Asked) -> None:
    seeds = [str(asked.seed + k) for k in range(1 if asked.quick else 3)]
    small = ["--height", "4", "--width", "4", "--clones", "16", "--steps", "4000"]
    _call(bench_cscg.main, ["--seeds", ",".join(seeds), *(small if asked.quick else [])])


def _tdb(asked: _Asked) -> None:
    small = ["--test-steps", "3000", "--plans", "100", "--cscg-steps", "0"]
    _call(bench_tdb.main, ["--load", str(asked.tdb), *(small if asked.quick else [])])


def _mlmu(asked: _Asked) -> None:
    net = load_net(asked.mlmu)
    n = 100 if asked.quick else 1000
    size = net.config.size
    mazes = bench_mlmu.distinct(bench_mlmu.draw_mazes("test", n, size, seed=asked.seed))
    problems = [
        GridProblem(cells, tuple(start.tolist()), tuple(goal.tolist()))
        for cells, start, goal in zip(mazes.cells, mazes.starts, mazes.goals)
    ]
    learned = learned_maze_planner(net)
    print(to_markdown(verified_rows(learned, grid_fault, exact_grid_planner(), problems)))


def verified_rows(
    learned: Planner[Problem],
    fault: Callable[[Problem, Plan], str | None],
    exact: Planner[Problem],
    problems: Sequence[Problem],
) -> list[dict[str, Any]]:
    """A learned planner alone, behind the check, and with an exact one to fall back on: how many
    answers pass, and how many are wrong without saying so."""
    plans = learned(problems, 0)
    n, n_right = len(problems), sum(fault(p, plan) is None for p, plan in zip(problems, plans))
    rows = [_row("alone", n, n_right, n - n_right, {})]
    for name, fallback in (("verified", None), ("verified, exact fallback", exact)):
        planner = VerifiedPlanner(learned, fault, retries=RETRIES, fallback=fallback)
        planner.solve(problems)
        counts = planner.counts
        rows.append(_row(name, n, n - counts["abstained"], 0, counts))
    return rows


def _row(name: str, n: int, n_right: int, n_wrong: int, counts: dict[str, int]) -> dict[str, Any]:
    within = wilson_interval(n_right, n)
    sources = {source: counts.get(source, "") for source in ("retried", "fell_back", "abstained")}
    return {
        "planner": name,
        "n": n,
        "right (95 %)": f"{within.estimate:.3f} ({within.low:.3f}, {within.high:.3f})",
        "wrong": n_wrong,
        **sources,
    }


def _call(main: Callable[[Sequence[str]], int], argv: Sequence[str]) -> None:
    """Print a bench's table. ValueError where it ends badly (it has said why)."""
    print(f"`{main.__module__.removeprefix('pilotage.scripts.')} {' '.join(argv)}`\n", flush=True)
    if main(argv):
        raise ValueError(f"{main.__module__} did not finish")


TABLES: dict[str, tuple[str, Callable[[_Asked], None]]] = {
    "exact": ("Exact planners, shortest paths per second", _exact),
    "verified": ("Verified planning on a graph", _verified),
    "alpine": ("ALPINE by degree", _alpine),
    "cscg": ("Maps of aliased rooms, CSCG", _cscg),
    "tdb": ("Maps of aliased rooms, TDB", _tdb),
    "mlmu": ("Maze paths, MLM-U", _mlmu),
}
