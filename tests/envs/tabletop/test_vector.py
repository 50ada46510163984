"""The vector and the single environment: contracts, determinism, bad input, isolation of slots."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pilotage.envs.registry import WORLDS, load_world
from pilotage.envs.tabletop import TabletopEnv, TabletopVectorEnv, make_tasks
from pilotage.episodes.testing import check_vector_world
from pilotage.episodes.types import EndReason, Task

TASKS = make_tasks("train", 5, seed=1, manners="speed")


def play(
    env: TabletopVectorEnv, tasks: list[Task | None], steps: int, *, film: bool = False
) -> list[list[bytes]]:
    """Everything recorded of each slot: pictures, proprioception, trace, rewards, narration."""
    mask = np.array([t is not None for t in tasks])
    seeds = [0 if t is None else int(t.task_id[-6:], 16) for t in tasks]
    observations, infos = env.reset(seed=seeds, options={"reset_mask": mask, "tasks": tasks})
    rows: list[list[bytes]] = [[] for _ in tasks]
    rewards = np.zeros(len(tasks))
    for _ in range(steps):
        for slot in np.flatnonzero(mask):
            parts = [observations[k][slot] for k in ("rgb", "wrist_rgb", "proprio")]
            parts += [infos["trace"][k][slot] for k in sorted(infos["trace"])]
            parts += [rewards[slot], infos["success"][slot]]
            rows[slot].append(b"".join(np.asarray(p).tobytes() for p in parts))
            rows[slot].append(infos["narration"][slot].encode())
        if film:
            env.render()
        observations, rewards, _, _, infos = env.step(observations["expert_action"])
    return rows


def make(n_slots: int, **kwargs: Any) -> TabletopVectorEnv:
    return TabletopVectorEnv(n_slots, expert_actions=True, wrist=True, camera_jitter=0.01, **kwargs)


def test_the_vector_world_keeps_the_contract() -> None:
    tasks = [replace(task, max_steps=5 + i) for i, task in enumerate(TASKS[:4])]
    check_vector_world(TabletopVectorEnv, tasks)


def test_a_task_plays_bit_identically_anywhere_and_after_anything() -> None:
    lone = make(1)
    expected = [play(lone, [task], 14)[0] for task in TASKS[:3]]
    crowd = make(3)
    assert play(crowd, list(TASKS[:3]), 14) == expected
    play(crowd, [TASKS[4], TASKS[3], TASKS[4]], 9)
    shuffled = play(crowd, [TASKS[2], None, TASKS[0]], 14)
    assert [shuffled[2], shuffled[0]] == [expected[0], expected[2]]
    lone.close()
    crowd.close()


@pytest.mark.parametrize("renderer", ["camera", "tiny"])
def test_filming_changes_nothing(renderer: str) -> None:
    env = make(1)
    filmed = make(1, film_renderer=renderer)
    assert play(filmed, [TASKS[2]], 12, film=True) == play(env, [TASKS[2]], 12)
    picture = filmed.film(0, height=48, width=64)
    assert picture.shape == (48, 64, 3)
    assert picture.std() > 10
    env.close()
    filmed.close()


def test_the_single_environment_passes_gymnasiums_checker() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        env = gym.make("pilotage.envs.registration:pilotage/Tabletop-v0", render_mode="rgb_array")
        check_env(env.unwrapped)
        env.reset(seed=0)
        picture = env.render()
    assert picture.shape == (240, 320, 3)
    env.close()


def test_the_single_environment_plays_a_task_to_its_end() -> None:
    env = TabletopEnv(expert_actions=True, render_rgb=False)
    observation, infos = env.reset(seed=0, options={"task": TASKS[0]})
    assert observation["instruction"] == TASKS[0].instruction
    total, ended = 0.0, False
    while not ended:
        observation, reward, terminated, truncated, infos = env.step(observation["expert_action"])
        total, ended = total + reward, terminated or truncated
    assert (total, terminated, infos["success"]) == (1.0, True, True)
    assert infos["end_reason"] == EndReason.GOAL_REACHED.value
    with pytest.raises(RuntimeError, match="reset"):
        env.step(np.zeros(7, np.float32))
    env.close()


@pytest.mark.parametrize("bad", [np.nan, 1.01, -np.inf])
def test_a_bad_action_names_slot_and_value_and_moves_nothing(bad: float) -> None:
    env = make(2)
    env.reset(seed=[0, 0], options={"tasks": list(TASKS[:2])})
    actions = np.zeros((2, 7), np.float32)
    actions[1, 3] = bad
    with pytest.raises(ValueError, match=r"slot 1 has .* at index 3"):
        env.step(actions)
    _, infos = env.reset(options={"reset_mask": np.zeros(2, bool), "tasks": [None, None]})
    np.testing.assert_allclose(
        infos["trace"]["ee_position"][0], TASKS[0].start["ee_position"], atol=1e-3
    )
    with pytest.raises(ValueError, match="one row per slot"):
        env.step(np.zeros((3, 7)))
    env.close()


def test_a_slot_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    env = make(2)
    observations, _ = env.reset(seed=[0, 0], options={"tasks": list(TASKS[:2])})

    def explode(_: np.ndarray) -> None:
        raise OSError("out of table")

    monkeypatch.setattr(env._slots[0].physics, "step", explode)
    _, rewards, terminated, truncated, infos = env.step(observations["expert_action"])
    assert infos["end_reason"] == [EndReason.ENV_ERROR.value, ""]
    assert infos["env_error"] == ["OSError: out of table", None]
    assert not rewards[0]
    assert terminated[0]
    assert not truncated.any()
    broken = replace(TASKS[0], start={"ee_position": [3.0, 0.0, 0.3], "ee_yaw": 0.0})
    _, infos = env.reset(
        seed=[0, 0], options={"reset_mask": np.array([True, False]), "tasks": [broken, None]}
    )
    assert "out of reach" in infos["env_error"][0]
    env.close()


def test_the_step_limit_truncates() -> None:
    env = make(1, render_rgb=False)
    env.reset(seed=[0], options={"tasks": [replace(TASKS[0], max_steps=2)]})
    for expected in ("", "step_limit", "step_limit"):
        _, _, terminated, truncated, infos = env.step(np.zeros((1, 7)))
        assert infos["end_reason"] == [expected]
        assert not terminated[0]
    assert not truncated[0]  # the flag is up once
    env.close()


def test_progress_reward_adds_up_to_the_distance() -> None:
    env = TabletopVectorEnv(1, expert_actions=True, render_rgb=False, reward="progress")
    observations, infos = env.reset(seed=[0], options={"tasks": [TASKS[0]]})
    start, total = infos["trace"]["distance_to_goal"][0, 0], 0.0
    while not infos["end_reason"][0]:
        observations, rewards, _, _, infos = env.step(observations["expert_action"])
        total += rewards[0]
    assert total == pytest.approx(1.0 + start)
    env.close()


def test_the_picture_shows_the_named_object_in_its_color() -> None:
    env = make(1)
    (task,) = make_tasks("train", 1, seed=3, families=["lift"], manners="none")
    observations, _ = env.reset(seed=[0], options={"tasks": [task]})
    for name in ("rgb", "wrist_rgb"):
        assert observations[name].shape == (1, 64, 64, 3)
    picture = observations["rgb"][0].astype(float)
    for thing in task.scene["objects"]:
        wanted = np.array(thing["rgb"]) / np.linalg.norm(thing["rgb"])
        hue = picture / np.linalg.norm(picture, axis=2, keepdims=True)
        assert ((hue @ wanted) > 0.97).sum() >= 4, thing["color"]
    env.close()


@pytest.mark.parametrize(
    "arguments",
    [{"n_slots": 0}, {"image_size": 2}, {"reward": "dense"}, {"film_renderer": "x"}],
)
def test_wrong_arguments_are_refused(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments))):
        TabletopVectorEnv(**{"n_slots": 1, **arguments})


def test_a_reset_without_a_task_of_this_world_is_refused() -> None:
    env = make(2)
    with pytest.raises(ValueError, match="slot 1"):
        env.reset(options={"tasks": [TASKS[0], None]})
    with pytest.raises(ValueError, match="tasks has 1 entries for 2 slots"):
        env.reset(options={"tasks": [TASKS[0]]})
    env.close()


def test_worlds_are_found_by_name() -> None:
    world = load_world("tabletop")
    assert world.make_tasks("val", 2)[0].env == "tabletop"
    env = world.make_vector(1, render_rgb=False)
    env.close()
    assert set(WORLDS) >= {"tabletop", "rooms"}
    with pytest.raises(KeyError, match="did you mean tabletop"):
        load_world("table")
