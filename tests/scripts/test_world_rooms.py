"""What the training in Rooms says of pictures: where the way leads, and what it leads to."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from pilotage.agents.vla.demos import Driver, Siblings, collect
from pilotage.agents.vla.presets import preset
from pilotage.envs.rooms import RoomsVectorEnv, make_tasks
from pilotage.envs.rooms.bodies import DOOR_SEGMENT, ITEM_SEGMENT
from pilotage.envs.rooms.house import load_house
from pilotage.envs.rooms.interpreter import interpret
from pilotage.envs.rooms.layout import Door
from pilotage.episodes.types import Task
from pilotage.scripts.world_rooms import (
    aux_targets,
    clause_of,
    draw_sibling,
    leg_words,
    n_doors_at_start,
    opening_columns,
    pointing,
    rooms_of_route,
    train_tasks,
)
from pilotage.scripts.worlds import training_world

DOOR = Door((0, 1), (2.0, 0.0), 0, 2.0)  # in a wall across the x axis, from y = -1 to y = 1


@pytest.mark.parametrize(
    ("pose", "columns"),
    [
        ((0.0, 0.0, 0.0), (16, 48)),  # 2 m off, posts 1 m to either side: half of a 90 deg view
        ((1.0, 0.0, 0.0), (0, 64)),  # 1 m off: it fills the view
        ((0.0, 0.0, math.pi), (0, 0)),  # behind
        ((0.0, 1.0, 0.0), (32, 64)),  # straight at the left post: the opening is to the right
        ((0.0, -1.0, 0.0), (0, 32)),
    ],
)
def test_a_doors_opening_in_the_picture(
    pose: tuple[float, float, float], columns: tuple[int, int]
) -> None:
    assert opening_columns(DOOR, *pose, 64) == pytest.approx(columns, abs=1e-9)


def test_the_way_leads_through_the_columns_that_are_pointed_at() -> None:
    """On the way every state with a visible door points; the frame's posts bound what is pointed
    at; and the expert, who turns towards the door, ends with it in the middle of the view."""
    world = training_world("rooms")
    config = preset("rooms", "nano", world.vocabulary(), aux_dim=world.aux_dim)
    envs = RoomsVectorEnv(4, expert_actions=True)
    tasks = make_tasks("train", 4, seed=3, families=["instruction"])
    observations, _ = envs.reset(
        seed=[0] * 4, options={"reset_mask": np.ones(4, bool), "tasks": tasks}
    )
    n_doors = n_forward = n_ahead = n_ends = 0
    for _ in range(60):
        for slot in range(4):
            if not envs.live[slot]:
                continue
            marks = pointing(envs, slot, tasks[slot], config)
            assert marks.shape == (8, 2)
            segments = envs.segments(slot)
            if marks[:, 0].any():
                n_doors += 1
                assert (segments >= DOOR_SEGMENT).any()
                runs = np.flatnonzero(np.diff(np.r_[0, marks[:, 0], 0]))
                assert len(runs) == 2  # one opening: neighbouring columns
                if observations["expert_action"][slot] == 1:
                    n_forward += 1
                    n_ahead += bool(marks[3:5, 0].any())
            kind, index = tasks[slot].goal["endpoint"]
            if kind == "item" and marks[:, 1].any():
                n_ends += 1
                columns = (segments == ITEM_SEGMENT + index).any(axis=0).reshape(8, 8).any(axis=1)
                assert (columns >= marks[:, 1]).all()
        observations, *_ = envs.step(np.asarray(observations["expert_action"]))
    envs.close()
    assert n_doors > 20
    assert n_forward > 10
    assert n_ahead > 0.8 * n_forward


def test_pointnav_points_at_no_thing() -> None:
    config = preset("rooms", "nano", training_world("rooms").vocabulary(), aux_dim=5)
    envs = RoomsVectorEnv(1, expert_actions=True)
    task = next(t for t in train_tasks(16, 0) if t.family == "pointnav")
    _, infos = envs.reset(seed=[0], options={"reset_mask": np.ones(1, bool), "tasks": [task]})
    assert not pointing(envs, 0, task, config)[:, 1].any()
    row = {name: rows[0] for name, rows in infos["trace"].items()}
    assert aux_targets(task, row).shape == (5,)
    envs.close()


def test_the_words_of_each_room_of_a_route() -> None:
    text = (
        "turn around then take the door ahead and go past the sofa "
        "and then enter the library and stop at the lamp"
    )
    words = text.split()
    legs = [" ".join(words[first:end]) for first, end in leg_words(text)]
    assert legs == [
        "turn around then take the door ahead",
        "and go past the sofa and then enter the library",
        "and stop at the lamp",
    ]


def test_every_route_has_words_for_each_of_its_rooms() -> None:
    envs = RoomsVectorEnv(1, expert_actions=True)
    for task in make_tasks("train", 40, seed=8, families=["instruction"]):
        envs.reset(seed=[0], options={"reset_mask": np.ones(1, bool), "tasks": [task]})
        house = envs.lanes[0].house
        rooms = rooms_of_route(house, task)
        legs = leg_words(task.instruction)
        assert len(legs) == len(rooms)
        words = task.instruction.split()
        for room, (first, end) in zip(rooms[1:], legs, strict=False):  # "into the kitchen"
            if " into " in (leg := " " + " ".join(words[first:end])):
                assert leg.split(" into the ")[-1] == house.rooms[room].type


def test_the_expert_carries_out_the_words_in_their_order() -> None:
    world = training_world("rooms")
    config = preset("rooms", "nano", world.vocabulary(), aux_dim=world.aux_dim)
    envs = RoomsVectorEnv(4, expert_actions=True)
    tasks = [
        *make_tasks("train", 3, seed=4, families=["instruction"]),
        *make_tasks("train", 1, seed=4, families=["pointnav"]),
    ]
    observations, _ = envs.reset(
        seed=[0] * 4, options={"reset_mask": np.ones(4, bool), "tasks": tasks}
    )
    seen: list[list[tuple[int, int]]] = [[], [], [], []]
    live = np.ones(4, bool)
    while live.any():
        for slot in np.flatnonzero(live).tolist():
            marks = np.flatnonzero(clause_of(envs, slot, tasks[slot], config))
            if len(marks):
                assert len(marks) == marks[-1] - marks[0] + 1  # neighbouring words
                span = (int(marks[0]) - 1, int(marks[-1]))  # behind <bos>
                seen[slot] += [] if seen[slot][-1:] == [span] else [span]
        observations, _, terminated, truncated, _ = envs.step(observations["expert_action"])
        live &= ~(terminated | truncated)
    for slot in range(3):
        assert seen[slot] == leg_words(tasks[slot].instruction)
    assert not seen[3]


def _siblings(n: int) -> list[tuple[Task, Task]]:
    rng = np.random.default_rng(0)
    tasks = [t for t in train_tasks(n, 2) if t.family == "instruction"]
    return [(task, other) for task in tasks if (other := draw_sibling(task, rng)) is not None]


def test_most_instructions_to_train_on_begin_with_a_choice_of_doors() -> None:
    told = [t for t in train_tasks(32, 6) if t.family == "instruction"]
    assert len(told) == 24
    assert len({t.task_id for t in told}) == 24
    assert sum(n_doors_at_start(t) > 1 for t in told) == 18
    as_they_come = make_tasks("train", 24, seed=6, families=["instruction"])
    assert sum(n_doors_at_start(t) > 1 for t in as_they_come) < 18  # else nothing was chosen


def test_a_sibling_begins_alike_and_leads_through_another_door() -> None:
    pairs = _siblings(24)
    assert len(pairs) > 12
    for task, other in pairs:
        assert (other.scene, other.start, other.split) == (task.scene, task.start, "train")
        house = load_house(task.scene)
        routes = [rooms_of_route(house, t) for t in (task, other)]
        n = min(map(len, routes))
        assert routes[0][0] == routes[1][0]
        assert routes[0][:n] != routes[1][:n]
        x, y = other.start["position"][:2]
        assert interpret(house, other.instruction, x, y, other.start["heading"]) == {
            tuple(other.goal["endpoint"])
        }
    (point,) = make_tasks("train", 1, seed=0, families=["pointnav"])
    assert draw_sibling(point, np.random.default_rng(0)) is None


def test_siblings_are_labelled_as_if_they_were_the_task() -> None:
    """Beside the labels of a world that really has the sibling as its task, moved alike."""
    world = training_world("rooms")
    config = preset("rooms", "nano", world.vocabulary(), aux_dim=world.aux_dim)
    (task, other) = _siblings(4)[0]
    only = replace_draw(world.siblings, other)
    envs = world.make_envs(1)
    own, sibling = collect(
        envs,
        [task],
        config=config,
        driver=Driver(max_steps=25),
        aux_targets=world.aux_targets,
        seed=0,
        siblings=only,
        pointing=world.pointing,
        clause_of=world.clause_of,
    )
    assert sibling.images is own.images
    assert own.task == task
    assert sibling.task == other
    observations, infos = envs.reset(
        seed=[0], options={"reset_mask": np.ones(1, bool), "tasks": [other]}
    )
    for step in range(own.n_steps):
        assert int(observations["expert_action"][0]) == int(sibling.actions[step])
        assert infos["narration"][0] == sibling.narrations[step]
        row = {name: rows[0] for name, rows in infos["trace"].items()}
        assert sibling.aux[step, 0] * 5 == pytest.approx(
            float(row["distance_to_goal"][0]), abs=1e-4
        )
        assert sibling.pointed is not None
        assert sibling.clause is not None
        assert (sibling.pointed[step] == pointing(envs, 0, other, config)).all()
        assert (sibling.clause[step] == clause_of(envs, 0, other, config)).all()
        observations, _, _, _, infos = envs.step(own.actions[step : step + 1])
    assert (sibling.actions != own.actions).any()
    envs.close()


def replace_draw(siblings: Siblings | None, other: Task) -> Siblings:
    assert siblings is not None
    return replace(siblings, draw=lambda task, rng: other)


def test_the_way_is_where_the_expert_goes() -> None:
    """The target direction against finite differences: a step along it shortens the distance as no
    step to the side does."""
    envs = RoomsVectorEnv(1, expert_actions=True)
    for task in make_tasks("train", 6, seed=9, families=["instruction"]):
        _, infos = envs.reset(seed=[0], options={"reset_mask": np.ones(1, bool), "tasks": [task]})
        row = {name: rows[0] for name, rows in infos["trace"].items()}
        distance, ahead, left, *_ = aux_targets(task, row)
        lane = envs.lanes[0]
        assert distance * 5 == pytest.approx(task.shortest_path_length, abs=1e-4)
        angles = lane.heading + math.atan2(left, ahead) + np.radians([0, 60, -60])
        gained = [
            lane.field.distance(lane.x, lane.y)
            - lane.field.distance(lane.x + 0.1 * math.cos(a), lane.y + 0.1 * math.sin(a))
            for a in angles.tolist()
        ]
        assert gained[0] > max(gained[1:])
    envs.close()
