"""Trajectories on a graph as `Walk`s, which every metric convention can score."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotage.episodes.types import EpisodeRecord, Task
from pilotage.episodes.vln_metrics import Walk

from .dataset import R2RData
from .graph import ScanGraph


def walk_of(
    task: Task,
    path: Sequence[str],
    data: R2RData,
    *,
    stopped: bool = True,
    answer: str | None = None,
) -> Walk:
    """A path of viewpoint ids beside the task's reference path; distances along the graph. `answer`
    is the id of the object that was named, for a task that asks for one.

    Raises DataError for viewpoints that the task's scan lacks.
    """
    graph = data.graph(task.scene["scan"])
    numbers = graph.numbers(path, f"trajectory of {task.info['instr_id']}")
    return _walk(task, graph, numbers, stopped, answer)


def walk_of_record(record: EpisodeRecord, data: R2RData) -> Walk | None:
    """The walk of a played episode; None when it ended by an error: that is not an attempt.

    The receipt's `object`, where the agent leaves one, is the id of the object that it names.
    """
    if record.end.is_error:
        return None
    graph = data.graph(record.task.scene["scan"])
    numbers = record.trace["viewpoint"].ravel().astype(np.int64)
    stopped = record.end.value in ("agent_stopped", "goal_reached")
    return _walk(record.task, graph, numbers, stopped, record.receipt.get("object"))


def _walk(
    task: Task, graph: ScanGraph, numbers: np.ndarray, stopped: bool, answer: str | None
) -> Walk:
    where = f"task {task.task_id}"
    goal = graph.number(task.goal["viewpoint"], where)
    reference = graph.numbers(task.info["path"], where)
    succeeds = None
    if "seen_from" in task.goal:
        succeeds = np.isin(numbers, graph.numbers(task.goal["seen_from"], where))
    return Walk(
        positions=graph.position[numbers],
        to_goal=graph.distance[goal, numbers],
        goal=graph.position[goal],
        reference=graph.position[reference],
        shortest_m=task.shortest_path_length,
        stopped=stopped,
        hops=graph.distance[numbers[:-1], numbers[1:]],
        to_reference=graph.distance[np.ix_(numbers, reference)],
        reference_m=float(graph.distance[reference[:-1], reference[1:]].sum()),
        succeeds=succeeds,
        grounded=answer == task.goal["object"] if "object" in task.goal else None,
    )


def n_jumps(task: Task, path: Sequence[str], data: R2RData) -> int:
    """How many moves of a path do not follow an edge (standing still is no move)."""
    graph = data.graph(task.scene["scan"])
    numbers = graph.numbers(path, f"trajectory of {task.info['instr_id']}")
    a, b = numbers[:-1], numbers[1:]
    return int(np.count_nonzero((a != b) & ~graph.adjacent[a, b]))
