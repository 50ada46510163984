"""`pilotage bench vln`, `vlnce`, `reverie`: agents that follow instructions in real buildings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pilotage.scripts.cli_options import AsJson, Seed, Slots, words


def bench_vln(
    split: Annotated[
        str,
        typer.Option(
            help="train, val_seen, val_unseen, or held_out: scans of train that no training sees."
        ),
    ] = "val_seen",
    family: Annotated[str, typer.Option(help="r2r, r4r or reverie.")] = "r2r",
    agents: Annotated[
        str,
        typer.Option(
            help="Comma-separated: floors, shipped agents, folders of `train vln`, and prompted "
            "agents as SCHEME:BACKEND (mapgpt, navgpt, a2nav, s2p; oracle, minilm, hashed, smol, "
            "smol-raw, smol-free, hf=FOLDER, api); on REVERIE mobility:SCORER (of `bench "
            "reverie`, or oracle); @P behind it: the chance of a wrong localisation a step; "
            "and metaexplore:SEARCH (sos, bag, last, none; @N behind it: explores N steps)."
        ),
    ] = "stop,random,shortest,reference",
    controls: Annotated[
        str,
        typer.Option(
            help="Of agents with words: no-captions, shuffled-captions, shuffled-instructions."
        ),
    ] = "",
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
    decisions: Annotated[
        Path | None, typer.Option(help="Folder for pages of what prompted agents decided.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Floors, agents and prediction files on R2R, R4R or REVERIE, by named conventions."""
    from pilotage.scripts.cmd_bench_vln import vln

    vln(
        split=split,
        family=family,
        agents=words(agents),
        controls=words(controls),
        predictions=predictions or [],
        allow_missing=allow_missing,
        conventions=words(convention),
        episodes=episodes,
        data=data,
        slots=slots,
        seed=seed,
        success_radius_m=success_radius_m,
        as_json=as_json,
        decisions=decisions,
    )


def bench_vlnce(
    split: Annotated[str, typer.Option(help="train, val_seen, val_unseen.")] = "val_seen",
    family: Annotated[str, typer.Option(help="r2rce or rxrce.")] = "r2rce",
    agents: Annotated[
        str, typer.Option(help="Of stop, random, handcrafted, expert, replay.")
    ] = "stop,random,handcrafted,expert,replay",
    convention: Annotated[str, typer.Option(help="Of the metrics.")] = "vlnce",
    episodes: Annotated[int, typer.Option(min=0, help="Drawn instructions; 0: the split.")] = 0,
    data: Annotated[Path | None, typer.Option(help="Data folder; else PILOTAGE_DATA.")] = None,
    slots: Slots = 64,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """R2R-CE and RxR-CE on known ground, without meshes: floors, the expert, recorded actions."""
    from pilotage.scripts.cmd_bench_vlnce import vlnce

    vlnce(
        split=split,
        family=family,
        agents=words(agents),
        convention=convention,
        episodes=episodes,
        data=data,
        slots=slots,
        seed=seed,
        as_json=as_json,
    )


def bench_reverie(
    split: Annotated[
        str,
        typer.Option(
            help="train, val_seen, val_unseen, or held_out: scans of train that no training sees."
        ),
    ] = "val_seen",
    scorers: Annotated[
        str,
        typer.Option(
            help="Of chance, lexical, captions, both, minilm, mixture, learned-words, learned."
        ),
    ] = "chance,lexical,captions,both,learned-words",
    episodes: Annotated[int, typer.Option(min=0, help="Drawn instructions; 0: the split.")] = 0,
    n_train: Annotated[
        int, typer.Option(min=1, help="Instructions of train that the learned scorers see.")
    ] = 1500,
    data: Annotated[Path | None, typer.Option(help="Data folder; else PILOTAGE_DATA.")] = None,
    seed: Seed = 0,
    as_json: AsJson = False,
) -> None:
    """Goal-frame retrieval on REVERIE: which viewpoint of a tour sees the object that is meant."""
    from pilotage.scripts.cmd_bench_reverie import reverie

    reverie(
        split=split,
        scorers=words(scorers),
        episodes=episodes,
        n_train=n_train,
        data=data,
        seed=seed,
        as_json=as_json,
    )
