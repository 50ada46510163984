"""The tasks that a table of a graph benchmark is made of."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.tasks import make_tasks, split_tasks
from pilotage.episodes.types import Task
from pilotage.scripts.vln_training import HELD_OUT, is_held_out


def drawn_tasks(family: str, split: str, episodes: int, seed: int, source: R2RData) -> list[Task]:
    """`episodes` tasks of a split drawn by `seed`, or all of them (0). `held_out` is a split too:
    the scans of train that no training sees. Raises as `make_tasks` does."""
    if split == HELD_OUT:
        held = split_tasks(family, "train", source.root)
        held = [task for task in held if is_held_out(task.scene["scan"])]
        if not episodes:
            return held
        order = np.random.default_rng(seed).permutation(len(held))
        return [held[i] for i in order[:episodes].tolist()]
    if episodes:
        return make_tasks(split, episodes, seed=seed, families=[family], data=source.root)
    return split_tasks(family, split, source.root)


def scheme_of(name: str) -> str:
    """The scheme of an agent's name: "mobility" of "mobility:lexical@0.2"."""
    return name.partition(":")[0]


def object_agent(name: str, tasks: Sequence[Task]) -> tuple[str, str]:
    """What is behind the scheme in the name of an agent that looks for objects: ("lexical", "0.2")
    of "mobility:lexical@0.2", "" for what is left out.

    Raises ValueError for tasks that are not REVERIE's.
    """
    others = {task.family for task in tasks} - {"reverie"}
    if others:
        raise ValueError(
            f"{name!r} looks for objects: it needs --family reverie, got {', '.join(others)}"
        )
    kind, _, number = name.partition(":")[2].partition("@")
    return kind, number
