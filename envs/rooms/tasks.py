"""Tasks: a house, a start, a goal, and words that say it.

Three families: `pointnav` (whole metres from the start pose), `objectnav` (the nearest instance of
a category counts) and `instruction` (follow a route, cf. Anderson et al., R2R, CVPR 2018; Krantz et
al., VLN-CE, ECCV 2020). Task k of a split is a function of (split, seed, k) alone, so longer lists
begin with the shorter ones. Eight tasks in a row share a house.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pilotage.envs.rooms import language
from pilotage.envs.rooms.geodesic import GoalField, nav_graph
from pilotage.envs.rooms.house import House, house_split, make_house
from pilotage.envs.rooms.instructions import write_instruction
from pilotage.envs.rooms.routes import approach_points, crossings, path_length, random_place
from pilotage.episodes.types import Json, Task, digest

FAMILIES = ("pointnav", "objectnav", "instruction")
SPLITS = ("train", "val", "test")
MAX_STEPS = 500
MIN_DISTANCE_M = 3.75  # a start is never within the success radius of 3 m
MAX_DISTANCE_M = 25.0
TASKS_PER_HOUSE = 8
_ATTEMPTS = 200


def make_tasks(
    split: str, n: int, *, seed: int = 0, families: Sequence[str] | None = None
) -> list[Task]:
    """`n` tasks of a split ("train", "val", "test"; "unseen" is another name for "test").

    Houses belong to one split by a hash of their seed. In the test split every other task uses
    held-out phrasings where its clauses have any (`info["phrasing"]` says so). Families take turns.

    Raises:
        ValueError: unknown split or family, negative n.
    """
    split = "test" if split == "unseen" else split
    if split not in SPLITS:
        raise ValueError(f"split must be one of {SPLITS} or 'unseen', got {split!r}")
    if n < 0:
        raise ValueError(f"n must be >= 0, got {n}")
    families = tuple(families or FAMILIES)
    unknown = [f for f in families if f not in FAMILIES]
    if unknown:
        raise ValueError(f"unknown families {unknown}; known: {FAMILIES}")
    return [_make_task(split, seed, k, families[k % len(families)]) for k in range(n)]


def _make_task(split: str, seed: int, k: int, family: str) -> Task:
    block = 0
    while True:
        house = make_house(_house_seed(split, seed, k // TASKS_PER_HOUSE, block))
        key = [SPLITS.index(split), seed, k, FAMILIES.index(family), block]
        rng = np.random.default_rng(key)
        held_out = split == "test" and bool(rng.integers(2))
        for _ in range(_ATTEMPTS):
            task = _DRAW[family](rng, house, split, held_out)
            if task is not None:
                return task
        block += 1  # this house has no such task: take another one


def _house_seed(split: str, seed: int, block: int, retry: int) -> int:
    rng = np.random.default_rng([7, SPLITS.index(split), seed, block, retry])
    while True:
        candidate = int(rng.integers(2**31))
        if house_split(candidate) == split:
            return candidate


def _task(
    house: House,
    split: str,
    family: str,
    text: str,
    start: tuple[float, float, float],
    goal: dict[str, Json],
    field: GoalField,
    info: dict[str, Json],
) -> Task:
    x, y, heading = start
    path = field.path(x, y)
    doors = crossings(house, path)
    content = {
        "scene": house.scene(),
        "start": {"position": [x, y, 0.0], "heading": heading},
        "goal": goal,
        "instruction": text,
    }
    rooms = [house.room_at(x, y), *(c.room for c in doors)]
    return Task(
        task_id=f"rooms-{split}-{family}-{digest(content)[:12]}",
        env="rooms",
        split=split,
        family=family,
        instruction=text,
        max_steps=MAX_STEPS,
        scene=content["scene"],
        start=content["start"],
        goal=goal,
        shortest_path_length=round(path_length(path), 6),
        reference_path=[[round(px, 4), round(py, 4), 0.0] for px, py in dense(path).tolist()],
        info={"rooms": [house.rooms[i].name for i in rooms], "n_doors": len(doors), **info},
    )


def dense(path: np.ndarray, spacing_m: float = 0.25) -> np.ndarray:
    """Points float64 [n, 2] along a polyline [k, 2], its corners and others `spacing_m` apart.

    nDTW of a walked path against a few corners would be small for a perfect walk: the reference
    has to be as dense as the walk (one forward move).
    """
    lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    n_points = max(2, math.ceil(lengths[-1] / spacing_m) + 1)
    at = np.unique(np.r_[np.linspace(0.0, lengths[-1], n_points), lengths])
    return np.stack([np.interp(at, lengths, path[:, k]) for k in (0, 1)], axis=1)


def _far_enough(field: GoalField, start: tuple[float, float, float]) -> bool:
    return MIN_DISTANCE_M <= field.distance(start[0], start[1]) <= MAX_DISTANCE_M


def _phrasing(held_out: bool) -> str:
    return "held_out" if held_out else "train"


def _draw_pointnav(
    rng: np.random.Generator, house: House, split: str, held_out: bool
) -> Task | None:
    graph = nav_graph(house)
    x, y, heading = start = random_place(rng, house, graph)
    ahead, left = (int(v) for v in rng.integers(-10, 11, 2))
    goal_x = round(x + ahead * math.cos(heading) - left * math.sin(heading), 4)
    goal_y = round(y + ahead * math.sin(heading) + left * math.cos(heading), 4)
    inside = 0 < goal_x < house.size[0] and 0 < goal_y < house.size[1]
    if not inside or graph.clearance(goal_x, goal_y) < 0.05:
        return None
    field = graph.field(np.array([[goal_x, goal_y]]))
    if not _far_enough(field, start):
        return None
    text = language.say(rng, "point", held_out, offset=language.offset_words(ahead, left))
    goal = {"points": [[goal_x, goal_y]], "ahead_left_m": [ahead, left]}
    info = {"phrasing": _phrasing(held_out)}
    return _task(house, split, "pointnav", text, start, goal, field, info)


def _draw_objectnav(
    rng: np.random.Generator, house: House, split: str, held_out: bool
) -> Task | None:
    graph = nav_graph(house)
    start = random_place(rng, house, graph)
    pick = house.items[int(rng.integers(len(house.items)))]
    color = pick.color if rng.random() < 0.5 else ""
    wanted = [
        k
        for k, item in enumerate(house.items)
        if item.category == pick.category and color in ("", item.color)
    ]
    spots = {k: approach_points(house, k) for k in wanted}
    wanted = [k for k in wanted if len(spots[k])]
    if not wanted:
        return None
    points = np.concatenate([spots[k] for k in wanted])
    field = graph.field(points)
    if not _far_enough(field, start):
        return None
    thing = f"{color} {pick.category}".strip()
    text = language.say(rng, "find", held_out, thing=thing)
    text = text.replace(" a orange", " an orange").replace(" a armchair", " an armchair")
    goal = {"points": points.tolist(), "items": wanted, "thing": thing}
    info = {"phrasing": _phrasing(held_out)}
    return _task(house, split, "objectnav", text, start, goal, field, info)


def _draw_instruction(
    rng: np.random.Generator, house: House, split: str, held_out: bool
) -> Task | None:
    start = random_place(rng, house, nav_graph(house))
    return instruction_from(rng, house, split, start, held_out)


def instruction_from(
    rng: np.random.Generator,
    house: House,
    split: str,
    start: tuple[float, float, float],
    held_out: bool = False,
) -> Task | None:
    """A route instruction that begins at a pose (x, y in metres, heading in radians), or None when
    the one that was drawn leads nowhere, is too short or too long, or fits two places."""
    written = write_instruction(rng, house, start, held_out, MIN_DISTANCE_M)
    if written is None:
        return None
    text, goal, field, n_clauses = written
    if not _far_enough(field, start):
        return None
    info = {"phrasing": _phrasing(held_out), "n_clauses": n_clauses}
    return _task(house, split, "instruction", text, start, goal, field, info)


_DRAW = {
    "pointnav": _draw_pointnav,
    "objectnav": _draw_objectnav,
    "instruction": _draw_instruction,
}
