"""One house in two simulators: are the ways as long, and does the expert succeed in both?

    python -m pilotage.scripts.bench_habitat [--tasks 24] [--radius 3.0] [--split val]

Tasks of the rooms world are played by each simulator's own expert in the same generated houses,
without pictures. Printed: habitat's geodesic distance from start to goal divided by that of rooms
(the least, the median, the most, and how many lie within 2 %), the success of both experts, and on
how many tasks they agree. Before that, a known way through a door is walked in habitat-sim: a house
that was exported in wrong axes would not have it. Needs habitat-sim.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from pilotage.envs.habitat import HabitatVectorEnv, habitat_task, load_habitat_sim
from pilotage.envs.rooms import RoomsVectorEnv, make_tasks
from pilotage.envs.rooms.house import AGENT_RADIUS_M, load_house
from pilotage.envs.rooms.layout import Door
from pilotage.episodes.types import Task

WITHIN = 0.02
_BESIDE_DOOR_M = 0.6


@dataclass(frozen=True)
class Outcome:
    """How an expert did: the distance at the start (m), and what came of it."""

    geodesic_m: float
    success: bool
    n_steps: int


def play(envs: Any, tasks: Sequence[Task]) -> list[Outcome]:
    """The world's own expert on each task, one after the other, in slot 0.

    Raises RuntimeError with the world's words where a task cannot be begun or goes wrong.
    """
    outcomes = []
    for task in tasks:
        observations, infos = envs.reset(options={"tasks": [task]})
        _raise(infos, task)
        geodesic_m, n_steps = float(infos["trace"]["distance_to_goal"][0, 0]), 0
        while envs.live[0]:
            observations, _, _, _, infos = envs.step(observations["expert_action"])
            _raise(infos, task)
            n_steps += 1
        outcomes.append(Outcome(geodesic_m, bool(infos["success"][0]), n_steps))
    return outcomes


def _raise(infos: dict[str, Any], task: Task) -> None:
    if infos["env_error"][0]:
        raise RuntimeError(f"task {task.task_id!r}: {infos['env_error'][0]}")


def door_task(task: Task, door: Door) -> Task:
    """A rooms task from one side of a door straight through it, in the house of `task`."""
    here, there = list(door.center), list(door.center)
    here[door.axis] -= _BESIDE_DOOR_M
    there[door.axis] += _BESIDE_DOOR_M
    heading = 0.0 if door.axis == 0 else math.pi / 2
    length = 2 * _BESIDE_DOOR_M
    return replace(
        task,
        task_id=f"{task.task_id}-door",
        family="pointnav",
        start={"position": [*here, 0.0], "heading": heading},
        goal={"points": [there]},
        shortest_path_length=length,
        reference_path=[[*here, 0.0], [*there, 0.0]],
        max_steps=20,
    )


def walk_through_door(envs: Any, task: Task) -> float:
    """Go straight through the first door of a task's house: metres from the far side at the end.

    Raises RuntimeError where the way is not the straight one: the house stands wrongly.
    """
    through = habitat_task(door_task(task, load_house(task.scene).doors[0]))
    _, infos = envs.reset(options={"tasks": [through]})
    _raise(infos, through)
    distance = float(infos["trace"]["distance_to_goal"][0, 0])
    if abs(distance - through.shortest_path_length) > 0.05:
        raise RuntimeError(
            f"the way through a door is {distance:.3f} m in habitat-sim, "
            f"{through.shortest_path_length} m in the plan: the house was exported in other axes, "
            f"or the mesh was made for another body than one of {AGENT_RADIUS_M} m radius"
        )
    for _ in range(math.floor(through.shortest_path_length / 0.25)):
        _, _, _, _, infos = envs.step(np.array([1]))
        _raise(infos, through)
        if infos["trace"]["collision"][0, 0]:
            raise RuntimeError("the agent touches something in the middle of a door")
    return float(infos["trace"]["distance_to_goal"][0, 0])


def report(rooms: Sequence[Outcome], habitat: Sequence[Outcome]) -> list[str]:
    """The printed lines."""
    ratios = np.array([b.geodesic_m / a.geodesic_m for a, b in zip(rooms, habitat, strict=True)])
    near = int((np.abs(ratios - 1) <= WITHIN).sum())
    lines = [
        f"geodesic, habitat / rooms: least {ratios.min():.4f}, median {np.median(ratios):.4f}, "
        f"most {ratios.max():.4f}; within {WITHIN:.0%}: {near} of {len(ratios)}"
    ]
    for name, outcomes in (("rooms", rooms), ("habitat", habitat)):
        rate = np.mean([o.success for o in outcomes])
        steps = np.mean([o.n_steps for o in outcomes])
        lines.append(f"expert in {name:8s} SR {rate:.3f}, {steps:.1f} steps")
    same = sum(a.success == b.success for a, b in zip(rooms, habitat, strict=True))
    return [*lines, f"same outcome on {same} of {len(rooms)} tasks"]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--tasks", type=int, default=24)
    parser.add_argument("--split", default="val")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--radius", type=float, default=3.0, help="success radius, m")
    chosen = parser.parse_args(arguments)
    if chosen.tasks < 1:
        parser.error(f"--tasks must be >= 1, got {chosen.tasks}")
    library = load_habitat_sim()
    options: dict[str, Any] = {
        "expert_actions": True,
        "image_size": 0,
        "success_radius_m": chosen.radius,
    }
    tasks = make_tasks(chosen.split, chosen.tasks, seed=chosen.seed)
    print(f"habitat_sim {library.__version__}, {len(tasks)} tasks in houses of {chosen.split}")
    habitat_envs = HabitatVectorEnv(1, **options)
    left = walk_through_door(habitat_envs, tasks[0])
    print(f"through a door: the goal is {left:.2f} m away after 1 m of 1.2 m")
    habitat = play(habitat_envs, [habitat_task(task) for task in tasks])
    habitat_envs.close()
    rooms_envs = RoomsVectorEnv(1, **options)
    rooms = play(rooms_envs, tasks)
    rooms_envs.close()
    print("\n".join(report(rooms, habitat)))


if __name__ == "__main__":
    main()
