"""The wide picture: size, what is in the strips, what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from pilotage.episodes.types import EpisodeRecord
from pilotage.viewers.hero import strip_steps, write_hero


def test_picture_has_the_asked_size_and_the_frames(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord]
) -> None:
    records = [tabletop(c) for c in ("baseline", "fast", "slow")]
    assert strip_steps(records, 5) == [0, 14, 28, 41, 55]
    picture = Image.open(write_hero(tmp_path / "h.png", records, width=800, height=400, n_frames=5))
    assert picture.size == (800, 400)
    colors = {color: n for n, color in picture.convert("RGB").getcolors(10**6) or []}
    assert colors[(168, 148, 125)] > 2000  # the table of the synthetic frames
    assert colors[(255, 255, 255)] > 40_000  # paper


def test_what_cannot_be_drawn_is_refused(
    tmp_path: Path, tabletop: Callable[..., EpisodeRecord]
) -> None:
    record = tabletop("fast")
    for bad, words in (
        ([], "1 to 4 records, got 0"),
        ([record, tabletop("fast", 1)], "2 tasks"),
        ([replace(record, frames=None)], "no frames"),
        ([replace(record, trace={})], "no path"),
    ):
        with pytest.raises(ValueError, match=words):
            write_hero(tmp_path / "h.png", bad)
    with pytest.raises(ValueError, match=r"\.png"):
        write_hero(tmp_path / "h.jpg", [record])
    assert list(tmp_path.iterdir()) == []
