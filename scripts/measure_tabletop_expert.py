"""How good is the tabletop expert? Success and speed per family and manner, on paired tasks.

    python scripts/measure_tabletop_expert.py --n 200 --families reach lift
    python scripts/measure_tabletop_expert.py --n 50 --noise 0.2

Every row plays the same tasks, reworded to another manner, so the ratios are paired. `speed` is the
mean distance that the end effector travels per second until the task ends.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import Any

import numpy as np

from pilotage.envs.tabletop import layout
from pilotage.envs.tabletop.goals import is_success
from pilotage.envs.tabletop.physics import TabletopPhysics
from pilotage.envs.tabletop.scripted import expert
from pilotage.envs.tabletop.tasks import make_tasks, reword
from pilotage.episodes.types import Task


def play(physics: TabletopPhysics, task: Task, noise: float, seed: int) -> tuple[bool, int, float]:
    """Success, steps and path length (m) of the expert with Gaussian noise on its translation."""
    rng = np.random.default_rng(seed)
    physics.build(task)
    state, length = physics.state(), 0.0
    for step in range(1, task.max_steps + 1):
        action, _ = expert(state, task)
        action[:3] = np.clip(action[:3] + noise * rng.standard_normal(3), -1, 1)
        physics.step(action)
        after = physics.state()
        length += float(np.linalg.norm(after.ee_position - state.ee_position))
        state = after
        if is_success(state, task):
            return True, step, length
    return False, task.max_steps, length


def manners_of(family: str) -> Iterator[dict[str, Any]]:
    """The plain manner, then each single one."""
    yield {}
    for kind, values in layout.MANNERS[family].items():
        yield from ({kind: value} for value in values)


def measure(family: str, n: int, noise: float, split: str, only: str | None) -> None:
    """Prints one row per manner."""
    physics = TabletopPhysics()
    tasks = make_tasks(split, n, families=[family], manners="none", seed=11)
    plain_speed = None
    for manner in manners_of(family):
        name = " ".join(f"{k}={v}" for k, v in manner.items()) or "plain"
        if only is not None and name != only:
            continue
        rows = [play(physics, reword(t, manner), noise, i) for i, t in enumerate(tasks)]
        successes, steps, lengths = (np.array(column) for column in zip(*rows, strict=True))
        speed = float(lengths.sum() / (steps.sum() * layout.STEP_SECONDS))
        plain_speed = speed if plain_speed is None else plain_speed
        print(
            f"{family:11} {name:13} success {successes.sum():4d}/{len(tasks)} "
            f"({100 * successes.mean():5.1f} %)  steps mean {steps.mean():6.1f} "
            f"max {steps.max():3d}  speed {100 * speed:5.1f} cm/s  x{speed / plain_speed:.2f}",
            flush=True,
        )
    physics.close()


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=50, help="tasks per family and manner")
    parser.add_argument("--families", nargs="*", default=list(layout.FAMILIES))
    parser.add_argument("--noise", type=float, default=0.0, help="action noise, in action units")
    parser.add_argument("--split", default="train")
    parser.add_argument("--only", default=None, help='one row, such as "plain" or "speed=fast"')
    args = parser.parse_args()
    for family in args.families:
        measure(family, args.n, args.noise, args.split, args.only)


if __name__ == "__main__":
    main()
