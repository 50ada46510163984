"""Episode files of habitat-lab and VLN-CE as tasks: PointNav-v1, ObjectNav-v1, R2R-CE (v1-3).

Positions are turned into the frame of the project (x, y, z up): habitat's (x, y, z), y up, is
(x, -z, y) here. A heading is in radians, counter-clockwise from +x, as in `pilotage.envs.rooms`:
habitat's rotation by a about +y, which looks along -z for a = 0, is the heading a + pi / 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.envs.habitat.scenes import PREFIX
from pilotage.envs.r2r.continuous import points_of, read_episodes
from pilotage.envs.r2r.errors import DataError
from pilotage.envs.r2r.files import field_of, read_json
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Json, Task

MAX_STEPS = 500
# Within what of the goal a stop succeeds: PointNav and ObjectNav of habitat-lab, VLN-CE.
SUCCESS_RADIUS_M = {"pointnav": 0.2, "objectnav": 0.1, "r2r_ce": 3.0}
FAMILIES = tuple(SUCCESS_RADIUS_M)
_YAW_TOLERANCE = 1e-3
_SAME_PLACE_M = 1e-4


def read_tasks(path: str | Path, family: str, *, split: str | None = None) -> list[Task]:
    """All tasks of a `.json` or `.json.gz` episode file, in its order.

    A PointNav or ObjectNav file without episodes stands for the files in `content/` beside it, in
    the order of their names. A task of R2R-CE carries in `info["path_id"]` (and `trajectory_id`)
    the id of the discrete R2R path it was made from: tasks of `pilotage.envs.r2r` have the same.

    Args:
        family: "pointnav", "objectnav" or "r2r_ce".
        split: a name for the tasks' split; by default that of the file.

    Raises:
        KeyError: unknown family.
        DataMissing: there is no such file.
        DataError: it is cut off or no JSON, or an episode in it is damaged, occurs twice, ends
            where it starts, or cannot reach its goal (no finite geodesic distance).
    """
    if family not in FAMILIES:
        raise unknown("family", family, FAMILIES)
    path = Path(path)
    split = split or path.name.partition(".")[0]
    tasks = list(_r2r_ce(path, split) if family == "r2r_ce" else _nav(path, family, split))
    if not tasks:
        raise DataError(f"{path}: there are no episodes in it")
    return tasks


def _r2r_ce(path: Path, split: str) -> Iterator[Task]:
    for k, episode in enumerate(read_episodes(path)):
        where = f"{path} entry {k} (episode {episode.episode_id})"
        heading = math.remainder(math.pi / 2 - episode.heading, 2 * math.pi)
        yield _task(
            where,
            task_id=f"r2r_ce-{split}-{episode.episode_id}",
            split=split,
            family="r2r_ce",
            instruction=episode.instruction,
            scene_id=f"mp3d/{episode.scan}/{episode.scan}.glb",
            start=(episode.start, heading),
            points=episode.goal[None],
            geodesic_m=episode.geodesic_m,
            reference=episode.reference,
            info={
                "episode_id": episode.episode_id,
                "trajectory_id": episode.trajectory_id,
                "path_id": episode.trajectory_id,
                "scan": episode.scan,
            },
        )


def _nav(path: Path, family: str, split: str) -> Iterator[Task]:
    first = read_json(path, dict)
    files = [(path, first)]
    if not field_of(first, "episodes", list, str(path)):
        shards = sorted((path.parent / "content").glob("*.json*"))
        files = [(shard, read_json(shard, dict)) for shard in shards]
    seen: dict[tuple[str, str], str] = {}
    for file, content in files:
        for k, entry in enumerate(field_of(content, "episodes", list, str(file))):
            where = f"{file} entry {k}"
            scene = field_of(entry, "scene_id", str, where).removeprefix(PREFIX)
            number = str(field_of(entry, "episode_id", (int, str), where))
            if (scene, number) in seen:
                raise DataError(
                    f"{where}: episode id {number!r} of scene {scene!r} occurs twice; before at "
                    f"{seen[scene, number]}"
                )
            seen[scene, number] = where
            yield _nav_task(entry, content, f"{where} (episode {number})", scene, family, split)


def _nav_task(
    entry: dict[str, Any], content: dict[str, Any], where: str, scene: str, family: str, split: str
) -> Task:
    info: dict[str, Json] = {"episode_id": str(entry["episode_id"])}
    if family == "pointnav":
        goals = field_of(entry, "goals", list, where)
        points = points_of([field_of(g, "position", list, where) for g in goals], where)
        words = "go to the goal point"
    else:
        category = field_of(entry, "object_category", str, where)
        points, seen_from = _object_points(content, scene, category, where)
        info |= {"object_category": category, "goal_points": seen_from}
        name = category.replace("_", " ")
        words = f"find {'an' if name[:1] in 'aeiou' else 'a'} {name}"
    numbers = field_of(entry, "info", dict, where)
    start = points_of([field_of(entry, "start_position", list, where)], where)[0]
    heading = _heading(field_of(entry, "start_rotation", list, where), where)
    stem = scene.rpartition("/")[2].partition(".")[0]
    return _task(
        where,
        task_id=f"{family}-{split}-{stem}-{entry['episode_id']}",
        split=split,
        family=family,
        instruction=words,
        scene_id=scene,
        start=(start, heading),
        points=points,
        geodesic_m=float(field_of(numbers, "geodesic_distance", (int, float), where)),
        reference=np.zeros((0, 3)),
        info=info,
    )


def _object_points(
    content: dict[str, Any], scene: str, category: str, where: str
) -> tuple[np.ndarray, str]:
    """Where an object can be seen from, float64 [g, 3], and "view_points"; where a file has none,
    the objects' own places, and "positions"."""
    goals = field_of(content, "goals_by_category", dict, where)
    key = f"{scene.rpartition('/')[2]}_{category}"
    found = field_of(goals, key, list, f"{where}: goals_by_category")
    views = [v for goal in found for v in goal.get("view_points") or []]
    if views:
        states = [field_of(view, "agent_state", dict, where) for view in views]
        places, kind = [field_of(s, "position", list, where) for s in states], "view_points"
    else:
        places, kind = [field_of(goal, "position", list, where) for goal in found], "positions"
    return points_of(places, where), kind


