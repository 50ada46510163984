"""Prompted agents: what is read from replies, the map in words, clauses, sub-tasks, retrieval."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest

from pilotage.agents.vln.prompted.asking import STOP, Option
from pilotage.agents.vln.prompted.bank import mmr
from pilotage.agents.vln.prompted.clauses import clause_now, clauses_of
from pilotage.agents.vln.prompted.embedding import HashedWords
from pilotage.agents.vln.prompted.memory import MapMemory, WalkMemory
from pilotage.agents.vln.prompted.replies import Failure, read_letter, read_number, read_react
from pilotage.agents.vln.prompted.sights import Place, Sight, move_words, view_centre
from pilotage.agents.vln.prompted.subtasks import Act, SubtaskMemory, subtasks_of
from pilotage.agents.vln.prompted.wording import by_id, lettered, numbered

WAYS = (Option("A", 1, "turn left"), Option("B", 2, "turn right"))
WITH_STOP = (Option("A", STOP, "stop"), Option("B", 1, "turn left"), Option("C", 2, "turn right"))


def place(name: str, degrees: float, *, up: float = 0.0, caption: str = "") -> Place:
    return Place(name, math.radians(degrees), math.radians(up), 2.0, caption)


def sight(here: str, *places: Place, words: str = "Go on and stop.", heading: float = 0.0) -> Sight:
    return Sight(words, here, math.radians(heading), places, ("a hall",) * 8, None)


# -- replies ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "index", "failures"),
    [
        ("Thought: B is bad.\nNew Planning: go\nAction: C", 2, []),
        ("Action: B, or rather Action: A", 0, []),  # behind the last marker
        ("Action: B or C", 2, [Failure.SEVERAL]),  # the last match
        ("C", 2, []),  # no marker: all of the text
        ('{"Thought": "B?", "New Planning": "x", "Action": "A"}', 0, []),
        ("Action: Q", None, [Failure.OUT_OF_RANGE]),
        ("Action: go to the kitchen", None, [Failure.UNPARSABLE]),
        ("", None, [Failure.UNPARSABLE]),
        ("Action: c", None, [Failure.UNPARSABLE]),
    ],
)
def test_letters_by_mapgpts_rules(text: str, index: int | None, failures: list[Failure]) -> None:
    parsed = read_letter(text, WITH_STOP)
    assert (parsed.index, list(parsed.failures)) == (index, failures)


def test_a_wish_to_stop_that_was_not_offered_is_a_kind_of_its_own() -> None:
    assert read_letter("Action: stop here", WAYS).failures == (Failure.STOP_NOT_OFFERED,)
    assert read_letter("Action: stop here", WITH_STOP).failures == (Failure.UNPARSABLE,)
    react = read_react("Thought: there.\nFinal Answer: Finished!", WAYS)
    assert (react.index, react.failures) == (None, (Failure.STOP_NOT_OFFERED,))


def test_the_plan_stands_between_its_markers() -> None:
    text = "Thought: t\nNew Planning: first the hall, then left\nAction: B"
    assert read_letter(text, WITH_STOP).plan == "first the hall, then left"
    assert read_letter('{"New Planning": "wait", "Action": "B"}', WITH_STOP).plan == "wait"
    assert read_letter("Action: B", WITH_STOP).plan == ""


@pytest.mark.parametrize(
    ("text", "index", "failures"),
    [
        ("Thought: x\nAction: action_maker\nAction Input: b2", 1, []),
        ('Action Input: "a1"', 0, []),
        ("Thought: done\nFinal Answer: Finished!", 2, []),
        ("Action Input: b2\nFinal Answer: Finished!", 2, [Failure.SEVERAL]),
        ("Action Input: a1 or b2", 0, [Failure.SEVERAL]),
        ("Action Input: c3", None, [Failure.OUT_OF_RANGE]),
        ("I would go to b2.", None, [Failure.UNPARSABLE]),
    ],
)
def test_navgpts_tool_loop(text: str, index: int | None, failures: list[Failure]) -> None:
    options = (Option("a1", 1, ""), Option("b2", 2, ""), Option("Finished", STOP, ""))
    parsed = read_react(text, options)
    assert (parsed.index, list(parsed.failures)) == (index, failures)


def test_numbers_count_only_behind_the_answer() -> None:
    options = tuple(Option(str(k), k, "") for k in range(13))
    assert read_number("Explanation: 3 doors\nAnswer: 12", options).index == 12
    assert read_number("Answer: 13", options).failures == (Failure.OUT_OF_RANGE,)
    assert read_number("Answer: 1 2", options).failures == (Failure.SEVERAL,)


# -- directions ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("degrees", "up", "words"),
    [
        (14, 0, "go forward"),  # of the centre of its view, which is straight ahead
        (16, 0, "turn right"),
        (-100, 0, "turn left"),  # the centre is at 90
        (-106, 0, "turn around"),
        (179, 0, "turn around"),
        (0, 16, "go up"),
        (90, -20, "go down"),
        (0, 14, "go forward"),
    ],
)
def test_ways_are_worded_by_the_centre_of_the_view(degrees: float, up: float, words: str) -> None:
    for heading in (0, 30, 330):
        seen = sight("h", place("p", degrees, up=up), heading=heading)
        assert move_words(*view_centre(seen, seen.places[0])) == words


# -- the map ---------------------------------------------------------------------------------------


def test_the_map_numbers_places_by_first_sight_and_writes_neighbours_once() -> None:
    memory = MapMemory()
    memory.see(sight("h", place("k", 0, caption="a kitchen"), place("b", 90, caption="a bed")))
    blocks = memory.blocks()
    assert blocks["Map"] == "Place 0 is connected with Places 1, 2"
    assert blocks["Trajectory"] == "Place 0"
    assert blocks["Images"] == "Image 1: a kitchen\nImage 2: a bed"  # none of the start
    assert blocks["Supplementary Info"] == "Nothing yet."
    memory.see(sight("k", place("h", 180, caption="a hall"), place("s", 0, caption="a stove")))
    blocks = memory.blocks()
    assert blocks["Trajectory"] == "Place 0 1"
    assert blocks["Map"].splitlines()[1] == "Place 1 is connected with Places 0, 3"
    assert blocks["Images"].splitlines()[0] == "Image 0: a hall"
    assert blocks["Supplementary Info"] == "Place 2, seen as Image 2"
    memory.see(sight("h", place("k", 0, caption="a kitchen door")))  # back, and less is seen
    blocks = memory.blocks()
    assert blocks["Trajectory"] == "Place 0 1 0"
    assert blocks["Map"].splitlines()[0] == "Place 0 is connected with Places 1, 2"
    assert "Image 1: a kitchen door" in blocks["Images"]
    assert list(blocks)[:3] == ["Images", "Instruction", "History"]


def test_letters_shift_when_stopping_is_offered() -> None:
    memory = MapMemory()
    seen = sight("h", place("k", 0), place("b", -90))
    memory.see(seen)
    early, late = (lettered(seen, memory, offered) for offered in (False, True))
    assert [(o.label, o.action, o.text) for o in early] == [
        ("A", 1, "go forward to Place 1"),
        ("B", 2, "turn left to Place 2"),
    ]
    assert [(o.label, o.action) for o in late] == [("A", STOP), ("B", 1), ("C", 2)]
    assert [o.label for o in numbered(seen, memory, False)] == ["1", "2"]
    assert [o.label for o in numbered(seen, memory, True)] == ["0", "1", "2"]
    assert [o.label for o in by_id(seen, memory, True)] == ["k", "b", "Finished"]


def test_navgpt_sorts_places_into_eight_directions() -> None:
    memory = WalkMemory()
    memory.see(sight("h", place("k", 22), place("b", 23), place("t", -180), place("l", -70)))
    lines = memory.blocks()["Current Observation"].splitlines()
    of = {a.partition(":")[0]: b for a, b in pairwise(lines) if b.startswith("  ")}
    assert "k: right 22°, 2.00 m" in of["ahead"]
    assert "b:" in of["ahead right"]
    assert "t:" in of["back"]
    assert "l: left 70°" in of["left"]
    assert of["right"] == "  navigable: none"


# -- clauses and sub-tasks -------------------------------------------------------------------------

TEXT = "Walk past the couch and turn left. Go up the stairs, then enter the bedroom and stop."


def test_clauses_are_cut_before_verbs_and_keep_every_word() -> None:
    clauses = clauses_of(TEXT)
    assert clauses[:2] == ("Walk past the couch", "turn left")
    assert len(clauses) == 5
    assert clauses_of("table and chairs") == ("table and chairs",)
    assert clauses_of("...") == ("...",)
    kept = " ".join(clauses).lower().split()
    said = [w for w in TEXT.lower().replace(".", "").replace(",", "").split() if w != "and"]
    assert [w for w in said if w != "then"] == [w for w in kept if w != "then"]


def test_the_clause_of_now_goes_through_all_in_order() -> None:
    clauses = clauses_of(TEXT)
    heard = [clause_now(clauses, k) for k in range(8)]
    places = [clauses.index(c) for c in heard]
    assert places == sorted(places)
    assert (heard[0], heard[-1]) == (clauses[0], clauses[-1])


def test_subtasks_have_an_action_and_a_landmark() -> None:
    found = [(part.act, part.landmark) for part in subtasks_of(TEXT)]
    assert found == [
        (Act.GO_PAST, "couch"),
        (Act.TURN_LEFT, ""),
        (Act.STAIRS_UP, "stairs"),
        (Act.GO_INTO, "bedroom"),
        (Act.GO_TO, ""),
    ]
    assert subtasks_of("Leave the big kitchen")[0].act is Act.EXIT
    assert str(subtasks_of("Walk through the door to the hall")[0]) == "go through(hall)"


def test_only_the_last_done_stops() -> None:
    memory = SubtaskMemory(patience=2)
    seen = sight("h", place("k", 0), words="Turn left. Enter the kitchen.")
    memory.see(seen)
    done, go, *_ = lettered(seen, memory, True)
    assert memory.chose(done, "") is None
    assert memory.goal() == "kitchen"
    assert memory.chose(go, "") == 1
    assert memory.chose(done, "") == STOP
    impatient = SubtaskMemory(patience=1)
    impatient.see(seen)
    assert impatient.chose(go, "") == 1
    impatient.see(seen)
    assert impatient.goal() == "kitchen"  # the turn took as long as it may


def test_navigators_lean_where_their_action_says() -> None:
    for words, wanted in [("Turn left.", "l"), ("Turn right.", "r"), ("Turn around.", "b")]:
        ways = (place("l", -90), place("r", 90), place("b", 180), place("a", 0))
        memory = SubtaskMemory()
        memory.see(sight("h", *ways, words=words))
        assert max(ways, key=memory.lean).id == wanted
    stairs = (place("u", 0, up=20), place("d", 0, up=-20))
    memory = SubtaskMemory()
    memory.see(sight("h", *stairs, words="Go down the stairs."))
    assert max(stairs, key=memory.lean).id == "d"


# -- retrieval -------------------------------------------------------------------------------------


def test_mmr_against_the_definition() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(9, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    query = vectors[0] + 0.1
    for relevance in (0.0, 0.3, 0.7, 1.0):
        taken: list[int] = []
        while len(taken) < 9:
            rest = [i for i in range(9) if i not in taken]
            score = {
                i: relevance * sum(vectors[i] * query)
                - (1 - relevance) * max((sum(vectors[i] * vectors[j]) for j in taken), default=0)
                for i in rest
            }
            taken.append(max(rest, key=score.__getitem__))
        assert mmr(query, vectors, 20, relevance) == taken
    by_likeness = np.argsort(-(vectors @ query), kind="stable").tolist()
    assert mmr(query, vectors, 4, 1.0) == by_likeness[:4]
    with pytest.raises(ValueError, match=r"relevance must be in 0..1 and k >= 0, got 2 and 1"):
        mmr(query, vectors, 1, 2)


def test_hashed_words_are_alike_when_they_share_words() -> None:
    a, b, c, none = HashedWords().embed(["red stove", "the stove is red", "blue bed", ""])
    assert a @ b == pytest.approx(1.0)
    assert abs(a @ c) < 0.1
    assert not none.any()
