"""Labels, questions, prompts and counts, against the published table and rules written out anew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest

from pilotage.envs.patheval.criteria import SCENARIOS, better
from pilotage.envs.patheval.evaluation import Answer, by_scenario, evaluate, summary
from pilotage.envs.patheval.pictures import draw_question
from pilotage.envs.patheval.prompts import read_choice, write_prompt
from pilotage.envs.patheval.questions import Question, far_apart, make_questions
from pilotage.envs.patheval.scenes import GOAL, START, Scene
from pilotage.envs.patheval.symbolic import (
    always_first,
    at_random,
    shorter,
    solve_by_rule,
    without_scenario,
)

# avgC minC maxC len sharp maxA smooth, as the published table has them.
TABLE = (
    *("0000---", "++0-000", "-0--000", "++0----", "0+0-000", "0+00-0-", "0000---", "++00000"),
    *("0+00---", "0000---", "++00---", "000--0-", "++00---", "-0-+000", "-0-+---"),
)
NEEDED = (0.8, 0.8, 0.8, 50, 1, 30, 90)


@pytest.fixture(scope="module")
def questions() -> list[Question]:
    return make_questions("test", 2, seed=1, n_runs=12)


def path_of(question: Question) -> list[bytes]:
    return [path.tobytes() for path in question.paths]


def test_the_signs_are_those_of_the_published_table() -> None:
    signs = {"+": 1, "-": -1, "0": 0}
    assert [s.signs for s in SCENARIOS] == [tuple(signs[c] for c in row) for row in TABLE]
    assert len({s.text for s in SCENARIOS}) == len({s.name for s in SCENARIOS}) == 15


def rule(row: str, first: Sequence[float], second: Sequence[float]) -> int | None:
    """The published rule, one measure after the other, in whole hundredths."""
    votes = []
    for sign, a, b, least in zip(row, first, second, NEEDED):
        a, b = round(100 * a), round(100 * b)
        if sign != "0" and abs(a - b) >= 100 * least:
            votes.append(1 if (a > b) == (sign == "+") else 2)
    return votes[0] if votes and len(set(votes)) == 1 else None


def test_the_better_path_is_that_of_the_rule_written_out() -> None:
    rng = np.random.default_rng(0)
    counts: Counter[int | None] = Counter()
    for _ in range(300):
        steps = rng.integers(-2, 3, (2, 7))
        measures = np.round(5 + steps * np.array(NEEDED) * rng.choice([0.5, 1.0]), 2)
        for scenario, row in zip(SCENARIOS, TABLE):
            found = better(scenario.signs, *measures)
            assert found == rule(row, *measures), (row, measures)
            counts[found] += 1
    assert min(counts[1], counts[2], counts[None]) > 300


def test_a_difference_counts_from_its_threshold_on_and_the_margin_moves_it() -> None:
    signs = (0, 0, 0, -1, 0, 0, 0)
    short, long = np.zeros(7), np.array([0, 0, 0, 50.0, 0, 0, 0])
    assert better(signs, short, long) == 1
    assert better(signs, long, short) == 2
    assert better(signs, short, long - 0.01) is None
    assert better(signs, short, long, margin=1.01) is None
    with pytest.raises(ValueError, match="margin must be > 0, got 0"):
        better(signs, short, long, margin=0)


def test_pairs_are_the_farthest_first_and_no_path_is_in_two() -> None:
    measures = np.zeros((5, 7))
    measures[:, 0] = (0.0, 1.0, 4.0, 9.0, 10.0)
    measures[:, 1] = 3.0  # the same for all: no scale
    assert far_apart(measures, 5) == [(0, 4), (1, 3)]
    assert far_apart(measures, 1) == [(0, 4)]
    measures[:, 2] = (0, 5000, 0, 0, 0)  # counts as much as the first, not 500 times more
    assert far_apart(measures, 1) == [(1, 4)]
    assert far_apart(measures[:1], 3) == []
    assert far_apart(np.zeros((0, 7)), 3) == []


def test_questions_are_as_many_as_asked_and_the_first_path_is_right_half_the_time(
    questions: list[Question],
) -> None:
    assert [q.scenario for q in questions] == [k for k in range(15) for _ in range(2)]
    assert [q.answer for q in questions] == [1, 2] * 15
    for q in questions:
        assert rule(TABLE[q.scenario], *q.measures) == q.answer
    used = Counter(path for q in questions for path in path_of(q))
    assert set(used.values()) == {1}


def test_splits_and_seeds_share_no_scene(questions: list[Question]) -> None:
    def scenes(split: str, seed: int) -> set[bytes]:
        made = make_questions(split, 1, seed=seed, n_runs=8, families=["random"])
        assert {q.scene.family for q in made} == {"random"}
        return {q.scene.walls.tobytes() for q in made}

    train, test, other = scenes("train", 1), scenes("test", 1), scenes("test", 2)
    assert test == scenes("test", 1)
    assert not train & test
    assert not test & other


def test_who_does_not_heed_the_scenario_is_right_half_the_time_on_opposed_questions() -> None:
    questions = make_questions("test", 1, seed=4, n_runs=12, opposed=True)
    pairs: dict[tuple[bytes, ...], list[Question]] = {}
    for q in questions:
        pairs.setdefault(tuple(path_of(q)), []).append(q)
    for pair in pairs.values():
        assert {q.answer for q in pair} == {1, 2}
        assert len(pair) == 2
    assert {q.scenario for q in questions} == set(range(15))
    for blind in (without_scenario, shorter, always_first):
        right = sum(a.right[0] for a in evaluate(questions, blind))
        assert right == len(pairs) == len(questions) / 2
    assert all(all(a.right) for a in evaluate(questions, solve_by_rule))


def test_impossible_requests_are_refused() -> None:
    with pytest.raises(ValueError, match="split must be one of"):
        make_questions("dev", 1)
    with pytest.raises(ValueError, match="unknown families"):
        make_questions("test", 1, families=["spiral"])
    assert make_questions("test", 0) == []


@pytest.mark.parametrize("show", ["measures", "drawing", "both"])
def test_the_rule_is_right_every_time_from_the_prompt_alone(
    questions: list[Question], show: str
) -> None:
    answers = evaluate(questions, solve_by_rule, show=show)
    assert all(a.right == (True, True) for a in answers)
    text = write_prompt(questions[0], show)
    assert ("vertices" in text, "smoothness:" in text) == (show != "measures", show != "drawing")


def test_a_text_that_is_no_question_is_refused(questions: list[Question]) -> None:
    with pytest.raises(ValueError, match="no question about two paths: 'hello'"):
        solve_by_rule(["hello"])
    with pytest.raises(ValueError, match="says nothing of 'smoothness'"):
        solve_by_rule([write_prompt(questions[0]).replace("- smoothness", "- roughness")])
    with pytest.raises(ValueError, match="show must be one of"):
        write_prompt(questions[0], "nothing")


@pytest.mark.parametrize(
    ("reply", "choice"),
    [
        ("Path 1", 1),
        ("path #2.", 2),
        (" 2 ", 2),
        ("Path 1 is short, but I prefer another. Answer: Path 2", 2),
        ("**Answer:** 1", 1),
        ("Path 1 or Path 2", None),
        ("Path 12", None),
        ("the first", None),
        ("12", None),
        ("It is 1.5 times as long", None),
        ("", None),
    ],
)
def test_a_choice_is_read_or_is_none(reply: str, choice: int | None) -> None:
    assert read_choice(reply) == choice


def test_a_position_bias_shows_where_both_orders_are_counted(questions: list[Question]) -> None:
    found = summary(evaluate(questions, always_first))
    assert found["right (95 %)"].startswith("0.500")
    assert found["both (95 %)"].startswith("0.000")
    assert (found["same path"], found["says 1"], found["unreadable"]) == (0.0, 1.0, 0)
    coin = evaluate(questions, at_random)
    assert {c for a in coin for c in a.choices} == {1, 2}


def test_counts_of_answers_worked_out_by_hand() -> None:
    answers = [
        Answer(0, 1, (1, 2), ("", "")),  # right in both orders
        Answer(0, 2, (2, 2), ("", "")),  # right, then wrong: says 2 twice
        Answer(3, 1, (2, 1), ("", "")),  # wrong in both: the same path
        Answer(3, 1, (None, 2), ("", "")),
    ]
    found = summary(answers)
    assert found["right (95 %)"].split()[0] == "0.500"
    assert found["swapped (95 %)"].split()[0] == "0.500"
    assert found["both (95 %)"].split()[0] == "0.250"
    assert (found["n"], found["same path"], found["unreadable"]) == (4, 0.5, 1)
    assert found["says 1"] == round(2 / 7, 3)
    rows = by_scenario(answers)
    assert [(r["scenario"], r["n"]) for r in rows] == [("truck", 2), ("drone", 2)]
    assert rows[1]["swapped (95 %)"].split()[0] == "0.500"


def test_too_few_replies_are_refused(questions: list[Question]) -> None:
    with pytest.raises(ValueError, match="gave 1 replies to 60 prompts"):
        evaluate(questions, lambda prompts: ["Path 1"])


def test_the_picture_shows_walls_ends_and_each_path_on_its_side() -> None:
    walls = np.array([(-40.0, 0.0, 0.0, 0.0)])
    first = np.array([START, (36.0, -36.0), GOAL])
    second = np.array([START, (-36.0, 36.0), GOAL])
    question = Question(Scene("random", 0, walls), 0, (first, second), np.zeros((2, 7)), 1)
    picture = draw_question(question, size=168)  # two pixels a unit
    assert picture.shape == (168, 336, 3)

    def at(x: float, y: float) -> np.ndarray:
        return np.stack([picture[int(84 - 2 * y), int(84 + 2 * x) + side] for side in (0, 168)])

    assert (at(-20, 0) < 60).all()  # the wall, on both sides
    assert (at(20, 20) == 255).all()
    assert (at(*START)[:, 1] > 2 * at(*START)[:, 0]).all()  # green
    assert (at(*GOAL)[:, 0] > 2 * at(*GOAL)[:, 1]).all()  # red
    below, above = at(0, -36.2), at(0, 36.2)
    assert below[0, 2] > below[0, 0]  # blue below on the left picture only
    assert (below[1] == 255).all()
    assert above[1, 2] > above[1, 0]
    assert (above[0] == 255).all()
    with pytest.raises(ValueError, match="size must be at least 32 pixels, got 8"):
        draw_question(question, size=8)
