"""R2R: vision-and-language navigation on Matterport3D graphs (R2R, R4R, REVERIE), with text.

The graphs, paths, instructions and captions of the public benchmarks, read from the folder that
`PILOTAGE_DATA` names (`pilotage data` says how to get them); no pictures, no meshes, no simulator.

    tasks = make_tasks("val_seen", 100)
    envs = R2RVectorEnv(64, action_space="panoramic")
    sim = MatterSim()  # the interface of Matterport3DSimulator

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.envs.r2r.dataset import R2RData, shared_data
    from pilotage.envs.r2r.errors import DataError, DataMissing
    from pilotage.envs.r2r.simulator import MatterSim
    from pilotage.envs.r2r.single_env import R2REnv
    from pilotage.envs.r2r.tasks import make_tasks, split_tasks
    from pilotage.envs.r2r.vector_env import R2RVectorEnv

_HOMES = {
    "DataError": "errors",
    "DataMissing": "errors",
    "MatterSim": "simulator",
    "R2RData": "dataset",
    "R2REnv": "single_env",
    "R2RVectorEnv": "vector_env",
    "make_tasks": "tasks",
    "shared_data": "dataset",
    "split_tasks": "tasks",
}

__all__ = [
    "DataError",
    "DataMissing",
    "MatterSim",
    "R2RData",
    "R2REnv",
    "R2RVectorEnv",
    "make_tasks",
    "shared_data",
    "split_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
