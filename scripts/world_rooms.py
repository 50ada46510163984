"""The rooms world as the training script sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.grounding import MIN_PIXELS, Thing, ViewBuilder, Views, count_pixels
from pilotage.agents.vla.policy import image_of
from pilotage.envs.camera import Cameras, Primitives, render
from pilotage.envs.rooms import RoomsVectorEnv, make_house, make_tasks, vocabulary
from pilotage.envs.rooms.bodies import (
    DEPTH_CLIP_M,
    DOOR_SEGMENT,
    FAR_M,
    FLOOR_SEGMENT,
    HFOV_DEG,
    ITEM_SEGMENT,
    NEAR_M,
    eye_pose,
    house_primitives,
)
from pilotage.envs.rooms.furniture import overlaps
from pilotage.envs.rooms.house import House, house_split
from pilotage.envs.rooms.interpreter import clauses_of
from pilotage.envs.rooms.lane import into_frame
from pilotage.envs.rooms.layout import Door
from pilotage.envs.rooms.palette import CATEGORIES, COLORS, ROOM_COLORS
from pilotage.envs.rooms.routes import crossings, rooms_along
from pilotage.episodes.types import Task
from pilotage.scripts.worlds import TrainingWorld

POSES_PER_HOUSE = 16
WORDS = tuple(dict.fromkeys([*CATEGORIES, *COLORS, *" ".join(ROOM_COLORS).split(), "door"]))


def make() -> TrainingWorld:
    return TrainingWorld(
        name="rooms",
        make_envs=lambda n: RoomsVectorEnv(n, expert_actions=True),
        train_tasks=train_tasks,
        val_tasks=lambda n: make_tasks("val", n, seed=1),
        vocabulary=vocabulary,
        aux_targets=aux_targets,
        aux_dim=5,
        max_collect_steps=160,
        look=look,
        pointing=pointing,
        clause_of=clause_of,
        patience=8,
    )


def train_tasks(n: int, seed: int) -> list[Task]:
    n_other = n // 8
    others = [
        make_tasks("train", n_other, seed=seed, families=[family])
        for family in ("pointnav", "objectnav")
    ]
    told = make_tasks("train", n - 2 * n_other, seed=seed, families=["instruction"])
    return [*told, *others[0], *others[1]]


@lru_cache(maxsize=4096)
def _dense_path(points: tuple[tuple[float, ...], ...]) -> np.ndarray:
    """The reference path every 0.25 m, float64 [n, 2]."""
    path = np.array(points)[:, :2]
    lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    at = np.arange(0.0, lengths[-1] + 0.25, 0.25)
    return np.stack([np.interp(at, lengths, path[:, k]) for k in (0, 1)], axis=1)


def aux_targets(task: Task, row: dict[str, np.ndarray]) -> np.ndarray:
    """Distance left, and in the agent's frame the way 1 m on along the path and the goal."""
    here, heading = row["position"][:2], float(row["heading"][0])
    path = _dense_path(tuple(map(tuple, task.reference_path)))
    nearest = int(np.linalg.norm(path - here, axis=1).argmin())
    ahead = path[min(nearest + 4, len(path) - 1)] - here
    turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
    way = turn @ ahead / max(float(np.linalg.norm(ahead)), 0.25)
    return np.concatenate([row["distance_to_goal"] / 5, way, turn @ (path[-1] - here) / 5])


def pointing(envs: RoomsVectorEnv, slot: int, task: Task, config: VLAConfig) -> np.ndarray:
    """Bool [n_image_tokens, 2]: columns of the picture through which the next door of the way to
    the goal is seen, and those that show a thing at which the task may end."""
    lane, segments = envs.lanes[slot], envs.segments(slot)
    grid = config.image_patches[0]
    out = np.zeros((grid.n_tokens, config.n_pointed), dtype=bool)
    ahead = crossings(lane.house, lane.field.path(lane.x, lane.y))
    if ahead and (segments == DOOR_SEGMENT + ahead[0].door).sum() >= MIN_PIXELS:
        door = lane.house.doors[ahead[0].door]
        first, last = opening_columns(door, lane.x, lane.y, lane.heading, grid.width)
        columns = np.arange(grid.shape[1]) * grid.patch_width
        seen = (columns + grid.patch_width > first) & (columns < last)
        out[:, 0] = np.tile(seen, grid.shape[0])
    if ends := _ends_at(task):
        out[:, 1] = count_pixels(np.isin(segments, ends), grid) >= MIN_PIXELS
    return out


def clause_of(envs: RoomsVectorEnv, slot: int, task: Task, config: VLAConfig) -> np.ndarray:
    """Bool [max_instruction]: the tokens of a route instruction that speak of the room the agent is
    in, up to the words for its next door. None in a room that the route does not go through."""
    out = np.zeros(config.max_instruction, dtype=bool)
    if task.family != "instruction":
        return out
    lane = envs.lanes[slot]
    rooms = rooms_of_route(lane.house, task)
    here = lane.house.room_at(lane.x, lane.y)
    if here in rooms:
        first, end = leg_words(task.instruction)[rooms.index(here)]
        out[1 + first : 1 + end] = True  # behind <bos>
    return out


