"""The worlds by their short names, as strings: nothing heavy is imported until one is used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from pilotage.episodes.names import unknown

AT_THE_GOAL = 0.5  # moves: no place but the goal is so near to it


@dataclass(frozen=True)
class WorldSpec:
    """Where a world lives. Entry points read "module:name".

    success_radius: a stop nearer to the goal than this is a success of the navigation metrics, in
    the unit of `trace["distance_to_goal"]`: metres, or moves in worlds of cells and nodes.
    """

    name: str
    gym_id: str
    vector_entry_point: str
    tasks_entry_point: str
    success_radius: float = 3.0

    def make_vector(self, n_slots: int, **kwargs: Any) -> Any:
        """The vector environment with `n_slots` slots; `kwargs` are the world's own options."""
        return load_entry_point(self.vector_entry_point)(n_slots, **kwargs)

    @property
    def make_tasks(self) -> Callable[..., list[Any]]:
        """The world's `make_tasks(split, n, *, seed=0, families=None)`."""
        return load_entry_point(self.tasks_entry_point)


WORLDS: dict[str, WorldSpec] = {
    spec.name: spec
    for spec in (
        WorldSpec(
            "tabletop",
            "pilotage/Tabletop-v0",
            "pilotage.envs.tabletop:TabletopVectorEnv",
            "pilotage.envs.tabletop:make_tasks",
        ),
        WorldSpec(
            "rooms",
            "pilotage/Rooms-v0",
            "pilotage.envs.rooms:RoomsVectorEnv",
            "pilotage.envs.rooms:make_tasks",
        ),
        WorldSpec(
            "habitat",
            "pilotage/Habitat-v0",
            "pilotage.envs.habitat:HabitatVectorEnv",
            "pilotage.envs.habitat:make_tasks",
        ),
        WorldSpec(
            "mapf",
            "pilotage/Mapf-v0",
            "pilotage.envs.mapf:MapfVectorEnv",
            "pilotage.envs.mapf:make_tasks",
            success_radius=AT_THE_GOAL,
        ),
        WorldSpec(
            "r2r",
            "pilotage/R2R-v0",
            "pilotage.envs.r2r:R2RVectorEnv",
            "pilotage.envs.r2r:make_tasks",
        ),
        WorldSpec(
            "r2rce",
            "pilotage/R2RCE-v0",
            "pilotage.envs.r2rce:R2RCEVectorEnv",
            "pilotage.envs.r2rce:make_tasks",
        ),
        WorldSpec(
            "maze",
            "pilotage/Maze-v0",
            "pilotage.envs.maze:MazeVectorEnv",
            "pilotage.envs.maze:make_tasks",
            success_radius=AT_THE_GOAL,
        ),
        WorldSpec(
            "pathgraph",
            "pilotage/PathGraph-v0",
            "pilotage.envs.pathgraph:PathGraphVectorEnv",
            "pilotage.envs.pathgraph:make_tasks",
            success_radius=AT_THE_GOAL,
        ),
        WorldSpec(
            "aliased",
            "pilotage/AliasedRoom-v0",
            "pilotage.envs.aliased:AliasedRoomVectorEnv",
            "pilotage.envs.aliased:make_tasks",
            success_radius=AT_THE_GOAL,
        ),
        WorldSpec(
            "planning-game",
            "pilotage/PlanningGame-v0",
            "pilotage.envs.aliased:PlanningGameVectorEnv",
            "pilotage.envs.aliased:make_game_tasks",
            success_radius=AT_THE_GOAL,
        ),
    )
}


def load_entry_point(entry_point: str) -> Any:
    """The object that "module:name" names."""
    module, _, name = entry_point.partition(":")
    return getattr(import_module(module), name)


def load_world(name: str) -> WorldSpec:
    """The world of a short name; also registers the Gymnasium ids.

    Raises:
        KeyError: no such world; the message lists them and guesses what was meant.
    """
    if name not in WORLDS:
        raise unknown("world", name, sorted(WORLDS))
    import_module("pilotage.envs.registration")
    return WORLDS[name]
