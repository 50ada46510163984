"""`pilotage steer`: doses and what they do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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

app = typer.Typer(no_args_is_help=True, help="Doses and what they do.")


@app.command("sweep")
def steer_sweep(
    agent: AgentName = "nano",
    split: Split = "val",
    episodes: Episodes = 40,
    families: Families = "reach",
    concept: Concept = "fast",
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
        families=words(families),
        concept=concept,
        doses=numbers(doses, "--doses", float),
        n_random=n_random,
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
        as_json=as_json,
    )


@app.command("patch")
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


@app.command("check")
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