def rooms_of_route(house: House, task: Task) -> list[int]:
    """The rooms that a task's reference path goes through, in order."""
    return _rooms_along(house, tuple(map(tuple, task.reference_path)))


@lru_cache(maxsize=512)
def _rooms_along(house: House, points: tuple[tuple[float, ...], ...]) -> list[int]:
    return rooms_along(house, np.array(points)[:, :2])


@lru_cache(maxsize=4096)
def leg_words(instruction: str) -> list[tuple[int, int]]:
    """For each room of a route, the words [first, end) that speak of it: from behind the words for
    the door into it to the end of those for the door out of it."""
    n_words = len(instruction.split())
    ends = [c.first + len(c.words.split()) for c in clauses_of(instruction) if c.kind == "door"]
    return list(zip([0, *ends], [*ends, n_words], strict=True))


def _ends_at(task: Task) -> list[int]:
    """The segments of what a task ends at: furniture, or the floor of a room."""
    if "items" in task.goal:
        return [ITEM_SEGMENT + int(k) for k in task.goal["items"]]
    if "endpoint" in task.goal:
        kind, index = task.goal["endpoint"]
        return [(ITEM_SEGMENT if kind == "item" else FLOOR_SEGMENT) + int(index)]
    return []


def opening_columns(
    door: Door, x: float, y: float, heading: float, width: int
) -> tuple[float, float]:
    """Pixel columns [first, last) of a picture of a width between a door's posts; empty (0, 0) when
    it is behind the agent."""
    along = 1 - door.axis
    focal = width / 2 / math.tan(math.radians(HFOV_DEG) / 2)
    edges = []
    for side in (-0.5, 0.5):
        post = list(door.center)
        post[along] += side * door.width
        ahead, left = into_frame(x, y, heading, *post)
        if ahead > 0.05:
            edges.append(width / 2 - focal * left / ahead)
        else:  # beside or behind the eye: off the picture, on its side
            edges.append(-math.inf if left > 0 else math.inf)
    first, last = sorted(edges)
    if math.isinf(first) and math.isinf(last):
        return 0.0, 0.0
    return max(first, 0.0), min(last, float(width))


def look(
    n: int, seed: int, config: VLAConfig, progress: Callable[[int], None]
) -> tuple[Views, list[Demo]]:
    """Views of `n` training houses from random places; no demos: what to do depends on the past."""
    rng = np.random.default_rng([11, seed])
    builder = ViewBuilder(config.image_patches, WORDS)
    for done in range(n):
        _look_around(_draw_house(rng), config, builder, rng)
        progress(done + 1)
    return builder.done(), []


def _draw_house(rng: np.random.Generator) -> House:
    while True:
        seed = int(rng.integers(2**31))
        if house_split(seed) == "train":
            return make_house(seed)


def _look_around(
    house: House, config: VLAConfig, builder: ViewBuilder, rng: np.random.Generator
) -> None:
    places = [_standing_place(house, rng) for _ in range(POSES_PER_HOUSE)]
    poses = [eye_pose(*place) for place in places]
    bodies = house_primitives(house)
    many = {name: np.repeat(rows, len(places), axis=0) for name, rows in vars(bodies).items()}
    cameras = Cameras(
        np.stack([p for p, _ in poses]), np.stack([r for _, r in poses]), HFOV_DEG, NEAR_M, FAR_M
    )
    size = config.image_size
    frames = render(Primitives(**many), cameras, height=size, width=size)
    seen = {"rgb": frames.rgb, "depth": np.minimum(frames.depth_m, DEPTH_CLIP_M)}
    images = image_of(seen, "rgb", config.with_depth)
    for k, place in enumerate(places):
        builder.add(0, images[k], frames.segment[k], _things(house, *place))


def _standing_place(house: House, rng: np.random.Generator) -> tuple[float, float, float]:
    """A point in a room that is in no furniture, and any heading."""
    while True:
        x0, y0, x1, y1 = house.rooms[int(rng.integers(len(house.rooms)))].rect
        x, y = float(rng.uniform(x0 + 0.3, x1 - 0.3)), float(rng.uniform(y0 + 0.3, y1 - 0.3))
        spot = (x - 0.2, y - 0.2, x + 0.2, y + 0.2)
        if not any(item.solid and overlaps(spot, item.rect) for item in house.items):
            return x, y, float(rng.uniform(-math.pi, math.pi))


def _things(house: House, x: float, y: float, heading: float) -> dict[int, Thing]:
    """Segment ids to what they show; places in the agent's frame, in units of 5 m."""

    def local(at: tuple[float, float]) -> tuple[float, float, float]:
        ahead, left = into_frame(x, y, heading, *at)
        return ahead / 5, left / 5, 0.0

    things = {
        FLOOR_SEGMENT + i: Thing(tuple(room.type.split())) for i, room in enumerate(house.rooms)
    }
    for k, door in enumerate(house.doors):  # a frame is thin, and what matters most
        things[DOOR_SEGMENT + k] = Thing(("door",), local(door.center), 8.0)
    for k, item in enumerate(house.items):
        words = tuple(w for w in (item.color, item.category) if w)
        things[ITEM_SEGMENT + k] = Thing(words, local(item.center))
    return things
