"""What a step of the rooms world costs, and how that compares with PyBullet's own camera.

    python -m pilotage.scripts.bench_rooms [--slots 16] [--steps 100]

Steps per second of processor time, one process, actions random (mostly forward): the bodies only,
with the scripted expert's advice, with pictures of 64 x 64 pixels, and with both. The peer is
PyBullet's TinyRenderer (`getCameraImage`) looking at the same houses from the same poses. The
script also measures the expert on houses that are in no training split.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence

import numpy as np
import pybullet

from pilotage.envs.rooms import RoomsVectorEnv, make_house, make_tasks
from pilotage.envs.rooms.bodies import FAR_M, HFOV_DEG, NEAR_M, eye_pose
from pilotage.envs.rooms.house import House
from pilotage.episodes.types import Task

IMAGE = 64


def _options(tasks: Sequence[Task]) -> dict:
    return {"reset_mask": np.ones(len(tasks), dtype=bool), "tasks": list(tasks)}


def steps_per_second(slots: int, steps: int, image_size: int, expert: bool) -> float:
    """Slot steps per second of processor time, resets left out."""
    envs = RoomsVectorEnv(slots, image_size=image_size, expert_actions=expert)
    envs.reset(options=_options(make_tasks("train", slots, seed=2)))
    rng = np.random.default_rng(0)
    actions = rng.choice([1, 1, 1, 2, 3], (steps + 5, slots))
    for row in actions[:5]:
        envs.step(row)
    began = time.process_time()
    for row in actions[5:]:
        envs.step(row)
    took = time.process_time() - began
    envs.close()
    return slots * steps / took


def peer_pictures_per_second(house: House, n: int) -> float:
    """Pictures of `house` by PyBullet's TinyRenderer per second of processor time."""
    client = pybullet.connect(pybullet.DIRECT)
    for body in house.bodies:
        part, look = body.part, {"rgbaColor": [*body.part.color, 1.0], "physicsClientId": client}
        if part.shape == "box":
            shape = pybullet.createVisualShape(pybullet.GEOM_BOX, halfExtents=part.size, **look)
        elif part.shape == "sphere":
            shape = pybullet.createVisualShape(pybullet.GEOM_SPHERE, radius=part.size[0], **look)
        else:
            shape = pybullet.createVisualShape(
                pybullet.GEOM_CYLINDER, radius=part.size[0], length=2 * part.size[1], **look
            )
        pybullet.createMultiBody(0.0, -1, shape, basePosition=part.center, physicsClientId=client)
    lens = pybullet.computeProjectionMatrixFOV(HFOV_DEG, 1.0, NEAR_M, FAR_M)
    x, y = house.rooms[0].center
    began = time.process_time()
    for k in range(n):
        eye, rotation = eye_pose(x, y, 0.5 * k)
        toward, up = eye + rotation[:, 2], -rotation[:, 1]
        view = pybullet.computeViewMatrix(eye.tolist(), toward.tolist(), up.tolist())
        pybullet.getCameraImage(
            IMAGE, IMAGE, view, lens, renderer=pybullet.ER_TINY_RENDERER, physicsClientId=client
        )
    took = time.process_time() - began
    pybullet.disconnect(client)
    return n / took


def reset_milliseconds(n: int) -> tuple[float, float]:
    """Processor milliseconds of a reset into a new house, and into a house made before."""
    envs = RoomsVectorEnv(1, image_size=IMAGE)
    tasks = make_tasks("val", 8 * n, seed=3)[::8]
    envs.reset(options=_options(tasks[:1]))
    make_house.cache_clear()
    times = []
    for _ in range(2):
        began = time.process_time()
        for task in tasks:
            envs.reset(options=_options([task]))
        times.append(1e3 * (time.process_time() - began) / n)
    envs.close()
    return times[0], times[1]


def expert_scores(n: int, success_radius_m: float, noise: float) -> tuple[float, float, float]:
    """Success rate, SPL (Anderson et al., 2018) and mean steps of the expert in unseen houses."""
    envs = RoomsVectorEnv(1, image_size=0, expert_actions=True, success_radius_m=success_radius_m)
    rng = np.random.default_rng(0)
    rows = []
    for task in make_tasks("unseen", n, seed=3):
        obs, infos = envs.reset(options=_options([task]))
        length, steps = 0.0, 0
        while envs.live[0]:
            before = infos["trace"]["position"]
            action = obs["expert_action"]
            if rng.random() < noise:
                action = rng.integers(1, 4, 1)
            obs, _, _, _, infos = envs.step(action)
            length += float(np.linalg.norm(infos["trace"]["position"] - before))
            steps += 1
        shortest = task.shortest_path_length
        success = float(infos["success"][0])
        rows.append((success, success * shortest / max(length, shortest), steps))
    envs.close()
    rate, spl, mean_steps = np.mean(rows, axis=0).tolist()
    return rate, spl, mean_steps


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--episodes", type=int, default=300)
    chosen = parser.parse_args(arguments)
    print(f"steps per second of processor time, {chosen.slots} slots")
    for label, size, expert in (
        ("bodies only", 0, False),
        ("bodies, expert", 0, True),
        (f"pictures {IMAGE} x {IMAGE}", IMAGE, False),
        (f"pictures {IMAGE} x {IMAGE}, expert", IMAGE, True),
    ):
        rate = steps_per_second(chosen.slots, chosen.steps, size, expert)
        print(f"  {label:28s} {rate:9.0f}")
        if size and not expert:
            peer = peer_pictures_per_second(make_house(0), 40)
            print(
                f"  {'TinyRenderer, picture alone':28s} {peer:9.0f}  ours / peer {rate / peer:.1f}"
            )
    new, known = reset_milliseconds(24)
    print(f"reset: {new:.1f} ms into a new house, {known:.1f} ms into a known one")
    for radius, noise in ((3.0, 0.0), (1.0, 0.0), (1.0, 0.15)):
        rate, spl, steps = expert_scores(chosen.episodes, radius, noise)
        print(
            f"expert, {chosen.episodes} tasks in unseen houses, radius {radius} m, random actions "
            f"{noise:.0%}: SR {rate:.3f}, SPL {spl:.4f}, {steps:.1f} steps"
        )


if __name__ == "__main__":
    main()
