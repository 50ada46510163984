"""Rooms: indoor navigation in generated houses.

Names are loaded on first use, so that importing this package alone starts no simulator.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.envs.rooms.house import House, house_plan, make_house
    from pilotage.envs.rooms.language import vocabulary
    from pilotage.envs.rooms.single_env import RoomsEnv
    from pilotage.envs.rooms.tasks import make_tasks
    from pilotage.envs.rooms.vector_env import RoomsVectorEnv

_HOMES = {
    "House": "house",
    "RoomsEnv": "single_env",
    "RoomsVectorEnv": "vector_env",
    "house_plan": "house",
    "make_house": "house",
    "make_tasks": "tasks",
    "vocabulary": "language",
}

__all__ = [
    "House",
    "RoomsEnv",
    "RoomsVectorEnv",
    "house_plan",
    "make_house",
    "make_tasks",
    "vocabulary",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
