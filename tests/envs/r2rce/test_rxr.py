"""RxR-CE files, written by hand."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest

from pilotage.envs.r2r.errors import DataError
from pilotage.envs.r2rce.rxr import TURN_DEG, read_rxr, rxr_file
from pilotage.envs.r2rce.tasks import split_tasks

from .conftest import write_gz


def entry(number: int, language: str, scan: str = "abc") -> dict[str, Any]:
    return {
        "episode_id": str(number),
        "trajectory_id": f"t{number}",
        "scene_id": f"mp3d/{scan}/{scan}.glb",
        "start_position": [1.0, 0.1, -2.0],
        "start_rotation": [0.0, math.sin(math.pi / 4), 0.0, math.cos(math.pi / 4)],
        "goals": [{"position": [3.0, 0.1, -2.0]}],
        "reference_path": [[1.0, 0.1, -2.0], [3.0, 0.1, -2.0]],
        "instruction": {
            "instruction_text": "walk ahead",
            "instruction_id": 70 + number,
            "language": language,
            "annotator_id": "a1",
            "edit_distance": 0.25,
            "timed_instruction": [
                {"word": "walk", "start_time": 0.5, "end_time": 1.0},
                {"word": "ahead", "start_time": None},
            ],
        },
        "info": {"geodesic_distance": 2.0},
    }


def write(root: Path, entries: list[dict[str, Any]]) -> Path:
    path = rxr_file(root, "val_seen")
    write_gz(path, {"episodes": entries})
    return path


def test_what_stands_in_a_file_is_read(tmp_path: Path) -> None:
    path = write(tmp_path, [entry(1, "en-US"), entry(2, "hi-IN"), entry(3, "en-IN")])
    first, *_ = everyone = read_rxr(path)
    assert [s.language for s in everyone] == ["en-US", "hi-IN", "en-IN"]
    assert first.episode.start.tolist() == [1.0, 2.0, 0.1]
    assert first.episode.heading == pytest.approx(1.5 * math.pi)
    assert first.instruction_id == "71"
    assert first.edit_distance == 0.25
    assert first.timed[0] == ("walk", 0.5, 1.0)
    assert math.isnan(first.timed[1][1])
    assert [s.episode.episode_id for s in read_rxr(path, ["en"])] == ["1", "3"]
    assert [s.episode.episode_id for s in read_rxr(path, ["hi-IN"])] == ["2"]
    with pytest.raises(KeyError, match="unknown language 'te'"):
        read_rxr(path, ["te"])
    assert TURN_DEG == 30


def test_tasks_of_rxr_say_their_language(tmp_path: Path) -> None:
    write(tmp_path, [entry(1, "en-US")])
    (task,) = split_tasks("rxrce", "val", tmp_path)
    assert task.task_id == "rxrce-val_seen-t1-1"
    assert task.info["language"] == "en-US"
    assert task.info["instruction_id"] == "71"
    assert task.shortest_path_length == 2.0


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (("instruction", "language"), 3, "language"),
        (("instruction", "timed_instruction"), [{"word": "a", "start_time": "x"}], "'start_time'"),
        (("goals",), [], "there is no goal"),
        (("scene_id",), "abc.glb", "scene_id must read"),
        (("reference_path",), [[0.0, 1.0]], "expected points"),
    ],
)
def test_a_damaged_entry_is_named(
    tmp_path: Path, where: tuple[str, ...], value: Any, message: str
) -> None:
    broken: Any = copy.deepcopy(entry(2, "en-US"))
    at = broken
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    path = write(tmp_path, [entry(1, "en-US"), broken])
    with pytest.raises(DataError, match=message) as caught:
        read_rxr(path)
    assert "entry 1" in str(caught.value)


def test_an_episode_that_occurs_twice_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, [entry(1, "en-US"), entry(1, "en-US")])
    with pytest.raises(DataError, match="episode id '1' occurs twice"):
        read_rxr(path)
