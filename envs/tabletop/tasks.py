"""Task generation: scenes, goals, instructions and splits; and rewording a task's manner.

A task of the test split has at least one held-out aspect among its template, the (colour, shape)
pair of the object acted on, and the table cell where that object starts; a spoken manner may be
held out besides ("phrase"). Training tasks have none, and no held-out pair even lies around.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.grammar import compose, object_name, templates
from pilotage.envs.tabletop.manners import complete_manner, draw_manner, draw_spoken
from pilotage.envs.tabletop.scenes import SceneDraft, draft_scene, draw_start, path_length
from pilotage.envs.tabletop.splits import check_split
from pilotage.episodes.types import Task, digest

ASPECTS = ("template", "pair", "cell")


def make_tasks(
    split: str,
    n: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    manners: str = "mixed",
) -> list[Task]:
    """`n` tasks of a split, balanced over families; a pure function of the arguments.

    The first k tasks of a longer list are the list of length k.

    Args:
        split: "train", "val" or "test".
        n: how many, >= 0.
        seed: another seed gives other tasks of the same distribution.
        families: some of `layout.FAMILIES`, default all.
        manners: "mixed" (in each family every second task is plain), "none" (all plain), "any"
            (all have a manner), or one kind for all: "speed", "height", "side", "gentle".
            Families without that kind are left out.

    Raises:
        ValueError: an unknown split, family or manner, a negative n, or no family left.
    """
    check_split(split)
    if n < 0:
        raise ValueError(f"n={n}; ask for 0 or more tasks")
    chosen = _families(families, manners)
    return [_make_task(split, seed, i, chosen, manners) for i in range(n)]


def _families(families: Sequence[str] | None, manners: str) -> tuple[str, ...]:
    kinds = sorted({kind for table in layout.MANNERS.values() for kind in table})
    if manners not in ("mixed", "none", "any", *kinds):
        raise ValueError(
            f"manners={manners!r} is unknown; choose mixed, none, any or one of {', '.join(kinds)}"
        )
    wanted = tuple(layout.FAMILIES if families is None else families)
    for family in wanted:
        if family not in layout.FAMILIES:
            raise ValueError(
                f"family {family!r} is unknown; choose from {', '.join(layout.FAMILIES)}"
            )
    able = tuple(f for f in wanted if manners not in kinds or manners in layout.MANNERS[f])
    if not able:
        raise ValueError(f"no family of {wanted} has the manner {manners!r}")
    return able


def _make_task(split: str, seed: int, index: int, families: tuple[str, ...], manners: str) -> Task:
    family = families[index % len(families)]
    has_manner = manners != "none" and not (
        manners == "mixed" and (index // len(families)) % 2 == 0
    )
    words = digest(["tabletop", split, seed, index, family, manners])
    rng = np.random.Generator(np.random.PCG64(int(words[:16], 16)))
    held_out = _draw_held_out(split, rng)
    home = {aspect: split if aspect in held_out else "train" for aspect in ASPECTS}

    draft = draft_scene(family, home["pair"], home["cell"], rng)
    start = draw_start(draft, rng)
    options = templates(family)[home["template"]]
    template = options[int(rng.integers(len(options)))]
    manner = dict(layout.PLAIN_MANNER)
    if has_manner:
        manner = draw_manner(family, manners if manners in layout.MANNERS[family] else None, rng)
    if has_manner and split != "train" and rng.random() < 0.5:
        held_out = [*held_out, "phrase"]
    base = {"family": family, "split": split, "scene": draft.scene, "start": start}
    base |= {"goal": draft.goal, "template": template}
    base_id = f"tabletop-{family}-{split}-{digest([base, manner])[:12]}"
    return assemble(base, base_id, base_id, manner, held_out, draft, start)


def _draw_held_out(split: str, rng: np.random.Generator) -> list[str]:
    if split == "train":
        return []
    drawn = [aspect for aspect in ASPECTS if rng.random() < 0.5]
    return drawn or [ASPECTS[int(rng.integers(len(ASPECTS)))]]


def assemble(
    base: Mapping[str, Any],
    base_id: str,
    task_id: str,
    manner: Mapping[str, Any],
    held_out: Sequence[str],
    draft: SceneDraft,
    start: Mapping[str, Any],
) -> Task:
    spoken = draw_spoken(manner, base_id, base["split"] if "phrase" in held_out else "train")
    info = {
        "base_id": base_id,
        "manner": dict(manner),
        "spoken": spoken,
        "template": base["template"],
        "target": draft.target_name,
        "held_out": list(held_out),
    }
    length, path = path_length(base["family"], draft.scene, draft.goal, start)
    return Task(
        task_id=task_id,
        env="tabletop",
        split=base["split"],
        family=base["family"],
        instruction=compose(base["template"], _fields(draft.scene, draft.goal), spoken),
        max_steps=layout.MAX_STEPS[base["family"]],
        scene=draft.scene,
        start=dict(start),
        goal=draft.goal,
        shortest_path_length=length,
        reference_path=path,
        info=info,
    )


def _fields(scene: Mapping[str, Any], goal: Mapping[str, Any]) -> dict[str, str]:
    """Values of the template's fields."""
    fields = {"a": object_name(scene["objects"][goal["object"]])}
    if "zone" in goal:
        fields["z"] = scene["zones"][goal["zone"]]["color"]
    if "reference" in goal:
        fields["b"] = object_name(scene["objects"][goal["reference"]])
    return fields


def reword(task: Task, manner: Mapping[str, Any]) -> Task:
    """The same task (scene, start, goal, template) asked for in another manner.

    Args:
        task: a tabletop task, possibly reworded before.
        manner: the whole manner, e.g. `{"speed": "fast"}`; kinds left out are plain, and the empty
            mapping is the plain instruction. Its words depend only on the task and the value, so
            two rewordings differ in nothing else.

    Returns:
        The task with the new instruction, and the id of the original with a suffix such as
        "+speed=fast" or "+plain". It may no longer hold out a phrase.

    Raises:
        ValueError: the manner is unknown, or makes no sense for the task's family.
    """
    full = complete_manner(task.family, manner)
    voiced = {k: v for k, v in full.items() if v != layout.PLAIN_MANNER[k]}
    suffix = ",".join(f"{k}={v}" for k, v in sorted(voiced.items())) or "plain"
    held_out = [a for a in task.info["held_out"] if a != "phrase" or voiced]
    base_id = task.info["base_id"]
    base = {"family": task.family, "split": task.split, "template": task.info["template"]}
    draft = SceneDraft(task.scene, task.goal, task.info["target"])
    return assemble(base, base_id, f"{base_id}+{suffix}", full, held_out, draft, task.start)


def with_manner(task: Task, **changes: Any) -> Task:
    """`reword` with some kinds changed and the others kept: `with_manner(task, speed="fast")`.

    None is the plain value: `with_manner(task, speed=None)` takes the speed word away.
    """
    plain = layout.PLAIN_MANNER
    merged = dict(task.info["manner"]) | changes
    return reword(task, {k: plain.get(k) if v is None else v for k, v in merged.items()})


def paired_tasks(tasks: Sequence[Task], *manners: Mapping[str, Any]) -> list[list[Task]]:
    """For each manner, all the tasks reworded to it: `paired_tasks(tasks, {}, {"speed": "fast"})`.

    Rows are manners, columns are tasks, so entry [0][i] and [1][i] share their scene.
    """
    return [[reword(task, manner) for task in tasks] for manner in manners]
