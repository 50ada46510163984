"""Episode files: what is read, in which frame, and what is refused by file and place."""

from __future__ import annotations

import copy
import gzip
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotage.envs.habitat import read_tasks
from pilotage.envs.r2r.annotations import annotation_file, read_items
from pilotage.envs.r2r.dataset import shared_data
from pilotage.envs.r2r.errors import DataError, DataMissing
from pilotage.episodes.types import Task

HALF = math.sqrt(0.5)
POINT = {
    "episode_id": "7",
    "scene_id": "data/scene_datasets/gibson/Alpha.glb",
    "start_position": [1.0, 0.5, -2.0],
    "start_rotation": [0, 0, 0, 1],
    "info": {"geodesic_distance": 5.5},
    "goals": [{"position": [4.0, 0.5, -6.0], "radius": None}],
}
OBJECT = {
    **{k: v for k, v in POINT.items() if k != "goals"},
    "object_category": "easy_chair",
}
VIEWED = {
    "Alpha.glb_easy_chair": [
        {
            "position": [9.0, 0.0, -9.0],
            "object_id": 3,
            "view_points": [{"agent_state": {"position": [8.0, 0.5, -9.0], "rotation": [0] * 4}}],
        }
    ]
}
WALK = {
    "episode_id": 12,
    "trajectory_id": 37,
    "scene_id": "mp3d/abc/abc.glb",
    "start_position": [1.0, 0.5, -2.0],
    "start_rotation": [0, HALF, 0, HALF],
    "info": {"geodesic_distance": 5.0},
    "goals": [{"position": [4.0, 0.5, -6.0], "radius": 3.0}],
    "instruction": {"instruction_text": " Walk to the sofa. ", "instruction_tokens": [1]},
    "reference_path": [[1.0, 0.5, -2.0], [4.0, 0.5, -6.0]],
}


