"""The rooms world as the training script sees it."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo, Siblings
from pilotage.agents.vla.grounding import MIN_PIXELS, Thing, ViewBuilder, Views, count_pixels
from pilotage.agents.vla.observed import image_of
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
from pilotage.envs.rooms.house import House, house_split, load_house
from pilotage.envs.rooms.interpreter import clauses_of
from pilotage.envs.rooms.lane import goal_field, into_frame
from pilotage.envs.rooms.layout import Door
from pilotage.envs.rooms.palette import CATEGORIES, COLORS, ROOM_COLORS
from pilotage.envs.rooms.routes import crossings, rooms_along
from pilotage.envs.rooms.tasks import instruction_from
from pilotage.episodes.types import Task
from pilotage.scripts.worlds import TrainingWorld

POSES_PER_HOUSE = 16
SIBLING_ATTEMPTS = 12
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
        siblings=Siblings(n=1, draw=draw_sibling, label=_label),
    )


def train_tasks(n: int, seed: int) -> list[Task]:
    """Three quarters are route instructions, and three quarters of those begin in a room with
    several doors, if there are so many: where there is one door, any words lead through it."""
    n_other = n // 8
    others = [
        make_tasks("train", n_other, seed=seed, families=[family])
        for family in ("pointnav", "objectnav")
    ]
    n_told = n - 2 * n_other
    drawn = make_tasks("train", 3 * n_told, seed=seed, families=["instruction"])
    choices = [task for task in drawn if n_doors_at_start(task) > 1][: 3 * n_told // 4]
    rest = [task for task in drawn if n_doors_at_start(task) < 2][: n_told - len(choices)]
    return [*choices, *rest, *others[0], *others[1]]


def n_doors_at_start(task: Task) -> int:
    """How many doors the room has that a task begins in."""
    house = load_house(task.scene)
    x, y = task.start["position"][:2]
    return len(house.doors_of(house.room_at(x, y)))


def draw_sibling(task: Task, rng: np.random.Generator) -> Task | None:
    """Another instruction from the same start that goes through another door sooner or later, if
    one is soon found: its labels differ from the task's where only the words do."""
    if task.family != "instruction":
        return None
    house = load_house(task.scene)
    start = (*task.start["position"][:2], task.start["heading"])
    own = rooms_of_route(house, task)
    drawn = (instruction_from(rng, house, task.split, start) for _ in range(SIBLING_ATTEMPTS))
    found = [(other, rooms_of_route(house, other)) for other in drawn if other is not None]
    parted = [(_shared(own, rooms), k) for k, (_, rooms) in enumerate(found)]
    parted = [(shared, k) for shared, k in parted if shared < min(len(own), len(found[k][1]))]
    return found[min(parted)[1]][0] if parted else None


def _shared(rooms: list[int], others: list[int]) -> int:
    """How many rooms two routes begin with alike."""
    n = min(len(rooms), len(others))
    return next((k for k in range(n) if rooms[k] != others[k]), n)


def _label(envs: RoomsVectorEnv, slot: int, task: Task) -> tuple[np.ndarray, str]:
    action, words = envs.lanes[slot].expert_for(task)
    return np.array(action), words


def aux_targets(task: Task, row: dict[str, np.ndarray]) -> np.ndarray:
    """Distance left, and in the agent's frame the way 1 m on along the path and the goal."""
    here, heading = row["position"][:2], float(row["heading"][0])
    path = goal_field(load_house(task.scene), task).path(float(here[0]), float(here[1]))
    lengths = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))]
    ahead = np.array([np.interp(1.0, lengths, path[:, k]) for k in (0, 1)]) - here
    turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
    way = turn @ ahead / max(float(np.linalg.norm(ahead)), 0.25)
    return np.concatenate([lengths[-1:] / 5, way, turn @ (path[-1] - here) / 5])


def pointing(envs: RoomsVectorEnv, slot: int, task: Task, config: VLAConfig) -> np.ndarray:
    """Bool [n_image_tokens, 2]: columns of the picture through which the next door of the way to
    the goal is seen, and those that show a thing at which the task may end."""
    lane, segments = envs.lanes[slot], envs.segments(slot)
    grid = config.image_patches[0]
    out = np.zeros((grid.n_tokens, config.n_pointed), dtype=bool)
    ahead = crossings(lane.house, goal_field(lane.house, task).path(lane.x, lane.y))
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
