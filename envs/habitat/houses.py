"""Generated houses for habitat-sim: their files, and the tasks of the rooms world in them.

A bare .glb is taken as z-up by the library, which turns it: (x, y, z) becomes (x, z, -y). Ours are
y-up, as glTF asks, so a stage description that says so lies beside the mesh, and is what is opened.
A house's (x, y, z), z up, is the library's (x, z, -y), y up, as in `pilotage.envs.rooms.glb`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from pilotage.envs.rooms import tasks as rooms_tasks
from pilotage.envs.rooms.house import House
from pilotage.episodes.types import Task

SUCCESS_RADIUS_M = 3.0  # as in the rooms world


def write_house(house: House, folder: str | Path) -> Path:
    """Write `house` into `folder` unless it is there; the path of its `.stage_config.json`.

    Each file is complete or absent, and its name has the house's digest: houses never mix.
    """
    scene = house.scene()
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    name = f"house_{scene['house_seed']}_{scene['digest']}"
    mesh, stage = target / f"{name}.glb", target / f"{name}.stage_config.json"
    if not mesh.is_file():
        house.to_glb(mesh)
    if not stage.is_file():
        content = {
            "render_asset": mesh.name,
            "collision_asset": mesh.name,
            "up": [0.0, 1.0, 0.0],
            "front": [0.0, 0.0, -1.0],
            "origin": [0.0, 0.0, 0.0],
            "scale": [1.0, 1.0, 1.0],
            "units_to_meters": 1.0,
        }
        draft = stage.with_name(stage.name + ".part")
        draft.write_text(json.dumps(content, indent=1) + "\n")
        draft.replace(stage)
    return stage


def habitat_task(task: Task) -> Task:
    """A task of the rooms world as one of this world: same house, start, goal, words and steps.

    Raises ValueError for a task of another world.
    """
    if task.env != "rooms":
        raise ValueError(f"task {task.task_id!r} is for the world {task.env!r}, not 'rooms'")
    points = [[float(x), float(y), 0.0] for x, y in task.goal["points"]]
    return replace(
        task,
        task_id=f"habitat-{task.task_id}",
        env="habitat",
        goal={**task.goal, "points": points, "success_radius_m": SUCCESS_RADIUS_M},
        info={**task.info, "rooms_task": task.task_id},
    )


def make_tasks(
    split: str, n: int, *, seed: int = 0, families: Sequence[str] | None = None
) -> list[Task]:
    """`n` tasks in generated houses: those of `pilotage.envs.rooms.make_tasks`, which says more.

    Raises ValueError: unknown split or family, negative n.
    """
    drawn = rooms_tasks.make_tasks(split, n, seed=seed, families=families)
    return [habitat_task(task) for task in drawn]
