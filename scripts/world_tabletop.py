"""The tabletop as the training script sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo, Labels, Siblings, trace_row
from pilotage.agents.vla.grounding import MIN_PIXELS, Thing, ViewBuilder, Views, count_pixels
from pilotage.agents.vla.observed import image_of, proprio_of
from pilotage.envs.tabletop import TabletopVectorEnv, draw_sibling, layout, make_tasks, vocabulary
from pilotage.envs.tabletop.drawing import SEGMENT_OBJECT, SEGMENT_ROBOT, SEGMENT_ZONE
from pilotage.episodes.types import Task
from pilotage.scripts.worlds import TrainingWorld

HANDS_PER_SCENE = 4  # random poses of the hand over one scene
HAND_LOW, HAND_HIGH = (0.26, -0.40, 0.02), (0.72, 0.40, 0.34)  # where they are drawn, m
SIBLINGS = Siblings(
    n=3,
    draw=draw_sibling,
    label=lambda envs, slot, task: envs.expert_for(slot, task),
)
PUSH_RUN = 0.08  # metres from an object's middle to where a push of it begins, about
PRACTICE = (*layout.FAMILIES, "push", "pick_place")  # the two that take longest to learn, twice
CAMERAS = {"rgb": "front", "wrist_rgb": "wrist"}
WORDS = (*layout.COLORS, *layout.SHAPES, "zone", "gripper")


def make() -> TrainingWorld:
    return TrainingWorld(
        name="tabletop",
        make_envs=lambda n: TabletopVectorEnv(n, expert_actions=True, wrist=True),
        train_tasks=train_tasks,
        val_tasks=lambda n: make_tasks("val", n, seed=1),
        vocabulary=vocabulary,
        aux_targets=aux_targets,
        aux_dim=9,
        max_collect_steps=110,
        look=look,
        hasten=hasten,
        siblings=SIBLINGS,
    )


def train_tasks(n: int, seed: int) -> list[Task]:
    n_speed = (2 * n) // 5
    mixed = make_tasks("train", n - n_speed, seed=seed, families=PRACTICE)
    return [*mixed, *make_tasks("train", n_speed, seed=seed, manners="speed")]


def aux_targets(task: Task, row: dict[str, np.ndarray]) -> np.ndarray:
    """From the hand to the object acted on, to the second thing named (zone or object; zeros where
    there is none), and to where a push begins (else to the object again), in units of 0.2 m."""
    goal, here = task.goal, row["ee_position"]
    first = row["object_positions"][goal["object"]] - here
    second = np.zeros(3)
    if "zone" in goal:
        second = np.array([*task.scene["zones"][goal["zone"]]["position"], 0.0]) - here
    elif "reference" in goal:
        second = row["object_positions"][goal["reference"]] - here
    start = first
    if task.family == "push":
        way = second[:2] - first[:2]
        start = first - np.array([*(PUSH_RUN * way / max(1e-6, float(np.hypot(*way)))), 0.0])
    return np.concatenate([first, second, start]) / 0.2


def hasten(task: Task, action: np.ndarray) -> np.ndarray:
    """Long slow moves are executed at up to 2.5 times the speed that the label says."""
    length = float(np.linalg.norm(action[:3]))
    unhurried = task.info["manner"]["speed"] == "slow" or task.info["manner"]["gentle"]
    if not unhurried or length < 0.08:
        return action
    out = action.copy()
    out[:3] *= max(1.0, min(2.5, 0.4 / length))
    return np.clip(out, -1.0, 1.0)


def look(
    n: int, seed: int, config: VLAConfig, progress: Callable[[int], None]
) -> tuple[Views, list[Demo]]:
    """Views of `n` training scenes, each with the hand at several random poses, and a short demo a
    scene and sibling: what the expert would do at those poses."""
    rng = np.random.default_rng(seed)
    builder = ViewBuilder(config.image_patches, WORDS)
    demos: list[Demo] = []
    n_slots = 16
    envs = TabletopVectorEnv(n_slots, expert_actions=True, wrist=True)
    tasks = train_tasks(n, seed)
    try:
        for first in range(0, n, n_slots):
            given: list[Task | None] = [*tasks[first : first + n_slots]]
            given += [None] * (n_slots - len(given))
            demos += _look_at(envs, given, config, builder, rng)
            progress(min(n, first + n_slots))
    finally:
        envs.close()
    return builder.done(), demos


def _look_at(
    envs: TabletopVectorEnv,
    tasks: list[Task | None],
    config: VLAConfig,
    builder: ViewBuilder,
    rng: np.random.Generator,
) -> list[Demo]:
    mask = np.array([task is not None for task in tasks])
    slots = np.flatnonzero(mask).tolist()
    _, infos = envs.reset(seed=0, options={"reset_mask": mask, "tasks": tasks})
    asked: list[tuple[int, Labels]] = []  # each slot's own task and its siblings
    for slot in slots:
        own = tasks[slot]
        if own is not None:
            others = [draw_sibling(own, rng) for _ in range(SIBLINGS.n)]
            asked += [(slot, Labels(task)) for task in (own, *others) if task is not None]
    seen: list[Any] = []
    for _ in range(HANDS_PER_SCENE):
        for slot in slots:
            _place_somewhere(envs, slot, infos["trace"]["object_positions"][slot], rng)
        observations, infos = envs.observe(slots)
        seen.append(observations)
        segments = [envs.segments(CAMERAS[key]) for key in config.image_keys]
        for k, key in enumerate(config.image_keys):
            for slot in slots:
                things = _things(tasks[slot], infos, slot, wrist=key == "wrist_rgb")
                builder.add(k, observations[key][slot], segments[k][slot], things)
        for slot, labels in asked:
            action, words = envs.expert_for(slot, labels.task)
            labels.add(action, words, trace_row(infos, slot), aux_targets)
            labels.pointed.append(_pointed(labels.task, [s[slot] for s in segments], config))
    images = [
        np.stack([image_of(o, key, config.with_depth) for o in seen], axis=1)
        for key in config.image_keys
    ]
    proprio = np.stack([proprio_of(o, config.proprio_keys) for o in seen], axis=1)
    return [
        labels.demo([camera[slot] for camera in images], proprio[slot]) for slot, labels in asked
    ]


def _pointed(task: Task, segments: list[np.ndarray], config: VLAConfig) -> np.ndarray:
    """Bool [n_image_tokens, 2]: patches that show the object acted on, and those that show the zone
    or object named second."""
    goal = task.goal
    numbers = [SEGMENT_OBJECT + goal["object"], -2]  # -2: nothing
    if "zone" in goal:
        numbers[1] = SEGMENT_ZONE + goal["zone"]
    elif "reference" in goal:
        numbers[1] = SEGMENT_OBJECT + goal["reference"]
    cameras = zip(segments, config.image_patches, strict=True)
    shown = [[count_pixels(s == n, grid) >= MIN_PIXELS for n in numbers] for s, grid in cameras]
    return np.concatenate([np.stack(columns, axis=1) for columns in shown])


def _place_somewhere(
    envs: TabletopVectorEnv, slot: int, objects: np.ndarray, rng: np.random.Generator
) -> None:
    """Puts the hand at a random pose, every second time over one of the objects [k, 3]."""
    there = objects[np.abs(objects).sum(axis=1) > 0]
    while True:
        position = rng.uniform(HAND_LOW, HAND_HIGH)
        if rng.random() < 0.5:
            near = there[int(rng.integers(len(there)))][:2] + rng.normal(0.0, 0.03, 2)
            position = np.array([*near, rng.uniform(0.05, 0.20)])
        try:
            envs.place_hand(slot, position, float(rng.uniform(-0.5, 0.5)))
            return
        except ValueError:  # out of reach: draw again
            continue


def _things(task: Task | None, infos: Any, slot: int, *, wrist: bool) -> dict[int, Thing]:
    """Segment ids to what they show. Places are relative to the table's middle, or to the hand for
    the camera that it carries, in units of 0.2 m."""
    if task is None:
        return {}
    row = trace_row(infos, slot)
    origin = row["ee_position"] if wrist else np.array([0.5, 0.0, 0.05])
    things = {SEGMENT_ROBOT: Thing(("gripper",))}
    for i, thing in enumerate(task.scene["objects"]):
        x, y, z = ((row["object_positions"][i] - origin) / 0.2).tolist()
        things[SEGMENT_OBJECT + i] = Thing((thing["color"], thing["shape"]), (x, y, z), 4.0)
    for j, zone in enumerate(task.scene["zones"]):
        x, y, z = ((np.array([*zone["position"], 0.0]) - origin) / 0.2).tolist()
        things[SEGMENT_ZONE + j] = Thing((zone["color"], "zone"), (x, y, z))
    return things
