"""Navigation from dialogue history (NDH of CVDN, Thomason et al. 2019, arXiv:1907.04957).

A file is a list of instances: `inst_idx`, `scan`, `target` (an object of the goal room),
`start_pano` {pano, heading}, `end_panos` (the goal room), `dialog_history` [{role, message}],
`planner_path` (the shortest one that was shown to the helper, five steps of it at most) and
`player_path` (what the player then did; hidden tests lack it and are refused). None of it is part
of `pilotage data`; the Matterport3D terms hold for it too.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from pilotage.episodes.names import unknown
from pilotage.episodes.ndh_metrics import ndh_metrics
from pilotage.episodes.types import EpisodeRecord, Task

from .dataset import R2RData
from .errors import DataError
from .files import field_of, read_json
from .walks import walk_of, walk_of_record

Supervision = Literal["trusted", "planner", "player"]
SUPERVISIONS = ("trusted", "planner", "player")
MAX_STEPS = 80


@dataclass(frozen=True)
class Dialogue:
    """One instance. `turns` are (role, message), the oldest first; `heading` is in radians."""

    inst_idx: str
    scan: str
    target: str
    start: str
    heading: float
    end_panos: tuple[str, ...]
    turns: tuple[tuple[str, str], ...]
    planner_path: tuple[str, ...]
    player_path: tuple[str, ...]

    def instruction(self) -> str:
        """The target, then the dialogue, a line a turn."""
        lines = [f"{role}: {message}" for role, message in self.turns]
        return "\n".join([f"Find the room with the {self.target}.", *lines])

    def path(self, supervision: Supervision = "trusted") -> tuple[str, ...]:
        """The path that supervises. "trusted" is the player's where it passes the planner's goal
        after its start, else the planner's. KeyError for an unknown kind."""
        if supervision not in SUPERVISIONS:
            raise unknown("supervision", supervision, SUPERVISIONS)
        trusted = self.planner_path[-1] in self.player_path[1:]
        plays = supervision == "player" or (supervision == "trusted" and trusted)
        return self.player_path if plays else self.planner_path


def read_dialogues(path: Path) -> list[Dialogue]:
    """All instances of a file. Raises DataMissing; DataError for a damaged entry or an index that
    occurs twice."""
    found: dict[str, Dialogue] = {}
    for i, entry in enumerate(read_json(path, list)):
        dialogue = _dialogue(entry, f"{path} entry {i}")
        if dialogue.inst_idx in found:
            raise DataError(f"{path} entry {i}: inst_idx {dialogue.inst_idx} occurs twice")
        found[dialogue.inst_idx] = dialogue
    return list(found.values())


def _dialogue(entry: Any, where: str) -> Dialogue:
    start = field_of(entry, "start_pano", dict, where)
    turns = field_of(entry, "dialog_history", list, where)
    return Dialogue(
        inst_idx=str(field_of(entry, "inst_idx", (int, str), where)),
        scan=field_of(entry, "scan", str, where),
        target=field_of(entry, "target", str, where),
        start=field_of(start, "pano", str, f"{where} start_pano"),
        heading=float(field_of(start, "heading", (int, float), f"{where} start_pano")),
        end_panos=_viewpoints(entry, "end_panos", where),
        turns=tuple(
            (field_of(t, "role", str, where), field_of(t, "message", str, where)) for t in turns
        ),
        planner_path=_viewpoints(entry, "planner_path", where),
        player_path=_viewpoints(entry, "player_path", where),
    )


def _viewpoints(entry: Any, name: str, where: str) -> tuple[str, ...]:
    values = field_of(entry, name, list, where)
    if not values or not all(isinstance(value, str) for value in values):
        raise DataError(f"{where}: {name!r} must hold viewpoint ids, got {values!r}")
    return tuple(values)


def task_of(
    dialogue: Dialogue, split: str, data: R2RData, *, supervision: Supervision = "trusted"
) -> Task:
    """A task that `R2RVectorEnv` plays: its goal is the end of the supervising path, `end_panos`
    lies beside it for `scores`.

    Raises DataError for a viewpoint that the scan lacks.
    """
    graph, path = data.graph(dialogue.scan), dialogue.path(supervision)
    where = f"instance {dialogue.inst_idx}"
    numbers = graph.numbers(path, where)
    graph.numbers(dialogue.end_panos, where)
    start = graph.number(dialogue.start, where)
    return Task(
        task_id=f"ndh-{split}-{dialogue.inst_idx}",
        env="r2r",
        split=split,
        family="ndh",
        instruction=dialogue.instruction(),
        max_steps=MAX_STEPS,
        scene={"scan": dialogue.scan},
        start={"viewpoint": dialogue.start, "heading": dialogue.heading},
        goal={"viewpoint": path[-1], "end_panos": list(dialogue.end_panos)},
        shortest_path_length=float(graph.distance[start, numbers[-1]]),
        reference_path=graph.position[numbers].tolist(),
        info={"instr_id": dialogue.inst_idx, "path_id": dialogue.inst_idx, "path": list(path)},
    )


def scores(task: Task, path: Sequence[str], data: R2RData) -> dict[str, float]:
    """`ndh_metrics` of a trajectory of viewpoint ids, the start first."""
    graph = data.graph(task.scene["scan"])
    numbers = graph.numbers(path, f"trajectory of {task.task_id}")
    return ndh_metrics(walk_of(task, path, data), _to_ends(task, numbers, data))


def scores_of_record(record: EpisodeRecord, data: R2RData) -> dict[str, float] | None:
    """`ndh_metrics` of a played episode; None when it ended by an error."""
    walk = walk_of_record(record, data)
    if walk is None:
        return None
    numbers = record.trace["viewpoint"].ravel().astype(np.int64)
    return ndh_metrics(walk, _to_ends(record.task, numbers, data))


def _to_ends(task: Task, numbers: np.ndarray, data: R2RData) -> np.ndarray:
    """float64 [n]: metres along the graph to the nearest end panorama."""
    graph = data.graph(task.scene["scan"])
    ends = graph.numbers(task.goal["end_panos"], f"goal of {task.task_id}")
    nearest: np.ndarray = graph.distance[np.ix_(numbers, ends)].min(axis=1)
    return nearest
