"""From a task's scene to the files that the library opens, checked before it could abort."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from pilotage.envs.habitat.houses import write_house
from pilotage.envs.rooms.house import load_house
from pilotage.episodes.types import Json

VARIABLE = "PILOTAGE_SCENES"
DEFAULT_DIR = "data/scene_datasets"
PREFIX = "data/scene_datasets/"  # what published files may put before a scene's path


class SceneMissing(FileNotFoundError):
    """A scene's files are not there; the text says where they were looked for."""


@dataclass(frozen=True)
class SceneFiles:
    """What to open. `builds_navmesh`: make the navigation mesh for the agent's body."""

    scene_id: str
    dataset_config: str | None = None
    builds_navmesh: bool = False


def scenes_root(scenes_dir: str | Path | None) -> Path:
    """The folder of the published scenes: as named, else `PILOTAGE_SCENES`, else
    `data/scene_datasets`."""
    return Path(scenes_dir or os.environ.get(VARIABLE) or DEFAULT_DIR)


def scene_files(
    scene: Json,
    *,
    scenes_dir: str | Path | None,
    dataset_config: str | Path | None,
    house_dir: str | Path,
    build_navmesh: bool,
) -> SceneFiles:
    """The files of a task's scene: `{"scene_id": ...}`, or the scene of a rooms house.

    A house is written into `house_dir` unless it is there. With `dataset_config` the scene is a
    name in that data set, else a path below `scenes_dir`.

    Raises:
        ValueError: a scene of neither kind.
        SceneMissing: there is no such file.
    """
    if isinstance(scene, dict) and "house_seed" in scene:
        return SceneFiles(str(write_house(load_house(scene), house_dir)), builds_navmesh=True)
    if not isinstance(scene, dict) or not isinstance(scene.get("scene_id"), str):
        raise ValueError(
            f"a habitat scene is a dict with 'scene_id' (a path) or 'house_seed', got {scene!r}"
        )
    name = scene["scene_id"].removeprefix(PREFIX)
    if dataset_config is not None:
        config = Path(dataset_config)
        if not config.is_file():
            raise SceneMissing(f"the scene data set {config} is not there; check dataset_config")
        return SceneFiles(name, str(config), build_navmesh)
    root = scenes_root(scenes_dir)
    path = root / name
    if not path.is_file():
        raise SceneMissing(
            f"the scene {name!r} is not in {root.resolve()}; scenes are looked for in scenes_dir, "
            f"or in the folder that {VARIABLE} names, and come from their publishers"
        )
    return SceneFiles(str(path), None, build_navmesh)
