"""Names that do not exist."""

from __future__ import annotations

from pilotage.episodes.names import hint, unknown


def test_a_near_miss_is_guessed_and_everything_is_listed() -> None:
    error = unknown("world", "tabeltop", ["rooms", "tabletop"], " or a folder")
    assert isinstance(error, KeyError)
    assert error.args[0] == (
        "unknown world 'tabeltop' (did you mean tabletop?); there are: rooms, tabletop or a folder"
    )


def test_nothing_near_gives_no_guess() -> None:
    assert hint("xyz", ["rooms", "tabletop"]) == ""
    assert hint("fsat", ["fast", "fast-clamp", "slow"], n=1) == " (did you mean fast?)"
