"""Tasks: stable, solvable, far enough, and never sharing a house between splits."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from pilotage.envs.rooms import make_tasks
from pilotage.envs.rooms.geodesic import nav_graph
from pilotage.envs.rooms.house import house_split, load_house
from pilotage.envs.rooms.routes import crossings
from pilotage.episodes.types import Task


@pytest.fixture(scope="module")
def tasks():
    return {split: make_tasks(split, 30, seed=2) for split in ("train", "val", "test")}


def test_same_call_same_tasks_and_prefixes_agree(tasks):
    assert [t.to_json() for t in make_tasks("train", 7, seed=2)] == [
        t.to_json() for t in tasks["train"][:7]
    ]
    assert [t.task_id for t in make_tasks("unseen", 5, seed=2)] == [
        t.task_id for t in tasks["test"][:5]
    ]
    assert not {t.task_id for t in make_tasks("train", 7, seed=3)} & {
        t.task_id for t in tasks["train"]
    }


def test_json_round_trip(tasks):
    for task in tasks["val"]:
        assert Task.from_json(json.loads(json.dumps(task.to_json()))).to_json() == task.to_json()


def test_no_house_is_in_two_splits(tasks):
    seeds = {s: {t.scene["house_seed"] for t in ts} for s, ts in tasks.items()}
    for split, own in seeds.items():
        assert all(house_split(seed) == split for seed in own)
    ids = [t.task_id for ts in tasks.values() for t in ts]
    assert len(set(ids)) == len(ids)


def test_families_take_turns_and_unknown_names_are_refused(tasks):
    assert [t.family for t in tasks["train"][:4]] == [
        "pointnav",
        "objectnav",
        "instruction",
        "pointnav",
    ]
    assert {t.family for t in make_tasks("val", 4, families=["objectnav"])} == {"objectnav"}
    for bad in ({"split": "dev"}, {"families": ["fetch"]}, {"n": -1}):
        with pytest.raises(ValueError, match=r"split|families|n must"):
            make_tasks(**{"split": "train", "n": 1, **bad})


def test_starts_are_free_and_goals_beyond_the_success_radius(tasks):
    for task in tasks["train"] + tasks["test"]:
        house = load_house(task.scene)
        graph = nav_graph(house)
        x, y, _ = task.start["position"]
        assert graph.clearance(x, y) > 0.05
        goals = np.array(task.goal["points"])
        assert all(graph.clearance(*g) > 0 for g in goals)
        assert 3.5 < task.shortest_path_length < 26
        assert task.shortest_path_length >= np.linalg.norm(goals - (x, y), axis=1).min() - 1e-6
        path = np.array(task.reference_path)
        assert np.linalg.norm(np.diff(path, axis=0), axis=1).sum() == pytest.approx(
            task.shortest_path_length, abs=0.01
        )
        assert np.abs(goals - path[-1, :2]).sum(axis=1).min() < 1e-3
        assert len(crossings(house, path[:, :2])) == task.info["n_doors"]


def test_points_are_where_the_words_say(tasks):
    for task in tasks["train"]:
        if task.family != "pointnav":
            continue
        ahead, left = task.goal["ahead_left_m"]
        x, y, _ = task.start["position"]
        gx, gy = task.goal["points"][0]
        away = complex(gx - x, gy - y) * complex(
            math.cos(task.start["heading"]), -math.sin(task.start["heading"])
        )
        assert away.real == pytest.approx(ahead, abs=1e-3)
        assert away.imag == pytest.approx(left, abs=1e-3)
        assert ("left" in task.instruction) == (left > 0)
        assert ("behind" in task.instruction) == (ahead < 0)


def test_every_instance_of_an_object_counts(tasks):
    for task in tasks["train"] + tasks["val"]:
        if task.family != "objectnav":
            continue
        house = load_house(task.scene)
        *color, category = task.goal["thing"].split()
        same = [
            k
            for k, item in enumerate(house.items)
            if item.category == category and (not color or item.color == color[0])
        ]
        assert set(task.goal["items"]) <= set(same)
        for x, y in task.goal["points"]:
            rects = [house.items[k].rect for k in task.goal["items"]]
            gaps = [
                math.hypot(max(r[0] - x, 0, x - r[2]), max(r[1] - y, 0, y - r[3])) for r in rects
            ]
            assert min(gaps) < 0.4
