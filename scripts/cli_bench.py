"""`pilotage bench`: standard tables."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pilotage.scripts.cli_bench_paths import bench_patheval, bench_vicmaze
from pilotage.scripts.cli_bench_vln import bench_reverie, bench_vln, bench_vlnce
from pilotage.scripts.cli_experiment import bench_experiment
from pilotage.scripts.cli_options import (
    AgentName,
    AsJson,
    Concept,
    Env,
    Episodes,
    Families,
    Quiet,
    Seed,
    Slots,
    Split,
    numbers,
    words,
)

app = typer.Typer(no_args_is_help=True, help="Standard tables.")
app.command("experiment")(bench_experiment)
app.command("patheval")(bench_patheval)
app.command("vicmaze")(bench_vicmaze)
app.command("vln")(bench_vln)
app.command("vlnce")(bench_vlnce)
app.command("reverie")(bench_reverie)


@app.command("nav")
def bench_nav(
    env: Env = "rooms",
    split: Annotated[str, typer.Option(help="train, val, unseen.")] = "unseen",
    agents: Annotated[str, typer.Option(help="Comma-separated.")] = "expert,random,nano",
    episodes: Episodes = 60,
    family: Annotated[list[str] | None, typer.Option(help="Task families; repeatable.")] = None,
    out: Annotated[Path, typer.Option(help="Folder for the runs.")] = Path("runs/bench-nav"),
    slots: Slots = 16,
    seed: Seed = 0,
    success_radius_m: Annotated[float, typer.Option(min=0.1)] = 3.0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Navigation agents on the same tasks: SR, SPL and the rest, with intervals."""
    from pilotage.scripts.cmd_bench import nav

    nav(
        env=env,
        split=split,
        agents=words(agents),
        episodes=episodes,
        families=family or [],
        out=out,
        slots=slots,
        seed=seed,
        success_radius_m=success_radius_m,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("steering")
def bench_steering(
    agent: AgentName = "nano",
    env: Env = "tabletop",
    split: Split = "test",
    episodes: Episodes = 160,
    families: Families = "reach,push,lift",
    concepts: Annotated[str, typer.Option(help="Named conditions, comma-separated.")] = (
        "fast,slow,fast-clamp,slow-clamp"
    ),
    n_random: Annotated[int, typer.Option(min=1, help="Random controls per concept.")] = 2,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/bench-steering"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Steering against its controls on paired episodes: effect on speed, dose, cost in success."""
    from pilotage.scripts.cmd_bench_steering import steering

    steering(
        agent=agent,
        env=env,
        split=split,
        episodes=episodes,
        families=words(families),
        concepts=words(concepts),
        n_random=n_random,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("hold")
def bench_hold(
    agent: AgentName = "nano",
    split: Split = "test",
    episodes: Episodes = 40,
    families: Families = "reach",
    concept: Concept = "fast",
    targets: Annotated[str, typer.Option(help="Commanded speeds, m/s.")] = "0.25,0.30,0.35",
    controllers: Annotated[str, typer.Option(help="Of pid, lqr; comma-separated.")] = "pid",
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/bench-hold"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Feedback steering: how well a commanded speed is held, and what that costs in success."""
    from pilotage.scripts.cmd_bench_hold import hold

    hold(
        agent=agent,
        split=split,
        episodes=episodes,
        families=words(families),
        concept=concept,
        targets=numbers(targets, "--targets", float),
        controllers=words(controllers),
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("guard")
def bench_guard(
    agent: AgentName = "nano",
    split: Split = "test",
    episodes: Episodes = 24,
    families: Families = "reach,lift",
    conditions: Annotated[
        str, typer.Option(help="Played without and with `:guarded`; comma-separated.")
    ] = "fast,fast@2.5,fast@2.5:random-matched-0",
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/bench-guard"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Steering that lets go while a probe says that the episode fails, beside steering that does
    not."""
    from pilotage.scripts.cmd_bench_guard import guard

    guard(
        agent=agent,
        split=split,
        episodes=episodes,
        families=words(families),
        conditions=words(conditions),
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("methods")
def bench_methods(
    agent: AgentName = "nano",
    split: Split = "test",
    episodes: Episodes = 40,
    families: Families = "reach",
    concept: Annotated[str, typer.Option(help="fast or slow.")] = "fast",
    layer: Annotated[int, typer.Option(min=0, help="Residual stream after this block.")] = 0,
    dose: Annotated[
        float, typer.Option(help="Norm of every vector, over the mean difference's.")
    ] = 1.75,
    pairs: Annotated[int, typer.Option(min=2, help="Paired observations.")] = 512,
    methods: Annotated[
        str, typer.Option(help="Some of what `pilotage vector --method` knows; all by default.")
    ] = "",
    equal: Annotated[
        str, typer.Option(help="What is the same for all: norm, or kl of the action tokens.")
    ] = "norm",
    kl: Annotated[
        float | None,
        typer.Option(help="Of --equal kl, nats a token; by default the mean difference's."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/bench-methods"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Ways to find a steering vector, fitted to the same pairs and played at the same norm."""
    from pilotage.scripts.cmd_bench_methods import methods as methods_command
    from pilotage.scripts.rollouts import Rolling

    methods_command(
        agent=agent,
        split=split,
        episodes=episodes,
        families=words(families),
        concept=concept,
        layer=layer,
        dose=dose,
        pairs=pairs,
        names=words(methods),
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
        equal=equal,
        kl=kl,
        rolling=Rolling(families=tuple(words(families))),
    )


@app.command("manner")
def bench_manner(
    agent: AgentName = "nano",
    split: Split = "test",
    episodes: Annotated[int, typer.Option(min=1, help="Tasks per family.")] = 20,
    out: Annotated[Path, typer.Option(help="Folder for the run.")] = Path("runs/bench-manner"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Success per tabletop family, and whether the speed words are obeyed, on paired scenes."""
    from pilotage.scripts.cmd_bench_manner import manner

    manner(
        agent=agent,
        split=split,
        episodes=episodes,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("mapf")
def bench_mapf(
    path: Annotated[
        Path | None,
        typer.Option(help="Folder of .map and .scen, or a POGEMA .yaml; else PILOTAGE_DATA."),
    ] = None,
    maps: Annotated[str, typer.Option(help="Names, comma-separated; empty: all.")] = "",
    agents: Annotated[str, typer.Option(help="Team sizes, comma-separated.")] = "50,100,200",
    solvers: Annotated[
        str,
        typer.Option(help="Of prioritised, cbs, eecbs, pibt, lacam, lacam_star, lns2, tswap."),
    ] = "prioritised,pibt,lacam,lacam_star",
    scenarios: Annotated[int, typer.Option(min=0, help="Instances of each; 0: all.")] = 5,
    time_limit_s: Annotated[float, typer.Option(help="For each instance, seconds.")] = 5.0,
    max_steps: Annotated[int, typer.Option(min=0, help="Later plans fail; 0: no limit.")] = 0,
    suboptimality: Annotated[float, typer.Option(min=1.0, help="w of eecbs.")] = 1.2,
    low_level: Annotated[
        str, typer.Option(help="Of prioritised: space_time or sipp.")
    ] = "space_time",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("runs/bench-mapf"),
    as_json: AsJson = False,
) -> None:
    """MAPF solvers on published instances, judged; PIBT's throughput where they are lifelong."""
    from pilotage.scripts.cmd_bench_mapf import mapf

    mapf(
        path=path,
        maps=words(maps),
        agents=numbers(agents, "--agents", int),
        solvers=words(solvers),
        scenarios=scenarios,
        time_limit_s=time_limit_s,
        max_steps=max_steps,
        suboptimality=suboptimality,
        low_level=low_level,
        seed=seed,
        out=out,
        as_json=as_json,
    )


@app.command("planning")
def bench_planning(
    quick: Annotated[bool, typer.Option("--quick", help="Smaller worlds, shorter trainings.")] = (
        False
    ),
    only: Annotated[
        str, typer.Option(help="Of exact, verified, alpine, cscg, tdb, mlmu; empty: all.")
    ] = "",
    alpine: Annotated[Path | None, typer.Option(help="A checkpoint; else the shipped.")] = None,
    tdb: Annotated[Path | None, typer.Option(help="A checkpoint; else the shipped.")] = None,
    mlmu: Annotated[Path | None, typer.Option(help="A checkpoint; else the shipped.")] = None,
    seed: Seed = 0,
) -> None:
    """Planners on their worlds, a table each: exact, verified, and learned."""
    from pilotage.scripts.cmd_bench_planning import planning

    planning(quick=quick, only=words(only), seed=seed, alpine=alpine, tdb=tdb, mlmu=mlmu)
