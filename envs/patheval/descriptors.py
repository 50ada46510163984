"""The seven measures of a path by which PathEval compares paths (arXiv:2411.18711, section 3)."""

from __future__ import annotations

import numpy as np

from pilotage.envs.patheval.scenes import HALF_THICKNESS, distances

# In the order of the columns of the published table of scenarios.
DESCRIPTORS = (
    "average clearance",
    "minimum clearance",
    "maximum clearance",
    "path length",
    "number of sharp turns",
    "maximum turning angle",
    "smoothness",
)
SHARP = 90.0  # a turn by more degrees than this is sharp


def measure(path: np.ndarray, walls: np.ndarray) -> np.ndarray:
    """float64 [7], as DESCRIPTORS: three clearances, length, sharp turns, degrees, degrees.

    Clearance is the distance from a vertex to the nearest wall, over the vertices, as in the
    published code; smoothness the sum of all turning angles (0: straight). Values are rounded to
    two decimals: what a prompt says is exactly what the label is made of.

    Raises ValueError for a path that is not [V >= 2, 2], has a piece without length, or no walls.
    """
    if path.ndim != 2 or path.shape[1] != 2 or len(path) < 2:
        raise ValueError(f"a path must be [V, 2] with V >= 2, got shape {list(path.shape)}")
    if not len(walls):
        raise ValueError("the scene has no walls; clearance needs at least one")
    pieces = np.diff(path, axis=0)
    lengths = np.linalg.norm(pieces, axis=1)
    if not lengths.all():
        k = int(np.argmin(lengths))
        raise ValueError(f"vertices {k} and {k + 1} are both {path[k].tolist()}; drop one")
    clear = distances(path, walls).min(axis=1) - HALF_THICKNESS
    turns = turning_angles(pieces)
    found = [
        clear.mean(),
        clear.min(),
        clear.max(),
        lengths.sum(),
        float((turns > SHARP).sum()),
        turns.max(initial=0.0),
        turns.sum(),
    ]
    return np.round(np.array(found), 2)


def turning_angles(pieces: np.ndarray) -> np.ndarray:
    """Degrees [V - 2], 0 to 180, by which the direction changes between pieces [V - 1, 2]."""
    heading = np.arctan2(pieces[:, 1], pieces[:, 0])
    change = np.degrees(np.diff(heading))
    return np.abs((change + 180.0) % 360.0 - 180.0)
