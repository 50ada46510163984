"""Items, tasks, captions, boxes and prediction files: what is damaged is named, nothing is lost."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.errors import DataError, DataMissing
from pilotage.envs.r2r.files import VARIABLE, data_root, read_json
from pilotage.envs.r2r.predictions import match_predictions, read_answers, read_predictions
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import make_tasks, split_tasks
from pilotage.envs.r2r.walks import n_jumps
from pilotage.episodes.types import Task

Change = Callable[[list[dict[str, Any]]], None]


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    value = json.loads(path.read_text())
    change(value)
    path.write_text(json.dumps(value))


def test_the_folder_is_the_named_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    assert data_root() == tmp_path
    assert data_root("other") == Path("other")
    monkeypatch.delenv(VARIABLE)
    assert data_root().parts[-2:] == ("shared", "data")
    with pytest.raises(DataMissing, match="`pilotage data` says where it comes from"):
        make_tasks("train", 1, data=tmp_path)


def test_every_instruction_becomes_a_task_also_a_fourth(copy: Path) -> None:
    path = copy / "r2r/R2R_train.json"
    rewrite(path, lambda items: items[1]["instructions"].append("And a fourth one."))
    items = json.loads(path.read_text())
    tasks = split_tasks("r2r", "train", copy)
    assert len(tasks) == sum(len(i["instructions"]) for i in items) == 37
    assert tasks[6].info["instr_id"] == f"{items[1]['path_id']}_3"
    assert tasks[6].instruction == "And a fourth one."
    assert len({t.task_id for t in tasks}) == 37


def test_tasks_say_what_the_file_says(building: R2RData) -> None:
    entry = json.loads((building.root / "r2r/R2R_val_seen.json").read_text())[2]
    task = split_tasks("r2r", "val", building.root)[6]
    assert task.split == "val_seen"
    assert task.scene == {"scan": entry["scan"]}
    assert task.start == {"viewpoint": entry["path"][0], "heading": entry["heading"]}
    assert task.goal == {"viewpoint": entry["path"][-1]}
    assert task.instruction == entry["instructions"][0].strip()
    assert task.shortest_path_length == pytest.approx(entry["distance"])
    graph = building.graph(entry["scan"])
    assert task.reference_path[1] == graph.position[graph.index[entry["path"][1]]].tolist()
    assert Task.from_json(json.loads(json.dumps(task.to_json()))) == task


def test_longer_lists_begin_with_shorter_ones_and_families_take_turns(building: R2RData) -> None:
    root = building.root
    many = make_tasks("train", 9, seed=3, families=["r2r", "r4r"], data=root)
    assert make_tasks("train", 4, seed=3, families=["r2r", "r4r"], data=root) == many[:4]
    assert [t.family for t in many[:4]] == ["r2r", "r4r", "r2r", "r4r"]
    assert len({t.task_id for t in many}) == 9
    assert make_tasks("train", 9, seed=4, families=["r2r", "r4r"], data=root) != many
    every = make_tasks("train", 36, data=root)
    assert {t.task_id for t in every} == {t.task_id for t in split_tasks("r2r", "train", root)}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"split": "val_unsen"}, KeyError, "did you mean val_unseen"),
        ({"families": ["r2"]}, KeyError, "did you mean r2r"),
        ({"n": -1}, ValueError, "n must be >= 0"),
        ({"n": 999}, ValueError, "r2r train has 36 instructions, 999 were asked for"),
        ({"split": "unseen"}, FileNotFoundError, "R2R_val_unseen.json is not there"),
    ],
)
def test_what_does_not_exist_is_said(
    building: R2RData, arguments: dict, error: type[Exception], message: str
) -> None:
    known = {"split": "train", "n": 1, "data": building.root} | arguments
    with pytest.raises(error, match=message):
        make_tasks(known.pop("split"), known.pop("n"), **known)


def shorten(items: list[dict[str, Any]]) -> None:
    items[4]["path"] = items[4]["path"][:1]


def wander(items: list[dict[str, Any]]) -> None:
    path = items[4]["path"]
    path[1] = path[-1]


BROKEN: list[tuple[Change, str]] = [
    (lambda x: x[4].pop("heading"), "entry 4: there is no 'heading'"),
    (lambda x: x[4].update(heading="north"), "entry 4: 'heading' is 'north'"),
    (lambda x: x[4].update(path_id=x[3]["path_id"]), "3 instruction ids occur twice"),
    (lambda x: x[4]["instructions"].__setitem__(1, " "), "entry 4: instruction 1 is ' '"),
    (lambda x: x[4]["path"].__setitem__(1, "gone"), "viewpoint 'gone' is not in the graph"),
    (shorten, "entry 4: 'path' must hold at least two viewpoint ids"),
    (wander, "instruction 4_0: no edge from"),
    (lambda x: x.__setitem__(4, "text"), "entry 4: there is no 'path_id'"),
]


@pytest.mark.parametrize(("change", "message"), BROKEN)
def test_a_damaged_item_is_refused_by_place(copy: Path, change: Change, message: str) -> None:
    rewrite(copy / "r2r/R2R_train.json", change)
    with pytest.raises(DataError, match=message):
        R2RData(copy).items("r2r", "train")


def test_a_file_that_was_cut_off_is_refused(copy: Path) -> None:
    path = copy / "reverie/bbox/synthetic00.json.gz"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"no whole gzip file .*get it again"):
        R2RData(copy).boxes("synthetic00")
    path.write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match="no whole gzip file"):
        R2RData(copy).boxes("synthetic00")
    path.write_bytes(gzip.compress(b"\xff\xfe{"))
    with pytest.raises(DataError, match="is no JSON"):
        read_json(path, dict)
    text = copy / "r2r/R2R_train.json"
    text.write_text(text.read_text()[:-3])
    with pytest.raises(DataError, match=r"is no JSON .*cut off"):
        R2RData(copy).items("r2r", "train")


def test_captions_and_boxes_must_fit_the_graph(copy: Path) -> None:
    captions = copy / "r2r/text/observations_list_summarized/synthetic00.json"
    whole = captions.read_text()
    rewrite(captions, lambda x: x.pop("synthetic00-004"))
    with pytest.raises(DataError, match=r"1 of 17 viewpoints have no entry.*synthetic00-004"):
        R2RData(copy).captions("synthetic00")
    captions.write_text(whole)
    rewrite(captions, lambda x: x["synthetic00-004"].pop())
    with pytest.raises(DataError, match="synthetic00-004 must have 8 entries of kind str"):
        R2RData(copy).captions("synthetic00")
    box = copy / "reverie/bbox/synthetic00.json.gz"
    value = json.loads(gzip.decompress(box.read_bytes()))
    value["synthetic00-004"]["5"]["visible_pos"][0] = 36
    box.write_bytes(gzip.compress(json.dumps(value).encode()))
    with pytest.raises(DataError, match=r"object 5: visible_pos must be view indices 0..35"):
        R2RData(copy).boxes("synthetic00")


def test_an_object_that_is_seen_from_nowhere_is_an_error(copy: Path) -> None:
    rewrite(copy / "reverie/REVERIE_train.json", lambda x: x[0].update(objId=999))
    with pytest.raises(DataError, match="object 999 is visible from nowhere"):
        split_tasks("reverie", "train", copy)


def test_an_invented_building_does_not_overwrite(copy: Path) -> None:
    with pytest.raises(ValueError, match="is there already"):
        write_synthetic(copy)
    with pytest.raises(ValueError, match="n_scans must be >= 1 and size >= 2"):
        write_synthetic(copy / "x", size=1)


# -- predictions -----------------------------------------------------------------------------------


@pytest.fixture
def tasks(building: R2RData) -> list[Task]:
    return split_tasks("r2r", "val_seen", building.root)


def entries(tasks: list[Task]) -> list[dict[str, Any]]:
    """The reference paths as a prediction file of the R2R kind."""
    return [
        {"instr_id": t.info["instr_id"], "trajectory": [[v, 0.5, 0] for v in t.info["path"]]}
        for t in tasks
    ]


def test_three_ways_to_write_a_trajectory_read_alike(tasks: list[Task], tmp_path: Path) -> None:
    one = tasks[0]
    path = one.info["path"]
    file = tmp_path / "p.json"
    for steps in ([[v, 1.5, -0.5] for v in path], path, [[path[0]], path[1:]]):
        file.write_text(json.dumps([{"instr_id": "a", "trajectory": steps}]))
        assert read_predictions(file) == {"a": path}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x.append(x[0]), "entry 18: instruction id '12_0' occurs twice"),
        (lambda x: x[3].update(trajectory=[]), "entry 3: the trajectory of '13_0' is empty"),
        (lambda x: x[3].update(trajectory=[[1, 2, 3]]), r"entry 3: \[1, 2, 3\] in the trajectory"),
        (lambda x: x[3].pop("instr_id"), "entry 3: there is no 'instr_id'"),
    ],
)
def test_damaged_predictions_are_refused(
    tasks: list[Task], tmp_path: Path, change: Change, message: str
) -> None:
    value = entries(tasks)
    change(value)
    (tmp_path / "p.json").write_text(json.dumps(value))
    with pytest.raises(DataError, match=message):
        read_predictions(tmp_path / "p.json")


def test_named_objects_are_read_and_held_against_the_one_meant(
    building: R2RData, tmp_path: Path
) -> None:
    tasks = split_tasks("reverie", "val_seen", building.root)[:6]
    right = [task.goal["object"] for task in tasks]
    value = entries(tasks)
    said = [
        {"predObjId": int(right[0])},
        {"pred_objid": right[1]},
        {"predObjId": int(right[2]) + 1},
    ]
    for entry, more in zip(value, [*said, {"predObjId": -1}, {"pred_objid": None}, {}]):
        entry.update(more)
    file = tmp_path / "p.json"
    file.write_text(json.dumps(value))
    answers = read_answers(file)
    assert list(answers) == [task.info["instr_id"] for task in tasks[:3]]
    matched = match_predictions(read_predictions(file), tasks, building, answers=answers)
    assert [w.grounded for w in matched.walks if w] == [True, True, False, False, False, False]
    value[0]["predObjId"] = [1]
    file.write_text(json.dumps(value))
    with pytest.raises(DataError, match=r"entry 0: 'predObjId' is \[1\]"):
        read_answers(file)
    others = split_tasks("r2r", "val_seen", building.root)[:1]
    walk = match_predictions({"12_0": others[0].info["path"]}, others, building).walks[0]
    assert walk is not None
    assert walk.grounded is None


def test_predictions_must_fit_the_split(building: R2RData, tasks: list[Task]) -> None:
    whole = {t.info["instr_id"]: list(t.info["path"]) for t in tasks}
    assert match_predictions(whole, tasks, building).n_missing == 0
    others = split_tasks("r2r", "train", building.root)
    with pytest.raises(DataError, match="18 of 18 predictions are for instructions that this"):
        match_predictions(whole, others, building)
    some = dict(list(whole.items())[2:])
    with pytest.raises(DataError, match=r"2 of 18 instructions have no prediction.*'12_0'"):
        match_predictions(some, tasks, building)
    matched = match_predictions(some, tasks, building, allow_missing=True)
    assert (matched.n_missing, len(matched.walks), matched.walks[0]) == (2, 18, None)
    elsewhere = whole | {"12_0": whole["12_0"][1:]}
    with pytest.raises(DataError, match="trajectory of '12_0' begins at"):
        match_predictions(elsewhere, tasks, building)
    unknown = whole | {"12_0": [whole["12_0"][0], "gone"]}
    with pytest.raises(DataError, match="trajectory of 12_0: viewpoint 'gone' is not in the"):
        match_predictions(unknown, tasks, building)


def test_jumps_are_counted_and_their_length_is_the_way_between(
    building: R2RData, tasks: list[Task]
) -> None:
    task = tasks[0]
    start, goal = task.info["path"][0], task.info["path"][-1]
    assert n_jumps(task, [start, start, goal], building) == 1
    assert n_jumps(task, task.info["path"], building) == 0
    jumping = {"12_0": [start, start, goal]}
    matched = match_predictions(jumping, tasks, building, allow_missing=True)
    assert (matched.n_jumps, matched.n_with_jumps) == (1, 1)
    walk = matched.walks[0]
    assert walk is not None
    assert walk.hops is not None
    assert walk.hops.tolist() == pytest.approx([0.0, task.shortest_path_length])
