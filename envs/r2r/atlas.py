"""The tables of all scans in use, one behind the other, so that slots in different scans step as
one array operation. A viewpoint's number here is its number in the scan plus the scan's offset.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np

from .dataset import R2RData
from .views import ViewTables
from .words import Objects, ScanWords

_TABLES = tuple(f.name for f in fields(ViewTables))


class Atlas:
    """Grows as tasks name new scans. `tables` are `ViewTables` over all V viewpoints so far (their
    neighbours in global numbers); `position` is float64 [V, 3], metres; `ids` the viewpoint ids."""

    def __init__(self, data: R2RData, *, text: bool, objects: Objects) -> None:
        self.data = data
        self._text, self._objects = text, objects
        self.offset: dict[str, int] = {}
        self.ids: list[str] = []
        self.position = np.zeros((0, 3))
        self.words: list[tuple[ScanWords, int]] = []  # per viewpoint, with its number in the scan
        self.tables: ViewTables

    def require(self, scan: str) -> int:
        """The offset of a scan, which is read if it is new. Raises as the readers do."""
        if scan not in self.offset:
            graph, views = self.data.graph(scan), self.data.views(scan)
            words = ScanWords(self.data, scan, self._objects) if self._text else None
            base = len(self.ids)
            arrays = {name: getattr(views, name) for name in _TABLES}
            known = views.neighbour >= 0
            arrays["neighbour"] = np.where(known, views.neighbour + base, -1).astype(np.int32)
            if base:
                arrays = {
                    name: np.concatenate([getattr(self.tables, name), values])
                    for name, values in arrays.items()
                }
            self.tables = ViewTables(**arrays)
            self.position = np.concatenate([self.position, graph.position])
            self.ids += graph.viewpoints
            if words is not None:
                self.words += [(words, v) for v in range(len(graph.viewpoints))]
            self.offset[scan] = base
        return self.offset[scan]
