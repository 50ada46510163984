"""The path-graph world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from pilotage.envs.pathgraph.vector_env import PathGraphVectorEnv
from pilotage.envs.single import SingleEnv


class PathGraphEnv(SingleEnv):
    """`pilotage/PathGraph-v0`. Takes the arguments of `PathGraphVectorEnv` but `n_slots`.

    `reset(options={"task": task})` starts that task; otherwise the seed draws a star graph of the
    train split.
    """

    world = PathGraphVectorEnv
