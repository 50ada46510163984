"""R2R-CE episodes and expert traces, replayed without a mesh (Krantz 2020, arXiv:2004.02857).

An episode is a discrete path carried into continuous space: its `trajectory_id` is the R2R
`path_id`, its reference path has one point per viewpoint. Positions are turned into the frame of
the graphs (x, y, z up): habitat's (x, y, z) is (x, -z, y) here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.episodes.vln_metrics import Walk

from .annotations import SPLIT_ALIASES
from .errors import DataError
from .files import field_of, read_json

STOP, FORWARD, LEFT, RIGHT = range(4)
STEP_M, TURN = 0.25, math.radians(15)


@dataclass(frozen=True, eq=False)
class ContinuousEpisode:
    """One instruction in continuous space; metres, z up; heading in radians, 0 = +y, clockwise."""

    episode_id: str
    trajectory_id: str  # the `path_id` of the R2R path
    scan: str
    instruction: str
    start: np.ndarray  # float64 [3]
    heading: float  # in [0, 2 pi)
    goal: np.ndarray  # float64 [3]
    reference: np.ndarray  # float64 [m, 3], one point per viewpoint of the path
    geodesic_m: float  # shortest way from start to goal on the navigation mesh


@dataclass(frozen=True, eq=False)
class ExpertTrace:
    """What the shortest-path follower did: the start and the place after every forward action."""

    locations: np.ndarray  # float64 [n_forward + 1, 3], metres
    actions: np.ndarray  # int64 [T]: 0 stop, 1 forward 0.25 m, 2 left, 3 right (15 deg)


def episode_file(root: Path, split: str) -> Path:
    """Where the episodes of a split lie."""
    split = SPLIT_ALIASES.get(split, split)
    return root / "r2r_ce" / "R2R_VLNCE_v1-3" / split / f"{split}.json.gz"


def trace_file(root: Path, split: str) -> Path:
    """Where the expert traces of a split lie."""
    return root / "r2r_ce" / "gt" / f"{SPLIT_ALIASES.get(split, split)}_gt.json.gz"


def read_episodes(path: Path) -> list[ContinuousEpisode]:
    """The episodes of a `<split>.json.gz` file, in its order.

    Raises DataMissing; DataError for a damaged entry (test splits have no goals) or an episode id
    that occurs twice.
    """
    content = field_of(read_json(path, dict), "episodes", list, str(path))
    episodes = [episode_of(entry, f"{path} entry {i}") for i, entry in enumerate(content)]
    check_ids(episodes, path)
    return episodes


def check_ids(episodes: Sequence[ContinuousEpisode], path: Path) -> None:
    """DataError when an episode id of a file occurs twice."""
    ids = [e.episode_id for e in episodes]
    if len(set(ids)) != len(ids):
        twice = next(i for i in ids if ids.count(i) > 1)
        raise DataError(f"{path}: episode id {twice!r} occurs twice")


def read_traces(path: Path, episodes: Sequence[ContinuousEpisode]) -> dict[str, ExpertTrace]:
    """episode id -> trace, for exactly the given episodes.

    Raises DataMissing; DataError when episodes and traces are not the same set, or a trace has
    another number of locations than forward actions.
    """
    content = read_json(path, dict)
    ids = {e.episode_id for e in episodes}
    if ids != set(content):
        raise DataError(
            f"{path}: {len(ids - set(content))} of {len(ids)} episodes have no trace, and "
            f"{len(set(content) - ids)} traces belong to none of them: another split?"
        )
    traces = {}
    for episode_id, entry in content.items():
        where = f"{path} episode {episode_id}"
        locations = points_of(field_of(entry, "locations", list, where), where)
        actions = np.asarray(field_of(entry, "actions", list, where), np.int64)
        n_forward = int((actions == FORWARD).sum())
        if len(locations) != n_forward + 1 or not np.isin(actions, range(4)).all():
            raise DataError(
                f"{where}: {len(locations)} locations do not fit {n_forward} forward actions"
            )
        traces[episode_id] = ExpertTrace(locations, actions)
    return traces


def replayed(episode: ContinuousEpisode, actions: Sequence[int]) -> np.ndarray:
    """Horizontal positions float64 [n_forward + 1, 2] when nothing is in the way: dead reckoning.

    Where it leaves the trace, the agent slid along something or climbed (a stair shortens a step).
    """
    turns = np.cumsum(np.equal(actions, RIGHT).astype(int) - np.equal(actions, LEFT))
    heading = episode.heading + TURN * turns[np.equal(actions, FORWARD)]
    moves = STEP_M * np.stack([np.sin(heading), np.cos(heading)], axis=-1)
    return np.concatenate([episode.start[None, :2], episode.start[:2] + np.cumsum(moves, axis=0)])


def walk_of_trace(
    episode: ContinuousEpisode, trace: ExpertTrace, *, dense_reference: bool = True
) -> Walk:
    """The expert's trace as a walk, ended by a stop.

    Without a mesh the distance to the goal is known at the start (the episode says it) and bounded
    elsewhere: what is left of the trace, and the straight line from its end. `dense_reference`
    takes the trace itself as the reference, as VLN-CE does; else the points of the path.
    """
    hops = np.linalg.norm(np.diff(trace.locations, axis=0), axis=1)
    left = np.append(np.cumsum(hops[::-1])[::-1], 0.0)
    to_goal = left + float(np.linalg.norm(trace.locations[-1] - episode.goal))
    to_goal[0] = episode.geodesic_m
    return Walk(
        positions=trace.locations,
        to_goal=to_goal,
        goal=episode.goal,
        reference=trace.locations if dense_reference else episode.reference,
        shortest_m=episode.geodesic_m,
        stopped=bool(trace.actions[-1] == STOP) if len(trace.actions) else False,
    )


def episode_of(entry: Any, where: str) -> ContinuousEpisode:
    """One entry of an episode file, checked; DataError names `where`."""
    scene = field_of(entry, "scene_id", str, where).split("/")
    if len(scene) != 3:
        raise DataError(f"{where}: scene_id must read mp3d/<scan>/<scan>.glb, got {scene}")
    goals = field_of(entry, "goals", list, where)
    if not goals:
        raise DataError(f"{where}: there is no goal; test splits hide it and cannot be scored")
    _, q_y, _, q_w = field_of(entry, "start_rotation", list, where)  # habitat: y is up
    words = field_of(entry, "instruction", dict, where)
    info = field_of(entry, "info", dict, where)
    start = points_of([field_of(entry, "start_position", list, where)], where)[0]
    return ContinuousEpisode(
        str(field_of(entry, "episode_id", (int, str), where)),
        str(field_of(entry, "trajectory_id", (int, str), where)),
        scene[1],
        field_of(words, "instruction_text", str, where),
        start,
        -2 * math.atan2(q_y, q_w) % (2 * math.pi),
        points_of([field_of(goals[0], "position", list, where)], where)[0],
        points_of(field_of(entry, "reference_path", list, where), where),
        float(field_of(info, "geodesic_distance", (int, float), where)),
    )


def points_of(values: Any, where: str) -> np.ndarray:
    """Habitat's points [n, 3], y up, in the frame of the project, z up. DataError names `where`."""
    try:
        points = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        points = np.zeros(0)
    if points.ndim != 2 or points.shape[1] != 3 or not np.isfinite(points).all() or not len(points):
        raise DataError(f"{where}: expected points [n, 3] in metres, got {str(values)[:80]}")
    return points[:, [0, 2, 1]] * np.array([1.0, -1.0, 1.0])
