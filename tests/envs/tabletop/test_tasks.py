"""Tasks and words: held-out aspects, closed vocabulary, scenes that leave room, rewording."""

from __future__ import annotations

import itertools
import json
import math
import re
import subprocess
import sys
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.envs.tabletop import grammar, layout, splits
from pilotage.envs.tabletop.tasks import make_tasks, paired_tasks, reword, with_manner
from pilotage.episodes.types import Task

N = 150


@pytest.fixture(scope="module")
def train() -> list[Task]:
    return make_tasks("train", 1200)


def aspects(task: Task) -> dict[str, object]:
    """What a task shows of each aspect, read from the task alone."""
    thing = task.scene["objects"][task.goal["object"]]
    x, y = thing["position"]
    cell = math.floor((x - 0.36) / 0.045), math.floor((y + 0.225) / 0.045)
    return {
        "template": (task.family, task.info["template"]),
        "pair": (thing["color"], thing["shape"]),
        "cell": cell,
    }


def test_training_never_shows_what_another_split_holds_out(train: list[Task]) -> None:
    seen = {split: make_tasks(split, N) for split in ("val", "test")}
    known = [aspects(task) for task in train]
    for other, name in itertools.product(("val", "test"), ("template", "pair", "cell")):
        held_out = {aspects(t)[name] for t in seen[other] if name in t.info["held_out"]}
        assert held_out
        assert not held_out & {a[name] for a in known}
    for one, two in (("val", "test"), ("test", "val")):
        for name in ("template", "pair", "cell"):
            mine = {aspects(t)[name] for t in seen[one] if name in t.info["held_out"]}
            assert not mine & {aspects(t)[name] for t in seen[two]}


def test_held_out_pairs_do_not_even_lie_around_in_training(train: list[Task]) -> None:
    kept = {pair for split in ("val", "test") for pair in splits.pairs()[split]}
    for task in train:
        assert not kept & {(o["color"], o["shape"]) for o in task.scene["objects"]}
        assert task.info["held_out"] == []


def test_every_test_task_has_a_held_out_aspect_and_says_which(train: list[Task]) -> None:
    shown = [aspects(task) for task in train]
    known = {name: {a[name] for a in shown} for name in shown[0]}
    for task in make_tasks("test", N):
        new = {name for name, value in aspects(task).items() if value not in known[name]}
        assert new
        assert new == set(task.info["held_out"]) - {"phrase"}


def test_phrases_of_training_and_test_are_apart() -> None:
    said = {
        split: {p["text"] for t in make_tasks(split, N) for p in t.info["spoken"].values()}
        for split in ("train", "test")
    }
    assert said["test"] - said["train"]
    for task in make_tasks("test", N):
        if "phrase" in task.info["held_out"]:
            texts = {p["text"] for p in task.info["spoken"].values()}
            assert texts
            assert not texts & said["train"]


def test_every_color_shape_and_word_occurs_in_training(train: list[Task]) -> None:
    words = {word for task in train for word in task.instruction.split()}
    for split in ("val", "test"):
        new = {w for task in make_tasks(split, N) for w in task.instruction.split()} - words
        assert not new, f"{split} uses words that training never shows: {sorted(new)}"


@pytest.mark.parametrize("split", splits.SPLITS)
def test_instructions_are_plain_words_of_the_vocabulary(split: str) -> None:
    vocabulary = set(grammar.vocabulary())
    assert len(vocabulary) < 250
    for task in make_tasks(split, N):
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", task.instruction)
        assert set(task.instruction.split()) <= vocabulary


@pytest.mark.parametrize("split", splits.SPLITS)
def test_families_are_balanced_with_and_without_manner(split: str) -> None:
    tasks = make_tasks(split, 100)
    count = Counter((t.family, bool(t.info["spoken"])) for t in tasks)
    assert count == {(f, m): 10 for f in layout.FAMILIES for m in (False, True)}
    assert len({t.task_id for t in tasks}) == 100


def test_tasks_are_a_pure_function_and_a_shorter_list_is_a_prefix() -> None:
    tasks = make_tasks("train", 30, seed=4)
    assert [t.to_json() for t in make_tasks("train", 12, seed=4)] == [
        t.to_json() for t in tasks[:12]
    ]
    assert {t.task_id for t in tasks}.isdisjoint(t.task_id for t in make_tasks("train", 30, seed=5))
    again = Task.from_json(json.loads(json.dumps(tasks[3].to_json())))
    assert again.to_json() == tasks[3].to_json()


