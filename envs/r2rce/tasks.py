"""Tasks of the continuous benchmarks: R2R-CE and RxR-CE, one per instruction."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pilotage.envs.r2r.annotations import SPLIT_ALIASES, annotation_file
from pilotage.envs.r2r.continuous import ContinuousEpisode
from pilotage.envs.r2r.errors import DataError
from pilotage.envs.requests import drawn_in_turns
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Json, Task

from .dataset import R2RCEData, shared_data

FAMILIES = ("r2rce", "rxrce")
MAX_STEPS = 500


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
        families: of "r2rce" (default), "rxrce"; several take turns.
        data: the data folder, by default the one `PILOTAGE_DATA` names.

    Raises:
        KeyError: unknown family.
        ValueError: n is negative or more than there are.
        DataMissing, DataError: the files are not there, or damaged.
    """
    drawn = drawn_in_turns(
        tuple(families or FAMILIES[:1]),
        FAMILIES,
        lambda family: split_tasks(family, split, data),
        n,
        split=split,
        seed=seed,
    )
    return [task for _, task in drawn]


def split_tasks(family: str, split: str, data: str | Path | None = None) -> list[Task]:
    """Every task of a split, in the order of its file. Raises as `make_tasks` does."""
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    source = shared_data(data)
    split = SPLIT_ALIASES.get(split, split)
    if family == "rxrce":
        return [
            task_of(
                spoken.episode,
                family,
                split,
                {"instruction_id": spoken.instruction_id, "language": spoken.language},
            )
            for spoken in source.spoken(split)
        ]
    names = _discrete_names(source, split)
    return [
        task_of(e, family, split, {"instr_id": names.get((e.trajectory_id, _plain(e.instruction)))})
        for e in source.episodes(split)
    ]


def task_of(episode: ContinuousEpisode, family: str, split: str, more: dict[str, Json]) -> Task:
    """The task of one episode.

    `info["path_id"]` (also `trajectory_id`, and in the task's id) is that of the discrete path it
    was made from; `info["instr_id"]` names the same instruction of R2R, where its file is there.
    Headings: radians, 0 = +y, clockwise.
    """
    if not episode.instruction.strip():
        raise DataError(f"{family} {split} episode {episode.episode_id}: the instruction is empty")
    return Task(
        task_id=f"{family}-{split}-{episode.trajectory_id}-{episode.episode_id}",
        env="r2rce",
        split=split,
        family=family,
        instruction=episode.instruction.strip(),
        max_steps=MAX_STEPS,
        scene={"scan": episode.scan},
        start={"position": episode.start.tolist(), "heading": episode.heading},
        goal={"position": episode.goal.tolist()},
        shortest_path_length=episode.geodesic_m,
        reference_path=episode.reference.tolist(),
        info={
            "episode_id": episode.episode_id,
            "trajectory_id": episode.trajectory_id,
            "path_id": episode.trajectory_id,
            **more,
        },
    )


def _discrete_names(source: R2RCEData, split: str) -> dict[tuple[str, str], str]:
    """(path id, words) -> the instruction's name in R2R; empty without R2R's file."""
    if not annotation_file(source.root, "r2r", split).exists():
        return {}
    items = source.graphs.items("r2r", split)
    return {(item.path_id, _plain(item.instruction)): item.instr_id for item in items}


def _plain(instruction: str) -> str:
    return " ".join(instruction.split())
