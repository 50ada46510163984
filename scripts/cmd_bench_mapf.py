"""`pilotage bench mapf`: solvers on published multi-agent path finding instances.

One-shot instances: success, sum of costs, makespan and the time to the first plan, with ratios to
lower bounds (shortest paths alone; for `tswap`, whose goals have no labels, the best assignment).
Lifelong instances: throughput of PIBT in the simulator. Every plan is judged by `validate_paths`;
one that breaks a rule ends the command.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.envs.mapf.movingai import read_movingai
from pilotage.envs.mapf.pogema_files import read_pogema
from pilotage.envs.mapf.simulator import MapfSimulator
from pilotage.envs.mapf.validation import lifelong_report, validate_paths
from pilotage.envs.r2r.files import data_root
from pilotage.episodes.names import unknown
from pilotage.planners.mapf import (
    DistanceFields,
    GridGraph,
    PibtPolicy,
    PlanResult,
    PlanStatus,
    cbs,
    eecbs,
    lacam,
    lacam_star,
    lns2,
    pibt,
    prioritised,
    relabelled,
    tswap,
)
from pilotage.planners.mapf.target_assignment import bottleneck_assignment, linear_assignment
from pilotage.scripts.tabulate import show_rows

Solver = Callable[..., PlanResult]
SOLVERS: dict[str, Solver] = {
    "prioritised": prioritised,
    "cbs": cbs,
    "eecbs": eecbs,
    "pibt": pibt,
    "lacam": lacam,
    "lacam_star": lacam_star,
    "lns2": lns2,
    "tswap": tswap,
}
SEEDED = {"prioritised", "pibt", "lacam", "lacam_star", "lns2"}
UNLABELLED = {"tswap"}  # any agent may take any goal: other bounds, and smaller ones
COSTS = ("sum_of_costs", "/bound", "sum_of_loss", "makespan", "span/bound", "optimal", "first_s")


def mapf(
    *,
    path: Path | None,
    maps: Sequence[str],
    agents: Sequence[int],
    solvers: Sequence[str],
    scenarios: int,
    time_limit_s: float,
    max_steps: int,
    suboptimality: float,
    low_level: str,
    seed: int,
    out: Path,
    as_json: bool,
) -> list[dict[str, Any]]:
    """See `pilotage bench mapf --help`. One row a map (or file), team size and solver."""
    for name in solvers:
        if name not in SOLVERS:
            raise unknown("solver", name, SOLVERS)
    path = path or default_folder()
    options: dict[str, dict[str, Any]] = {name: {"seed": seed} for name in SEEDED}
    options["eecbs"] = {"suboptimality": suboptimality}
    options["prioritised"] |= {"low_level": low_level}
    rows = []
    for group, n, instances in groups(path, maps, agents, scenarios):
        if instances[0].is_lifelong:
            rows.append(lifelong_row(group, n, instances, max_steps or 256, seed))
            continue
        for name in solvers:
            chosen = options.get(name, {})
            rows.append(row_of(group, n, instances, name, time_limit_s, max_steps, chosen))
    if not rows:
        raise ValueError(f"{path} has no instance with {list(agents)} agents; choose --agents")
    if as_json:
        print(json.dumps(rows, indent=1))
    else:
        out.mkdir(parents=True, exist_ok=True)
        show_rows(rows, f"{path.name}, {time_limit_s:g} s each", out / "mapf.md", width=150)
    return rows


def default_folder() -> Path:
    """The MovingAI files in the folder of public data.

    Raises:
        FileNotFoundError: there is none.
    """
    root = data_root()
    folder = root / "mapf" / "movingai"
    if not folder.is_dir():
        raise FileNotFoundError(
            f"{folder} does not exist; give --path (a folder with .map and .scen files, or a "
            "POGEMA *-mapf.yaml or *-lmapf.yaml), or set PILOTAGE_DATA to the data folder"
        )
    return folder


def groups(
    path: Path, maps: Sequence[str], agents: Sequence[int], scenarios: int
) -> Iterator[tuple[str, int, list[MapfInstance]]]:
    """(name, team size, at most `scenarios` instances); a size that a file lacks is left out."""
    if path.suffix == ".yaml":
        whole = read_pogema(path)
        for n in agents:
            fitting = [x.first_agents(n) for x in whole if x.n_agents >= n][: scenarios or None]
            if fitting:
                yield path.stem, n, fitting
        return
    if not path.is_dir():
        raise FileNotFoundError(f"{path} is neither a folder nor a .yaml file")
    names = [p.stem for p in sorted(path.glob("*.map"))]
    for name in maps:
        if name not in names:
            raise unknown("map", name, names)
    for name in maps or names:
        files = sorted(path.glob(f"{name}-random-*.scen")) or sorted(path.glob(f"{name}-*.scen"))
        for n in agents:
            instances = []
            for file in files[: scenarios or None]:
                everyone = read_movingai(path / f"{name}.map", file)
                if everyone.n_agents >= n:
                    instances.append(everyone.first_agents(n))
            if instances:
                yield name, n, instances


def row_of(
    group: str,
    n: int,
    instances: Sequence[MapfInstance],
    name: str,
    time_limit_s: float,
    max_steps: int,
    options: dict[str, Any],
) -> dict[str, Any]:
    """One solver on all instances; costs are means over those that it solved."""
    solved, firsts, late, over = [], [], 0, 0.0
    for instance in instances:
        result = SOLVERS[name](instance, time_limit_s=time_limit_s, **options)
        over = max(over, result.elapsed_s - time_limit_s)
        if result.status is not PlanStatus.SOLVED or result.paths is None:
            continue
        judged = relabelled(instance, result.paths) if name in UNLABELLED else instance
        report = validate_paths(judged, result.paths)
        if not report.success:
            raise RuntimeError(f"{name} on {instance.name}: {report.violations[0]}")
        if max_steps and (report.makespan or 0) > max_steps:
            late += 1
            continue
        firsts.append(result.first_solution_s or 0.0)
        bounds = bounds_of(instance, labelled=name not in UNLABELLED)
        solved.append((report, *bounds, result.optimal))
    label = f"{name} {options['suboptimality']:g}" if "suboptimality" in options else name
    row: dict[str, Any] = {"map": group, "agents": n, "solver": label, "n": len(instances)}
    row["success"] = round(len(solved) / len(instances), 3)
    row |= dict.fromkeys(COSTS)  # a table's rows have the same columns, also where none is solved
    if solved:
        costs = [r.sum_of_costs or 0 for r, *_ in solved]
        losses = [r.sum_of_loss or 0 for r, *_ in solved]
        spans = [r.makespan or 0 for r, *_ in solved]
        ratios = [c / b for c, (_, b, _, _) in zip(costs, solved) if b]
        span_ratios = [s / w for s, (_, _, w, _) in zip(spans, solved) if w]
        row |= {
            "sum_of_costs": round(mean(costs), 1),
            "/bound": round(mean(ratios), 3) if ratios else None,
            "sum_of_loss": round(mean(losses), 1),
            "makespan": round(mean(spans), 1),
            "span/bound": round(mean(span_ratios), 3) if span_ratios else None,
            "optimal": sum(optimal for *_, optimal in solved),
            "first_s": round(median(firsts), 3),
        }
    return row | {"too_late": late, "over_ms": round(1000 * max(over, 0.0))}


def bounds_of(instance: MapfInstance, *, labelled: bool = True) -> tuple[int, int]:
    """The sum of the agents' shortest paths, and the longest of them: no plan costs less, and none
    has a smaller makespan. Where goals are not labelled, the least of both over all assignments."""
    graph = GridGraph(instance.free)
    fields = DistanceFields(graph)
    rows, starts = fields.rows(graph.vertices(instance.goals)), graph.vertices(instance.starts)
    if labelled:
        shortest = fields.table[rows, starts]
        return int(shortest.sum()), int(shortest.max())
    distances = fields.table[rows][:, starts].T
    each = np.arange(len(starts))
    sums, largest = linear_assignment(distances), bottleneck_assignment(distances)
    if sums is None or largest is None:
        raise ValueError(f"{instance.name}: its goals cannot be assigned to its agents")
    return int(distances[each, sums].sum()), int(distances[each, largest].max())


def lifelong_row(
    group: str, n: int, instances: Sequence[MapfInstance], n_steps: int, seed: int
) -> dict[str, Any]:
    """PIBT in the simulator: goals per step, and the time that it takes to decide a step."""
    throughputs, decided, held = [], [], 0
    for instance in instances:
        sim = MapfSimulator(
            1, n_agents=n, max_height=instance.free.shape[0], max_width=instance.free.shape[1]
        )
        sim.reset(0, instance, seed=seed)
        policy = PibtPolicy(instance.free, n, seed=seed)
        cells = [sim.positions()[0]]
        for _ in range(n_steps):
            goals = sim.positions("goals")[0]
            start = time.perf_counter()
            after = policy.next_cells(cells[-1], goals)
            decided.append(time.perf_counter() - start)
            sim.step(actions_of(after - cells[-1])[None])
            held += int(sim.stopped[0])
            cells.append(sim.positions()[0])
        report = lifelong_report(instance, np.stack(cells, axis=1))
        if report.violations or report.goals_reached.tolist() != sim.reached[0].tolist():
            raise RuntimeError(f"pibt on {instance.name}: simulator and judge disagree")
        throughputs.append(report.throughput)
    return {
        "map": group,
        "agents": n,
        "solver": "pibt",
        "n": len(instances),
        "steps": n_steps,
        "throughput": round(mean(throughputs), 4),
        "decide_ms": round(1000 * median(decided), 3),
        "held_up": held,
    }


def actions_of(moves: np.ndarray) -> np.ndarray:
    """int64 [N]: the actions of moves int [N, 2]."""
    rows, cols = moves[:, 0], moves[:, 1]
    return np.select([rows == -1, rows == 1, cols == -1, cols == 1], [1, 2, 3, 4], 0)
