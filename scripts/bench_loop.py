"""What the episode loop costs beside the world and the agent that it drives.

    python -m pilotage.scripts.bench_loop --world fake|tabletop|rooms [--agent random|nano]

Time inside `reset` and `step` of the world and inside the agent is the work; everything else of
`run_episodes` is overhead: batching, copying, checking, records, and, on the line "disk", writing
them (compress, digest, fsync). A random agent hides nothing; with `--agent nano` the share is that
of a run with the shipped model. Processor time is the number to read on a shared machine; wall time
adds the waiting for the disk.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from pilotage.envs.registry import WORLDS, load_world
from pilotage.episodes.fakes import FakeVectorEnv, make_fake_tasks
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.manifests import build_manifest
from pilotage.episodes.runs import RunFolder
from pilotage.episodes.testing import RandomAgent
from pilotage.episodes.types import BASELINE, Agent, Condition, Task

CONDITIONS = [BASELINE, Condition("again")]
WORLD_CALLS = ("reset", "step")
AGENT_CALLS = ("prepare", "reset_slot", "act", "step_trace", "finish_slot")


class Clock(NamedTuple):
    """Seconds of processor and wall."""

    cpu: float
    wall: float

    @staticmethod
    def now() -> Clock:
        return Clock(time.process_time(), time.perf_counter())

    def since(self, began: Clock) -> Clock:
        return Clock(self.cpu - began.cpu, self.wall - began.wall)


class Stopwatch:
    """Time spent inside the calls it was put around."""

    def __init__(self) -> None:
        self.total = Clock(0.0, 0.0)

    def around(self, target: Any, names: Sequence[str]) -> None:
        """Replace the named methods of `target` by timed ones."""
        for name in names:
            setattr(target, name, self._timed(getattr(target, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*args: Any, **kwargs: Any) -> Any:
            began = Clock.now()
            try:
                return call(*args, **kwargs)
            finally:
                spent = Clock.now().since(began)
                self.total = Clock(self.total.cpu + spent.cpu, self.total.wall + spent.wall)

        return timed


def make_world(name: str, n_slots: int, n_tasks: int, work: int) -> tuple[Any, list[Task]]:
    if name == "fake":
        world = FakeVectorEnv(n_slots, image_size=64, work=work)
        return world, make_fake_tasks(n_tasks, max_steps=100)
    spec = load_world(name)
    options = {"wrist": True} if name == "tabletop" else {}
    return spec.make_vector(n_slots, **options), spec.make_tasks("val", n_tasks)


def make_agent(name: str, world_name: str, world: Any) -> Agent:
    """The random agent, or a shipped model of the world."""
    if name == "random":
        return RandomAgent(world.single_action_space)
    from pilotage.scripts.opening import load_vla

    agent: Agent = load_vla(name, world_name)
    return agent


def measure(
    world: Any, tasks: Sequence[Task], names: tuple[str, str], folder: Path | None
) -> tuple[Clock, Clock, int]:
    """(time of world and agent, time in all, steps) of one run; names: world, agent."""
    world_name, agent_name = names
    agent = make_agent(agent_name, world_name, world)
    inside = Stopwatch()
    inside.around(agent, AGENT_CALLS)
    for name in WORLD_CALLS:
        vars(world).pop(name, None)
    inside.around(world, WORLD_CALLS)
    run = None
    if folder is not None:
        manifest = build_manifest(agent, tasks, CONDITIONS, env=world_name)
        run = RunFolder.create(folder, manifest)
    began = Clock.now()
    records = run_episodes(world, agent, tasks, CONDITIONS, run=run)
    total = Clock.now().since(began)
    if run is not None:
        run.close()
    return inside.total, total, sum(record.n_steps for record in records)


def share(values: Sequence[float]) -> str:
    return f"{statistics.median(values):.1%} ({min(values):.1%} .. {max(values):.1%})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--world", choices=["fake", *WORLDS], default="fake")
    parser.add_argument("--agent", default="random", help="random, or a shipped agent: nano")
    parser.add_argument("--slots", type=int, default=8)
    parser.add_argument("--tasks", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--work", type=int, default=1000, help="hashing rounds per fake step")
    args = parser.parse_args()
    world, tasks = make_world(args.world, args.slots, args.tasks, args.work)
    names = (args.world, args.agent)
    measure(world, tasks[:2], names, None)  # compile and load what is loaded lazily
    print(
        f"world {args.world}, agent {args.agent}, {args.slots} slots, {2 * len(tasks)} episodes, "
        f"{os.cpu_count()} CPUs"
    )
    print("overhead as a share of world + agent; median (min .. max)")
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for kind in ("memory", "disk"):
            cpu, wall, per_step, added = [], [], [], []
            for repeat in range(args.repeats):
                place = Path(folder) / str(repeat) if kind == "disk" else None
                inside, total, steps = measure(world, tasks, names, place)
                cpu.append(total.cpu / inside.cpu - 1)
                wall.append(total.wall / inside.wall - 1)
                per_step.append(1e3 * inside.cpu / steps)
                added.append(1e6 * (total.cpu - inside.cpu) / steps)
            print(
                f"records in {kind:6}: {share(cpu)} of processor time, {share(wall)} of wall time; "
                f"{statistics.median(added):.0f} us per slot and step beside "
                f"{statistics.median(per_step):.2f} ms of world + agent"
            )
    world.close()


if __name__ == "__main__":
    main()
