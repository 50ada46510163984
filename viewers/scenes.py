"""What a record says about space: paths, speeds, and the plain shapes of a task's scene.

Everything is metres; `map_points` says how a world lies on the paper.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.episodes.types import EpisodeRecord, Task

# Seconds between steps where the world has a clock; elsewhere speeds are per step.
STEP_SECONDS = {"tabletop": 0.1}
# The numbers of a continuous action, in order.
ACTION_NAMES = {"tabletop": ("dx", "dy", "dz", "droll", "dpitch", "dyaw", "gripper")}
_PATH_NAMES = ("ee_position", "position")


@dataclass(frozen=True)
class Shape:
    """One thing on a map. `points` are corners; of a circle, its centre; of a line, its bends."""

    kind: str  # "polygon", "circle", "line"
    role: str  # a key of style.ROLES
    points: tuple[tuple[float, float], ...]
    radius: float = 0.0
    fill: str | None = None  # "#rrggbb" where the thing has a colour of its own
    label: str = ""


def path_of(record: EpisodeRecord) -> np.ndarray | None:
    """Where the agent (or its hand) was: float64 `[T + 1, 3]` metres; None where nothing says so.

    Rows that are not finite repeat the last finite one.
    """
    name = next((n for n in _PATH_NAMES if n in record.trace), None)
    if name is None:
        return None
    rows = np.asarray(record.trace[name], dtype=np.float64)
    rows = rows.reshape(len(rows), -1)[:, :3]
    path = np.zeros((len(rows), 3))
    path[:, : rows.shape[1]] = rows
    for i in np.flatnonzero(~np.isfinite(path).all(axis=1)):
        path[i] = path[i - 1] if i else 0.0
    return path


def map_points(task: Task, points: np.ndarray) -> np.ndarray:
    """Where points `[.., 3]` of the world lie on the map, `[.., 2]` metres, right and up.

    The tabletop is shown as its camera sees it: +y to the right, the robot (at the origin, looking
    along +x) at the top. Other worlds have +x to the right and +y up.
    """
    if task.env == "tabletop":
        return np.stack([points[..., 1], -points[..., 0]], axis=-1)
    return np.asarray(points[..., :2])


def speed_of(record: EpisodeRecord) -> np.ndarray | None:
    """Speed in each step, float64 `[T]`, in `speed_unit(record.task)`; None without a path."""
    path = path_of(record)
    if path is None:
        return None
    return np.linalg.norm(np.diff(path, axis=0), axis=1) / STEP_SECONDS.get(record.task.env, 1.0)


def speed_curve(record: EpisodeRecord) -> np.ndarray | None:
    """`speed_of` for a plot: where an agent moves by jerks (no clock), the mean of nine steps."""
    speed = speed_of(record)
    if speed is None or record.task.env in STEP_SECONDS:
        return speed
    return smooth(speed, 4)


def smooth(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean over up to `reach` neighbours on each side, fewer at the ends; `[T]` to `[T]`."""
    sums = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    low, high = np.maximum(index - reach, 0), np.minimum(index + reach + 1, len(values))
    return (sums[high] - sums[low]) / (high - low)


def speed_label(task: Task) -> str:
    """Axis name of `speed_curve`."""
    return f"speed ({speed_unit(task)}" + (
        ")" if task.env in STEP_SECONDS else ", mean of 9 steps)"
    )


def speed_unit(task: Task) -> str:
    return "m/s" if task.env in STEP_SECONDS else "m per step"


def scalar_trace(record: EpisodeRecord, name: str) -> np.ndarray | None:
    """`agent_trace[name]` as one number a step, float64 `[T]` (the mean over other axes)."""
    if name not in record.agent_trace:
        return None
    rows = np.asarray(record.agent_trace[name], dtype=np.float64)
    return rows.reshape(len(rows), -1).mean(axis=1) if rows.size else np.zeros(len(rows))


def object_positions(record: EpisodeRecord) -> np.ndarray:
    """The objects that exist, float64 `[T + 1, objects, 3]`; padding (all zero) is dropped."""
    if "object_positions" not in record.trace:
        return np.zeros((record.n_steps + 1, 0, 3))
    rows = np.nan_to_num(np.asarray(record.trace["object_positions"], dtype=np.float64))
    return rows[:, (rows != 0).any(axis=(0, 2))]


def object_colors(record: EpisodeRecord, count: int) -> list[str]:
    """The colours of the first `count` objects, "#rrggbb"; grey where the scene names none."""
    scene = record.task.scene if isinstance(record.task.scene, Mapping) else {}
    things = [t for t in scene.get("objects", ()) if isinstance(t, Mapping)]
    known = [color_text(thing.get("rgb")) or "#8a94a0" for thing in things[:count]]
    return known + ["#8a94a0"] * (count - len(known))


def scene_shapes(records: Sequence[EpisodeRecord]) -> list[Shape]:
    """The map of one task, back to front, without any path. `records` share the task."""
    task = records[0].task
    if task.env == "rooms":
        return _rooms_shapes(task)
    if task.env == "tabletop":
        return _tabletop_shapes(records[0])
    return []


def rect(x0: float, y0: float, x1: float, y1: float) -> tuple[tuple[float, float], ...]:
    return ((x0, y0), (x1, y0), (x1, y1), (x0, y1))


