"""Sibling tasks: same scene, nothing held out, and the expert solves them."""

from __future__ import annotations

import numpy as np
import pytest

from pilotage.envs.tabletop import TabletopVectorEnv, draw_sibling, layout, make_tasks
from pilotage.envs.tabletop.grammar import TEMPLATES, templates
from pilotage.envs.tabletop.splits import cell_of, cells, pairs
from pilotage.episodes.types import Task


def siblings(n_tasks: int, per_task: int, seed: int = 0) -> list[tuple[Task, Task]]:
    rng = np.random.default_rng(seed)
    drawn = [
        (task, draw_sibling(task, rng))
        for task in make_tasks("train", n_tasks, seed=seed)
        for _ in range(per_task)
    ]
    return [(task, sibling) for task, sibling in drawn if sibling is not None]


def test_siblings_share_the_scene_and_show_nothing_held_out() -> None:
    found = siblings(60, 5)
    assert {sibling.family for _, sibling in found} == set(layout.FAMILIES)
    other_target = 0
    for task, sibling in found:
        assert sibling.scene == task.scene
        assert sibling.start == task.start
        thing = sibling.scene["objects"][sibling.goal["object"]]
        assert cell_of(*thing["position"]) in cells()["train"]
        assert (thing["color"], thing["shape"]) in pairs()["train"]
        assert sibling.info["template"] in templates(sibling.family)["train"]
        assert sibling.info["template"] in TEMPLATES[sibling.family]
        assert f"{thing['color']} {thing['shape']}" in sibling.instruction
        other_target += sibling.goal["object"] != task.goal["object"]
    assert other_target > len(found) / 3


def test_the_expert_solves_siblings_as_it_solves_tasks() -> None:
    chosen = [sibling for _, sibling in siblings(12, 1, seed=3)][:8]
    envs = TabletopVectorEnv(len(chosen), expert_actions=True, render_rgb=False)
    observations, infos = envs.reset(seed=0, options={"tasks": chosen})
    for _ in range(250):
        observations, _, _, _, infos = envs.step(observations["expert_action"])
        if all(infos["end_reason"]):
            break
    envs.close()
    assert list(infos["end_reason"]) == ["goal_reached"] * len(chosen)


def test_expert_for_is_what_the_sibling_s_own_episode_says() -> None:
    task, sibling = siblings(3, 3)[0]
    envs = TabletopVectorEnv(2, expert_actions=True, render_rgb=False)
    observations, infos = envs.reset(seed=0, options={"tasks": [task, sibling]})
    for _ in range(5):
        action, words = envs.expert_for(0, sibling)
        assert np.array_equal(action, observations["expert_action"][1])
        assert words == infos["narration"][1]
        both = np.repeat(observations["expert_action"][:1], 2, axis=0)  # the same states
        observations, _, _, _, infos = envs.step(both)
    envs.close()


def test_the_hand_is_placed_and_seen_elsewhere() -> None:
    envs = TabletopVectorEnv(1, expert_actions=True, wrist=True)
    before, _ = envs.reset(seed=0, options={"tasks": make_tasks("train", 1)})
    envs.place_hand(0, np.array([0.5, -0.1, 0.2]), 0.3)
    after, infos = envs.observe([0])
    assert infos["trace"]["ee_position"][0] == pytest.approx([0.5, -0.1, 0.2], abs=1e-3)
    assert not np.array_equal(after["wrist_rgb"], before["wrist_rgb"])
    with pytest.raises(ValueError, match="out of reach"):
        envs.place_hand(0, np.array([3.0, 0.0, 0.2]), 0.0)
    envs.close()


def test_segments_name_the_pixels_of_the_picture() -> None:
    """Where a segment says zone j, the picture has that zone's colour."""
    task = next(t for t in make_tasks("train", 20) if t.scene["zones"])
    envs = TabletopVectorEnv(1, supersample=1)
    observations, _ = envs.reset(seed=0, options={"tasks": [task]})
    segment, rgb = envs.segments()[0], observations["rgb"][0]
    envs.close()
    assert {0, 1, 2} <= set(np.unique(segment).tolist())
    color = np.asarray(task.scene["zones"][0]["rgb"])
    shown = rgb[segment == 10].astype(float)
    assert len(shown) > 10
    unit = shown / np.linalg.norm(shown, axis=1, keepdims=True)  # shading changes brightness only
    assert np.all(unit @ (color / np.linalg.norm(color)) > 0.99)


def test_a_held_out_task_has_no_siblings() -> None:
    with pytest.raises(ValueError, match="siblings are for train"):
        draw_sibling(make_tasks("test", 1)[0], np.random.default_rng(0))