def changed(base: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {**copy.deepcopy(base), **fields}


def read(write: Callable[..., Path], family: str, *entries: Any, **more: Any) -> list[Task]:
    return read_tasks(write({"episodes": list(entries), **more}), family)


def test_a_pointnav_episode(write_episodes: Callable[..., Path]) -> None:
    (task,) = read(write_episodes, "pointnav", POINT)
    assert task.task_id == "pointnav-val-Alpha-7"
    assert task.scene == {"scene_id": "gibson/Alpha.glb"}
    # y up becomes z up; what lay along -z lies along +y, and so does the look
    assert task.start == {"position": [1.0, 2.0, 0.5], "heading": pytest.approx(math.pi / 2)}
    assert task.goal == {"points": [[4.0, 6.0, 0.5]], "success_radius_m": 0.2}
    assert (task.shortest_path_length, task.max_steps, task.split) == (5.5, 500, "val")


@pytest.mark.parametrize(
    ("rotation", "looks"),
    [
        ([0, HALF, 0, HALF], (-1, 0)),  # a quarter to the left of -z: along -x
        ([0, -HALF, 0, HALF], (1, 0)),
        ([0, 1, 0, 0], (0, -1)),
        ([0, -HALF, 0, -HALF], (-1, 0)),  # the other sign is the same rotation
    ],
)
def test_the_heading_is_where_the_agent_looks(
    write_episodes: Callable[..., Path], rotation: list[float], looks: tuple[float, float]
) -> None:
    (task,) = read(write_episodes, "pointnav", changed(POINT, start_rotation=rotation))
    heading = task.start["heading"]
    assert (math.cos(heading), math.sin(heading)) == pytest.approx(looks, abs=1e-9)


def test_objectnav_goes_to_where_the_object_is_seen_from(
    write_episodes: Callable[..., Path],
) -> None:
    (task,) = read(write_episodes, "objectnav", OBJECT, goals_by_category=VIEWED)
    assert task.goal == {"points": [[8.0, 9.0, 0.5]], "success_radius_m": 0.1}
    assert task.instruction == "find an easy chair"
    assert task.info["goal_points"] == "view_points"
    bare = copy.deepcopy(VIEWED)
    bare["Alpha.glb_easy_chair"][0]["view_points"] = []
    (task,) = read(write_episodes, "objectnav", OBJECT, goals_by_category=bare)
    assert (task.goal["points"], task.info["goal_points"]) == ([[9.0, 9.0, 0.0]], "positions")


def test_shards_stand_for_an_empty_file(write_episodes: Callable[..., Path]) -> None:
    other = changed(POINT, scene_id="gibson/Beta.glb")
    write_episodes({"episodes": [other]}, "content/Beta.json.gz")
    write_episodes({"episodes": [POINT]}, "content/Alpha.json.gz")
    tasks = read(write_episodes, "pointnav")
    assert [t.task_id for t in tasks] == ["pointnav-val-Alpha-7", "pointnav-val-Beta-7"]


def test_an_r2r_ce_episode_carries_the_id_of_its_path(write_episodes: Callable[..., Path]) -> None:
    (task,) = read(write_episodes, "r2r_ce", WALK)
    assert (task.info["path_id"], task.info["trajectory_id"]) == ("37", "37")
    assert task.scene == {"scene_id": "mp3d/abc/abc.glb"}
    assert task.goal == {"points": [[4.0, 6.0, 0.5]], "success_radius_m": 3.0}
    assert abs(math.remainder(task.start["heading"] - math.pi, math.tau)) < 1e-9
    assert task.reference_path == [[1.0, 2.0, 0.5], [4.0, 6.0, 0.5]]
    assert task.instruction == "Walk to the sofa."


@pytest.mark.parametrize(
    ("family", "fields", "message"),
    [
        ("pointnav", {"start_position": [4.0, 0.5, -6.0]}, r"start \[4.0, 0.5, -6.0\] is also the"),
        ("pointnav", {"info": {"geodesic_distance": math.inf}}, "inf; the goal cannot be reached"),
        ("pointnav", {"info": {}}, "no 'geodesic_distance'"),
        ("pointnav", {"start_rotation": [0, 0, 0, 2]}, "no unit quaternion"),
        ("pointnav", {"start_rotation": [HALF, 0, 0, HALF]}, "about the vertical y axis"),
        ("pointnav", {"start_rotation": [0, 1]}, r"must be \[x, y, z, w\], got \[0, 1\]"),
        ("pointnav", {"start_position": [0.0, None, 1.0]}, "expected points"),
        ("pointnav", {"goals": []}, "expected points"),
        ("pointnav", {"scene_id": None}, "'scene_id' is None"),
        ("objectnav", {"object_category": "lamp"}, "no 'Alpha.glb_lamp'"),
        ("r2r_ce", {"start_position": [4.0, 0.5, -6.0]}, "is also the goal"),
        ("r2r_ce", {"info": {"geodesic_distance": math.nan}}, "cannot be reached"),
        ("r2r_ce", {"instruction": {"instruction_text": " "}}, "instruction is empty"),
        ("r2r_ce", {"goals": []}, "there is no goal"),
    ],
)
def test_a_damaged_episode_is_named(
    write_episodes: Callable[..., Path], family: str, fields: dict[str, Any], message: str
) -> None:
    good = {"pointnav": POINT, "objectnav": OBJECT, "r2r_ce": WALK}[family]
    other = changed(good, episode_id=1)
    damaged = changed(good, **fields)
    with pytest.raises(DataError, match=rf"val\.json\.gz entry 1.*{message}"):
        read(write_episodes, family, other, damaged, goals_by_category=VIEWED)


@pytest.mark.parametrize(("family", "entry"), [("pointnav", POINT), ("r2r_ce", WALK)])
def test_an_id_twice_is_refused(
    write_episodes: Callable[..., Path], family: str, entry: dict[str, Any]
) -> None:
    with pytest.raises(DataError, match=r"episode id '(7|12)'.* occurs twice"):
        read(write_episodes, family, entry, entry)


def test_the_same_id_in_another_scene_is_another_episode(
    write_episodes: Callable[..., Path],
) -> None:
    other = changed(POINT, scene_id="gibson/Beta.glb")
    assert len(read(write_episodes, "pointnav", POINT, other)) == 2


def test_files_that_are_none(write_episodes: Callable[..., Path], tmp_path: Path) -> None:
    path = write_episodes({"episodes": [POINT]})
    with pytest.raises(KeyError, match=r"unknown family 'pointnva'.*did you mean pointnav"):
        read_tasks(path, "pointnva")
    with pytest.raises(DataMissing, match=r"absent\.json\.gz is not there"):
        read_tasks(tmp_path / "absent.json.gz", "pointnav")
    with pytest.raises(DataError, match="there are no episodes"):
        read(write_episodes, "pointnav")
    path.write_bytes(gzip.compress(b'{"episodes": [')[:-9])
    with pytest.raises(DataError, match="no whole gzip file"):
        read_tasks(path, "r2r_ce")
    path.write_bytes(gzip.compress(b'{"episodes": ['))
    with pytest.raises(DataError, match="is no JSON"):
        read_tasks(path, "pointnav")


def test_published_r2r_ce_shares_paths_with_discrete_r2r(
    data_path: Callable[[str], Path],
) -> None:
    """Counts as published; every trajectory is a path of R2R in the same scan, point by point."""
    path = data_path("r2r_ce/R2R_VLNCE_v1-3/val_seen/val_seen.json.gz")
    root = path.parents[3]
    tasks = read_tasks(path, "r2r_ce")
    counts = (
        len(tasks),
        len({t.info["scan"] for t in tasks}),
        len({t.info["path_id"] for t in tasks}),
    )
    assert counts == (778, 53, 259)
    items = {i.path_id: i for i in read_items(annotation_file(root, "r2r", "val_seen"), "r2r")}
    data, offsets, turns = shared_data(root), [], []
    for task in tasks:
        item = items[task.info["path_id"]]
        assert task.scene == {"scene_id": f"mp3d/{item.scan}/{item.scan}.glb"}
        graph = data.graph(item.scan)
        there = graph.position[graph.numbers(item.path, "")]
        here = np.array(task.reference_path)
        assert here.shape == there.shape
        offsets += np.linalg.norm(here[:, :2] - there[:, :2], axis=1).tolist()
        # R2R counts clockwise from +y
        turns.append(
            abs(math.remainder(math.pi / 2 - task.start["heading"] - item.heading, math.tau))
        )
    assert np.mean(np.array(offsets) < 1e-3) > 0.95
    assert np.mean(np.array(offsets) < 0.5) > 0.99
    assert max(turns) <= math.radians(15) + 1e-3
