"""Rooms: indoor navigation in generated houses, after VLN-CE (Krantz et al., ECCV 2020).

A house is a pure function of a seed: 4 to 8 named rooms in 10 to 16 m, doors, furniture. An agent
(an upright cylinder, radius 0.18 m, eye at 1.25 m looking 15 deg down, 90 deg field of view) has
four actions: 0 stop, 1 forward 0.25 m, 2 turn left 15 deg, 3 turn right 15 deg. An episode is a
success when it stops less than 3 m (or what is asked) of free path from the goal, within 500 steps.

    tasks = make_tasks("unseen", 100, families=["instruction"])
    envs = RoomsVectorEnv(16, expert_actions=True)
    plan = house_plan(tasks[0].scene)  # rooms, walls, doors and furniture, for viewers

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
