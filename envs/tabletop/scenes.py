"""Drawing scenes: which objects and zones lie where, the goal, and where the arm starts."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.splits import cells, pairs

Point = tuple[float, float]
MAX_TRIES = 200
PUSH_LENGTH = (0.12, 0.26)  # how far an object has to be pushed
PUSH_RUN_UP = 0.09  # free space behind a pushed object
PUSH_CORRIDOR = 0.085
ZONE_SHAPES = ("square", "disc")


@dataclass(frozen=True)
class SceneDraft:
    """A scene, its goal (both JSON) and the name of the object acted on."""

    scene: dict[str, Any]
    goal: dict[str, Any]
    target_name: str


def draft_scene(
    family: str, pair_split: str, cell_split: str, rng: np.random.Generator
) -> SceneDraft:
    """A scene whose target has a pair and a start cell of the given splits."""
    for _ in range(MAX_TRIES):
        draft = _try_scene(family, pair_split, cell_split, rng)
        if draft is not None:
            return draft
    raise RuntimeError(
        f"no {family} scene found in {MAX_TRIES} tries; loosen the gaps in layout.py"
    )


def _try_scene(
    family: str, pair_split: str, cell_split: str, rng: np.random.Generator
) -> SceneDraft | None:
    names = _draw_names(pair_split, int(rng.integers(2, layout.MAX_OBJECTS + 1)), rng)
    target = _in_cell(cells()[cell_split], rng)
    n_zones = int(rng.integers(1, layout.MAX_ZONES + 1))
    if family in ("reach", "lift", "put_beside"):
        n_zones = int(rng.integers(0, 2))
    zones = _place_zones(family, target, n_zones, rng)
    if zones is None:
        return None
    keep_out = [(target, zones[0])] if family == "push" else []
    points = _place_objects(target, zones, len(names), keep_out, rng)
    if points is None:
        return None
    scene = {
        "objects": [_object(n, p, rng) for n, p in zip(names, points, strict=True)],
        "zones": _zones(zones, rng),
    }
    goal = _goal(family, points)
    if goal is None:
        return None
    order = [int(i) for i in rng.permutation(len(names))]
    scene["objects"] = [scene["objects"][i] for i in order]
    for key in ("object", "reference"):
        if key in goal:
            goal[key] = order.index(goal[key])
    target_object = scene["objects"][goal["object"]]
    return SceneDraft(scene, goal, f"{target_object['color']} {target_object['shape']}")


def _draw_names(split: str, count: int, rng: np.random.Generator) -> list[tuple[str, str]]:
    """The target's pair first, then different training pairs."""
    first = pairs()[split][int(rng.integers(len(pairs()[split])))]
    others = [pair for pair in pairs()["train"] if pair != first]
    drawn = rng.permutation(len(others))[: count - 1]
    return [first, *(others[int(i)] for i in drawn)]


def _in_cell(options: Sequence[tuple[int, int]], rng: np.random.Generator) -> Point:
    row, column = options[int(rng.integers(len(options)))]
    u, v = rng.uniform(0.02, 0.98, 2)
    x = layout.TABLE_LOW[0] + layout.CELL * (row + u)
    y = layout.TABLE_LOW[1] + layout.CELL * (column + v)
    return round(float(x), 4), round(float(y), 4)


def _on_table(rng: np.random.Generator) -> Point:
    x, y = rng.uniform(layout.TABLE_LOW, layout.TABLE_HIGH)
    return round(float(x), 4), round(float(y), 4)


def distance(a: Sequence[float], b: Sequence[float]) -> float:
    """Horizontal distance, metres."""
    return math.hypot(a[0] - b[0], a[1] - b[1])


def segment_distance(p: Point, a: Point, b: Point) -> float:
    """Distance from a point to the segment a-b in the plane, metres."""
    ab = (b[0] - a[0], b[1] - a[1])
    length2 = ab[0] ** 2 + ab[1] ** 2
    t = 0.0 if length2 == 0 else ((p[0] - a[0]) * ab[0] + (p[1] - a[1]) * ab[1]) / length2
    t = min(1.0, max(0.0, t))
    return distance(p, (a[0] + t * ab[0], a[1] + t * ab[1]))


def _place_zones(
    family: str, target: Point, count: int, rng: np.random.Generator
) -> list[Point] | None:
    """Centres of the zones, the goal's first; None when no room was found."""
    zones: list[Point] = []
    for _ in range(MAX_TRIES):
        if len(zones) == count:
            return zones
        point = _on_table(rng)
        far = distance(point, target)
        is_push_goal = family == "push" and not zones
        if is_push_goal and not PUSH_LENGTH[0] <= far <= PUSH_LENGTH[1]:
            continue
        if far < layout.MIN_ZONE_GAP or any(
            distance(point, z) < 2 * layout.MIN_ZONE_GAP for z in zones
        ):
            continue
        zones.append(point)
    return zones if len(zones) == count else None


