"""`pilotage bench vlnce` on invented buildings."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pilotage.scripts import cli


def bench(*words: str) -> int:
    """The exit status of the command."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["pilotage", "bench", "vlnce", "--slots", "6", *words])
        with pytest.raises(SystemExit) as done:
            cli.main()
    return int(done.value.code or 0)


def test_floors_stand_below_the_expert(
    world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench("--json", "--data", str(world_root)) == 0
    rows = {row["agent"]: row for row in json.loads(capsys.readouterr().out)}
    assert list(rows) == ["stop", "random", "handcrafted", "expert", "replay"]
    assert rows["expert"]["success"] == rows["replay"]["success"] == 1.0
    assert rows["stop"]["path_length"] == rows["stop"]["success"] == 0.0
    assert rows["random"]["success"] < 1.0
    assert rows["replay"]["ndtw"] == pytest.approx(1.0, abs=1e-6)  # its trace is the reference


def test_the_world_says_how_true_it_is(
    world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The traces were made by this world's own expert, so they are replayed to the last digit."""
    assert bench("--agents", "expert,replay", "--data", str(world_root)) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert "replayed places: 100.0 % within 1 cm of the recorded ones" in told
    median = float(told.split("geodesic distance of the file: median ")[1].split(",")[0])
    assert 0.9 < median <= 1.0  # corners may be cut that the path along the graph goes out to


def test_what_cannot_be_played_is_said(
    world_root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for more, message in (
        (["--agents", "walker"], "unknown agent 'walker'"),
        (["--split", "train", "--agents", "replay"], "no expert traces of r2rce train"),
        (["--family", "rxrce"], "RxR_VLNCE_v0"),
        (["--convention", "miles"], "unknown convention 'miles'"),
    ):
        assert bench("--json", "--data", str(world_root), *more) == 2
        assert message in " ".join(capsys.readouterr().err.split()).replace("│ ", "")
