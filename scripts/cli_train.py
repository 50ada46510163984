"""`pilotage train`: a verb for each kind of model; `pilotage train VERB --help` lists its flags."""

from __future__ import annotations

from typing import Any

import typer

app = typer.Typer(no_args_is_help=True, help="Train agents and planners; a stopped one goes on.")
FLAGS_FROM_OPTIONS: dict[str, Any] = {
    "context_settings": {"allow_extra_args": True, "ignore_unknown_options": True},
    "add_help_option": False,
}


@app.command("vla", **FLAGS_FROM_OPTIONS)
def train_vla(context: typer.Context) -> None:
    """A VLA, by behaviour cloning and DAgger."""
    from pilotage.scripts.train_vla import main

    raise typer.Exit(main(context.args))


@app.command("vln", **FLAGS_FROM_OPTIONS)
def train_vln(context: typer.Context) -> None:
    """A text-only agent for Room-to-Room, by imitation and DAgger."""
    from pilotage.scripts.train_vln import main

    raise typer.Exit(main(context.args))


@app.command("mlmu", **FLAGS_FROM_OPTIONS)
def train_mlmu(context: typer.Context) -> None:
    """MLM-U or a twin of it, on mazes."""
    _planner("mlmu", context)


@app.command("alpine", **FLAGS_FROM_OPTIONS)
def train_alpine(context: typer.Context) -> None:
    """A next-token planner of a random graph."""
    _planner("alpine", context)


@app.command("stars", **FLAGS_FROM_OPTIONS)
def train_stars(context: typer.Context) -> None:
    """The arm of a star graph that ends in the goal, by one of three objectives."""
    _planner("stars", context)


@app.command("tdb", **FLAGS_FROM_OPTIONS)
def train_tdb(context: typer.Context) -> None:
    """A transformer with discrete bottlenecks, in a room whose cells look alike."""
    _planner("tdb", context)


@app.command("cscg", **FLAGS_FROM_OPTIONS)
def train_cscg(context: typer.Context) -> None:
    """A clone-structured model of such a room."""
    _planner("cscg", context)


def _planner(verb: str, context: typer.Context) -> None:
    from pilotage.scripts.train_planners import main

    raise typer.Exit(main(verb, context.args))
