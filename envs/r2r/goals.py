"""What the judge knows of a task: distances to the goal, where stopping succeeds, the way there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from pilotage.episodes.types import Task

from .dataset import R2RData


@dataclass(frozen=True)
class Goal:
    """Rows over the V viewpoints of the task's scan."""

    start: int
    distance: np.ndarray  # float64 [V], metres along the graph
    success: np.ndarray  # bool [V]: to stop here is success
    next_hop: np.ndarray  # int32 [V]: the next viewpoint on a shortest path; negative at the goal


def goal_of(task: Task, data: R2RData, success_radius_m: float) -> Goal:
    """R2R and R4R: success is less than `success_radius_m` from the goal (strictly). REVERIE:
    success is a viewpoint that sees the object.

    Raises ValueError for a task of another world or without a way to the goal, DataError for
    viewpoints that the scan lacks.
    """
    if task.env != "r2r":
        raise ValueError(f"task {task.task_id!r} belongs to the world {task.env!r}, not to 'r2r'")
    graph = data.graph(task.scene["scan"])
    start = graph.number(task.start["viewpoint"], f"start of {task.task_id}")
    goal = graph.number(task.goal["viewpoint"], f"goal of {task.task_id}")
    distance = graph.distance[goal]
    if not np.isfinite(distance[start]):
        raise ValueError(f"task {task.task_id!r}: there is no path from its start to its goal")
    if "seen_from" in task.goal:
        success = np.zeros(len(distance), bool)
        success[graph.numbers(task.goal["seen_from"], f"goal of {task.task_id}")] = True
    else:
        success = distance < success_radius_m
    return Goal(start, distance, success, graph.next_hop[goal])
