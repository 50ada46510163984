"""Options that several commands of `pilotage` have, and how lists are typed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeVar

import typer

Number = TypeVar("Number", int, float)

Quiet = Annotated[bool, typer.Option("--quiet", help="No progress bars.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
Env = Annotated[str, typer.Option("--env", help="World: tabletop, rooms.")]
AgentName = Annotated[
    str, typer.Option("--agent", help="nano, expert, random, a folder, openvla:PATH.")
]
Seed = Annotated[int, typer.Option("--seed", help="Seed of the run and of the task draw.")]
Slots = Annotated[int, typer.Option("--slots", min=1, help="Episodes played side by side.")]
Split = Annotated[str, typer.Option("--split", help="train, val or test.")]
Episodes = Annotated[int, typer.Option("--episodes", min=1, help="Tasks of each condition.")]
Families = Annotated[str, typer.Option("--families", help="Comma-separated; empty: all.")]
Concept = Annotated[str, typer.Option("--concept", help="A named condition of the agent.")]


def words(text: str) -> list[str]:
    """The words of a comma-separated option."""
    return [word.strip() for word in text.split(",") if word.strip()]


def numbers(text: str, option: str, kind: Callable[[str], Number]) -> list[Number]:
    """The numbers of a comma-separated option. ValueError naming the one that is none."""
    found = []
    for word in words(text):
        try:
            found.append(kind(word))
        except ValueError:
            what = "a whole number" if kind is int else "a number"
            raise ValueError(
                f"{option} {text!r}: {word!r} is not {what}; give such numbers between commas"
            ) from None
    if not found:
        raise ValueError(f"{option} is empty; give at least one number")
    return found
