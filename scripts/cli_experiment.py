"""`pilotage bench experiment`: its options."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pilotage.scripts.cli_options import (
    AgentName,
    AsJson,
    Episodes,
    Families,
    Quiet,
    Seed,
    Slots,
    numbers,
    words,
)


def bench_experiment(
    agent: AgentName = "nano",
    concepts: Annotated[
        str,
        typer.Option(
            help="Of fast, slow, high, low, left, right, rooms-left, rooms-right; empty: all."
        ),
    ] = "",
    methods: Annotated[
        str, typer.Option(help="Comma-separated; a wrong one lists them. Empty: all.")
    ] = "",
    episodes: Episodes = 160,
    val_episodes: Annotated[int, typer.Option(min=1, help="Val tasks of the grid.")] = 24,
    families: Families = "",
    doses: Annotated[
        str, typer.Option(help="Grid, in multiples of the mean difference's norm.")
    ] = "1,1.75,2.75",
    layer: Annotated[int, typer.Option(min=0, help="Residual stream after this block.")] = 0,
    pairs: Annotated[int, typer.Option(min=2, help="Paired observations.")] = 512,
    out: Annotated[Path, typer.Option(help="Folder; resumed.")] = Path("runs/experiment"),
    quick: Annotated[bool, typer.Option("--quick", help="Few episodes of three methods.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Play nothing; tabulate what an earlier call played.")
    ] = False,
    slots: Slots = 16,
    seed: Seed = 0,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> None:
    """Every steering method for every concept: dose chosen on val, frozen, measured on test."""
    from pilotage.scripts.cmd_bench_experiment import Settings, experiment
    from pilotage.scripts.experiment_edits import Doses

    settings = Settings(
        agent=agent,
        episodes=episodes,
        val_episodes=val_episodes,
        families=tuple(words(families)),
        methods=tuple(words(methods)),
        layer=layer,
        pairs=pairs,
        doses=Doses(norms=tuple(numbers(doses, "--doses", float))),
        out=out,
        slots=slots,
        seed=seed,
        quiet=quiet,
    )
    experiment(settings, words(concepts), quick=quick, report=report, as_json=as_json)
