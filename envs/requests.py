"""What `make_tasks` is asked for in the same way: splits, numbers, families in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from pilotage.episodes.names import unknown
from pilotage.episodes.types import Task

Entry = TypeVar("Entry")

SPLITS = ("train", "val", "test")


def check_request(
    split: str, n: int, seed: int, families: Sequence[str] | None, known: Sequence[str]
) -> tuple[str, ...]:
    """The families that are asked for; all of `known` where none is named.

    Raises ValueError for an unknown split or family, and for a negative n or seed.
    """
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS}, got {split!r}")
    if n < 0 or seed < 0:
        raise ValueError(f"n and seed must be >= 0, got n={n}, seed={seed}")
    families = tuple(families or known)
    strange = [f for f in families if f not in known]
    if strange:
        raise ValueError(f"unknown families {strange}; known: {tuple(known)}")
    return families


def in_turns(
    families: Sequence[str], source: Callable[[str], Iterator[Task]], n: int
) -> list[Task]:
    """`n` tasks from one source a family, in turns."""
    sources = {family: source(family) for family in families}
    return [next(sources[families[k % len(families)]]) for k in range(n)]


def drawn_in_turns(
    families: Sequence[str],
    known: Sequence[str],
    entries: Callable[[str], Sequence[Entry]],
    n: int,
    *,
    split: str,
    seed: int,
) -> list[tuple[str, Entry]]:
    """`n` different (family, entry) of data sets that end, families in turns, each in an order
    drawn by `seed`; longer lists begin with shorter ones.

    Raises KeyError for a family that is not `known`, ValueError for an n that is negative or more
    than there are.
    """
    for family in families:
        if family not in known:
            raise unknown("family", family, known)
    if n < 0:
        raise ValueError(f"n must be >= 0, got {n}")
    drawn = []
    for k, family in enumerate(families):
        there, wanted = entries(family), len(range(k, n, len(families)))
        if wanted > len(there):
            raise ValueError(
                f"{family} {split} has {len(there)} instructions, {wanted} were asked for"
            )
        order = np.random.default_rng([seed, known.index(family)]).permutation(len(there))
        drawn.append([(family, there[i]) for i in order[:wanted]])
    return [drawn[k % len(families)][k // len(families)] for k in range(n)]
