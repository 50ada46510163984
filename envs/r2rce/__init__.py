"""R2R-CE and RxR-CE: vision-and-language navigation in continuous space, without meshes.

The episodes of VLN-CE (Krantz 2020, arXiv:2004.02857) on ground that is known from where its
experts and the paths of its graphs run; no pictures, no meshes, no simulator. What that leaves out
is said in `R2RCEVectorEnv`. `pilotage.envs.habitat` plays the same episodes where there are meshes.

    tasks = make_tasks("val_seen", 100)
    envs = R2RCEVectorEnv(64)

Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.envs.r2rce.dataset import R2RCEData, shared_data
    from pilotage.envs.r2rce.single_env import R2RCEEnv
    from pilotage.envs.r2rce.tasks import make_tasks, split_tasks
    from pilotage.envs.r2rce.vector_env import R2RCEVectorEnv

_HOMES = {
    "R2RCEData": "dataset",
    "R2RCEEnv": "single_env",
    "R2RCEVectorEnv": "vector_env",
    "make_tasks": "tasks",
    "shared_data": "dataset",
    "split_tasks": "tasks",
}

__all__ = [
    "R2RCEData",
    "R2RCEEnv",
    "R2RCEVectorEnv",
    "make_tasks",
    "shared_data",
    "split_tasks",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
