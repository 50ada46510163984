"""Tasks of the discrete benchmarks: R2R, R4R and REVERIE, one per instruction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pilotage.envs.requests import drawn_in_turns
from pilotage.episodes.types import Json, Task

from .annotations import FAMILIES, SPLIT_ALIASES, Item
from .dataset import R2RData, shared_data

MAX_STEPS = {"r2r": 60, "r4r": 120, "reverie": 60}


def make_tasks(
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    data: str | Path | None = None,
) -> list[Task]:
    """`n` different tasks of a split, in an order drawn by `seed`; longer lists begin with shorter.

    Args:
        split: "train", "val_seen" (or "val"), "val_unseen" (or "unseen"; nothing may be tuned on
            it). What is there depends on the data folder.
        families: of "r2r" (default), "r4r", "reverie"; several take turns.
        data: the data folder, by default the one `PILOTAGE_DATA` names.

    Raises:
        KeyError: unknown family or split.
        ValueError: n is negative or more than there are.
        DataMissing, DataError: the files are not there, or damaged.
    """
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    drawn = drawn_in_turns(
        tuple(families or FAMILIES[:1]),
        FAMILIES,
        lambda family: source.items(family, split),
        n,
        split=split,
        seed=seed,
    )
    return [task_of(item, family, split, source) for family, item in drawn]


def split_tasks(family: str, split: str, data: str | Path | None = None) -> list[Task]:
    """Every task of a split, in the order of its file. Raises as `make_tasks` does."""
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    return [task_of(item, family, split, source) for item in source.items(family, split)]


def task_of(item: Item, family: str, split: str, source: R2RData) -> Task:
    """The task of one instruction.

    `goal["viewpoint"]` is the end of the path. For REVERIE `goal["object"]` is the object's id and
    `goal["seen_from"]` the viewpoints that see it: to stop at any of them is success.
    """
    graph = source.graph(item.scan)
    numbers = graph.numbers(item.path, f"instruction {item.instr_id}")
    goal: dict[str, Json] = {"viewpoint": item.path[-1]}
    info: dict[str, Json] = {
        "instr_id": item.instr_id,
        "path_id": item.path_id,
        "path": list(item.path),
    }
    if family == "reverie":
        seen_from = source.sees(item)
        goal |= {"object": item.object_id, "seen_from": seen_from}
        info["end_sees_object"] = item.path[-1] in seen_from
    return Task(
        task_id=f"{family}-{split}-{item.instr_id}",
        env="r2r",
        split=split,
        family=family,
        instruction=item.instruction.strip(),
        max_steps=MAX_STEPS[family],
        scene={"scan": item.scan},
        start={"viewpoint": item.path[0], "heading": item.heading},
        goal=goal,
        shortest_path_length=float(graph.distance[numbers[0], numbers[-1]]),
        reference_path=graph.position[numbers].tolist(),
        info=info,
    )
