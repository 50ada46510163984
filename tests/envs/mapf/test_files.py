"""Map, scenario, configuration and plan files: read rightly, and refused by name and place."""

from __future__ import annotations

import re

import numpy as np
import pytest

from pilotage.envs.mapf import (
    MapfInstance,
    read_map,
    read_movingai,
    read_paths,
    read_pogema,
    validate_paths,
    write_paths,
)
from pilotage.envs.mapf.pogema_files import parse_pogema_map, read_pogema_maps

MAP = "type octile\nheight 2\nwidth 3\nmap\n.GS\n@.T\n"
SCEN = "version 1\n0\ttiny.map\t3\t2\t1\t0\t1\t1\t1.0\n0\ttiny.map\t3\t2\t2\t0\t0\t0\t2.0\n"


@pytest.fixture
def files(tmp_path):
    """Writes a map and a scenario and reads them."""

    def read(map_text: str = MAP, scen_text: str = SCEN, **kwargs):
        (tmp_path / "tiny.map").write_text(map_text)
        (tmp_path / "tiny-random-1.scen").write_text(scen_text)
        return read_movingai(tmp_path / "tiny.map", tmp_path / "tiny-random-1.scen", **kwargs)

    return read


def test_x_is_the_column_and_y_the_row(files) -> None:
    instance = files()
    assert instance.free.tolist() == [[True, True, True], [False, True, False]]
    assert instance.starts.tolist() == [[0, 1], [0, 2]]
    assert instance.goals.tolist() == [[1, 1], [0, 0]]
    assert instance.name == "tiny-random-1/2"
    assert files(n_agents=1).n_agents == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (MAP.replace("height 2", "height 3"), "says height 3 but 2 rows follow"),
        (MAP.replace("@.T", "@.TT"), "row 1 has 4 symbols but the header says width 3"),
        (MAP.replace("@.T", "@x."), "row 1, column 1 is 'x'; known are"),
        (MAP.replace("width 3\n", ""), "no width before 'map'"),
        (MAP.replace("width 3", "width three"), "line 3 is 'width three', expected"),
        ("", "no line 'map' in the first eight"),
        (".GS\n@.T\n", "begins with 'type octile'"),
    ],
)
def test_bad_maps(files, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        files(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SCEN.replace("tiny", "other"), "line 2 is for the map 'other.map', not for 'tiny.map'"),
        (SCEN.replace("\t3\t2", "\t4\t2"), "height 2 and width 4, but tiny.map has 2 and 3"),
        (SCEN.replace("version 1\n", ""), "expected 'version 1'"),
        (SCEN.replace("\t1.0", ""), "line 2 has 8 fields, expected 9"),
        (SCEN.replace("\t1\t0\t1\t1\t1.0", "\ta\t0\t1\t1\t1.0"), "all must be whole numbers"),
        (SCEN.replace("\t1\t0\t1\t1", "\t0\t1\t1\t1"), r"start 0 is \(1, 0\), a wall"),
        ("", "line 1 is '', expected"),
    ],
)
def test_bad_scenarios(files, text, message) -> None:
    with pytest.raises(ValueError, match=message):
        files(MAP, text)


@pytest.mark.parametrize("n", [0, 3])
def test_more_agents_than_the_scenario_has(files, n) -> None:
    with pytest.raises(ValueError, match=f"has 2 agents; n_agents={n} cannot be taken"):
        files(n_agents=n)


def test_published_files(data_path) -> None:
    folder = data_path("mapf/movingai")
    instance = read_movingai(
        folder / "random-32-32-20.map", folder / "random-32-32-20-random-1.scen", n_agents=400
    )
    assert int(instance.free.sum()) == 819  # 1,024 cells, a fifth of them blocked
    assert instance.starts[0].tolist() == [16, 5]
    for path in sorted(folder.glob("*.map")):
        free = read_map(path)
        for scen in sorted(folder.glob(f"{path.stem}-*-1.scen")):
            assert read_movingai(path, scen, n_agents=50).free.shape == free.shape


POGEMA_MAPS = '"a": |-\n  .#.\n  @$!\n"b": |-\n  ...\n'
POGEMA = """
scenarios:
  one: {agents_xy: [[0, 0], [1, 2]], map_name: a, seed: 0, targets_xy: [[0, 2], [1, 0]]}
  two: {agents_xy: [[0, 0]], map_name: b, seed: 0, targets_xy: [[[0, 2], [0, 1]]]}
"""


