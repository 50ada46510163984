"""The command line: `pilotage --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run embodied transformer agents in simulation, read them, and steer them while they act.",
)
bench_app = typer.Typer(no_args_is_help=True, help="Standard tables.")
steer_app = typer.Typer(no_args_is_help=True, help="Doses and what they do.")
train_app = typer.Typer(no_args_is_help=True, help="Train the agents that are shipped.")
app.add_typer(bench_app, name="bench")
app.add_typer(steer_app, name="steer")
app.add_typer(train_app, name="train")

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Env = Annotated[str, typer.Option("--env", help="World: tabletop, rooms.")]
AgentName = Annotated[str, typer.Option("--agent", help="nano, expert, random, or a folder.")]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the run and of the task draw.")]
Slots = Annotated[int, typer.Option("--slots", min=1, help="Episodes played side by side.")]


def _listed(text: str) -> list[str]:
    """The words of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]


@app.command()
def run(
    env: Env = "tabletop",
    agent: AgentName = "nano",
    condition: Annotated[
        list[str] | None,
        typer.Option(
            "--condition", help="NAME[@DOSE][:hold-TARGET][:CONTROL] or a vector file; repeatable."
        ),
    ] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Tasks; each is played per condition.")] = 40,
    split: Annotated[str, typer.Option(help="train, val or test (rooms: also unseen).")] = "test",
    family: Annotated[list[str] | None, typer.Option(help="Task families; repeatable.")] = None,
    manners: Annotated[str, typer.Option(help="Tabletop: none, mixed, speed, ...")] = "none",
    out: Annotated[Path, typer.Option(help="Run folder; an unfinished run is resumed.")] = Path(
        "runs/run"
    ),
    slots: Slots = 16,
    seed: Seed = 0,
    frames: Annotated[str, typer.Option(help="all, none, or the first K per condition.")] = "8",
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    narrate: Annotated[bool, typer.Option("--narrate", help="Record what the agent says.")] = False,
    read_tokens: Annotated[
        bool, typer.Option("--read-tokens", help="Record what its layers are pushed to say.")
    ] = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Play paired episodes under several conditions and compare them."""
    from pilotage.scripts.cmd_run import run as run_command

    run_command(
        env=env,
        agent=agent,
        condition=condition or [],
        episodes=episodes,
        split=split,
        family=family or [],
        manners=manners,
        out=out,
        slots=slots,
        seed=seed,
        frames=frames,
        device=device,
        narrate=narrate,
        read_tokens=read_tokens,
        quiet=quiet,
        as_json=as_json,
    )


@app.command()
def view(
    path: Annotated[Path, typer.Argument(help="A run folder.")],
    html: Annotated[bool, typer.Option("--html", help="Write one self-contained page.")] = False,
    video: Annotated[bool, typer.Option("--video", help="Write films as mp4.")] = False,
    rerun_file: Annotated[bool, typer.Option("--rrd", help="Write a Rerun recording.")] = False,
    picture: Annotated[Path | None, typer.Option(help="Write one wide PNG of a task.")] = None,
    conditions: Annotated[str, typer.Option(help="Of the picture.")] = "baseline,fast,slow",
    task: Annotated[str | None, typer.Option(help="Task id of the picture.")] = None,
) -> None:
    """Look at a run: the Rerun viewer, or with flags a page, films, a recording."""
    from pilotage.scripts.cmd_view import view as view_command

    view_command(
        path,
        html=html,
        video=video,
        rerun_file=rerun_file,
        picture=picture,
        conditions=conditions.split(","),
        task_id=task,
    )


@app.command()
def project(
    agent: AgentName = "nano",
    env: Env = "tabletop",
    top: Annotated[int, typer.Option(min=1, help="Tokens per value vector, or hits.")] = 10,
    concept: Annotated[str | None, typer.Option(help="Search: slow, fast, up, or words.")] = None,
    per_layer: Annotated[int, typer.Option(min=1, help="Neurons shown per layer.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Feed-forward value vectors read as words and action bins, per layer."""
    from pilotage.scripts.cmd_read import project as project_command

    project_command(
        agent=agent, env=env, top=top, concept=concept, per_layer=per_layer, as_json=as_json
    )


@app.command()
def vector(
    out: Annotated[Path, typer.Option(help="The .safetensors (or llama.cpp .gguf) file to write.")],
    positive: Annotated[str, typer.Option("--from", help="Words behind the instruction.")],
    negative: Annotated[str, typer.Option("--to", help="Words on the other side.")] = "",
    agent: AgentName = "nano",
    env: Env = "tabletop",
    method: Annotated[
        str, typer.Option(help="mean-difference, pca, pca-centred or reading.")
    ] = "mean-difference",
    layer: Annotated[int, typer.Option(min=0, help="Residual stream after this block.")] = 1,
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 48,
    pairs: Annotated[int, typer.Option(min=2, help="Paired observations.")] = 512,
    shuffle: Annotated[
        int | None, typer.Option(help="A control: exchange the sides of a random half (seed).")
    ] = None,
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make a steering vector from paired instructions and save it as a portable file."""
    from pilotage.scripts.cmd_read import vector as vector_command

    vector_command(
        agent=agent,
        env=env,
        method=method,
        positive=positive,
        negative=negative,
        layer=layer,
        out=out,
        episodes=episodes,
        pairs=pairs,
        shuffle=shuffle,
        seed=seed,
        quiet=quiet,
    )


@bench_app.command("nav")
def bench_nav(
    env: Env = "rooms",
    split: Annotated[str, typer.Option(help="train, val, unseen.")] = "unseen",
    agents: Annotated[str, typer.Option(help="Comma-separated.")] = "expert,random,nano",
    episodes: Annotated[int, typer.Option(min=1)] = 60,
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
        agents=_listed(agents),
        episodes=episodes,
        families=family or [],
        out=out,
        slots=slots,
        seed=seed,
        success_radius_m=success_radius_m,
        quiet=quiet,
        as_json=as_json,
    )


@bench_app.command("steering")
def bench_steering(
    agent: AgentName = "nano",
    env: Env = "tabletop",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    episodes: Annotated[int, typer.Option(min=1)] = 160,
    families: Annotated[str, typer.Option(help="Comma-separated.")] = "reach,push,lift",
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
        families=_listed(families),
        concepts=_listed(concepts),
        n_random=n_random,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@bench_app.command("hold")
def bench_hold(
    agent: AgentName = "nano",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    episodes: Annotated[int, typer.Option(min=1)] = 40,
    families: Annotated[str, typer.Option(help="Comma-separated.")] = "reach",
    concept: Annotated[str, typer.Option(help="A named condition of the agent.")] = "fast",
    targets: Annotated[str, typer.Option(help="Commanded speeds, m/s.")] = "0.25,0.30,0.35",
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
        families=_listed(families),
        concept=concept,
        targets=[float(t) for t in targets.split(",")],
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@bench_app.command("methods")
def bench_methods(
    agent: AgentName = "nano",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
    episodes: Annotated[int, typer.Option(min=1)] = 40,
    families: Annotated[str, typer.Option(help="Comma-separated.")] = "reach",
    concept: Annotated[str, typer.Option(help="fast or slow.")] = "fast",
    layer: Annotated[int, typer.Option(min=0, help="Residual stream after this block.")] = 0,
    dose: Annotated[
        float, typer.Option(help="Norm of every vector, over the mean difference's.")
    ] = 1.75,
    pairs: Annotated[int, typer.Option(min=2, help="Paired observations.")] = 512,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/bench-methods"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Ways to find a steering vector, fitted to the same pairs and played at the same norm."""
    from pilotage.scripts.cmd_bench_methods import methods

    methods(
        agent=agent,
        split=split,
        episodes=episodes,
        families=_listed(families),
        concept=concept,
        layer=layer,
        dose=dose,
        pairs=pairs,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@steer_app.command("sweep")
def steer_sweep(
    agent: AgentName = "nano",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    episodes: Annotated[int, typer.Option(min=1, help="Tasks; each is played per dose.")] = 40,
    families: Annotated[str, typer.Option(help="Comma-separated; empty: all.")] = "reach",
    concept: Annotated[str, typer.Option(help="A named condition of the agent.")] = "fast",
    doses: Annotated[
        str, typer.Option(help="Multiples of its coefficients.")
    ] = "0.25,0.5,0.75,1,1.5,2",
    n_random: Annotated[int, typer.Option(min=1, help="Random controls per dose.")] = 1,
    out: Annotated[Path, typer.Option(help="Run folder; resumed.")] = Path("runs/sweep"),
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """The dose-response curve of a concept: effect, success and controls at every dose."""
    from pilotage.scripts.cmd_sweep import sweep

    sweep(
        agent=agent,
        split=split,
        episodes=episodes,
        families=_listed(families),
        concept=concept,
        doses=[float(d) for d in doses.split(",")],
        n_random=n_random,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@steer_app.command("patch")
def steer_patch(
    positive: Annotated[str, typer.Option("--from", help="Words whose activations are put in.")] = (
        "quickly"
    ),
    negative: Annotated[str, typer.Option("--to", help="Words of the run they go into.")] = (
        "slowly"
    ),
    agent: AgentName = "nano",
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Env steps drawn from them.")] = 128,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Through which layers and tokens a word reaches the actions (activation patching)."""
    from pilotage.scripts.cmd_patch import patch

    patch(
        agent=agent,
        positive=positive,
        negative=negative,
        episodes=episodes,
        steps=steps,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@steer_app.command("check")
def steer_check(
    condition: Annotated[
        list[str], typer.Option("--condition", help="A condition or a vector file; repeatable.")
    ],
    agent: AgentName = "nano",
    env: Env = "tabletop",
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 16,
    steps: Annotated[int, typer.Option(min=2, help="Env steps drawn from them.")] = 256,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Whether an edit stays in the natural range, is mere shrinking, or a few huge dimensions."""
    from pilotage.scripts.cmd_check import check

    check(
        agent=agent,
        env=env,
        conditions=condition,
        episodes=episodes,
        steps=steps,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@bench_app.command("manner")
def bench_manner(
    agent: AgentName = "nano",
    split: Annotated[str, typer.Option(help="train, val or test.")] = "test",
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


@bench_app.command("vln")
def bench_vln(
    split: Annotated[str, typer.Option(help="train, val_seen, val_unseen.")] = "val_seen",
    family: Annotated[str, typer.Option(help="r2r, r4r or reverie.")] = "r2r",
    agents: Annotated[
        str, typer.Option(help="Comma-separated.")
    ] = "stop,random,shortest,reference",
    predictions: Annotated[
        list[Path] | None, typer.Option(help="A prediction file to score; repeatable.")
    ] = None,
    allow_missing: Annotated[
        bool, typer.Option("--allow-missing", help="Score a file that lacks instructions.")
    ] = False,
    convention: Annotated[str, typer.Option(help="Comma-separated, or all.")] = "r2r",
    episodes: Annotated[int, typer.Option(min=0, help="Drawn instructions; 0: the split.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Data folder; else PILOTAGE_DATA.")] = None,
    slots: Slots = 64,
    seed: Seed = 0,
    success_radius_m: Annotated[float, typer.Option(min=0.1)] = 3.0,
    as_json: AsJson = False,
) -> None:
    """Floors and prediction files on R2R, R4R or REVERIE, under named metric conventions."""
    from pilotage.scripts.cmd_bench_vln import vln

    vln(
        split=split,
        family=family,
        agents=_listed(agents),
        predictions=predictions or [],
        allow_missing=allow_missing,
        conventions=_listed(convention),
        episodes=episodes,
        data=data,
        slots=slots,
        seed=seed,
        success_radius_m=success_radius_m,
        as_json=as_json,
    )


@bench_app.command("mapf")
def bench_mapf(
    path: Annotated[
        Path | None,
        typer.Option(help="Folder of .map and .scen, or a POGEMA .yaml; else PILOTAGE_DATA."),
    ] = None,
    maps: Annotated[str, typer.Option(help="Names, comma-separated; empty: all.")] = "",
    agents: Annotated[str, typer.Option(help="Team sizes, comma-separated.")] = "50,100,200",
    solvers: Annotated[
        str, typer.Option(help="Of prioritised, cbs, pibt, lacam, lacam_star.")
    ] = "prioritised,pibt,lacam,lacam_star",
    scenarios: Annotated[int, typer.Option(min=0, help="Instances of each; 0: all.")] = 5,
    time_limit_s: Annotated[float, typer.Option(help="For each instance, seconds.")] = 5.0,
    max_steps: Annotated[int, typer.Option(min=0, help="Later plans fail; 0: no limit.")] = 0,
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for the table.")] = Path("runs/bench-mapf"),
    as_json: AsJson = False,
) -> None:
    """MAPF solvers on published instances, judged; PIBT's throughput where they are lifelong."""
    from pilotage.scripts.cmd_bench_mapf import mapf

    mapf(
        path=path,
        maps=_listed(maps),
        agents=[int(n) for n in agents.split(",")],
        solvers=_listed(solvers),
        scenarios=scenarios,
        time_limit_s=time_limit_s,
        max_steps=max_steps,
        seed=seed,
        out=out,
        as_json=as_json,
    )


@train_app.command(
    "vla",
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    add_help_option=False,
)
def train_vla(context: typer.Context) -> None:
    """Train a VLA by behaviour cloning and DAgger (`pilotage train vla --help` lists the flags)."""
    from pilotage.scripts.train_vla import main as train_main

    raise typer.Exit(train_main(context.args))


@app.command()
def demo(
    quick: Annotated[bool, typer.Option("--quick", help="Fewer episodes.")] = False,
    out: Annotated[Path, typer.Option(help="Run folder.")] = Path("runs/demo"),
    quiet: Quiet = False,
) -> None:
    """Steer the shipped agent while it acts: table and report."""
    from pilotage.scripts.cmd_demo import demo as demo_command

    demo_command(quick=quick, out=out, quiet=quiet)


@app.command()
def data(
    root: Annotated[Path | None, typer.Option("--data", help="Else PILOTAGE_DATA.")] = None,
    synthetic: Annotated[
        Path | None, typer.Option(help="Write invented buildings into an empty folder.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Public VLN data sets: how to get them, and whether what is there is whole."""
    from pilotage.scripts.cmd_data import data as data_command

    raise typer.Exit(data_command(root=root, synthetic=synthetic, as_json=as_json))


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """What is installed, what is missing, and the command that gets it."""
    from pilotage.scripts.doctor import run_doctor

    raise typer.Exit(run_doctor(as_json))


def main() -> None:
    """Entry point. A mistake of the caller ends in one line on standard error and status 2."""
    try:
        app()
    except (KeyError, ValueError, ImportError, OSError, RuntimeError) as error:
        if "--traceback" in sys.argv:
            raise
        words = error.args[0] if isinstance(error, KeyError) and error.args else error
        print(f"pilotage: {words}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
