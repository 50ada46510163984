"""`pilotage bench patheval` and `vicmaze`: path questions for solvers that read and write text."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pilotage.scripts.cli_options import AsJson, Families, Seed, Split, words


def bench_patheval(
    split: Split = "test",
    each: Annotated[int, typer.Option(min=1, help="Questions of each of the 15 scenarios.")] = 10,
    families: Families = "",
    margin: Annotated[
        float, typer.Option(help="Paths differ by so many times the published thresholds.")
    ] = 1.0,
    opposed: Annotated[
        bool,
        typer.Option("--opposed", help="Each pair for two scenarios that want different paths."),
    ] = False,
    show: Annotated[str, typer.Option(help="In the prompt: measures, drawing, both.")] = "measures",
    solvers: Annotated[
        str,
        typer.Option(
            help="Of rule, no-scenario, shorter, first, random; free:MODEL and choice:MODEL for a "
            "language model (smollm2-135m-instruct, or a folder)."
        ),
    ] = "rule,no-scenario,shorter,first,random",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for tables and replies.")] = Path(
        "runs/bench-patheval"
    ),
    as_json: AsJson = False,
) -> None:
    """Which of two paths suits a scenario better? In both orders, judged by exact measures."""
    from pilotage.scripts.cmd_bench_patheval import patheval

    patheval(
        split=split,
        n_each=each,
        families=words(families),
        margin=margin,
        opposed=opposed,
        show=show,
        solvers=words(solvers),
        seed=seed,
        out=out,
        as_json=as_json,
    )


def bench_vicmaze(
    split: Split = "test",
    mazes: Annotated[int, typer.Option(min=1, help="How many.")] = 100,
    size: Annotated[int, typer.Option(min=2, help="Cells a side.")] = 5,
    family: Annotated[str, typer.Option(help="dfs, wilson, percolation, loops, astar.")] = "dfs",
    level: Annotated[
        int, typer.Option(help="Told: 0 the drawing, 1 and both cells, 2 and the open sides.")
    ] = 0,
    ways: Annotated[
        str, typer.Option(help="Of choice, whole, turns, interleaved.")
    ] = "choice,whole,turns,interleaved",
    solvers: Annotated[
        str,
        typer.Option(
            help="Of exact, noisy, forgetful, legal-random, random; free:MODEL and choice:MODEL "
            "for a language model (smollm2-135m-instruct, or a folder)."
        ),
    ] = "exact,noisy,forgetful,legal-random,random",
    seed: Seed = 0,
    out: Annotated[Path, typer.Option(help="Folder for tables.")] = Path("runs/bench-vicmaze"),
    as_json: AsJson = False,
) -> None:
    """Mazes in words: does it help to be shown where each move led?"""
    from pilotage.scripts.cmd_bench_vicmaze import vicmaze

    vicmaze(
        split=split,
        n=mazes,
        size=size,
        family=family,
        level=level,
        solvers=words(solvers),
        ways=words(ways),
        seed=seed,
        out=out,
        as_json=as_json,
    )
