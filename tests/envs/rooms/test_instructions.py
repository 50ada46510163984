"""The words and their reader: ambiguity is found out, generated sentences lead to one place."""

from __future__ import annotations

import math
import re

import pytest

from pilotage.envs.rooms import make_tasks, vocabulary
from pilotage.envs.rooms.house import load_house
from pilotage.envs.rooms.interpreter import bearing, interpret
from pilotage.envs.rooms.language import JOINERS, NARRATION, PHRASES, offset_words, phrasings

OFFICE_PLANT, LIBRARY_PLANT = ("item", 0), ("item", 1)
WEST_RED, WEST_BLUE = ("item", 2), ("item", 3)
EAST, NORTH, WEST = 0.0, math.pi / 2, math.pi


@pytest.mark.parametrize(
    ("text", "heading", "endpoints"),
    [
        ("leave the kitchen and stop at the plant", EAST, {OFFICE_PLANT, LIBRARY_PLANT}),
        ("enter the office then stop at the plant", EAST, {OFFICE_PLANT}),
        ("take the door ahead and then wait beside the plant", EAST, {OFFICE_PLANT}),
        ("take the door ahead and then wait beside the plant", NORTH, {LIBRARY_PLANT}),
        ("take the left door and stop at the plant", EAST, {LIBRARY_PLANT}),
        ("take the right door and stop at the plant", NORTH, {OFFICE_PLANT, LIBRARY_PLANT}),
        ("take the right door into the office and stop at the plant", NORTH, {OFFICE_PLANT}),
        ("turn around and take the door ahead and stop at the plant", WEST, {OFFICE_PLANT}),
        ("enter the bedroom and stop at the crate", EAST, {WEST_RED, WEST_BLUE}),
        ("enter the bedroom and stop at the red crate", EAST, {WEST_RED}),
        ("enter the bedroom and stop at the plant", EAST, set()),
        ("pass the red crate then enter the office then stop at the plant", EAST, {OFFICE_PLANT}),
        ("pass the blue crate then enter the office then stop at the plant", EAST, set()),
        ("leave the office and stop at the plant", EAST, set()),
        ("enter the library and stop in the middle of the library", EAST, {("room", 2)}),
        # round by the library and back through its other door
        ("enter the library and enter the kitchen and stop in the kitchen", EAST, {("room", 0)}),
        # through the only door there is no way straight back
        ("enter the office and enter the kitchen and stop in the kitchen", EAST, set()),
        ("enter the office and turn around and leave the office and stop in the kitchen", EAST,
         {("room", 0)}),
    ],
)  # fmt: skip
def test_endpoints_in_a_house_made_by_hand(four_rooms, text, heading, endpoints):
    assert interpret(four_rooms, text, 6.0, 2.0, heading) == endpoints


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("fly to the moon and stop at the plant", "not understood"),
        ("", "'' is not understood"),
        ("enter the office and then and stop at the plant", "not understood"),
        ("enter the office", "where to stop"),
        ("stop at the plant and enter the office", "goes on"),
        ("enter the office and stop at the thing", "names no furniture"),
    ],
)
def test_what_is_not_understood_is_refused(four_rooms, text, complaint):
    with pytest.raises(ValueError, match=complaint):
        interpret(four_rooms, text, 6.0, 2.0, EAST)


def test_bearings():
    assert bearing(0, 0, 0.0, 1, 1) == pytest.approx(45)
    assert bearing(0, 0, math.pi / 2, 1, 0) == pytest.approx(-90)
    assert bearing(0, 0, -math.pi, -1, 0.0) == pytest.approx(0)
    assert bearing(0, 0, 0.0, -1, 0.0) == pytest.approx(180)


@pytest.fixture(scope="module")
def instructions():
    return [
        task
        for split in ("train", "test")
        for task in make_tasks(split, 48, seed=3, families=["instruction"])
    ]


def test_generated_instructions_lead_to_one_place(instructions):
    for task in instructions:
        house, (x, y, _) = load_house(task.scene), task.start["position"]
        found = interpret(house, task.instruction, x, y, task.start["heading"])
        kind, index = task.goal["endpoint"]
        assert found == {(kind, index)}
        room = house.items[index].room if kind == "item" else index
        for gx, gy in task.goal["points"]:
            assert house.room_at(gx, gy) == room
        assert task.info["rooms"][-1] == house.rooms[room].name


def test_left_and_right_matter(instructions):
    """With the sides exchanged, hardly any sentence still leads to the goal."""
    changed = same = 0
    for task in instructions:
        swap = {"left": "right", "right": "left"}
        text = re.sub(r"\b(left|right)\b", lambda m, s=swap: s[m[0]], task.instruction)
        if text == task.instruction:
            continue
        changed += 1
        house, (x, y, _) = load_house(task.scene), task.start["position"]
        found = interpret(house, text, x, y, task.start["heading"])
        same += tuple(task.goal["endpoint"]) in found  # by another door: rare
    assert changed > 20
    assert same <= 0.1 * changed


def test_vocabulary_is_small_and_covers_everything(instructions):
    words = vocabulary()
    assert len(words) < 250
    assert words == sorted(set(words))
    tasks = instructions + make_tasks("test", 60, seed=8, families=["pointnav", "objectnav"])
    for task in tasks:
        assert re.fullmatch(r"[a-z]+( [a-z]+)*", task.instruction)
        assert len(task.instruction.split()) <= 28
        assert set(task.instruction.split()) <= set(words)
    for text in (*NARRATION, *JOINERS):
        assert {w for w in text.split() if "{" not in w} <= set(words)


def test_held_out_phrasings_are_apart_and_made_of_known_words():
    trained = {w for k in PHRASES for p in phrasings(k, held_out=False) for w in p.split()}
    for kind, phrases in PHRASES.items():
        kept, held = phrasings(kind, held_out=False), phrasings(kind, held_out=True)
        assert set(kept) | set(held) == set(phrases)
        assert not set(kept) & set(held)
        assert len(kept) >= 1
        assert {w for p in held for w in p.split()} <= trained


def test_held_out_phrasings_occur_in_the_test_split_only():
    held = phrasings("find", held_out=True)
    pattern = re.compile("|".join(re.escape(p).replace(r"\{thing\}", "[a-z ]+") for p in held))
    for split in ("train", "val", "test"):
        tasks = make_tasks(split, 40, seed=1, families=["objectnav"])
        hits = [bool(pattern.fullmatch(t.instruction)) for t in tasks]
        assert hits == [t.info["phrasing"] == "held_out" for t in tasks]
        assert any(hits) == (split == "test")


def test_offsets_in_words():
    assert offset_words(5, 3) == "five metres ahead and three metres to the left"
    assert offset_words(-1, 0) == "one metre behind"
    assert offset_words(0, -12) == "twelve metres to the right"
    with pytest.raises(ValueError, match="metres have words"):
        offset_words(16, 0)
