"""Gymnasium ids of the project's worlds. Importing this module registers them.

`gymnasium.make("pilotage.envs.registration:pilotage/Tabletop-v0")` imports it by itself.
"""

from __future__ import annotations

import gymnasium as gym

# id -> entry point of the single-environment form; the string keeps the simulator unloaded.
ENTRY_POINTS = {
    "pilotage/Tabletop-v0": "pilotage.envs.tabletop:TabletopEnv",
    "pilotage/Rooms-v0": "pilotage.envs.rooms:RoomsEnv",
    "pilotage/Habitat-v0": "pilotage.envs.habitat:HabitatEnv",
    "pilotage/Mapf-v0": "pilotage.envs.mapf:MapfEnv",
    "pilotage/R2R-v0": "pilotage.envs.r2r:R2REnv",
    "pilotage/R2RCE-v0": "pilotage.envs.r2rce:R2RCEEnv",
    "pilotage/Maze-v0": "pilotage.envs.maze:MazeEnv",
    "pilotage/PathGraph-v0": "pilotage.envs.pathgraph:PathGraphEnv",
    "pilotage/AliasedRoom-v0": "pilotage.envs.aliased:AliasedRoomEnv",
    "pilotage/PlanningGame-v0": "pilotage.envs.aliased:PlanningGameEnv",
}

for _id, _entry_point in ENTRY_POINTS.items():
    if _id not in gym.registry:
        gym.register(id=_id, entry_point=_entry_point)
