"""What stands still in a Rerun recording: the house of a rooms task, the zones of a table.

A house is drawn as the boxes and rods that its camera sees, without the ceiling. Walls are cut at
`CUT_M`, so that one looks into the rooms from above; the frames of its doors stand at full height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pilotage.episodes.types import Task

from . import scenes
from .style import rgb

if TYPE_CHECKING:
    from pilotage.envs.rooms.house import House

CUT_M = 1.1
_GOAL, _REFERENCE, _NAME = (179, 38, 30), (138, 148, 160), (27, 36, 48)


@dataclass(frozen=True)
class Eye:
    """Where a scene is seen from, and the point in the middle of the view; metres."""

    position: tuple[float, float, float]
    target: tuple[float, float, float]


def eye_of(task: Task) -> Eye | None:
    """A house from above its south side, a table from where its camera is; None elsewhere."""
    if task.env == "tabletop":
        return Eye((1.05, 0.0, 0.45), (0.45, 0.0, 0.08))
    if task.env != "rooms":
        return None
    from pilotage.envs.rooms.house import load_house

    width, depth = load_house(task.scene).size
    return Eye((width / 2, -0.2 * depth, 0.95 * max(width, depth)), (width / 2, 0.45 * depth, 0.0))


def log_scene(rr: Any, stream: Any, root: str, task: Task) -> list[str]:
    """Logs what does not move in `task` below `root`, for all of the recording; the entities."""
    if task.env == "rooms":
        return _log_rooms(rr, stream, root, task)
    if task.env == "tabletop":
        return _log_zones(rr, stream, root, task)
    return []


def _log_rooms(rr: Any, stream: Any, root: str, task: Task) -> list[str]:
    from pilotage.envs.rooms.house import load_house

    house = load_house(task.scene)
    parts = {f"house/{name}": shape for name, shape in _house_parts(rr, house).items()}
    goal = task.goal.get("points", ()) if isinstance(task.goal, dict) else ()
    if goal:
        points = [[float(p[0]), float(p[1]), 0.05] for p in goal]
        parts["goal"] = rr.Points3D(points, colors=[_GOAL], radii=[0.2])
    if len(task.reference_path) > 1:
        line = [[float(p[0]), float(p[1]), 0.03] for p in task.reference_path]
        parts["reference_path"] = rr.LineStrips3D([line], colors=[_REFERENCE], radii=[0.02])
    return _log_all(stream, root, parts)


def _house_parts(rr: Any, house: House) -> dict[str, Any]:
    """Archetypes by name: floors, walls, door frames, furniture, and the names of the rooms."""
    groups: dict[str, list[Any]] = {}
    for body in house.bodies:
        kind = body.group
        if kind == "furniture" and body.part.shape != "box":
            kind = f"furniture_{body.part.shape}s"
        groups.setdefault(kind, []).append(body.part)
    middles = [[*room.center, 0.1] for room in house.rooms]
    names = [room.name for room in house.rooms]
    shapes = {
        "names": rr.Points3D(middles, labels=names, colors=[_NAME], radii=[0.01], show_labels=True),
        "floors": _boxes(rr, groups.get("floor", [])),
        "walls": _boxes(rr, groups.get("wall", []), cut=CUT_M),
        "doors": _boxes(rr, groups.get("frame", [])),
        "furniture": _boxes(rr, groups.get("furniture", [])),
        "furniture_cylinders": _cylinders(rr, groups.get("furniture_cylinders", [])),
        "furniture_spheres": _spheres(rr, groups.get("furniture_spheres", [])),
    }
    return {name: shape for name, shape in shapes.items() if shape is not None}


def _boxes(rr: Any, parts: Sequence[Any], *, cut: float | None = None) -> Any:
    """Boxes of `parts`; those that reach above `cut` end there."""
    if not parts:
        return None
    centers = np.array([part.center for part in parts])
    halves = np.array([part.size for part in parts])
    if cut is not None:
        low, high = centers[:, 2] - halves[:, 2], centers[:, 2] + halves[:, 2]
        high = np.minimum(high, np.maximum(cut, low))
        centers[:, 2], halves[:, 2] = (low + high) / 2, (high - low) / 2
    return rr.Boxes3D(
        centers=centers,
        half_sizes=halves,
        colors=_colors(parts),
        fill_mode="solid",
    )


def _cylinders(rr: Any, parts: Sequence[Any]) -> Any:
    if not parts:
        return None
    return rr.Cylinders3D(
        centers=[part.center for part in parts],
        radii=[part.size[0] for part in parts],
        lengths=[2 * part.size[1] for part in parts],
        colors=_colors(parts),
        fill_mode="solid",
    )


def _spheres(rr: Any, parts: Sequence[Any]) -> Any:
    if not parts:
        return None
    return rr.Ellipsoids3D(
        centers=[part.center for part in parts],
        radii=[part.size[0] for part in parts],
        colors=_colors(parts),
        fill_mode="solid",
    )


def _colors(parts: Sequence[Any]) -> np.ndarray:
    return np.rint(255 * np.array([part.color for part in parts])).astype(np.uint8)


def _log_zones(rr: Any, stream: Any, root: str, task: Task) -> list[str]:
    """Zones as flat boxes and discs on the table top (z = 0)."""
    from pilotage.envs.tabletop import layout

    scene = task.scene if isinstance(task.scene, dict) else {}
    half, thin, parts = layout.ZONE_HALF, layout.ZONE_THICKNESS, {}
    for i, zone in enumerate(scene.get("zones", ())):
        look = {
            "centers": [[*map(float, zone["position"][:2]), thin]],
            "colors": [rgb(scenes.color_text(zone.get("rgb")) or "#6fae84")],
            "fill_mode": "solid",
        }
        if zone.get("shape") == "disc":
            parts[f"zones/{i}"] = rr.Cylinders3D(radii=[half], lengths=[2 * thin], **look)
        else:
            parts[f"zones/{i}"] = rr.Boxes3D(half_sizes=[[half, half, thin]], **look)
    return _log_all(stream, root, parts)


def _log_all(stream: Any, root: str, parts: dict[str, Any]) -> list[str]:
    entities = [f"{root}/{name}" for name in parts]
    for entity, shape in zip(entities, parts.values(), strict=True):
        stream.log(entity, shape, static=True)
    return entities
