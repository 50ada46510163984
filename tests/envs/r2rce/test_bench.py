"""`pilotage bench vlnce` on invented buildings."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

Call = Callable[..., tuple[int, str, str]]
ASKED = ("bench", "vlnce", "--slots", "6")


def test_floors_stand_below_the_expert(pilotage: Call, world_root: Path) -> None:
    status, out, _ = pilotage(*ASKED, "--json", "--data", str(world_root))
    assert status == 0
    rows = {row["agent"]: row for row in json.loads(out)}
    assert list(rows) == ["stop", "random", "handcrafted", "expert", "replay"]
    assert rows["expert"]["success"] == rows["replay"]["success"] == 1.0
    assert rows["stop"]["path_length"] == rows["stop"]["success"] == 0.0
    assert rows["random"]["success"] < 1.0
    assert rows["replay"]["ndtw"] == pytest.approx(1.0, abs=1e-6)  # its trace is the reference


def test_the_world_says_how_true_it_is(pilotage: Call, world_root: Path) -> None:
    """The traces were made by this world's own expert, so they are replayed to the last digit."""
    _, out, _ = pilotage(*ASKED, "--agents", "expert,replay", "--data", str(world_root))
    told = " ".join(out.split())
    assert "replayed places: 100.0 % within 1 cm of the recorded ones" in told
    median = float(told.split("geodesic distance of the file: median ")[1].split(",")[0])
    assert 0.9 < median <= 1.0  # corners may be cut that the path along the graph goes out to


def test_what_cannot_be_played_is_said(pilotage: Call, world_root: Path) -> None:
    for more, message in (
        (["--agents", "walker"], "unknown agent 'walker'"),
        (["--split", "train", "--agents", "replay"], "no expert traces of r2rce train"),
        (["--family", "rxrce"], "RxR_VLNCE_v0"),
        (["--convention", "miles"], "unknown convention 'miles'"),
    ):
        status, _, err = pilotage(*ASKED, "--json", "--data", str(world_root), *more)
        assert status == 2
        assert message in err
