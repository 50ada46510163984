"""NDH: an invented file in the published layout, and goal progress worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotage.agents.vln.floors import ShortestAgent, StopAgent
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.dialogues import read_dialogues, scores, scores_of_record, task_of
from pilotage.envs.r2r.errors import DataError
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.ndh_metrics import NDH_METRICS, ndh_metrics
from pilotage.episodes.types import BASELINE
from pilotage.episodes.vln_metrics import Walk

Change = Callable[[list[dict[str, Any]]], Any]


def entries(data: R2RData) -> list[dict[str, Any]]:
    """Two instances in one scan; in the second the player does not pass the planner's goal."""
    graph = data.graph("synthetic00")
    route = [graph.viewpoints[v] for v in graph.route(0, 11)]
    common = {
        "scan": "synthetic00",
        "target": "plant",
        "start_pano": {"pano": route[0], "heading": 1.5, "elevation": 0.0},
        "end_panos": route[-2:],
        "dialog_history": [
            {"nav_idx": 0, "role": "navigator", "message": "Left or right?"},
            {"nav_idx": 0, "role": "oracle", "message": "Right."},
        ],
        "planner_path": route[:3],
    }
    return [
        {**common, "inst_idx": 7, "player_path": route[:4]},
        {**common, "inst_idx": 8, "player_path": route[:2]},
    ]


@pytest.fixture
def file(building: R2RData, tmp_path: Path) -> Path:
    path = tmp_path / "ndh.json"
    path.write_text(json.dumps(entries(building)))
    return path


def line(points: list[float], goal: float, **fields: Any) -> Walk:
    positions = np.array([[x, 0.0, 0.0] for x in points])
    known: dict[str, Any] = {
        "to_goal": np.abs(np.array(points) - goal),
        "goal": np.array([goal, 0, 0]),
        "reference": np.array([[0.0, 0, 0], [goal, 0, 0]]),
        "shortest_m": abs(points[0] - goal),
        "stopped": True,
    }
    return Walk(positions, **(known | fields))


def test_progress_is_to_the_nearest_end_panorama_and_errors_are_to_the_path() -> None:
    """On a line from 0: the path ends at 5, the room is at 12; walked to 8 and back to 4."""
    walked = line([0, 8, 4], 5)
    found = ndh_metrics(walked, np.array([12.0, 4, 8]))
    assert list(found) == list(NDH_METRICS)
    assert (found["goal_progress"], found["oracle_goal_progress"]) == (4, 8)
    assert (found["navigation_error"], found["oracle_error"], found["success"]) == (1, 1, 1)
    assert (found["path_length"], found["spl"]) == (12, pytest.approx(5 / 12))
    away = ndh_metrics(line([0, -3], 5), np.array([12.0, 15]))
    assert (away["goal_progress"], away["oracle_goal_progress"]) == (-3, 0)


def test_where_nothing_is_to_be_walked_standing_still_is_the_whole_of_spl() -> None:
    assert ndh_metrics(line([5], 5), np.zeros(1))["spl"] == 1
    assert ndh_metrics(line([5, 6, 5], 5), np.zeros(3))["spl"] == 0
    with pytest.raises(ValueError, match=r"to_ends has shape \[2\], expected \[1\]"):
        ndh_metrics(line([5], 5), np.zeros(2))
    with pytest.raises(ValueError, match="no end panorama can be reached"):
        ndh_metrics(line([5], 5), np.array([np.inf]))


def test_the_players_path_is_trusted_where_it_passes_the_planners_goal(file: Path) -> None:
    passes, strays = read_dialogues(file)
    assert (passes.path(), passes.path("planner")) == (passes.player_path, passes.planner_path)
    assert (strays.path(), strays.path("player")) == (strays.planner_path, strays.player_path)
    with pytest.raises(KeyError, match="trustd"):
        passes.path("trustd")  # type: ignore[arg-type]
    assert passes.instruction() == (
        "Find the room with the plant.\nnavigator: Left or right?\noracle: Right."
    )


def test_instances_are_played_and_trajectories_scored_alike(building: R2RData, file: Path) -> None:
    tasks = [task_of(d, "val_seen", building) for d in read_dialogues(file)]
    envs = R2RVectorEnv(2, expert_actions=True, text=False, data=building.root)
    records = [
        run_episodes(envs, agent, tasks, [BASELINE], frames="none", on_error="raise")
        for agent in (ShortestAgent(), StopAgent())
    ]
    envs.close()
    graph = building.graph("synthetic00")
    for task, walked, stood in zip(tasks, *records):
        found = scores_of_record(walked, building)
        assert found == scores(task, task.info["path"], building)
        ends = [graph.index[v] for v in task.goal["end_panos"]]
        first, last = (graph.index[task.info["path"][k]] for k in (0, -1))
        gain = graph.distance[first, ends].min() - graph.distance[last, ends].min()
        assert found is not None
        assert found["goal_progress"] == pytest.approx(gain)
        assert found["spl"] == pytest.approx(1)
        still = scores_of_record(stood, building)
        assert still is not None
        assert (still["goal_progress"], still["path_length"]) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[1].update(inst_idx=7), "entry 1: inst_idx 7 occurs twice"),
        (lambda x: x[0].update(end_panos=[]), r"entry 0: 'end_panos' must hold viewpoint ids"),
        (lambda x: x[0].update(start_pano={}), "entry 0 start_pano: there is no 'pano'"),
        (lambda x: x[0].pop("player_path"), "entry 0: there is no 'player_path'"),
    ],
)
def test_damaged_instances_are_refused(file: Path, change: Change, message: str) -> None:
    value = json.loads(file.read_text())
    change(value)
    file.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        read_dialogues(file)


def test_viewpoints_of_another_scan_are_refused(building: R2RData, file: Path) -> None:
    value = json.loads(file.read_text())
    value[0]["end_panos"] = ["gone"]
    file.write_text(json.dumps(value))
    with pytest.raises(DataError, match="instance 7: viewpoint 'gone' is not in the graph"):
        task_of(read_dialogues(file)[0], "val_seen", building)
