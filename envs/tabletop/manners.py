"""Manners: which ones a family has, drawing them, and the words that voice them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.grammar import phrases
from pilotage.envs.tabletop.splits import stable_hash


def complete_manner(family: str, manner: Mapping[str, Any]) -> dict[str, Any]:
    """`manner` with the plain values filled in.

    Raises:
        ValueError: a kind or value that is unknown or that the family does not have.
    """
    full = dict(layout.PLAIN_MANNER)
    table = layout.MANNERS[family]
    for kind, value in manner.items():
        if kind not in full:
            raise ValueError(f"manner {kind!r} is unknown; choose from {', '.join(full)}")
        if value is None or value == full[kind]:
            continue
        if value not in table.get(kind, ()):
            raise ValueError(
                f"family {family!r} has no manner {kind}={value!r}; it has "
                + "; ".join(f"{k}: {', '.join(map(str, v))}" for k, v in table.items())
            )
        full[kind] = value
    return full


def draw_manner(family: str, kind: str | None, rng: np.random.Generator) -> dict[str, Any]:
    """A manner with at least one kind voiced; with `kind` given, exactly that one."""
    table = layout.MANNERS[family]
    if kind is not None:
        drawn = [kind]
    else:
        drawn = [k for k in table if rng.random() < (0.6 if k == "speed" else 0.35)]
        drawn = drawn or [list(table)[int(rng.integers(len(table)))]]
    return complete_manner(family, {k: table[k][int(rng.integers(len(table[k])))] for k in drawn})


def draw_spoken(manner: Mapping[str, Any], salt: str, split: str) -> dict[str, dict[str, str]]:
    """Words for the voiced kinds, chosen by a hash of salt, kind and value from the split's pool.

    At most one phrase goes to the front, so that the sentence stays one.
    """
    spoken: dict[str, dict[str, str]] = {}
    front_taken = False
    for kind, value in manner.items():
        if value == layout.PLAIN_MANNER[kind]:
            continue
        pool = phrases(kind, value)[split]
        if front_taken:
            pool = tuple(p for p in pool if p.place != "front")
        number = stable_hash(f"{salt}|{kind}|{value}")
        phrase = pool[number % len(pool)]
        at_front = phrase.place == "front" or (
            phrase.place == "both" and (number >> 32) % 2 == 0 and not front_taken
        )
        front_taken = front_taken or at_front
        spoken[kind] = {"text": phrase.text, "place": "front" if at_front else "end"}
    return spoken