@given(seed=st.integers(0, 10**6), family=st.sampled_from(layout.FAMILIES))
@settings(max_examples=40, deadline=None)
def test_scenes_leave_room_and_name_the_target_without_doubt(seed: int, family: str) -> None:
    (task,) = make_tasks("test", 1, seed=seed, families=[family])
    objects, zones = task.scene["objects"], task.scene["zones"]
    assert 2 <= len(objects) <= 6
    assert len({(o["color"], o["shape"]) for o in objects}) == len(objects)
    assert len({z["color"] for z in zones}) == len(zones)
    for a, b in itertools.combinations(objects, 2):
        assert math.dist(a["position"], b["position"]) >= 0.10
    for thing, zone in itertools.product(objects, zones):
        assert math.dist(thing["position"], zone["position"]) >= 0.11
    for thing in objects:
        assert 0.35 <= thing["position"][0] <= 0.64
        assert abs(thing["position"][1]) <= 0.23
    assert task.info["target"] in task.instruction
    assert math.dist(task.start["ee_position"], task.reference_path[0]) == 0
    legs = [math.dist(a, b) for a, b in itertools.pairwise(task.reference_path)]
    assert task.shortest_path_length == pytest.approx(sum(legs), abs=1e-5)


@given(seed=st.integers(0, 10**6), family=st.sampled_from(layout.FAMILIES))
@settings(max_examples=25, deadline=None)
def test_reword_changes_the_words_and_nothing_else(seed: int, family: str) -> None:
    (task,) = make_tasks("test", 1, seed=seed, families=[family], manners="any")
    plain, fast, slow = (row[0] for row in paired_tasks([task], {}, *_speeds()))
    for other in (plain, fast, slow):
        for name in ("scene", "start", "goal", "family", "split", "max_steps"):
            assert getattr(other, name) == getattr(task, name)
        assert other.info["template"] == task.info["template"]
        assert other.shortest_path_length == task.shortest_path_length
    assert plain.instruction == grammar.compose(task.info["template"], _fields(task), {})
    assert plain.instruction in fast.instruction
    assert fast.instruction != slow.instruction
    assert len({t.task_id for t in (task, plain, fast, slow)}) == 4
    assert reword(fast, task.info["manner"]).instruction == task.instruction
    assert with_manner(fast, speed=None).instruction == plain.instruction
    assert with_manner(task, speed="slow").info["manner"]["side"] == task.info["manner"]["side"]


def _speeds() -> tuple[dict[str, str], dict[str, str]]:
    return {"speed": "fast"}, {"speed": "slow"}


def _fields(task: Task) -> dict[str, str]:
    name = {k: f"{o['color']} {o['shape']}" for k, o in enumerate(task.scene["objects"])}
    fields = {"a": name[task.goal["object"]], "b": name.get(task.goal.get("reference"), "")}
    return fields | {"z": task.scene["zones"][0]["color"] if task.scene["zones"] else ""}


@pytest.mark.parametrize(
    ("manner", "message"),
    [
        ({"height": "low"}, "reach.*height"),
        ({"speed": "warp"}, "warp"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_manner_that_makes_no_sense_is_refused(manner: dict[str, str], message: str) -> None:
    (task,) = make_tasks("train", 1, families=["reach"])
    with pytest.raises(ValueError, match=message):
        reword(task, manner)


@pytest.mark.parametrize(
    "arguments",
    [
        {"split": "unseen", "n": 1},
        {"split": "train", "n": -1},
        {"split": "train", "n": 1, "families": ["juggle"]},
        {"split": "train", "n": 1, "manners": "speedy"},
        {"split": "train", "n": 1, "families": ["reach"], "manners": "height"},
    ],
)
def test_wrong_arguments_are_refused(arguments: dict) -> None:
    with pytest.raises(ValueError, match=r"unknown|ask for|no family"):
        make_tasks(**arguments)


def test_one_kind_of_manner_can_be_asked_for() -> None:
    for kind in ("speed", "height", "side", "gentle"):
        for task in make_tasks("train", 20, manners=kind):
            assert set(task.info["spoken"]) == {kind}
    assert not any(t.info["spoken"] for t in make_tasks("test", 20, manners="none"))


def test_making_tasks_does_not_load_the_simulator() -> None:
    code = (
        "import sys; from pilotage.envs.tabletop import make_tasks, vocabulary; "
        "make_tasks('train', 2); vocabulary(); sys.exit('pybullet' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
