"""Steps per second of the graph world, beside a simulator that steps one episode at a time.

    python -m pilotage.scripts.bench_r2r [--slots 256] [--steps 400] [--data FOLDER]

Processor time of one process, actions random, resets left out. The peer is `MatterSim` of this
project, a plain Python implementation of Matterport3DSimulator's interface that serves the same
state (places with bearings, sorted) for one episode at a time. Without a data folder the invented
buildings are used, which are smaller than real ones. Where R2R-CE's files are, its continuous world
follows, all slots beside one.
"""

from __future__ import annotations

import argparse
import math
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import gymnasium as gym
import numpy as np

from pilotage.envs.r2r.continuous import episode_file
from pilotage.envs.r2r.dataset import R2RData, shared_data
from pilotage.envs.r2r.simulator import MatterSim
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2r.tasks import make_tasks
from pilotage.envs.r2r.vector_env import ActionSpace, R2RVectorEnv
from pilotage.envs.r2rce import R2RCEVectorEnv
from pilotage.envs.r2rce import make_tasks as make_continuous
from pilotage.episodes.types import Task

WARM_UP = 50


def steps_per_second(
    tasks: Sequence[Task], steps: int, action_space: ActionSpace, text: bool, data: R2RData
) -> float:
    """Slot steps per second of processor time; one slot a task, no episode ends."""
    envs = R2RVectorEnv(len(tasks), action_space=action_space, text=text, data=data.root)
    actions = np.random.default_rng(0).integers(1, 7, (steps + WARM_UP, len(tasks)))
    return _rate(envs, tasks, actions)


def continuous_steps_per_second(
    tasks: Sequence[Task], steps: int, text: bool, data: R2RData
) -> float:
    """The same in `R2RCEVectorEnv`: VLN-CE's random moves and turns, no stop."""
    envs = R2RCEVectorEnv(len(tasks), text=text, data=data.root)
    actions = np.random.default_rng(0).choice(
        [1, 2, 3], size=(steps + WARM_UP, len(tasks)), p=[0.7, 0.15, 0.15]
    )
    return _rate(envs, tasks, actions)


def _rate(envs: gym.vector.VectorEnv, tasks: Sequence[Task], actions: np.ndarray) -> float:
    """Slot steps per second of `actions` [WARM_UP + T, n] behind the warm-up."""
    envs.reset(options={"tasks": [replace(task, max_steps=10**9) for task in tasks]})
    for row in actions[:WARM_UP]:
        envs.step(row)
    began = time.process_time()
    for row in actions[WARM_UP:]:
        envs.step(row)
    took = time.process_time() - began
    envs.close()
    return actions[WARM_UP:].size / took


def peer_steps_per_second(tasks: Sequence[Task], steps: int, data: R2RData) -> float:
    """The same with `MatterSim`: discretised views, restricted navigation, one episode."""
    rng = np.random.default_rng(0)
    took = 0.0
    for task in tasks:
        sim = MatterSim(data.graph)
        sim.setCameraResolution(640, 480)
        sim.setCameraVFOV(math.radians(60))
        sim.setDiscretizedViewingAngles(True)
        start = task.start
        sim.newEpisode([task.scene["scan"]], [start["viewpoint"]], [start["heading"]], [0.0])
        began = time.process_time()
        for _ in range(steps):
            places = len(sim.getState()[0].navigableLocations)
            turn = float(rng.integers(-1, 2))
            sim.makeAction([int(places > 1 and turn == 0)], [turn], [0.0])
        took += time.process_time() - began
    return len(tasks) * steps / took


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--split", default="val_seen")
    parser.add_argument("--data", type=Path)
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        data, split, slots = shared_data(chosen.data), chosen.split, chosen.slots
        if not (data.root / "r2r" / "connectivity").is_dir():
            write_synthetic(Path(folder), n_scans=4, size=8)
            data, split = shared_data(folder), "train"
        pool = make_tasks(split, min(slots, len(data.items("r2r", split))), data=data.root)
        tasks = [pool[k % len(pool)] for k in range(slots)]
        scans = len({task.scene["scan"] for task in tasks})
        print(f"steps per second of processor time, {slots} slots in {scans} scans, lowest to")
        print(f"highest of {chosen.repeats} repeats")
        _table(tasks, chosen.steps, chosen.repeats, data)
        if episode_file(data.root, "val_seen").exists():
            _continuous_table(slots, chosen.steps, chosen.repeats, data)


def _table(tasks: Sequence[Task], steps: int, repeats: int, data: R2RData) -> None:
    peers = [peer_steps_per_second(tasks[:16], steps, data) for _ in range(repeats)]
    peer = sorted(peers)[repeats // 2]
    print(f"  {'MatterSim in Python, one episode':36s} {min(peers):9.0f} to {max(peers):9.0f}")
    modes: tuple[ActionSpace, ...] = ("view", "panoramic")
    for mode in modes:
        for text in (False, True):
            rates = sorted(steps_per_second(tasks, steps, mode, text, data) for _ in range(repeats))
            label = f"{mode}, {'captions' if text else 'geometry only'}"
            print(
                f"  {label:36s} {rates[0]:9.0f} to {rates[-1]:9.0f}   median / peer "
                f"{rates[repeats // 2] / peer:.0f}"
            )


def _continuous_table(slots: int, steps: int, repeats: int, data: R2RData) -> None:
    print(f"R2R-CE, {slots} slots beside one")
    pool = make_continuous("val_seen", min(slots, 256), data=data.root)
    tasks = [pool[k % len(pool)] for k in range(slots)]
    for text in (False, True):
        many, one = (
            sorted(continuous_steps_per_second(few, steps, text, data) for _ in range(repeats))
            for few in (tasks, tasks[:1])
        )
        label = f"moves and turns, {'captions' if text else 'pose only'}"
        print(
            f"  {label:36s} {many[0]:9.0f} to {many[-1]:9.0f}   one slot {one[0]:.0f} to "
            f"{one[-1]:.0f}, median / one {many[repeats // 2] / one[repeats // 2]:.0f}"
        )


if __name__ == "__main__":
    main()
