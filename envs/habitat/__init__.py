"""Habitat: the same navigation contract as `pilotage.envs.rooms`, over the real habitat-sim.

Scenes are published ones (Matterport3D, Gibson, HM3D), named by PointNav, ObjectNav and R2R-CE
episode files, or the generated houses of `pilotage.envs.rooms`, exported so that one house can be
played in both simulators. Actions, rewards, ends and infos are those of the rooms world.

    tasks = read_tasks("R2R_VLNCE_v1-3/val_seen/val_seen.json.gz", "r2r_ce", split="val_seen")
    envs = HabitatVectorEnv(1, scenes_dir="data/scene_datasets", rig=VLN_CE)
    tasks = make_tasks("val", 8)  # generated houses; needs no data

habitat-sim (0.3.x) is not on PyPI; without it everything here imports, tasks are read and made, and
opening a world says how to get it. Names are loaded on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pilotage.envs.habitat.episodes import read_tasks
    from pilotage.envs.habitat.houses import habitat_task, make_tasks, write_house
    from pilotage.envs.habitat.library import HabitatMissing, RendererError, load_habitat_sim
    from pilotage.envs.habitat.rig import ROOMS, VLN_CE, Rig
    from pilotage.envs.habitat.scenes import SceneMissing
    from pilotage.envs.habitat.single_env import HabitatEnv
    from pilotage.envs.habitat.vector_env import HabitatVectorEnv

_HOMES = {
    "HabitatEnv": "single_env",
    "HabitatMissing": "library",
    "HabitatVectorEnv": "vector_env",
    "ROOMS": "rig",
    "RendererError": "library",
    "Rig": "rig",
    "SceneMissing": "scenes",
    "VLN_CE": "rig",
    "habitat_task": "houses",
    "load_habitat_sim": "library",
    "make_tasks": "houses",
    "read_tasks": "episodes",
    "write_house": "houses",
}

__all__ = [
    "ROOMS",
    "VLN_CE",
    "HabitatEnv",
    "HabitatMissing",
    "HabitatVectorEnv",
    "RendererError",
    "Rig",
    "SceneMissing",
    "habitat_task",
    "load_habitat_sim",
    "make_tasks",
    "read_tasks",
    "write_house",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
