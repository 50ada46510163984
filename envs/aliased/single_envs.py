"""Both worlds as plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from pilotage.envs.aliased.game_env import PlanningGameVectorEnv
from pilotage.envs.aliased.vector_env import AliasedRoomVectorEnv
from pilotage.envs.single import SingleEnv


class AliasedRoomEnv(SingleEnv):
    """`pilotage/AliasedRoom-v0`. Takes the arguments of `AliasedRoomVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws an aliased room of
    the train split.
    """

    world = AliasedRoomVectorEnv


class PlanningGameEnv(SingleEnv):
    """`pilotage/PlanningGame-v0`. Takes the arguments of `PlanningGameVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws a torus of the train
    split.
    """

    world = PlanningGameVectorEnv
