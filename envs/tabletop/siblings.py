"""Other tasks in the scene of a training task: the same picture, another sentence.

The expert is a function of the present state, so what it would do for any of them is known at every
state that an episode visits. One episode then teaches several instructions.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.grammar import object_name, templates
from pilotage.envs.tabletop.manners import draw_manner
from pilotage.envs.tabletop.scenes import SceneDraft, blocks, distance
from pilotage.envs.tabletop.splits import cell_of, cells
from pilotage.envs.tabletop.tasks import assemble
from pilotage.episodes.types import Task, digest

PLAIN_SHARE, SPEED_SHARE = 0.3, 0.4  # of siblings; the rest have mixed manners


def draw_sibling(task: Task, rng: np.random.Generator) -> Task | None:
    """Another training task of the same scene and start: family, goal, words and manner are drawn.

    The object acted on lies in a training cell, so nothing held out is shown. None when the family
    drawn cannot be played here.

    Raises:
        ValueError: the task is not of the train split.
    """
    if task.split != "train":
        raise ValueError(f"task {task.task_id} is of split {task.split!r}; siblings are for train")
    family = layout.FAMILIES[int(rng.integers(len(layout.FAMILIES)))]
    goal = _draw_goal(family, task.scene, rng)
    if goal is None:
        return None
    options = templates(family)["train"]
    template = options[int(rng.integers(len(options)))]
    manner = dict(layout.PLAIN_MANNER)
    drawn = rng.random()
    if drawn > PLAIN_SHARE:
        manner = draw_manner(family, "speed" if drawn < PLAIN_SHARE + SPEED_SHARE else None, rng)
    base = {"family": family, "split": "train", "scene": task.scene, "start": task.start}
    base |= {"goal": goal, "template": template}
    base_id = f"tabletop-{family}-train-{digest([base, manner])[:12]}"
    name = object_name(task.scene["objects"][goal["object"]])
    draft = SceneDraft(task.scene, goal, name)
    return assemble(base, base_id, base_id, manner, [], draft, task.start)


def _draw_goal(family: str, scene: Any, rng: np.random.Generator) -> dict[str, Any] | None:
    things, zones = scene["objects"], scene["zones"]
    index = int(rng.integers(len(things)))
    at = things[index]["position"]
    if cell_of(*at) not in cells()["train"]:
        return None
    goal: dict[str, Any] = {"kind": family, "object": index}
    if family == "reach":
        return goal | {"threshold": layout.REACH_THRESHOLD}
    if family == "lift":
        return goal | {"height": layout.LIFT_HEIGHT}
    if family == "put_beside":
        other = int(rng.integers(len(things)))
        if distance(at, things[other]["position"]) < layout.BESIDE_RING[1] + 0.05:
            return None
        return goal | {"reference": other, "ring": list(layout.BESIDE_RING)}
    if not zones:
        return None
    zone = int(rng.integers(len(zones)))
    spot = zones[zone]["position"]
    if distance(at, spot) < layout.MIN_ZONE_GAP:
        return None
    if family == "push" and any(
        blocks(tuple(thing["position"]), tuple(at), tuple(spot))
        for i, thing in enumerate(things)
        if i != index
    ):
        return None
    threshold = layout.PUSH_THRESHOLD if family == "push" else layout.PLACE_THRESHOLD
    return goal | {"zone": zone, "threshold": threshold}
