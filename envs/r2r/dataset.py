"""One data folder: graphs, items, captions, objects and boxes, each read once and checked."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

from pilotage.episodes.types import Json

from .annotations import SPLIT_ALIASES, Item, annotation_file, check_paths, read_items
from .errors import DataError
from .files import data_root, field_of, read_json
from .graph import ScanGraph, read_graph
from .views import N_VIEWS, ViewTables, view_tables

N_SECTORS = 8  # captions and objects are given per 45 deg, sector i around the heading i * 45 deg

ObjectBoxes = Mapping[str, Mapping[str, Mapping[str, Json]]]  # viewpoint -> object id -> fields


class R2RData:
    """Reads what lies under a data folder (layout: `pilotage data`). Nothing is read before use.

    Raises on use: DataMissing for a file that is not there, DataError for one that is damaged.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = data_root(root)
        self._graphs: dict[str, ScanGraph] = {}
        self._views: dict[str, ViewTables] = {}
        self._items: dict[tuple[str, str], list[Item]] = {}
        self._captions: dict[str, dict[str, list[str]]] = {}
        self._objects: dict[str, dict[str, list[list[str]]]] = {}
        self._boxes: dict[str, ObjectBoxes] = {}

    def graph(self, scan: str) -> ScanGraph:
        """The navigation graph of a scan."""
        if scan not in self._graphs:
            path = self.root / "r2r" / "connectivity" / f"{scan}_connectivity.json"
            self._graphs[scan] = read_graph(path, scan)
        return self._graphs[scan]

    def views(self, scan: str) -> ViewTables:
        """What is navigable from each view of a scan."""
        if scan not in self._views:
            self._views[scan] = view_tables(self.graph(scan))
        return self._views[scan]

    def items(self, family: str, split: str) -> list[Item]:
        """All instructions of a family ("r2r", "r4r", "reverie") and split, their paths checked."""
        key = (family, SPLIT_ALIASES.get(split, split))
        if key not in self._items:
            items = read_items(annotation_file(self.root, family, split), family)
            check_paths(items, self.graph)
            self._items[key] = items
        return self._items[key]

    def captions(self, scan: str) -> dict[str, list[str]]:
        """viewpoint -> 8 captions, one per 45 deg sector of the heading (NavGPT, arXiv:2305.16986).

        The sectors cover the elevations -30, 0 and 30 deg together.
        """
        if scan not in self._captions:
            path = self.root / "r2r" / "text" / "observations_list_summarized" / f"{scan}.json"
            content = read_json(path, dict)
            self._check_text(content, scan, path, str)
            self._captions[scan] = content
        return self._captions[scan]

    def objects(self, scan: str) -> dict[str, list[list[str]]]:
        """viewpoint -> 8 lists of object names nearer than 3 m, one per 45 deg sector."""
        if scan not in self._objects:
            path = self.root / "r2r" / "text" / "objects_list" / f"{scan}.json"
            content = read_json(path, dict)
            self._check_text(content, scan, path, dict)
            self._objects[scan] = {
                viewpoint: [list(sector) for sector in sectors]
                for viewpoint, sectors in content.items()
            }
        return self._objects[scan]

    def _check_text(self, content: dict, scan: str, path: Path, kind: type) -> None:
        graph = self.graph(scan)
        missing = [v for v in graph.viewpoints if v not in content]
        if missing:
            raise DataError(
                f"{path}: {len(missing)} of {len(graph.viewpoints)} viewpoints have no entry, the "
                f"first is {missing[0]}"
            )
        for viewpoint, sectors in content.items():
            whole = isinstance(sectors, list) and len(sectors) == N_SECTORS
            if not whole or not all(isinstance(s, kind) for s in sectors):
                raise DataError(
                    f"{path}: viewpoint {viewpoint} must have {N_SECTORS} entries of kind "
                    f"{kind.__name__}"
                )

    def boxes(self, scan: str) -> ObjectBoxes:
        """viewpoint -> object id -> {name, visible_pos (view indices), bbox2d ([x, y, w, h] each)}.

        REVERIE's ground truth, objects within 3 m, pictures of 640 x 480. Names have spaces.
        """
        if scan not in self._boxes:
            path = self.root / "reverie" / "bbox" / f"{scan}.json.gz"
            self._boxes[scan] = _checked_boxes(read_json(path, dict), path, self.graph(scan))
        return self._boxes[scan]

    def sees(self, item: Item) -> list[str]:
        """The viewpoints that see the object of a REVERIE item, in the order of the graph.

        The end of its path need not be among them (79 instructions of train and val-seen), see
        `pilotage data`. Raises DataError when there is none.
        """
        boxes = self.boxes(item.scan)
        seeing = [
            v
            for v in self.graph(item.scan).viewpoints
            if boxes.get(v, {}).get(item.object_id or "", {}).get("visible_pos")
        ]
        if not seeing:
            raise DataError(
                f"instruction {item.instr_id}: object {item.object_id} is visible from nowhere in "
                f"scan {item.scan}"
            )
        return seeing


def _checked_boxes(content: dict, path: Path, graph: ScanGraph) -> ObjectBoxes:
    for viewpoint, objects in content.items():
        where = f"{path}: viewpoint {viewpoint}"
        graph.number(viewpoint, str(path))
        if not isinstance(objects, dict):
            raise DataError(f"{where}: expected a dict of objects")
        for number, thing in objects.items():
            spot = f"{where} object {number}"
            thing["name"] = field_of(thing, "name", str, spot).replace("#", " ")
            views = field_of(thing, "visible_pos", list, spot)
            if len(views) != len(field_of(thing, "bbox2d", list, spot)):
                raise DataError(f"{spot}: {len(views)} views but another number of boxes")
            if not all(isinstance(v, int) and 0 <= v < N_VIEWS for v in views):
                raise DataError(f"{spot}: visible_pos must be view indices 0..35, got {views}")
    return content


@lru_cache(maxsize=4)
def _shared(root: Path) -> R2RData:
    return R2RData(root)


def shared_data(root: str | Path | None = None) -> R2RData:
    """The reader of a folder, shared by all that name the same one: files are read once."""
    return _shared(data_root(root))