def _place_objects(
    target: Point,
    zones: Sequence[Point],
    count: int,
    push: Sequence[tuple[Point, Point]],
    rng: np.random.Generator,
) -> list[Point] | None:
    """Centres of the objects, the target first; None when no room was found."""
    points = [target]
    for _ in range(MAX_TRIES):
        if len(points) == count:
            return points
        point = _on_table(rng)
        if any(distance(point, p) < layout.MIN_OBJECT_GAP for p in points):
            continue
        if any(distance(point, z) < layout.MIN_ZONE_GAP for z in zones):
            continue
        if any(blocks(point, start, end) for start, end in push):
            continue
        points.append(point)
    return None


def blocks(point: Point, start: Point, end: Point) -> bool:
    """Is the point in the way of a push from start to end, run-up included?"""
    length = distance(start, end)
    ux, uy = (end[0] - start[0]) / length, (end[1] - start[1]) / length
    behind = (start[0] - PUSH_RUN_UP * ux, start[1] - PUSH_RUN_UP * uy)
    return segment_distance(point, behind, end) < PUSH_CORRIDOR


def _jitter(color: str, rng: np.random.Generator) -> list[float]:
    shifted = np.clip(np.asarray(layout.COLORS[color]) + rng.uniform(-0.04, 0.04, 3), 0, 1)
    return [round(float(c), 3) for c in shifted]


def _object(name: tuple[str, str], point: Point, rng: np.random.Generator) -> dict[str, Any]:
    return {
        "color": name[0],
        "shape": name[1],
        "position": list(point),
        "yaw": round(float(rng.uniform(-0.4, 0.4)), 4),
        "rgb": _jitter(name[0], rng),
    }


def _zones(points: Sequence[Point], rng: np.random.Generator) -> list[dict[str, Any]]:
    colors = [list(layout.COLORS)[int(i)] for i in rng.permutation(len(layout.COLORS))]
    return [
        {
            "color": color,
            "shape": ZONE_SHAPES[int(rng.integers(len(ZONE_SHAPES)))],
            "position": list(point),
            "rgb": _jitter(color, rng),
        }
        for color, point in zip(colors, points, strict=False)
    ]


def _goal(family: str, points: Sequence[Point]) -> dict[str, Any] | None:
    """The goal, with the target as object 0; None when the family cannot be played here."""
    if family == "reach":
        return {"kind": family, "object": 0, "threshold": layout.REACH_THRESHOLD}
    if family == "push":
        return {"kind": family, "object": 0, "zone": 0, "threshold": layout.PUSH_THRESHOLD}
    if family == "lift":
        return {"kind": family, "object": 0, "height": layout.LIFT_HEIGHT}
    if family == "pick_place":
        return {"kind": family, "object": 0, "zone": 0, "threshold": layout.PLACE_THRESHOLD}
    target, other = points[0], points[1]
    apart = distance(target, other)
    if apart < layout.BESIDE_RING[1] + 0.05:
        return None
    t = layout.BESIDE_DISTANCE / apart
    spot = (other[0] + t * (target[0] - other[0]), other[1] + t * (target[1] - other[1]))
    if any(distance(spot, p) < layout.BESIDE_DISTANCE for p in points[2:]):
        return None
    return {"kind": family, "object": 0, "reference": 1, "ring": list(layout.BESIDE_RING)}


def draw_start(draft: SceneDraft, rng: np.random.Generator) -> dict[str, Any]:
    """Where the end effector starts: over the table, not already at the target."""
    target = draft.scene["objects"][draft.goal["object"]]["position"]
    while True:
        x, y, z = rng.uniform((0.34, -0.26, 0.16), (0.62, 0.26, 0.32))
        if distance((x, y), target) >= 0.09:
            break
    yaw = rng.uniform(-0.25, 0.25)
    return {
        "ee_position": [round(float(v), 4) for v in (x, y, z)],
        "ee_yaw": round(float(yaw), 4),
    }


def path_length(
    family: str, scene: Mapping[str, Any], goal: Mapping[str, Any], start: Mapping[str, Any]
) -> tuple[float, list[list[float]]]:
    """Length of the straight-line motion that the task needs (m), and its corner points."""
    thing = scene["objects"][goal["object"]]
    rest = layout.rest_height(thing["shape"])
    x, y = thing["position"]
    points = [list(start["ee_position"])]
    if family == "reach":
        points.append([x, y, 2 * rest + layout.REACH_ABOVE])
    else:
        points.append([x, y, rest])
    if family == "lift":
        points.append([x, y, rest + goal["height"]])
    elif "zone" in goal:
        points.append([*scene["zones"][goal["zone"]]["position"], rest])
    elif "reference" in goal:
        points.append([*scene["objects"][goal["reference"]]["position"], rest])
    length = sum(math.dist(a, b) for a, b in itertools.pairwise(points))
    return round(length, 6), points
