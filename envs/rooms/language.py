"""The words: phrasings of each kind of clause, and the vocabulary that follows from them.

Lower case, single spaces, no punctuation. About a quarter of the phrasings of each kind is held
out by a stable hash: the training and validation splits never use them. Their words all occur in
other phrasings, so what is new is the order, not the word.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from pilotage.envs.rooms.palette import CATEGORIES, COLORS, ROOM_COLORS

NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen"),
)

PHRASES: dict[str, tuple[str, ...]] = {
    "exit_side": (
        "go through the door on your {side}",
        "take the door on the {side}",
        "walk through the {side} door",
        "leave through the door on your {side}",
        "take the {side} door",
    ),
    "exit_ahead": (
        "go straight through the door ahead",
        "walk through the door ahead of you",
        "take the door ahead",
        "go through the door straight ahead",
    ),
    "exit_side_from": (
        "leave the {room} through the door on your {side}",
        "exit the {room} through the {side} door",
        "leave the {room} through the {side} door",
        "walk out of the {room} through the door on the {side}",
    ),
    "exit_side_to": (
        "take the {side} door into the {next}",
        "go through the door on your {side} into the {next}",
        "walk through the {side} door into the {next}",
        "enter the {next} through the door on your {side}",
    ),
    "exit_to": (
        "go through the door into the {next}",
        "enter the {next}",
        "walk into the {next}",
        "go into the {next}",
        "take the door into the {next}",
    ),
    "exit_from": (
        "leave the {room}",
        "exit the {room}",
        "walk out of the {room}",
        "go out of the {room}",
    ),
    "turn_around": ("turn around",),
    "pass": (
        "pass the {thing}",
        "walk past the {thing}",
        "go past the {thing}",
    ),
    "stop_thing": (
        "stop at the {thing}",
        "stop next to the {thing}",
        "wait at the {thing}",
        "stop beside the {thing}",
        "wait beside the {thing}",
        "wait next to the {thing}",
    ),
    "stop_room": (
        "stop in the {room}",
        "wait in the {room}",
        "stop in the middle of the {room}",
        "wait in the middle of the {room}",
    ),
    "find": (
        "find a {thing}",
        "go to a {thing}",
        "walk to a {thing}",
        "look for a {thing}",
        "find the nearest {thing}",
        "go to the nearest {thing}",
    ),
    "point": (
        "go to the point {offset}",
        "walk to the point {offset}",
        "find the point {offset}",
        "go {offset}",
        "walk {offset}",
    ),
}
JOINERS = ("then", "and then", "and")
OFFSETS = (
    "{n} metres ahead",
    "{n} metres behind",
    "{n} metres to the left",
    "{n} metres to the right",
)

NARRATION = (
    "i turn {side}",
    "i turn {side} to the door",
    "i turn {side} to the {thing}",
    "i turn {side} to the point",
    "i walk to the door",
    "i walk to the {thing}",
    "i walk to the point",
    "i walk into the {room}",
    "i stop at the {thing}",
    "i stop at the point",
    "i stop in the {room}",
)


def _share(phrase: str) -> float:
    return int.from_bytes(hashlib.sha256(phrase.encode()).digest()[:4], "little") / 2**32


def phrasings(kind: str, *, held_out: bool) -> tuple[str, ...]:
    """The phrasings of a kind of clause: for training, or the held-out ones (which may be none).

    Of n phrasings the n // 4 (or one, from three on) with the largest hash are held out.
    """
    ranked = sorted(PHRASES[kind], key=_share)
    n_held = max(len(ranked) // 4, 1) if len(ranked) >= 3 else 0
    kept = len(ranked) - n_held
    return tuple(ranked[kept:] if held_out else ranked[:kept])


def say(rng: np.random.Generator, kind: str, held_out: bool, **slots: str) -> str:
    """One phrasing of a clause with its slots filled."""
    options = (held_out and phrasings(kind, held_out=True)) or phrasings(kind, held_out=False)
    return str(options[int(rng.integers(len(options)))]).format(**slots)


def join(rng: np.random.Generator, clauses: Sequence[str]) -> str:
    """Clauses in order, joined by "then", "and then" or "and"."""
    text = clauses[0]
    for clause in clauses[1:]:
        text += f" {JOINERS[int(rng.integers(len(JOINERS)))]} {clause}"
    return text


def offset_words(ahead: int, left: int) -> str:
    """Whole metres in words: `(5, -3)` is "five metres ahead and three metres to the right"."""
    for name, value in (("ahead", ahead), ("left", left)):
        if abs(value) >= len(NUMBERS):
            raise ValueError(f"{name}={value}: only up to {len(NUMBERS) - 1} metres have words")
    parts = []
    if ahead:
        parts.append(OFFSETS[0 if ahead > 0 else 1].format(n=NUMBERS[abs(ahead)]))
    if left:
        parts.append(OFFSETS[2 if left > 0 else 3].format(n=NUMBERS[abs(left)]))
    text = " and ".join(parts)
    return text.replace("one metres", "one metre")


def vocabulary() -> list[str]:
    """Every word that an instruction or a narration can contain, sorted."""
    words = {"left", "right", "metre", "an", *NUMBERS[1:], *COLORS, *CATEGORIES}
    for name in ROOM_COLORS:
        words.update(name.split())
    for text in (*(p for group in PHRASES.values() for p in group), *JOINERS, *OFFSETS, *NARRATION):
        words.update(w for w in text.split() if "{" not in w)
    return sorted(words)
