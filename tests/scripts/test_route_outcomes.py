"""Where instructions end: hand-made walks through a real house."""

from dataclasses import replace

import numpy as np
import pytest

from pilotage.envs.rooms import make_house, make_tasks
from pilotage.envs.rooms.house import House
from pilotage.episodes.types import EndReason, EpisodeRecord, Seeds, Task
from pilotage.scripts.route_outcomes import OUTCOMES, outcome_row, route_outcome

TWO_DOORS = [
    task
    for task in make_tasks("val", 60, seed=3, families=["instruction"])
    if " then " in task.instruction
]


def walk(task: Task, path: np.ndarray, *, success: bool = False) -> EpisodeRecord:
    n = len(path) - 1
    return EpisodeRecord(
        task=task,
        condition="baseline",
        seeds=Seeds(0, 0, 0),
        agent_id="by hand",
        end=EndReason.AGENT_STOPPED,
        success=success,
        actions=np.ones(n, dtype=np.int64),
        rewards=np.zeros(n),
        trace={"position": path},
    )


def through(house: House, door: int, *, into: int) -> np.ndarray:
    """Two points before and behind a door, `[2, 2]`, the second in the room `into`."""
    found = house.doors[door]
    before, after = np.array(found.center, dtype=float), np.array(found.center, dtype=float)
    side = 0.3 if found.rooms[1] == into else -0.3
    before[found.axis] -= side
    after[found.axis] += side
    return np.stack([before, after])


def route_of(task: Task) -> tuple[House, np.ndarray, list[int]]:
    """The house, the reference path every centimetre, and the rooms it visits: looked up point by
    point, not by doors."""
    house = make_house(task.scene["house_seed"])
    corners = np.array(task.reference_path)[:, :2]
    at = np.r_[0.0, np.cumsum(np.linalg.norm(np.diff(corners, axis=0), axis=1))]
    fine = np.arange(0.0, at[-1], 0.01)
    path = np.stack([np.interp(fine, at, corners[:, k]) for k in (0, 1)], axis=1)
    visited = [house.room_at(float(x), float(y)) for x, y in path]
    rooms = [visited[0]]
    for room in visited:
        if room >= 0 and room != rooms[-1]:
            rooms.append(room)
    return house, path, rooms


def test_a_walk_along_the_route_misses_only_the_place() -> None:
    task = TWO_DOORS[0]
    _, path, _ = route_of(task)
    assert route_outcome(walk(task, path, success=True)) == "success"
    assert route_outcome(walk(task, path)) == "beside the goal"


def test_a_walk_that_stays_is_short_of_a_door() -> None:
    task = TWO_DOORS[0]
    _, path, _ = route_of(task)
    assert route_outcome(walk(task, path[:2])) == "short of a door"


def test_wrong_doors_are_told_by_when_they_were_taken() -> None:
    told = set()
    for task in TWO_DOORS:
        house, path, rooms = route_of(task)
        if len(rooms) < 3:
            continue
        for leg in (0, 1):
            here, right = rooms[leg], rooms[leg + 1]
            for k, door in enumerate(house.doors):
                others = set(door.rooms) - {here}
                if here not in door.rooms or right in door.rooms or len(others) != 1:
                    continue
                (other,) = others
                if other < 0:
                    continue
                last = max(
                    i for i, (x, y) in enumerate(path) if house.room_at(float(x), float(y)) == here
                )
                first_part = path[: last + 1] if leg else path[:1]
                gone = np.concatenate([first_part[:-1], through(house, k, into=other)])
                found = route_outcome(walk(task, gone))
                if leg == 0:
                    assert found == "wrong door first"
                else:
                    assert found == "wrong door later"
                told.add(found)
    assert told == {"wrong door first", "wrong door later"}


def test_leaving_the_last_room_is_beyond_the_goal() -> None:
    for task in TWO_DOORS:
        _, path, rooms = route_of(task)
        if len(rooms) < 2:
            continue
        back = path[::-1]
        there_and_back = np.concatenate([path, back])
        assert route_outcome(walk(task, there_and_back)) == "beyond the goal"
        return
    pytest.fail("no task with a door")


def test_outcomes_are_counted_and_errors_are_not() -> None:
    task = TWO_DOORS[0]
    _, path, _ = route_of(task)
    good = walk(task, path, success=True)
    broken = replace(good, success=False, end=EndReason.AGENT_ERROR, error="by hand")
    row = outcome_row("by hand", [good, walk(task, path[:2]), broken])
    assert row == {
        "agent": "by hand",
        "n": 2,
        **dict.fromkeys(OUTCOMES, 0),
        "success": 1,
        "short of a door": 1,
    }


def test_tasks_without_a_route_are_refused() -> None:
    (task,) = make_tasks("val", 1, seed=0, families=["pointnav"])
    with pytest.raises(ValueError, match=r"pointnav.*no route to follow"):
        route_outcome(walk(task, np.zeros((2, 2))))
