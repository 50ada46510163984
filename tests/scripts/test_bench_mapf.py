"""`pilotage bench mapf` on files made here: the numbers are those of plans that can be counted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from pilotage.scripts.cmd_bench_mapf import actions_of, mapf

MAP = "type octile\nheight 2\nwidth 4\nmap\n....\n....\n"
# Two agents change the ends of the upper row; a third one has one step to go.
SCEN = (
    "version 1\n"
    "0\ttiny.map\t4\t2\t0\t0\t3\t0\t3\n"
    "0\ttiny.map\t4\t2\t3\t0\t0\t0\t3\n"
    "0\ttiny.map\t4\t2\t1\t1\t2\t1\t1\n"
)
LIFELONG = """
scenarios:
  one: {agents_xy: [[0, 0]], map_name: a, seed: 0, targets_xy: [[[0, 2], [0, 0]]]}
"""


@pytest.fixture
def bench(tmp_path):
    (tmp_path / "tiny.map").write_text(MAP)
    for k in (1, 2):
        (tmp_path / f"tiny-random-{k}.scen").write_text(SCEN)
    (tmp_path / "maps.yaml").write_text('"a": |-\n  ...\n')
    (tmp_path / "x-lmapf.yaml").write_text(LIFELONG)

    def run(path="", **changes):
        arguments = {
            "path": tmp_path / path,
            "maps": [],
            "agents": [2],
            "solvers": ["cbs", "lacam"],
            "scenarios": 5,
            "time_limit_s": 2.0,
            "max_steps": 0,
            "suboptimality": 1.2,
            "low_level": "space_time",
            "seed": 0,
            "out": tmp_path / "out",
            "as_json": False,
        }
        return mapf(**(arguments | changes))

    return run


def test_one_shot_rows(bench, tmp_path, capsys) -> None:
    exact, lazy = bench()
    assert (exact["map"], exact["agents"], exact["n"], exact["success"]) == ("tiny", 2, 2, 1.0)
    assert exact["sum_of_costs"] == 8  # one of the two goes round: 3 + 5
    assert exact["/bound"] == pytest.approx(8 / 6, abs=1e-3)
    assert exact["makespan"] == 5
    assert exact["optimal"] == 2
    assert lazy["sum_of_costs"] >= 8
    assert "lacam" in capsys.readouterr().out
    assert "| tiny" in (tmp_path / "out" / "mapf.md").read_text()


def test_solvers_with_a_bound_and_without_labels(bench) -> None:
    bounded, unlabelled = bench(solvers=["eecbs", "tswap"], suboptimality=1.2)
    assert bounded["solver"] == "eecbs 1.2"
    assert 8 <= bounded["sum_of_costs"] <= 1.2 * 8
    assert unlabelled["success"] == 1.0
    assert unlabelled["sum_of_costs"] == 0  # both stand at the goal of the other
    assert unlabelled["/bound"] is None


def test_late_plans_fail(bench) -> None:
    row, still = bench(solvers=["cbs", "tswap"], max_steps=4, scenarios=1)
    assert (row["sum_of_costs"], still["sum_of_costs"]) == (None, 0)
    assert (row["success"], row["too_late"], row["n"]) == (0, 1, 1)


def test_lifelong_rows(bench, capsys) -> None:
    (row,) = bench("x-lmapf.yaml", agents=[1, 7], max_steps=8, as_json=True)
    assert row["throughput"] == 0.5  # two steps to each goal, to and fro
    assert row["held_up"] == 0
    assert json.loads(capsys.readouterr().out)[0]["map"] == "x-lmapf"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"solvers": ["cbss"]}, KeyError, "unknown solver 'cbss'.*did you mean cbs"),
        ({"maps": ["tinny"]}, KeyError, "unknown map 'tinny'"),
        ({"agents": [9]}, ValueError, r"no instance with \[9\] agents; choose --agents"),
        ({"path": "nowhere"}, FileNotFoundError, "neither a folder nor a .yaml file"),
    ],
)
def test_bad_arguments(bench, changes, error, message) -> None:
    with pytest.raises(error, match=message):
        bench(**changes)


def test_without_data_the_remedy_is_named(bench, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("PILOTAGE_DATA", str(tmp_path / "nothing"))
    with pytest.raises(FileNotFoundError, match=r"give --path .* or set PILOTAGE_DATA"):
        mapf(
            path=None,
            maps=[],
            agents=[2],
            solvers=["cbs"],
            scenarios=1,
            time_limit_s=1.0,
            max_steps=0,
            suboptimality=1.2,
            low_level="sipp",
            seed=0,
            out=tmp_path,
            as_json=True,
        )


def test_actions_of_moves() -> None:
    moves = np.array([[0, 0], [-1, 0], [1, 0], [0, -1], [0, 1]])
    assert actions_of(moves).tolist() == [0, 1, 2, 3, 4]
