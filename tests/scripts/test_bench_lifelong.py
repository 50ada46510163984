"""`bench_lifelong` on a map made here, and its refusals."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.envs.mapf import MapfInstance
from pilotage.envs.mapf.pogema_files import PogemaRoles
from pilotage.scripts.bench_lifelong import alone, livable, main, play


@pytest.fixture
def data(tmp_path, monkeypatch):
    folder = tmp_path / "mapf" / "pogema" / "03-warehouse"
    folder.mkdir(parents=True)
    (folder / "maps.yaml").write_text('"a": |-\n  @..$\n  @..$\n')
    monkeypatch.setenv("PILOTAGE_DATA", str(tmp_path))


class Right:
    """Goes right, and left again at the end of a corridor of three cells."""

    def act(self, cells: np.ndarray, goals: np.ndarray) -> np.ndarray:
        return np.where(goals[:, 1] > cells[:, 1], 4, 3)


def test_throughput_of_a_walk_that_can_be_counted() -> None:
    shuttle = MapfInstance.lifelong(np.ones((1, 3), bool), [[0, 0]], [[[0, 2], [0, 0]]])
    near = MapfInstance.lifelong(np.ones((1, 3), bool), [[0, 0]], [[[0, 1], [0, 0]]])
    row = play([shuttle, near], lambda instance, seed: Right(), 10)
    assert row["throughput"] == "0.750 (0.500, 1.000)"  # 5 and 10 goals in 10 steps
    assert row["held up"] == "0.0%"
    long = MapfInstance.lifelong(np.ones((1, 3), bool), [[0, 0]], [[[0, 2], [0, 0]] * 5])
    assert (alone(long, 10), alone(long, 9)) == (5 / 10, 4 / 9)


def test_nobody_starts_where_no_two_goals_can_be_reached() -> None:
    free = np.array([[1, 0, 1, 1, 0, 1, 1]], bool)
    may_be_goal = np.array([[1, 0, 1, 0, 0, 1, 1]], bool)
    role = livable(PogemaRoles(free, free, may_be_goal))
    assert role.may_start.astype(int).tolist() == [[0, 0, 0, 0, 0, 1, 1]]
    assert role.may_be_goal is may_be_goal


def test_the_windowed_policies_have_rows(data, capsys) -> None:
    names = ["rhcr", "rhcr-lanes", "pibt-lns", "pibt-lns-lanes"]
    main(["--agents", "2", "--seeds", "1", "--steps", "12", "--policy", ",".join(names)])
    rows = [line.split("|") for line in capsys.readouterr().out.splitlines()[4:8]]
    assert [row[2].strip() for row in rows] == names
    assert all(float(row[3].split()[0]) > 0.2 for row in rows)


def test_the_table_names_the_published_means(data, capsys) -> None:
    assert main(["--agents", "2", "--seeds", "2", "--steps", "20"]) == 0
    header, _, row = capsys.readouterr().out.splitlines()[2:5]
    assert [c.strip() for c in header.split("|")[-3:-1]] == [
        "RHCR, published",
        "Follower, published",
    ]
    assert float(row.split("|")[3].split()[0]) > 0.3


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (["--map", "moon"], KeyError, "moon.*warehouse"),
        (["--policy", "pibt,ppo"], KeyError, "ppo.*follower-lite"),
        (["--seeds", "0"], ValueError, "--seeds must be >= 1"),
        (["--agents", "9"], ValueError, "9 agents do not fit on the 6 cells"),
    ],
)
def test_bad_arguments_are_refused(data, arguments, error, message) -> None:
    with pytest.raises(error, match=message):
        main(arguments)
