"""Drawn lifelong instances: what the map's symbols allow, and even shares of it."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.envs.mapf.lifelong import draw_lifelong
from pilotage.envs.mapf.pogema_files import read_pogema_roles

MAPS = """
"marked": |-
  @!$$
  @##!
  @!.$
"parts": |-
  ..#..
  ..#.#
"""


@pytest.fixture
def roles(tmp_path):
    (tmp_path / "maps.yaml").write_text(MAPS)
    return read_pogema_roles(tmp_path / "maps.yaml")


def test_symbols_say_who_may_be_where(roles) -> None:
    marked = roles["marked"]
    assert marked.free.tolist() == [[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]]
    assert np.argwhere(marked.may_start).tolist() == [[0, 0], [1, 0], [2, 0], [2, 2]]
    assert np.argwhere(marked.may_be_goal).tolist() == [[0, 2], [0, 3], [2, 2], [2, 3]]


def test_starts_and_goals_keep_to_the_symbols(roles) -> None:
    instance = draw_lifelong(roles["marked"], 4, n_goals=4000, seed=0)
    assert sorted(instance.starts.tolist()) == [[0, 0], [1, 0], [2, 0], [2, 2]]
    goals = np.stack(instance.goal_lists)
    assert (np.diff(goals, axis=1) != 0).any(axis=2).all()
    assert (goals[:, 0] != instance.starts).any(axis=1).all()
    cells, counts = np.unique(goals.reshape(-1, 2), axis=0, return_counts=True)
    assert cells.tolist() == [[0, 2], [0, 3], [2, 2], [2, 3]]
    assert counts / counts.sum() == pytest.approx(0.25, abs=0.01)
    for here in cells:  # each of the others as often
        after = goals[:, 1:][(goals[:, :-1] == here).all(axis=2)]
        _, counts = np.unique(after, axis=0, return_counts=True)
        assert counts / counts.sum() == pytest.approx([1 / 3] * 3, abs=0.03)


def test_the_first_goal_is_any_but_the_start(roles) -> None:
    firsts = []
    for seed in range(300):
        instance = draw_lifelong(roles["marked"], 4, n_goals=1, seed=seed)
        firsts += [
            g for s, g in zip(instance.starts.tolist(), instance.goals.tolist()) if s[1] == 2
        ]
    cells, counts = np.unique(firsts, axis=0, return_counts=True)
    assert cells.tolist() == [[0, 2], [0, 3], [2, 3]]
    assert counts / 300 == pytest.approx([1 / 3] * 3, abs=0.1)


def test_goals_are_in_the_agent_s_own_part(roles) -> None:
    instance = draw_lifelong(roles["parts"], 7, n_goals=50, seed=1)
    for start, goals in zip(instance.starts, instance.goal_lists):
        assert ((goals[:, 1] < 2) == (start[1] < 2)).all()


def test_the_seed_decides_and_smaller_teams_are_the_first_of_larger_ones(roles) -> None:
    seven, three = (draw_lifelong(roles["parts"], n, n_goals=9, seed=5) for n in (7, 3))
    assert np.array_equal(seven.starts[:3], three.starts)
    assert np.array_equal(np.stack(seven.goal_lists[:3]), np.stack(three.goal_lists))
    other = draw_lifelong(roles["parts"], 7, n_goals=9, seed=6)
    assert not np.array_equal(seven.starts, other.starts)


@pytest.mark.parametrize(
    ("n_agents", "n_goals", "message"),
    [(5, 1, "5 agents do not fit on the 4 cells"), (0, 1, "must be >= 1"), (1, 0, "1 and 0")],
)
def test_bad_arguments_are_refused(roles, n_agents, n_goals, message) -> None:
    with pytest.raises(ValueError, match=message):
        draw_lifelong(roles["marked"], n_agents, n_goals=n_goals, seed=0)


def test_an_agent_needs_two_goals(tmp_path) -> None:
    (tmp_path / "maps.yaml").write_text('"a": |-\n  @$#$$\n')
    one = read_pogema_roles(tmp_path / "maps.yaml")["a"]
    with pytest.raises(ValueError, match=r"from \[0, 0\] 1 goals can be reached"):
        draw_lifelong(one, 1, n_goals=2, seed=0)
