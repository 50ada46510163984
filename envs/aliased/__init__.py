"""Rooms whose cells look alike, as worlds: finding back to a place, and the planning game.

    tasks = make_tasks("test", 100, families=["aliased"])
    envs = AliasedRoomVectorEnv(64)

    tasks = make_game_tasks("test", 100, families=["torus"])
    envs = PlanningGameVectorEnv(64)

The rooms themselves are in `pilotage.envs.pathgraph.aliased`. Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AliasedRoomEnv": "single_envs",
    "AliasedRoomVectorEnv": "vector_env",
    "PlanningGameEnv": "single_envs",
    "PlanningGameVectorEnv": "game_env",
    "game_task": "game_tasks",
    "make_game_tasks": "game_tasks",
    "make_tasks": "tasks",
    "room_task": "tasks",
}

__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