def color_text(color: Any, default: str | None = None) -> str | None:
    """`"#rrggbb"` from a hex string or from three numbers (0..1 or 0..255)."""
    if isinstance(color, str) and len(color) == 7 and color.startswith("#"):
        return color
    if isinstance(color, Sequence) and not isinstance(color, str) and len(color) >= 3:
        values = [float(c) for c in color[:3]]
        top = 1.0 if max(values) <= 1.0 else 255.0
        return "#" + "".join(f"{round(255 * min(1, max(0, v / top))):02x}" for v in values)
    return default


def _tabletop_shapes(record: EpisodeRecord) -> list[Shape]:
    """Zones and objects. Objects lie where the trace first saw them."""
    from pilotage.envs.tabletop import layout

    scene = record.task.scene if isinstance(record.task.scene, Mapping) else {}
    shapes = [_zone_shape(zone, layout.ZONE_HALF) for zone in scene.get("zones", ())]
    things = list(scene.get("objects", ()))
    for i, position in enumerate(object_positions(record)[0]):
        thing = things[i] if i < len(things) else {}
        sizes = layout.SHAPES.get(str(thing.get("shape")), (0.02,))
        fill = color_text(thing.get("rgb"))
        label = f"{thing.get('color', '')} {thing.get('shape', '')}".strip()
        x, y = map_points(record.task, position[None])[0]
        yaw = float(thing.get("yaw", 0.0))
        if thing.get("shape") in ("cube", "brick"):
            corners = _turned_box(x, y, sizes[1], sizes[0], yaw)
            shapes.append(Shape("polygon", "object", corners, fill=fill, label=label))
        else:
            shapes.append(Shape("circle", "object", ((x, y),), sizes[0], fill=fill, label=label))
    return shapes


def _zone_shape(zone: Mapping[str, Any], half: float) -> Shape:
    x, y = (float(v) for v in zone["position"][:2])
    label, fill = f"{zone.get('color', '')} zone".strip(), color_text(zone.get("rgb"))
    if zone.get("shape") == "disc":
        return Shape("circle", "zone", ((y, -x),), half, fill, label)
    corners = rect(y - half, -x - half, y + half, -x + half)
    return Shape("polygon", "zone", corners, fill=fill, label=label)


def _turned_box(
    x: float, y: float, half_x: float, half_y: float, yaw: float
) -> tuple[tuple[float, float], ...]:
    """Corners of a box around (x, y), turned by `yaw` (rotation survives `map_points`)."""
    c, s = float(np.cos(yaw)), float(np.sin(yaw))
    return tuple(
        (float(x + c * dx - s * dy), float(y + s * dx + c * dy))
        for dx, dy in rect(-half_x, -half_y, half_x, half_y)
    )


def _rooms_shapes(task: Task) -> list[Shape]:
    """The floor plan: rooms with their names, walls, furniture, goal points, the reference path."""
    from pilotage.envs.rooms.house import house_plan

    plan = house_plan(task.scene)
    rooms = [Shape("polygon", "room", rect(*r["rect"]), label=r["name"]) for r in plan["rooms"]]
    walls = [Shape("polygon", "wall", rect(*wall)) for wall in plan["walls"]]
    shapes = rooms + walls
    for item in plan["furniture"]:
        fill = mixed(color_text(item["color"]) or "#b8ae9b", 0.55)
        label = item["category"] if item["category"] != "rug" else ""
        shapes.append(Shape("polygon", "furniture", rect(*item["rect"]), fill=fill, label=label))
    goal = task.goal if isinstance(task.goal, Mapping) else {}
    for x, y in (point[:2] for point in goal.get("points", ())):
        shapes.append(Shape("circle", "goal", ((float(x), float(y)),), 0.22))
    if len(task.reference_path) > 1:
        bends = tuple((float(p[0]), float(p[1])) for p in task.reference_path)
        shapes.append(Shape("line", "reference", bends))
    return shapes


def mixed(color: str, share: float) -> str:
    """`color` with grey: `share` 1 is the colour itself, 0 a middle grey."""
    parts = (int(color[i : i + 2], 16) for i in (1, 3, 5))
    return "#" + "".join(f"{round(share * part + (1 - share) * 160):02x}" for part in parts)


def bounds_of(
    shapes: Iterable[Shape], paths: Iterable[np.ndarray], *, margin: float, least: float
) -> tuple[float, float, float, float]:
    """(x0, x1, y0, y1) around everything, at least `least` wide and high, and not too elongated."""
    points = [p for shape in shapes for p in _corners(shape)]
    points += [tuple(p[:2]) for path in paths for p in path]
    if not points:
        return -least / 2, least / 2, -least / 2, least / 2
    low, high = np.min(points, axis=0) - margin, np.max(points, axis=0) + margin
    center, extent = (low + high) / 2, np.maximum(high - low, least)
    extent = np.maximum(extent, extent[::-1] * np.array([0.9, 0.45]))
    low, high = center - extent / 2, center + extent / 2
    return float(low[0]), float(high[0]), float(low[1]), float(high[1])


def _corners(shape: Shape) -> list[tuple[float, float]]:
    if shape.kind != "circle":
        return list(shape.points)
    (x, y), r = shape.points[0], shape.radius
    return [(x - r, y - r), (x + r, y + r)]
