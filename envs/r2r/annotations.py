"""Paths and instructions: R2R, R4R and REVERIE files, checked, as one kind of item.

R2R: Anderson et al. 2018 (arXiv:1711.07280). R4R: Jain et al. 2019 (arXiv:1905.12255). REVERIE:
Qi et al. 2020 (arXiv:1904.10151). Every instruction of every item is kept, also a fourth one where
the usual evaluation reads three.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pilotage.episodes.names import unknown

from .errors import DataError
from .files import field_of, read_json
from .graph import ScanGraph

FAMILIES = ("r2r", "r4r", "reverie")
SPLITS = ("train", "val_seen", "val_unseen", "test")
SPLIT_ALIASES = {"val": "val_seen", "unseen": "val_unseen"}
_FILES = {
    "r2r": "r2r/R2R_{split}.json",
    "r4r": "r2r/R4R_{split}.json",
    "reverie": "reverie/REVERIE_{split}.json",
}


@dataclass(frozen=True)
class Item:
    """One instruction with its path. `heading` is in radians, 0 = +y, clockwise."""

    instr_id: str  # `<path id>_<k>`, as prediction files name it
    path_id: str
    scan: str
    path: tuple[str, ...]  # viewpoint ids, the start first
    heading: float
    instruction: str
    object_id: str | None = None  # REVERIE: what to find


def annotation_file(root: Path, family: str, split: str) -> Path:
    """Where the items of a family and split lie; KeyError for an unknown name."""
    if family not in _FILES:
        raise unknown("family", family, FAMILIES)
    split = SPLIT_ALIASES.get(split, split)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    return root / _FILES[family].format(split=split)


def read_items(path: Path, family: str) -> list[Item]:
    """All instructions of an annotation file, in its order.

    Raises DataMissing; DataError for a damaged entry, an empty instruction, a path without a goal
    (test splits hide it), or an instruction id that occurs twice.
    """
    items: list[Item] = []
    for i, entry in enumerate(read_json(path, list)):
        where = f"{path} entry {i}"
        number = field_of(entry, "id" if family == "reverie" else "path_id", (int, str), where)
        viewpoints = field_of(entry, "path", list, where)
        if len(viewpoints) < 2 or not all(isinstance(v, str) for v in viewpoints):
            raise DataError(
                f"{where}: 'path' must hold at least two viewpoint ids, got {viewpoints!r}; test "
                "splits hide their goals and cannot be played"
            )
        heading = float(field_of(entry, "heading", (int, float), where))
        scan = field_of(entry, "scan", str, where)
        target = str(field_of(entry, "objId", (int, str), where)) if family == "reverie" else None
        for k, text in enumerate(field_of(entry, "instructions", list, where)):
            if not isinstance(text, str) or not text.strip():
                raise DataError(f"{where}: instruction {k} is {text!r}")
            instr_id = f"{number}_{k}"
            items.append(
                Item(instr_id, str(number), scan, tuple(viewpoints), heading, text, target)
            )
    _check_ids(items, path)
    return items


def _check_ids(items: list[Item], path: Path) -> None:
    seen: set[str] = set()
    twice = [i.instr_id for i in items if i.instr_id in seen or seen.add(i.instr_id)]  # type: ignore[func-returns-value]
    if twice:
        raise DataError(
            f"{path}: {len(twice)} instruction ids occur twice, the first is {twice[0]!r}"
        )


def check_paths(items: list[Item], graph_of: Callable[[str], ScanGraph]) -> None:
    """Every path lies in its scan's graph and walks along edges.

    Raises DataError naming the instruction and the step, DataMissing for a scan without a graph.
    """
    for item in items:
        graph = graph_of(item.scan)
        where = f"instruction {item.instr_id}"
        numbers = graph.numbers(item.path, where)
        for a, b in itertools.pairwise(numbers.tolist()):
            if not graph.adjacent[a, b]:
                raise DataError(
                    f"{where}: no edge from {graph.viewpoints[a]} to {graph.viewpoints[b]} in scan "
                    f"{item.scan}"
                )
