"""What every `make_tasks` is asked for in the same way: splits, numbers, families in turns."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from pilotage.episodes.types import Task

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
    unknown = [f for f in families if f not in known]
    if unknown:
        raise ValueError(f"unknown families {unknown}; known: {tuple(known)}")
    return families


def in_turns(
    families: Sequence[str], source: Callable[[str], Iterator[Task]], n: int
) -> list[Task]:
    """`n` tasks from one source a family, in turns."""
    sources = {family: source(family) for family in families}
    return [next(sources[families[k % len(families)]]) for k in range(n)]
