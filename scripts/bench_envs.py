"""Steps per second of the tabletop world beside panda-gym's PandaReach-v3, in the same run.

    pip install -c constraints.txt -e '.[bench]'
    python scripts/bench_envs.py

Both worlds simulate a Franka Panda in PyBullet that reaches for a point; actions are random. They
are timed in turns and the middle ratio of the rounds is printed, so that other load on the machine
falls on both. The two worlds do not cut time alike: a step of panda-gym is 20 physics steps of
1/500 s, one of ours 24 of 1/240 s, and ours also has objects on the table; the simulated seconds
per second are printed too.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from pilotage.envs.tabletop import TabletopVectorEnv, make_tasks

INSTALL = "panda-gym is missing; install it with: pip install -c constraints.txt -e '.[bench]'"
PANDA_STEP_SECONDS = 20 / 500
OUR_STEP_SECONDS = 24 / 240
SIZE = 64
Runner = Callable[[int], float]  # plays that many steps and returns the seconds they took


def our_runner(*, camera: bool, n_slots: int) -> Runner:
    """Ours: n slots, one batched camera call for all; a step of n slots counts n."""
    env = TabletopVectorEnv(n_slots, render_rgb=camera, image_size=SIZE)
    tasks = make_tasks("train", n_slots, families=["reach"], manners="none")
    rng = np.random.default_rng(0)

    def run(steps: int) -> float:
        options = {"tasks": tasks}
        env.reset(seed=[0] * n_slots, options=options)
        start = time.perf_counter()
        for _ in range(steps // n_slots):
            *_, infos = env.step(rng.uniform(-1, 1, (n_slots, 7)).astype(np.float32))
            ended = np.array([bool(reason) for reason in infos["end_reason"]])
            if ended.any():
                env.reset(seed=[0] * n_slots, options=options | {"reset_mask": ended})
        return time.perf_counter() - start

    return run


def panda_gym_runner(*, camera: bool) -> Runner:
    """panda-gym's PandaReach-v3; with the camera, its own renderer at the same picture size."""
    try:
        import gymnasium
        import panda_gym  # noqa: F401
    except ImportError:
        sys.exit(INSTALL)
    env = gymnasium.make(
        "PandaReach-v3",
        render_mode="rgb_array",
        renderer="Tiny",
        render_width=SIZE,
        render_height=SIZE,
    )
    rng = np.random.default_rng(0)

    def run(steps: int) -> float:
        env.reset(seed=0)
        start = time.perf_counter()
        for _ in range(steps):
            *_, terminated, truncated, _ = env.step(rng.uniform(-1, 1, 3).astype(np.float32))
            if camera:
                env.render()
            if terminated or truncated:
                env.reset()
        return time.perf_counter() - start

    return run


def compare(name: str, ours: Runner, theirs: Runner, steps: int, rounds: int) -> None:
    """Times both in turns and prints medians and the middle ratio."""
    ours(steps // 4)
    theirs(steps // 4)
    times = [(ours(steps), theirs(steps)) for _ in range(rounds)]
    mine, other = (steps / statistics.median(column) for column in zip(*times, strict=True))
    ratio = statistics.median(b / a for a, b in times)
    simulated = ratio * OUR_STEP_SECONDS / PANDA_STEP_SECONDS
    print(
        f"{name:32} ours {mine:7.0f} steps/s   panda-gym {other:7.0f} steps/s   "
        f"x{ratio:.2f} steps, x{simulated:.2f} simulated time",
        flush=True,
    )


def main() -> None:
    """Reads the command line and measures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    for camera in (False, True):
        theirs = panda_gym_runner(camera=camera)
        for n_slots in (1, 8):
            name = f"{'64x64 camera' if camera else 'no camera'}, {n_slots} slot(s)"
            ours = our_runner(camera=camera, n_slots=n_slots)
            compare(name, ours, theirs, args.steps, args.rounds)


if __name__ == "__main__":
    main()
