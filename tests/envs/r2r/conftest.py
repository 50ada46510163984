"""An invented building for every test that needs no published data, and a graph made by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.graph import ScanGraph
from pilotage.envs.r2r.synthetic import write_synthetic


@pytest.fixture(scope="session")
def building(tmp_path_factory: pytest.TempPathFactory) -> R2RData:
    """Two invented scans in the published layout."""
    root = tmp_path_factory.mktemp("data") / "synthetic"
    write_synthetic(root)
    return R2RData(root)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A data folder of its own, to be damaged."""
    write_synthetic(tmp_path / "copy", n_scans=1, size=3)
    return tmp_path / "copy"


@pytest.fixture(scope="session")
def star() -> ScanGraph:
    """`c` in the middle; around it, in metres (east, north, up): n north, e east, w west-north-west
    at 45 deg to the left of north, u north-east and up a stair, d due south."""
    places = {
        "c": (0, 0, 0),
        "n": (0, 2, 0),
        "e": (3, 0, 0),
        "w": (-2, 2, 0),
        "u": (1, np.sqrt(3), 2),  # bearing 30 deg, elevation 45 deg
        "d": (0, -1, 0),
    }
    position = np.array(list(places.values()), float)
    adjacent = np.zeros((6, 6), bool)
    adjacent[0, 1:] = adjacent[1:, 0] = True
    return ScanGraph("star", tuple(places), position, adjacent)
