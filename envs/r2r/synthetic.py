"""A small invented building in the layout of the public data sets: the world without any download.

Nothing in it is Matterport3D's. It exists for tests, for trying the commands, and as a description
of the file formats by example.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np

from .graph import ScanGraph, read_graph

ROOMS = ("kitchen", "hallway", "bedroom", "bathroom", "office", "living room")
THINGS = ("lamp", "table", "chair", "picture", "plant", "bed#frame")
SPACING_M = 2.2
N_ITEMS = {"train": 12, "val_seen": 6}


def write_synthetic(root: Path, *, n_scans: int = 2, size: int = 4, seed: int = 0) -> list[str]:
    """Write `n_scans` buildings of two floors of `size` x `size` viewpoints, with R2R, R4R and
    REVERIE items for train and val-seen, captions, objects and boxes. Returns the scan ids.

    Raises ValueError when `root` already holds a data set, or for sizes below 1 and 2.
    """
    if n_scans < 1 or size < 2:
        raise ValueError(f"n_scans must be >= 1 and size >= 2, got {n_scans} and {size}")
    if (root / "r2r").exists():
        raise ValueError(f"{root / 'r2r'} is there already; give an empty folder")
    rng = np.random.default_rng(seed)
    scans = [f"synthetic{k:02d}" for k in range(n_scans)]
    for scan in scans:
        _write_json(
            root / "r2r" / "connectivity" / f"{scan}_connectivity.json",
            _connectivity(scan, size, rng),
        )
    graphs = [
        read_graph(root / "r2r" / "connectivity" / f"{s}_connectivity.json", s) for s in scans
    ]
    for graph in graphs:
        _write_texts(root, graph, rng)
    number = 0
    for split, n in N_ITEMS.items():
        paths = [_path(graphs[k % n_scans], rng) for k in range(n)]
        items = [_item(*path, number + k, rng) for k, path in enumerate(paths)]
        number += n
        _write_json(root / "r2r" / f"R2R_{split}.json", items)
        _write_json(root / "r2r" / f"R4R_{split}.json", [_there_and_back(i) for i in items])
        found = [_find(item) for item in items]
        _write_json(root / "reverie" / f"REVERIE_{split}.json", found)
    return scans


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(value).encode()
    path.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)


def _connectivity(scan: str, size: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """A lattice on two floors, jittered, joined by one stair; one corner is not included."""
    cells = [(floor, i, j) for floor in (0, 1) for i in range(size) for j in range(size)]
    entries = []
    for k, (floor, i, j) in enumerate(cells):
        x, y = (SPACING_M * np.array([j, i]) + rng.uniform(-0.4, 0.4, 2)).tolist()
        pose = [1.0, 0.0, 0.0, x, 0.0, 1.0, 0.0, y, 0.0, 0.0, 1.0, 1.5 + 2.8 * floor]
        near = [
            (abs(f - floor), abs(a - i) + abs(b - j)) == (0, 1)
            or (f != floor and (i, j) == (a, b) == (0, 0))
            for f, a, b in cells
        ]
        entries.append(
            {
                "image_id": f"{scan}-{k:03d}",
                "pose": [*pose, 0.0, 0.0, 0.0, 1.0],
                "included": (floor, i, j) != (1, size - 1, size - 1),
                "visible": near,
                "unobstructed": near,
                "height": 1.5,
            }
        )
    return entries


def _path(graph: ScanGraph, rng: np.random.Generator) -> tuple[ScanGraph, list[int]]:
    """A shortest path of more than 3 m and at least two edges."""
    while True:
        start, goal = (int(v) for v in rng.integers(len(graph.viewpoints), size=2))
        route = graph.route(start, goal)
        if len(route) > 2 and graph.distance[start, goal] > 3.5:
            return graph, route


def _item(
    graph: ScanGraph, route: list[int], number: int, rng: np.random.Generator
) -> dict[str, Any]:
    words = [_room(graph, v) for v in route]
    return {
        "distance": float(graph.distance[route[0], route[-1]]),
        "scan": graph.scan,
        "path_id": number,
        "path": [graph.viewpoints[v] for v in route],
        "heading": float(np.round(rng.uniform(0, 2 * np.pi), 3)),
        "instructions": [
            f"Leave the {words[0]} and go to the {words[-1]}. ",
            f"Walk through the {words[1]} and stop in the {words[-1]}. ",
            f"Go past the {words[-2]}, then wait. ",
        ],
    }


def _there_and_back(item: dict[str, Any]) -> dict[str, Any]:
    """An R4R-like item: the path and its way back, but for the last edge."""
    path = item["path"] + item["path"][-2:0:-1]
    texts = [f"{a} Turn around and go back. " for a in item["instructions"][:2]]
    return {**item, "path": path, "instructions": texts}


def _find(item: dict[str, Any]) -> dict[str, Any]:
    number = int(item["path"][-1].rpartition("-")[2]) + 1
    thing = THINGS[(number - 1) % len(THINGS)].replace("#", " ")
    texts = [f"Go and clean the {thing} in the last room.", f"Bring me the {thing}."]
    known = {k: item[k] for k in ("path", "heading", "scan", "path_id")}
    return {**known, "id": f"{item['path_id']}_{number}", "objId": number, "instructions": texts}


def _room(graph: ScanGraph, viewpoint: int) -> str:
    column, row = (graph.position[viewpoint, :2] / (2 * SPACING_M) + 0.5).astype(int)
    return ROOMS[int(column + 2 * row + (graph.position[viewpoint, 2] > 3)) % len(ROOMS)]


def _write_texts(root: Path, graph: ScanGraph, rng: np.random.Generator) -> None:
    """Captions, objects and boxes: every viewpoint has one thing of its own, numbered from 1."""
    captions, objects, boxes = {}, {}, {}
    for v, viewpoint in enumerate(graph.viewpoints):
        number = int(viewpoint.rpartition("-")[2]) + 1
        name, sector = THINGS[(number - 1) % len(THINGS)], int(rng.integers(8))
        captions[viewpoint] = [f"A {_room(graph, v)} with wall {k}." for k in range(8)]
        sectors: list[dict[str, Any]] = [{} for _ in range(8)]
        sectors[sector] = {name.replace("#", " "): {"heading": 45.0 * sector, "distance": 1.5}}
        objects[viewpoint] = sectors
        views = sorted({round(sector * 1.5) % 12 + 12 * k for k in (0, 1)})
        box = {"name": name, "visible_pos": views, "bbox2d": [[200, 150, 120, 90]] * len(views)}
        boxes[viewpoint] = {str(number): box}
    text = root / "r2r" / "text"
    _write_json(text / "observations_list_summarized" / f"{graph.scan}.json", captions)
    _write_json(text / "objects_list" / f"{graph.scan}.json", objects)
    _write_json(root / "reverie" / "bbox" / f"{graph.scan}.json.gz", boxes)
