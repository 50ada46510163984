"""What a run has to play: tasks x repeats x conditions, in the order in which slots take them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from .types import Condition, Seeds, Task, episode_key

Frames = Literal["none", "all"] | int


@dataclass(frozen=True)
class WorkItem:
    """One episode to play."""

    task: Task
    condition: Condition
    seeds: Seeds
    record_frames: bool

    @property
    def key(self) -> str:
        return episode_key(self.task.task_id, self.condition.name, self.seeds)


def plan_work(
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    *,
    seed: int = 0,
    repeats: int = 1,
    frames: Frames = "all",
) -> list[WorkItem]:
    """The work list: conditions of one task and repeat are neighbours, so they run side by side.

    `frames` says whose frames are kept: `"none"`, `"all"`, or the first `k` episodes of every
    condition in this list (so the choice does not depend on the slots, nor on an interruption).

    Raises ValueError for repeated task ids or condition names and for numbers out of range.
    """
    _refuse_repeated("task id", (task.task_id for task in tasks))
    _refuse_repeated("condition", (condition.name for condition in conditions))
    if repeats < 1:
        raise ValueError(f"repeats must be >= 1, got {repeats}")
    limit = _frames_limit(frames)
    work = []
    for place, (task, repeat) in enumerate((t, r) for t in tasks for r in range(repeats)):
        seeds = Seeds.of(task, run_seed=seed, repeat=repeat)
        for condition in conditions:
            work.append(WorkItem(task, condition, seeds, limit is None or place < limit))
    return work


def _frames_limit(frames: Frames) -> int | None:
    """How many episodes of each condition keep their frames; None is all of them."""
    if frames == "all":
        return None
    if frames == "none":
        return 0
    if isinstance(frames, bool) or not isinstance(frames, int) or frames < 0:
        raise ValueError(f'frames must be "none", "all" or a count >= 0, got {frames!r}')
    return frames


def _refuse_repeated(what: str, names: Iterable[str]) -> None:
    repeated = [name for name, count in Counter(names).items() if count > 1]
    if repeated:
        raise ValueError(f"{what} given more than once: {repeated[:5]}; each must be unique")
