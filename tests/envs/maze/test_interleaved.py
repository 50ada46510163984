"""Worded mazes: what is told, what a reply does, what is counted; against networkx and by hand."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.maze import make_tasks, to_graph
from pilotage.envs.maze.grid import from_rows
from pilotage.envs.maze.interleaved import (
    NAMES,
    WAYS,
    Attempt,
    attempts_of,
    hear,
    picture,
    play,
    read_letter,
    read_moves,
    write_prompt,
)
from pilotage.envs.maze.interleaved_solvers import Exact, Random, read_prompt, way_to_goal
from pilotage.scripts.cmd_bench_vicmaze import gain_of, row_of

# 2 x 2: start top left; right is a wall, the way is down, right, up.
ROWS = ["22", "95"]
DRAWING = """\
#####
#S#G#
# # #
#   #
#####"""
ROUTE = [(0, 0), (1, 0), (1, 1), (0, 1)]


def small(way: str, level: int = 0) -> Attempt:
    return Attempt(from_rows(ROWS), list(ROUTE), way, level, visited=[ROUTE[0]])


def test_a_prompt_tells_the_drawing_and_more_at_each_level() -> None:
    texts = [write_prompt(small("whole", level)) for level in range(3)]
    assert all(DRAWING in text for text in texts)
    cells = "S is at row 0 column 0, G at row 0 column 1."
    assert [cells in text for text in texts] == [False, True, True]
    assert ["Open from S: down." in text for text in texts] == [False, False, True]


def test_interleaved_shows_the_new_place_and_turns_lists_the_moves() -> None:
    seen, told = small("interleaved", 1), small("turns", 1)
    for attempt in (seen, told):
        hear(attempt, "move(down)")
        hear(attempt, "move(left)")
    assert "#S  #" in write_prompt(seen)
    assert "S is at row 1 column 0" in write_prompt(seen)
    assert "Your last call, move(left), met a wall." in write_prompt(seen)
    assert DRAWING in write_prompt(told)
    assert "Moves since S: down, left." in write_prompt(told)
    assert "wall." not in write_prompt(told).split("# is a wall.")[1]


def test_moves_and_cells_are_counted_as_worked_out_by_hand() -> None:
    a = small("interleaved")
    for reply in ("move(right)", "hm", "move(down)", "move(up)", "move(down), move(right)"):
        hear(a, reply)
    assert [NAMES[m] for m in a.moves] == ["right", "down", "up", "down", "right"]
    assert a.legal == [False, True, True, True, True]
    assert a.visited[-1] == (1, 1)
    assert (a.n_turns, a.n_unreadable, a.reached, a.done) == (5, 1, False, False)
    assert a.recall == 2 / 3
    hear(a, "move(up) move(down)")  # there, and no further
    assert (a.reached, a.done, a.recall, len(a.moves)) == (True, True, 1.0, 6)
    row = row_of([a])
    assert (row["shortest"], row["recall"], row["legal"]) == (0.0, 1.0, round(5 / 6, 3))
    assert (row["turns"], row["unreadable"]) == (6.0, 1)


def test_turns_end() -> None:
    a = small("turns")
    play([a], lambda prompts, _: ["?"] * len(prompts))
    assert (a.n_turns, a.n_unreadable, a.reached) == (2 * 3 + 4, 10, False)
    b = small("whole")
    hear(b, ", ".join(["down", "up"] * 20))
    assert (len(b.moves), b.done, b.n_turns) == (10, True, 1)


def test_of_four_lists_one_alone_leads_to_the_goal() -> None:
    tasks = make_tasks("test", 30, families=["dfs", "loops"], size=4)
    places = []
    for task, a in zip(tasks, attempts_of(tasks, "choice", seed=3)):
        graph = to_graph(from_rows(task.scene["rows"]))
        good = []
        for option in a.options:
            place = a.route[0]
            for move in option:
                dr, dc = {"up": (-1, 0), "down": (1, 0), "left": (0, -1), "right": (0, 1)}[
                    NAMES[move]
                ]
                there = (place[0] + dr, place[1] + dc)
                if there not in graph or not graph.has_edge(place, there):
                    break
                place = there
            else:
                good.append(place == a.route[-1])
                continue
            good.append(False)
        assert good == [k == a.right_option for k in range(4)]
        assert len({len(option) for option in a.options}) == 1
        places.append(a.right_option)
    assert set(places) == {0, 1, 2, 3}


