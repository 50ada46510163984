"""The expert: it succeeds, its manner shows in its motion, it recovers, and its words are true."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pybullet as pb
import pytest

from pilotage.envs.tabletop import expert, layout, make_tasks, narrate, reword, vocabulary
from pilotage.envs.tabletop.goals import distance_to_goal, is_success
from pilotage.envs.tabletop.physics import TabletopPhysics, TabletopState
from pilotage.episodes.types import Task


@dataclass
class Played:
    success: bool
    states: list[TabletopState]
    narrations: list[str] = field(default_factory=list)

    @property
    def speed(self) -> float:
        """Mean speed of the end effector, m/s."""
        points = np.array([s.ee_position for s in self.states])
        return float(np.linalg.norm(np.diff(points, axis=0), axis=1).mean() / 0.1)


@pytest.fixture(scope="module")
def physics() -> Iterator[TabletopPhysics]:
    world = TabletopPhysics()
    yield world
    world.close()


def play(physics: TabletopPhysics, task: Task, *, noise: float = 0.0, seed: int = 0) -> Played:
    rng = np.random.default_rng(seed)
    physics.build(task)
    played = Played(False, [physics.state()])
    while not played.success and len(played.states) <= task.max_steps:
        action, narration = expert(played.states[-1], task)
        assert action.dtype == np.float32
        assert (np.abs(action) <= 1).all()
        action[:3] = np.clip(action[:3] + noise * rng.standard_normal(3), -1, 1)
        physics.step(action)
        played.states.append(physics.state())
        played.narrations.append(narration)
        played.success = is_success(played.states[-1], task)
    return played


@pytest.mark.parametrize("family", layout.FAMILIES)
def test_the_expert_succeeds_in_every_manner(physics: TabletopPhysics, family: str) -> None:
    for task in make_tasks("test", 4, families=[family], seed=6):
        assert play(physics, task).success, task.instruction


@pytest.mark.parametrize("family", layout.FAMILIES)
def test_it_recovers_from_noise(physics: TabletopPhysics, family: str) -> None:
    for i, task in enumerate(make_tasks("train", 2, families=[family], manners="none", seed=7)):
        assert play(physics, task, noise=0.2, seed=i).success, task.instruction


@pytest.mark.parametrize(("family", "n"), [("reach", 4), ("push", 2), ("pick_place", 1)])
def test_speed_words_change_the_speed(physics: TabletopPhysics, family: str, n: int) -> None:
    tasks = make_tasks("train", n, families=[family], manners="none", seed=8)
    speed = {
        word: np.mean([play(physics, reword(t, {"speed": word})).speed for t in tasks])
        for word in ("slow", "normal", "fast")
    }
    assert speed["fast"] >= 2.0 * speed["normal"]
    assert speed["slow"] <= 0.42 * speed["normal"]


@pytest.mark.parametrize("family", ["pick_place", "put_beside"])
def test_height_words_change_how_high_it_carries(physics: TabletopPhysics, family: str) -> None:
    (task,) = make_tasks("train", 1, families=[family], manners="none", seed=9)
    index = task.goal["object"]
    rest = layout.rest_height(task.scene["objects"][index]["shape"])
    for height, expected in (("low", 0.06), (None, 0.14), ("high", 0.25)):
        states = play(physics, reword(task, {"height": height})).states
        top = max(s.object_positions[index][2] for s in states) - rest
        assert top == pytest.approx(expected, abs=0.025)


def approach_point(state: TabletopState, task: Task) -> np.ndarray:
    """Where the hand has to be before it reaches, grasps or pushes, [3] m."""
    target = state.object_positions[task.goal["object"]]
    rest = layout.rest_height(task.scene["objects"][task.goal["object"]]["shape"])
    if task.family == "reach":
        return target + np.array([0, 0, rest + 0.06])
    if task.family == "lift":
        return target + np.array([0, 0, 0.11])
    way = target[:2] - task.scene["zones"][task.goal["zone"]]["position"]
    return np.array([*(target[:2] + 0.08 * way / np.linalg.norm(way)), 0.13])


@pytest.mark.parametrize("family", ["reach", "push", "lift"])
@pytest.mark.parametrize(("side", "sign"), [("left", -1), ("right", 1)])
def test_it_comes_from_the_side_it_was_told(
    physics: TabletopPhysics, family: str, side: str, sign: int
) -> None:
    for task in make_tasks("train", 3, families=[family], manners="none", seed=10):
        states = play(physics, reword(task, {"side": side})).states
        offsets = [s.ee_position - approach_point(states[0], task) for s in states]
        arrival = next(o for o in offsets if np.linalg.norm(o) < 0.06)
        assert sign * arrival[1] > 0.5 * np.linalg.norm(arrival)


def test_gently_is_slower_only_near_the_object(physics: TabletopPhysics) -> None:
    (task,) = make_tasks("train", 1, families=["lift"], manners="none", seed=11)
    fastest = {}
    for gentle in (False, True):
        states = play(physics, reword(task, {"gentle": gentle})).states
        target = states[0].object_positions[task.goal["object"]]
        points = np.array([s.ee_position for s in states])
        steps = np.linalg.norm(np.diff(points, axis=0), axis=1)
        near = np.linalg.norm(points[:-1] - target, axis=1) < 0.06
        fastest[gentle] = steps[near].max(), steps[~near].max()
    assert fastest[True][0] < 0.7 * fastest[False][0]
    assert fastest[True][1] == pytest.approx(fastest[False][1], rel=0.1)


def test_it_picks_up_again_what_was_taken_away(physics: TabletopPhysics) -> None:
    (task,) = make_tasks("train", 1, families=["pick_place"], manners="none", seed=12)
    index = task.goal["object"]
    physics.build(task)
    state, stolen = physics.state(), False
    for _ in range(task.max_steps):
        if state.held == index and not stolen and state.object_positions[index][2] > 0.08:
            start = [*task.scene["objects"][index]["position"], 0.03]
            body = physics.objects[index]
            pb.resetBasePositionAndOrientation(
                body, start, [0, 0, 0, 1], physicsClientId=physics.client
            )
            stolen = True
        physics.step(expert(state, task)[0])
        state = physics.state()
        if is_success(state, task):
            break
    assert stolen
    assert is_success(state, task)
    assert distance_to_goal(state, task) == 0


@pytest.mark.parametrize("family", ["lift", "pick_place", "push"])
def test_a_small_mistake_about_the_place_changes_the_action_little(
    physics: TabletopPhysics, family: str
) -> None:
    """Along lines over the object, 2 mm from place to place, no part of the translation jumps: a
    policy that sees a centimetre wrong must not find "up" where the expert says "down"."""
    (task,) = make_tasks("train", 1, families=[family], manners="none", seed=17)
    physics.build(task)
    state = physics.state()
    middle = state.object_positions[task.goal["object"]]
    if family == "push":
        middle = approach_point(state, task) * [1, 1, 0]
    worst = 0.0
    lowest = 0.06 if family == "push" else 0.05  # lower, it pushes or backs off: another matter
    for height in np.arange(lowest, 0.2, 0.01):
        for turn in np.arange(0.0, np.pi, np.pi / 6):
            way = np.array([np.cos(turn), np.sin(turn), 0.0])
            actions = [
                expert(replace(state, ee_position=middle + [0, 0, height] + far * way), task)[0]
                for far in np.arange(-0.15, 0.15, 0.002)
            ]
            worst = max(worst, float(np.abs(np.diff(np.array(actions)[:, :3], axis=0)).max()))
    assert worst < 0.25


def test_it_has_no_memory(physics: TabletopPhysics) -> None:
    """The same state gives the same action, whatever was asked in between."""
    tasks = make_tasks("train", 5, seed=13)[::2]
    states = [play(physics, task).states[::7] for task in tasks]
    first = [[expert(s, t) for s in rows] for t, rows in zip(tasks, states, strict=True)]
    for t, rows, answers in zip(tasks[::-1], states[::-1], first[::-1], strict=True):
        for s, (action, words) in zip(rows[::-1], answers[::-1], strict=True):
            again, words_again = expert(s, t)
            np.testing.assert_array_equal(again, action)
            assert words_again == words == narrate(s, t, action)


def test_narration_is_true_to_motion_and_manner(physics: TabletopPhysics) -> None:
    known = set(vocabulary())
    axis = {"closer": (0, 1), "away": (0, -1), "right": (1, 1), "left": (1, -1)}
    axis |= {"up": (2, 1), "down": (2, -1)}
    (task,) = make_tasks("train", 1, families=["pick_place"], manners="none", seed=14)
    for speed, word in (("fast", "quickly"), ("slow", "slowly"), (None, None)):
        played = play(physics, reword(task, {"speed": speed}))
        said = [n.split() for n in played.narrations]
        assert {w for words in said for w in words} <= known
        assert all(words[0] == "i" for words in said)
        assert all((word in words) for words in said) if word else True
        assert not any({"quickly", "slowly"} & set(words) for words in said) or word
        sentences = " | ".join(played.narrations)
        for part in ("move", "close the gripper", "lift it", "carry it", "lower it", "open the"):
            assert part in sentences
        for words, before, after in zip(said, played.states, played.states[1:], strict=False):
            way = after.ee_position - before.ee_position
            named = [axis[w] for w in words if w in axis and words[1] == "move"]
            if named and np.linalg.norm(way) > 0.006:
                assert way[named[0][0]] * named[0][1] > 0


@pytest.mark.parametrize(
    ("axis", "sign", "words"),
    [
        (0, 1, "i move closer slowly"),  # to the camera
        (0, -1, "i move away slowly"),
        (1, 1, "i move right slowly"),  # in the picture
        (1, -1, "i move left slowly"),
        (2, 1, "i move up slowly"),
        (2, -1, "i move down slowly"),
    ],
)
def test_directions_are_named_as_seen_in_the_picture(
    physics: TabletopPhysics, axis: int, sign: int, words: str
) -> None:
    (task,) = make_tasks("train", 1, families=["reach"], manners="none", seed=15)
    physics.build(task)
    action = np.zeros(7)
    action[axis], action[6] = 0.1 * sign, 1.0
    assert narrate(physics.state(), reword(task, {"speed": "slow"}), action) == words
