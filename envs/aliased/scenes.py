"""A room as a task's scene, and the split that it belongs to."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence

import numpy as np

from pilotage.envs.pathgraph.aliased import AliasedRoom, random_room
from pilotage.envs.requests import SPLITS
from pilotage.episodes.types import Json, Task, canonical_json

_TENTHS = ("test", "val", *["train"] * 8)
_ATTEMPTS = 1000


def to_scene(room: AliasedRoom) -> dict[str, Json]:
    """The JSON that `read_room` reads."""
    return {"symbols": room.symbols.tolist(), "wraps": room.wraps}


def read_room(
    task: Task, where: str, *, world: str, max_cells: int, max_symbols: int
) -> AliasedRoom:
    """The room of a task of this world that fits; `where` begins the message of a ValueError."""
    if task.env != world:
        raise ValueError(f"{where} is of the world {task.env!r}, expected {world!r}")
    try:
        room = AliasedRoom(np.array(task.scene["symbols"], np.int64), bool(task.scene["wraps"]))
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    for what, found, most in (
        ("cells", room.n_cells, max_cells),
        ("symbols", room.n_symbols, max_symbols),
    ):
        if found > most:
            raise ValueError(
                f"{where} has {found} {what}, this world at most {most}; build it with "
                f"max_{what}={found}"
            )
    return room


def split_of(room: AliasedRoom) -> str:
    """8 tenths of the layouts are train, 1 val, 1 test, by a stable hash of the scene."""
    return _TENTHS[zlib.crc32(canonical_json(to_scene(room)).encode()) % 10]


def draw_rooms(
    split: str, size: tuple[int, int], n_symbols: int, *, wraps: bool, key: Sequence[int]
) -> Iterator[tuple[AliasedRoom, np.random.Generator]]:
    """Random rooms of a split without end, each with a generator for what else its task needs.

    Every symbol occurs; as many symbols as cells make every cell unlike the others. ValueError
    where the split has none: a room so small has too few layouts.
    """
    rng = np.random.default_rng([*key, SPLITS.index(split), *size, n_symbols])
    while True:
        for _ in range(_ATTEMPTS):
            number = int(rng.integers(2**31))
            room = AliasedRoom(random_room(*size, n_symbols, seed=number).symbols, wraps)
            if split_of(room) == split:
                break
        else:
            raise ValueError(
                f"no {size[0]} x {size[1]} room with {n_symbols} symbols is in split {split!r}; "
                "take a larger size"
            )
        yield room, np.random.default_rng([*key, number])
