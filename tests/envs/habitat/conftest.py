"""The double of habitat-sim in place of the library, also for processes that are started."""

from __future__ import annotations

import gzip
import importlib
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import trimesh

from pilotage.envs.habitat import library

HERE = Path(__file__).parent
Box = tuple[float, float, float, float, float, float]  # x0, y0, z0, x1, y1, z1, y up


@pytest.fixture(scope="session")
def _double(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `habitat_sim`, which is the double."""
    folder = tmp_path_factory.mktemp("double")
    package = folder / "habitat_sim"
    package.mkdir()
    shutil.copy(HERE / "fake_habitat_sim.py", package / "__init__.py")
    shutil.copy(HERE / "fake_navmesh.py", package / "fake_navmesh.py")
    return folder


@pytest.fixture(scope="session")
def habitat_sim(_double: Path) -> Iterator[ModuleType]:
    """The double, imported as `habitat_sim` here and in children."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [n for n in sys.modules if n.partition(".")[0] == "habitat_sim"]:
            patch.delitem(sys.modules, name)
        patch.syspath_prepend(str(_double))
        old = os.environ.get("PYTHONPATH")
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(_double), old])))
        importlib.invalidate_caches()
        library._renderer_problem.cache_clear()
        yield importlib.import_module("habitat_sim")
        for name in [n for n in sys.modules if n.partition(".")[0] == "habitat_sim"]:
            del sys.modules[name]
    library._renderer_problem.cache_clear()


@pytest.fixture(scope="session")
def house_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the tests' houses are written: the double keeps a mesh per file."""
    return tmp_path_factory.mktemp("houses")


@pytest.fixture(scope="session")
def write_scene() -> Callable[..., Path]:
    """`write_scene(path, boxes)`: a .glb of boxes, with a stage description that says y is up."""

    def write(path: Path, boxes: Sequence[Box], *, stage: bool = True) -> Path:
        scene = trimesh.Scene()
        for x0, y0, z0, x1, y1, z1 in boxes:
            low, high = np.array([x0, y0, z0]), np.array([x1, y1, z1])
            middle = trimesh.transformations.translation_matrix((low + high) / 2)
            scene.add_geometry(trimesh.creation.box(high - low), transform=middle)
        path.parent.mkdir(parents=True, exist_ok=True)
        scene.export(path)
        if not stage:
            return path
        config = path.with_suffix(".stage_config.json")
        frame = {"up": [0, 1, 0], "front": [0, 0, -1]}
        config.write_text(json.dumps({"render_asset": path.name, **frame}))
        return config

    return write


@pytest.fixture
def write_episodes(tmp_path: Path) -> Callable[..., Path]:
    """`write_episodes(content, name)`: an episode file in a folder of its own."""

    def write(content: Any, name: str = "val.json.gz") -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(gzip.compress(json.dumps(content).encode()))
        return path

    return write