@pytest.mark.parametrize("way", WAYS)
def test_the_exact_solver_takes_the_shortest_way_that_networkx_finds(way: str) -> None:
    tasks = make_tasks("test", 12, families=["wilson", "loops"], size=5)
    attempts = attempts_of(tasks, way)
    play(attempts, Exact())
    for task, a in zip(tasks, attempts):
        assert a.reached
        if way != "choice":
            graph = to_graph(from_rows(task.scene["rows"]))
            assert len(a.moves) == nx.shortest_path_length(graph, a.route[0], a.route[-1])
            assert all(a.legal)


def test_states_help_where_moves_go_wrong_and_where_the_place_is_forgotten() -> None:
    tasks = make_tasks("test", 30, families=["dfs"], size=5)

    def reached(way: str, solver: Exact) -> list[Attempt]:
        attempts = attempts_of(tasks, way)
        play(attempts, solver)
        return attempts

    noisy = {way: reached(way, Exact(noise=0.3, seed=1)) for way in ("whole", "interleaved")}
    found = gain_of(noisy["interleaved"], noisy["whole"])
    difference = sum(a.reached for a in noisy["interleaved"]) - sum(
        a.reached for a in noisy["whole"]
    )
    assert difference > 8
    assert found["difference (95 %)"].startswith(f"{difference / 30:+.3f}")
    assert all(a.reached for a in reached("interleaved", Exact(forgets=True)))
    for a in reached("turns", Exact(forgets=True)):
        straight = {(r - p, c - q) for (p, q), (r, c) in itertools.pairwise(a.route)}
        assert a.reached == (len(straight) == 1)
        assert set(a.moves) == {a.moves[0]}


def test_a_legal_random_walker_meets_no_wall_and_a_random_one_does() -> None:
    tasks = make_tasks("test", 10, families=["dfs"], size=4)
    for way in ("whole", "turns", "interleaved"):
        legal, free = attempts_of(tasks, way), attempts_of(tasks, way)
        play(legal, Random(legal=True))
        play(free, Random())
        assert all(step for a in legal for step in a.legal)
        assert not all(step for a in free for step in a.legal)


@pytest.mark.parametrize(
    ("reply", "calls", "moves"),
    [
        ("move(up)", True, [0]),
        ("I go left: Move( 'Down' )", True, [1]),
        ("move(up) then move(right)", True, [0, 3]),
        ("left", True, [2]),
        ("left or right", True, []),
        ("up, Down , LEFT right", False, [0, 1, 2, 3]),
        ("upwards", False, []),
        ("", True, []),
    ],
)
def test_moves_are_read(reply: str, calls: bool, moves: list[int]) -> None:
    assert read_moves(reply, calls=calls) == moves


def test_a_letter_is_read_or_is_none() -> None:
    replies = ["B", "The answer is C.", "A or B", "bad", "E", ""]
    assert [read_letter(r) for r in replies] == [1, 2, None, None, None, None]


def test_the_picture_is_the_drawing() -> None:
    found = picture(from_rows(ROWS), (0, 0), (0, 1), pixels=2)
    assert found.shape == (10, 10, 3)
    dark = (found == 0).all(-1)[::2, ::2]
    assert np.array_equal(dark, [[c == "#" for c in line] for line in DRAWING.splitlines()])
    assert found[2, 2].argmax() == 1  # green
    assert found[2, 6].argmax() == 0  # red


def test_bad_requests_are_refused() -> None:
    tasks = make_tasks("test", 1, families=["dfs"], size=3)
    with pytest.raises(ValueError, match="way must be one of"):
        attempts_of(tasks, "guess")
    with pytest.raises(ValueError, match="level must be from 0 to 2, got 3"):
        attempts_of(tasks, "whole", level=3)
    with pytest.raises(ValueError, match="gave 0 replies to 1 prompts"):
        play(attempts_of(tasks, "whole"), lambda prompts, options: [])
    with pytest.raises(ValueError, match="no drawing with one S and one G"):
        read_prompt("hello")
    with pytest.raises(ValueError, match="no way leads from S to G"):
        way_to_goal(read_prompt("#####\n#S#G#\n#####"))
    with pytest.raises(ValueError, match="noise must be from 0 to 1, got 2"):
        Exact(noise=2)


def test_what_may_be_replied_is_told_to_solvers_that_choose() -> None:
    tasks = make_tasks("test", 1, families=["dfs"], size=3)
    told: dict[str, Sequence[str] | None] = {}
    for way in WAYS:

        def ask(prompts: Sequence[str], options: Sequence[str] | None, way: str = way) -> list[str]:
            told[way] = options
            return Exact()(prompts)

        play(attempts_of(tasks, way), ask)
    assert told["whole"] is None
    assert told["choice"] == list("ABCD")
    assert told["turns"] == told["interleaved"] == [f"move({name})" for name in NAMES]
