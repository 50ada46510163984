"""Houses made by hand, small enough to work out on paper."""

from __future__ import annotations

import pytest

from pilotage.envs.rooms.furniture import Item, build_item
from pilotage.envs.rooms.house import House, Room, assemble
from pilotage.envs.rooms.layout import Door


def room(name: str, *rect: float) -> Room:
    return Room(name, name, rect, (0.5, 0.5, 0.5), (0.9, 0.9, 0.9))


def crate(color: str, where: int, x: float, y: float) -> Item:
    return build_item("crate", color, where, (x - 0.275, y - 0.275, x + 0.275, y + 0.275), 0)


def plant(where: int, x: float, y: float) -> Item:
    return build_item("plant", "", where, (x - 0.3, y - 0.3, x + 0.3, y + 0.3), 0)


@pytest.fixture(scope="session")
def two_rooms() -> House:
    """Kitchen west, office east, one door of 1 m in the wall x = 4 at y = 2; nothing inside."""
    rooms = [room("kitchen", 0.0, 0.0, 4.0, 4.0), room("office", 4.0, 0.0, 8.0, 4.0)]
    return assemble(-1, rooms, [Door((0, 1), (4.0, 2.0), 0, 1.0)], [])


@pytest.fixture(scope="session")
def four_rooms() -> House:
    """A kitchen in the middle: office east, library north with two doors, bedroom west.

    North doors at x = 1 and x = 3, so from the middle facing east both are on the left.
    """
    rooms = [
        room("kitchen", 4.0, 0.0, 8.0, 4.0),
        room("office", 8.0, 0.0, 12.0, 4.0),
        room("library", 4.0, 4.0, 8.0, 8.0),
        room("bedroom", 0.0, 0.0, 4.0, 4.0),
    ]
    doors = [
        Door((0, 1), (8.0, 2.0), 0, 1.0),
        Door((0, 2), (5.0, 4.0), 1, 1.0),
        Door((0, 2), (7.0, 4.0), 1, 1.0),
        Door((3, 0), (4.0, 2.0), 0, 1.0),
    ]
    items = [
        plant(1, 11.0, 3.0),
        plant(2, 6.0, 7.0),
        crate("red", 3, 1.0, 1.0),
        crate("blue", 3, 1.0, 3.0),
        crate("red", 0, 6.0, 0.6),
    ]
    return assemble(-2, rooms, doors, items)
