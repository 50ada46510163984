"""Controls of a trained agent of the graph world: what is left when a source of knowledge is taken.

no-captions            it sees bearings only
shuffled-captions      each place shows the captions and objects of another place of its scan
shuffled-instructions  each episode is given an instruction of another path
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pilotage.envs.r2r.dataset import R2RData
from pilotage.episodes.types import Task

NO_CAPTIONS, CAPTIONS, INSTRUCTIONS = "no-captions", "shuffled-captions", "shuffled-instructions"
CONTROLS = (NO_CAPTIONS, CAPTIONS, INSTRUCTIONS)


def with_shuffled_instructions(tasks: Sequence[Task], *, seed: int = 0) -> list[Task]:
    """The tasks, each with an instruction of another path: paths in a random ring, each takes from
    the next. ValueError when all tasks have one path."""
    of_path: dict[Any, list[str]] = {}
    for task in tasks:
        of_path.setdefault(task.info["path_id"], []).append(task.instruction)
    if len(of_path) < 2:
        raise ValueError("shuffled instructions need tasks of at least two paths")
    names = list(of_path)
    ring = [names[i] for i in np.random.default_rng(seed).permutation(len(names)).tolist()]
    after = dict(zip(ring, [*ring[1:], ring[0]]))
    given: dict[Any, int] = {}
    shuffled = []
    for task in tasks:
        path = task.info["path_id"]
        texts, k = of_path[after[path]], given.get(path, 0)
        given[path] = k + 1
        shuffled.append(replace(task, instruction=texts[k % len(texts)]))
    return shuffled


def write_shuffled_captions(
    data: R2RData, scans: Iterable[str], folder: Path, *, seed: int = 0
) -> Path:
    """A data folder for the world whose captions and objects have changed places within each scan.

    The graphs are linked, not copied. Returns `folder`.
    """
    (folder / "r2r").mkdir(parents=True)
    (folder / "r2r" / "connectivity").symlink_to((data.root / "r2r" / "connectivity").resolve())
    rng = np.random.default_rng(seed)
    for scan in sorted(set(scans)):
        captions, objects = data.captions(scan), data.objects(scan)
        names = list(data.graph(scan).viewpoints)
        other = dict(zip(names, _derangement(names, rng)))
        moved = {name: captions[other[name]] for name in names}
        things: dict[str, Any] = {
            name: [{thing: {} for thing in s} for s in objects[other[name]]] for name in names
        }
        for kind, content in (("observations_list_summarized", moved), ("objects_list", things)):
            path = folder / "r2r" / "text" / kind / f"{scan}.json"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(content))
    return folder


def _derangement(names: Sequence[str], rng: np.random.Generator) -> list[str]:
    """Another name for each name, where there are two or more: the next in a random ring."""
    ring = [names[i] for i in rng.permutation(len(names)).tolist()]
    after = dict(zip(ring, [*ring[1:], ring[0]]))
    return [after[name] for name in names]