def _task(
    where: str,
    *,
    task_id: str,
    split: str,
    family: str,
    instruction: str,
    scene_id: str,
    start: tuple[np.ndarray, float],
    points: np.ndarray,
    geodesic_m: float,
    reference: np.ndarray,
    info: dict[str, Json],
) -> Task:
    place, heading = start
    if not (math.isfinite(geodesic_m) and geodesic_m >= 0):
        raise DataError(
            f"{where}: geodesic_distance is {geodesic_m}; the goal cannot be reached from the start"
        )
    if (np.linalg.norm(points - place, axis=1) < _SAME_PLACE_M).any():
        raise DataError(
            f"{where}: the start {_native(place)} is also the goal; nothing can be measured there"
        )
    if not instruction.strip():
        raise DataError(f"{where}: the instruction is empty")
    return Task(
        task_id=task_id,
        env="habitat",
        split=split,
        family=family,
        instruction=instruction.strip(),
        max_steps=MAX_STEPS,
        scene={"scene_id": scene_id},
        start={"position": place.tolist(), "heading": heading},
        goal={"points": points.tolist(), "success_radius_m": SUCCESS_RADIUS_M[family]},
        shortest_path_length=geodesic_m,
        reference_path=reference.tolist(),
        info=info,
    )


def _native(place: np.ndarray) -> list[float]:
    """A point of ours as the file has it."""
    return [float(place[0]), float(place[2]), float(-place[1])]


def _heading(rotation: list[Any], where: str) -> float:
    """The heading of a quaternion [x, y, z, w] about the vertical."""
    try:
        x, y, z, w = (float(v) for v in rotation)
    except (TypeError, ValueError):
        raise DataError(f"{where}: start_rotation must be [x, y, z, w], got {rotation}") from None
    size = math.sqrt(x * x + y * y + z * z + w * w)
    if not abs(size - 1) < _YAW_TOLERANCE or max(abs(x), abs(z)) > _YAW_TOLERANCE:
        raise DataError(
            f"{where}: start_rotation {rotation} is no unit quaternion [x, y, z, w] about the "
            "vertical y axis"
        )
    return math.remainder(2 * math.atan2(y, w) + math.pi / 2, 2 * math.pi)