@pytest.fixture
def pogema(tmp_path):
    def read(text: str = POGEMA, **kwargs):
        (tmp_path / "maps.yaml").write_text(POGEMA_MAPS)
        (tmp_path / "x-mapf.yaml").write_text(text)
        return read_pogema(tmp_path / "x-mapf.yaml", **kwargs)

    return read


def test_pogema_configurations(pogema) -> None:
    one, two = pogema()
    assert one.free.tolist() == [[True, False, True], [True, True, True]]
    assert one.goals.tolist() == [[0, 2], [1, 0]]
    assert two.is_lifelong
    assert [x.name for x in pogema(n_agents=1)] == ["a/one/1", "b/two/1"]
    assert len(pogema(first=1)) == 1


@pytest.mark.parametrize(
    ("text", "kwargs", "message"),
    [
        (POGEMA, {"n_agents": 2}, "two has 1 agents; n_agents=2 cannot be taken"),
        ("a: 1", {}, "no table 'scenarios'; give one of the files with explicit scenarios"),
        ("[1]", {}, "holds list, expected a table"),
        ("a: [", {}, "is not YAML"),
        (POGEMA.replace("targets_xy: [[0, 2], [1, 0]]", ""), {}, "one has no targets_xy"),
        (POGEMA.replace(", [1, 0]]}", "]}"), {}, "2 agents_xy but 1 targets_xy"),
    ],
)
def test_bad_pogema_configurations(pogema, text, kwargs, message) -> None:
    with pytest.raises(ValueError, match=message):
        pogema(text, **kwargs)


def test_pogema_map_must_exist(pogema) -> None:
    with pytest.raises(KeyError, match="on the map 'c', which is not known; there are: a, b"):
        pogema(POGEMA.replace("map_name: a", "map_name: c"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "map is empty"),
        (7, "map is empty"),
        ("..\n.", "row 1 has 1 symbols, row 0 has 2"),
        ("..\n.A", "row 1, column 1 is 'A'"),
    ],
)
def test_bad_pogema_maps(text, message) -> None:
    with pytest.raises(ValueError, match=message):
        parse_pogema_map(text, "m")


def test_published_pogema_files(data_path) -> None:
    folder = data_path("mapf/pogema")
    assert len(read_pogema_maps(folder / "01-random" / "maps.yaml")) == 128
    puzzles = read_pogema(folder / "05-puzzles" / "05-puzzles-mapf.yaml")
    assert {p.n_agents for p in puzzles} >= {2, 3, 4} or len(puzzles) > 100
    mazes = read_pogema(folder / "02-mazes" / "02-mazes-mapf.yaml", n_agents=64)
    assert len(mazes) == 128


SQUARE = MapfInstance.one_shot(np.ones((3, 3), bool), [[0, 0], [2, 2]], [[2, 1], [0, 2]])


def test_plans_as_text() -> None:
    paths = read_paths("2dr\nw2u\n", SQUARE)
    assert paths[0].tolist() == [[0, 0], [1, 0], [2, 0], [2, 1]]
    assert paths[1].tolist() == [[2, 2], [2, 2], [1, 2], [0, 2]]
    assert validate_paths(SQUARE, paths).success
    assert write_paths(paths) == "2dr\nw2u\n"
    assert write_paths(paths, compact=False) == "ddr\nwuu\n"
    waiting = np.concatenate([paths, paths[:, -1:]], axis=1)
    assert write_paths(waiting) == "2dr\nw2u\n"
    flipped = read_paths("2ur\nw2d", SQUARE, flip_up_down=True)
    assert np.array_equal(flipped, paths)


def test_plans_round_trip_at_random(tmp_path) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        word = "".join(rng.choice(list("udlrw"), 30))
        text = f"{word}\n{word[::-1]}\n"
        paths = read_paths(text, SQUARE)
        write_paths(paths, tmp_path / "plan.txt")
        again = read_paths((tmp_path / "plan.txt").read_text(), SQUARE)
        assert np.array_equal(again, paths[:, : again.shape[1]])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("r\n", "1 lines for 2 agents; give one for each"),
        ("r\nrx\n", "line 2, column 2 is 'x'"),
        ("r\n3\n", "line 2, column 1 is '3'"),
        ("99999999999r\nw\n", "line 1 has more than 1000000 steps"),
    ],
)
def test_bad_plans(text, message) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        read_paths(text, SQUARE)


def test_a_plan_that_jumps_cannot_be_written() -> None:
    with pytest.raises(ValueError, match=r"agent 0 jumps by \[2, 0\] at step 0"):
        write_paths(np.array([[[0, 0], [2, 0]]]))
