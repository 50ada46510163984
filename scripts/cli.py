"""The command line: `pilotage --help`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pilotage.scripts import cli_bench, cli_steer, cli_train
from pilotage.scripts.cli_options import AgentName, AsJson, Env, Quiet, Seed, Slots, words

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Run embodied transformer agents in simulation, read them, and steer them while they act.",
)
app.add_typer(cli_bench.app, name="bench")
app.add_typer(cli_steer.app, name="steer")
app.add_typer(cli_train.app, name="train")


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
    monitor: Annotated[
        bool, typer.Option("--monitor", help="Record what its layers do at every step.")
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
        monitor=monitor,
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
    positive: Annotated[str, typer.Option("--from", help="Words behind the instruction.")] = "",
    negative: Annotated[str, typer.Option("--to", help="Words on the other side.")] = "",
    agent: AgentName = "nano",
    env: Env = "tabletop",
    method: Annotated[
        str,
        typer.Option(
            help="mean-difference, pca, pca-centred, reading; maps: ot-gaussian, ot-sorted, "
            "lineas, lineas-sparse, lineas-deep; snmf, east; without words: vista, efficiency."
        ),
    ] = "mean-difference",
    layer: Annotated[int, typer.Option(min=0, help="Residual stream after this block.")] = 1,
    episodes: Annotated[int, typer.Option(min=1, help="Train episodes to look at.")] = 48,
    pairs: Annotated[int, typer.Option(min=2, help="Paired observations.")] = 512,
    shuffle: Annotated[
        int | None, typer.Option(help="A control: exchange the sides of a random half (seed).")
    ] = None,
    kl: Annotated[
        float | None,
        typer.Option(help="Find the coefficient that moves action tokens so far (nats a token)."),
    ] = None,
    norm: Annotated[
        float | None, typer.Option(help="Find the coefficient of this dose, |dh| / |h|.")
    ] = None,
    tasks: Annotated[int, typer.Option(min=1, help="Of efficiency: train tasks.")] = 16,
    rollouts: Annotated[int, typer.Option(min=2, help="Of efficiency: of each task.")] = 4,
    temperature: Annotated[
        float, typer.Option(help="Of efficiency: at which action tokens are drawn.")
    ] = 1.5,
    min_pairs: Annotated[
        int, typer.Option(min=1, help="Of efficiency: tasks with a quick and a slow success.")
    ] = 6,
    families: Annotated[
        str, typer.Option(help="Of efficiency: families of the tasks, comma-separated.")
    ] = "",
    seed: Seed = 0,
    quiet: Quiet = False,
) -> None:
    """Make a steering vector from paired instructions and save it as a portable file."""
    from pilotage.scripts.cmd_read import vector as vector_command
    from pilotage.scripts.rollouts import Rolling

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
        rolling=Rolling(tasks, rollouts, temperature, min_pairs, tuple(words(families))),
        kl=kl,
        norm=norm,
    )


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
