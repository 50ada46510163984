"""The continuous world as a plain `gymnasium.Env`: a one-slot vector environment, unbatched."""

from __future__ import annotations

from pilotage.envs.single import SingleEnv

from .vector_env import R2RCEVectorEnv


class R2RCEEnv(SingleEnv):
    """`pilotage/R2RCE-v0`. Takes the arguments of `R2RCEVectorEnv` but `n_slots`.

    `reset(seed=s)` draws a task of the train split, `reset(options={"task": task})` takes a given
    one. A broken task raises RuntimeError.
    """

    world = R2RCEVectorEnv
