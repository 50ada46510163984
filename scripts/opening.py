"""From words on the command line to worlds, tasks and agents; an unknown word lists what exists."""

from __future__ import annotations

import importlib.resources
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from pilotage.agents.loaders.opening import (
    LOADERS,
    PICTURE_PX,
    is_pretrained,
    load_pretrained,
    pretrained_folder,
)
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Agent, Task

SCRIPTED = ("expert", "random")


def shipped_agents() -> dict[str, Path]:
    """Agent folders that come with the package, by name (`nano-tabletop`)."""
    root = Path(str(importlib.resources.files("pilotage.assets")))
    return {path.parent.name: path.parent for path in sorted(root.glob("*/agent.json"))}


def agent_folder(name: str, world: str) -> Path:
    """The checkpoint folder behind `--agent`: a shipped name, with or without the world, a path, or
    a published checkpoint (`openvla:PATH`).

    Raises KeyError listing the shipped agents.
    """
    if is_pretrained(name):
        return pretrained_folder(name)
    shipped = shipped_agents()
    for candidate in (name, f"{name}-{world}"):
        if candidate in shipped:
            return shipped[candidate]
    path = Path(name)
    if path.is_dir():
        return path
    published = ", ".join(f"{kind}:FOLDER" for kind in LOADERS)
    raise unknown("agent", name, [*SCRIPTED, *shipped], f", a checkpoint folder, {published}")


def load_vla(name: str, world: str, *, device: str = "cpu", narrate: bool = False) -> Any:
    """A `VLAAgent` from a shipped name or a folder; ValueError for one of another world, and for a
    published checkpoint."""
    if is_pretrained(name):
        raise ValueError(
            f"this command needs an agent that was trained here, not {name!r}; published "
            "checkpoints can be run and projected"
        )
    from pilotage.agents.vla.checkpoint import load_checkpoint
    from pilotage.agents.vla.policy import VLAAgent

    folder = agent_folder(name, world)
    model, header = load_checkpoint(folder)
    if model.config.world != world:
        raise ValueError(
            f"agent {name!r} was trained for {model.config.world!r}, not for {world!r}; "
            f"use --env {model.config.world}"
        )
    return VLAAgent(
        model,
        name=folder.name,
        weights_sha256=header["weights_sha256"],
        folder=folder,
        narrate=narrate,
        device=device,
    )


def load_readable(name: str, world: str) -> Any:
    """An agent whose `model` has a decoder, a tokenizer and action ids."""
    return load_pretrained(name, world) if is_pretrained(name) else load_vla(name, world)


def load_agent(
    name: str, world: str, envs: Any, *, device: str = "cpu", narrate: bool = False
) -> Agent:
    """Any agent: `expert`, `random`, a shipped VLA, a checkpoint folder, or `openvla:PATH`."""
    if is_pretrained(name):
        if narrate:
            raise ValueError(f"{name!r} was not trained to narrate; leave --narrate out")
        return load_pretrained(name, world, device=device)
    from pilotage.agents.scripted import ExpertAgent, RandomAgent

    if name == "expert":
        return ExpertAgent()
    if name == "random":
        return RandomAgent(envs.single_action_space)
    return load_vla(name, world, device=device, narrate=narrate)


def open_world(name: str, n_slots: int, *, for_agent: str, **options: Any) -> Any:
    """The vector world, with the expert's labels only where the expert plays."""
    from pilotage.envs.registry import load_world

    extra: dict[str, Any] = {"wrist": True} if name == "tabletop" else {}
    if name == "tabletop" and is_pretrained(for_agent):
        extra["image_size"] = PICTURE_PX
    if for_agent == "expert":
        extra["expert_actions"] = True
    return load_world(name).make_vector(n_slots, **(extra | options))


def make_tasks(
    world: str,
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    **options: Any,
) -> list[Task]:
    """`n` tasks of a world."""
    from pilotage.envs.registry import load_world

    return load_world(world).make_tasks(split, n, seed=seed, families=families or None, **options)


def progress_bar(total: int, label: str, *, quiet: bool) -> tuple[Any, Callable[[int], None]]:
    """A context manager that shows a bar on standard error, and the function that moves it."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=quiet,
    )
    task = bar.add_task(label, total=total)
    return bar, lambda done: bar.update(task, completed=done)
