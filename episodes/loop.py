"""The one episode loop: tasks and conditions in, records out, one lane per slot.

A slot is refilled the moment its episode ends, and a finished episode is on disk before the next
one starts in its slot. The record of an episode depends on its task, condition, seeds and agent,
and on nothing else: not on the number of slots, their order, or the neighbours.

Who is to blame for an error: the agent for what `reset_slot`, `act`, `step_trace` and `finish_slot`
raise and for actions outside the action space; the world for what `reset` and `step` raise, for
`infos["env_error"]`, and for breaking its own contract. An error ends one episode where the culprit
is known, else every episode that was being stepped; the run goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import gymnasium as gym

from .lanes import EpisodeError as EpisodeError
from .lanes import Lanes, OnError
from .runs import RunFolder
from .types import Agent, Condition, EpisodeRecord, Task
from .work import Frames, WorkItem, plan_work


@dataclass(frozen=True)
class Progress:
    """Where a run stands, told after every finished episode."""

    n_total: int
    n_skipped: int  # were already in the run folder
    n_played: int
    n_errors: int  # of those played
    n_steps: int  # of those played
    last: EpisodeRecord


def run_episodes(
    envs: gym.vector.VectorEnv[Any, Any, Any],
    agent: Agent,
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    *,
    run: RunFolder | None = None,
    seed: int = 0,
    repeats: int = 1,
    frames: Frames = "all",
    on_error: OnError = "record",
    progress: Callable[[Progress], None] | None = None,
    keep_frames: bool = True,
) -> list[EpisodeRecord]:
    """Play every task `repeats` times under every condition; the records in the order of the work.

    Args:
        envs: a vector world with autoreset disabled; it stays open.
        run: where finished episodes are written. Those already in it are loaded, not played again.
        seed: run seed; the three seeds of an episode follow from it, the task and the repeat.
        frames: `"none"`, `"all"`, or the first `k` episodes of each condition.
        on_error: `"record"` keeps the error as an episode's end, `"raise"` stops the run.
        keep_frames: False drops the frames from the returned records (memory); with `run` they are
            on disk all the same.

    Raises ValueError for a world that resets by itself, lacks an observation the agent needs, or
    for arguments out of range; RunError when `run` was made for other tasks, conditions or seeds,
    or when its disk is full (what was finished is safe: resume it).
    """
    played = {}
    for record in iter_episodes(
        envs,
        agent,
        tasks,
        conditions,
        run=run,
        seed=seed,
        repeats=repeats,
        frames=frames,
        on_error=on_error,
        progress=progress,
    ):
        played[record.key] = record if keep_frames else record.without_pictures()
    keys = [item.key for item in plan_work(tasks, conditions, seed=seed, repeats=repeats)]
    if run is None:
        return [played[key] for key in keys]
    return [played[key] if key in played else run.load(key, frames=keep_frames) for key in keys]


def iter_episodes(
    envs: gym.vector.VectorEnv[Any, Any, Any],
    agent: Agent,
    tasks: Sequence[Task],
    conditions: Sequence[Condition],
    *,
    run: RunFolder | None = None,
    seed: int = 0,
    repeats: int = 1,
    frames: Frames = "all",
    on_error: OnError = "record",
    progress: Callable[[Progress], None] | None = None,
) -> Iterator[EpisodeRecord]:
    """Like `run_episodes`, but yields each record as it is finished, and only those played now.

    A record is on disk when it is yielded. The caller may stop at any time; `run` can be resumed.
    """
    if on_error not in ("record", "raise"):
        raise ValueError(f'on_error must be "record" or "raise", got {on_error!r}')
    work = plan_work(tasks, conditions, seed=seed, repeats=repeats, frames=frames)
    done = set()
    if run is not None:
        run.check_plan(tasks, conditions, seed=seed, repeats=repeats, frames=frames)
        done = run.keys()
    waiting = [item for item in work if item.key not in done]
    lanes = Lanes(envs, agent, on_error)
    return _play(lanes, conditions, waiting, run, len(work), progress)


def _play(
    lanes: Lanes,
    conditions: Sequence[Condition],
    waiting: Sequence[WorkItem],
    run: RunFolder | None,
    n_total: int,
    progress: Callable[[Progress], None] | None,
) -> Iterator[EpisodeRecord]:
    n_skipped = n_total - len(waiting)
    n_errors = n_steps = 0
    if waiting:
        lanes.agent.prepare(conditions, len(lanes.episodes))
    for n_played, record in enumerate(lanes.play(waiting), start=1):
        if run is not None:
            run.write(record)
        n_errors += record.end.is_error
        n_steps += record.n_steps
        if progress is not None:
            progress(Progress(n_total, n_skipped, n_played, n_errors, n_steps, record))
        yield record
