"""What an agent can read at a place: captions and objects of the sector that it looks at.

The text stands for the pictures, which Matterport3D's terms keep out of reach: NavGPT's captions
(arXiv:2305.16986), one per 45 deg sector, with its object names, or with REVERIE's boxes, which
are ground truth and carry the object ids.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .dataset import N_SECTORS, R2RData
from .views import N_HEADINGS, N_VIEWS

Objects = Literal["captions", "boxes", "none"]
DIRECTIONS = (
    *("ahead", "ahead right", "right", "back right", "back", "back left", "left"),
    "ahead left",
)


def sector_of(view: int) -> int:
    """The 45 deg sector whose centre is nearest to a view's heading; elevations share it."""
    return round(view % N_HEADINGS * 30 / 45) % N_SECTORS


class ScanWords:
    """Texts of one scan, made when first asked for. `objects` says whose object names are used."""

    def __init__(self, data: R2RData, scan: str, objects: Objects = "captions") -> None:
        self._viewpoints = data.graph(scan).viewpoints
        self._captions = data.captions(scan)
        self._objects = data.objects(scan) if objects == "captions" else None
        self._boxes = data.boxes(scan) if objects == "boxes" else None
        self._views: dict[int, list[str]] = {}
        self._sectors: dict[int, list[str]] = {}

    def views(self, viewpoint: int) -> list[str]:
        """36 texts, one per view index: the caption, then `; objects: ...` where there are any."""
        if viewpoint not in self._views:
            captions = self._captions[self._viewpoints[viewpoint]]
            things = self._things(self._viewpoints[viewpoint])
            self._views[viewpoint] = [
                _with_objects(captions[sector_of(view)], things[view]) for view in range(N_VIEWS)
            ]
        return self._views[viewpoint]

    def panorama(self, viewpoint: int, view: int) -> str:
        """8 lines `direction: text`, beginning with the sector that a view index looks at."""
        if viewpoint not in self._sectors:
            captions = self._captions[self._viewpoints[viewpoint]]
            things = self._things(self._viewpoints[viewpoint])
            seen: list[dict[str, None]] = [{} for _ in range(N_SECTORS)]
            for number, names in enumerate(things):
                seen[sector_of(number)] |= dict.fromkeys(names)
            self._sectors[viewpoint] = [_with_objects(c, list(t)) for c, t in zip(captions, seen)]
        sectors, first = self._sectors[viewpoint], sector_of(view)
        return "\n".join(
            f"{direction}: {sectors[(first + k) % N_SECTORS]}"
            for k, direction in enumerate(DIRECTIONS)
        )

    def _things(self, viewpoint: str) -> Sequence[Sequence[str]]:
        """Names of objects per view; boxes give `name #id`."""
        if self._objects is not None:
            sectors = self._objects[viewpoint]
            return [sectors[sector_of(view)] for view in range(N_VIEWS)]
        seen: list[list[str]] = [[] for _ in range(N_VIEWS)]
        if self._boxes is not None:
            for number, thing in self._boxes.get(viewpoint, {}).items():
                for view in thing["visible_pos"]:
                    seen[view].append(f"{thing['name']} #{number}")
        return seen


def _with_objects(caption: str, names: Sequence[str]) -> str:
    return f"{caption}; objects: {', '.join(names)}" if names else caption
