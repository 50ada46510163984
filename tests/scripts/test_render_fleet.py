"""The fleet in 3-D from the command line: files of the right kind, contacts told, errors named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pilotage.scripts.render_fleet import main

SMALL = ["--agents", "3", "--size", "6", "--height", "48", "--width", "64"]


def test_a_plan_without_collisions_is_drawn_and_touches_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two moments of one plan are two pictures: the robots are where they have driven to."""
    pictures = []
    for at in ("0", "2"):
        out = tmp_path / f"{at}.png"
        assert main([*SMALL, "--at", at, "--out", str(out)]) == 0
        pictures.append(np.asarray(Image.open(out)))
        assert pictures[-1].shape == (48, 64, 3)
        assert "0 contacts" in capsys.readouterr().out
    assert (pictures[0] != pictures[1]).any()


def test_wide_robots_touch_and_it_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A robot nearly as wide as its cell hits walls where it turns by other robots."""
    asked = ["--agents", "24", "--size", "16", "--height", "24", "--width", "24"]
    assert main([*asked, "--radius", "0.499", "--out", str(tmp_path / "a.png"), "--seed", "3"]) == 0
    told = capsys.readouterr().out
    assert "robots of radius 0.499" in told
    assert " touches robot " in told


def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "a.png")]
    assert main([*SMALL, *out, "--solver", "tswap"]) == 2
    assert "unknown solver 'tswap'" in capsys.readouterr().err
    assert main([*SMALL, *out, "--radius", "0.7"]) == 2
    assert "radius must be in (0, 0.5)" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*SMALL, "--out", str(tmp_path / "a.gif")])
    assert "must end in .png or .mp4" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
