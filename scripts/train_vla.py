"""Train a VLA by behaviour cloning and DAgger: `pilotage train vla --env tabletop --size nano`.

The expert labels every state that is visited: first its own episodes under noise, then, in rounds,
episodes driven by the policy itself (DAgger, Ross et al. 2011, arXiv:1011.0686). All tasks come
from the train split; the log's success rates come from the val split.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.checkpoint import save_checkpoint
from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo, Driver, collect
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.presets import preset
from pilotage.agents.vla.training import TrainConfig, Trainer, WindowSampler
from pilotage.episodes.types import Task
from pilotage.scripts.worlds import TrainingWorld, training_world

STARTS_ROUND = 99  # seeds the tasks of `--starts`; DAgger rounds count from 1


@dataclass(frozen=True)
class Options:
    """Flags of the command; saved with the checkpoint."""

    env: str = "tabletop"
    size: str = "nano"
    out: str = "runs/train/nano-tabletop"
    updates: int = 9000
    minutes: float = 0.0  # time budget; the schedule ends with it (0: only `updates` counts)
    demos: int = 1200  # expert episodes before the first update
    starts: int = 0  # further scenes, of which only the first steps are played: cheap variety
    dagger_rounds: int = 4
    dagger_demos: int = 150  # policy-driven episodes a round
    dagger_start: float = 0.4  # share of the training before the first round; the last is at 0.85
    noise: float = 0.25
    slots: int = 16
    val_tasks: int = 60
    seed: int = 0
    threads: int = 1
    learning_rate: float = 1e-3
    batch_windows: int = 16
    window_steps: int = 8  # env steps a window holds, in worlds without memory


def train(options: Options) -> Path:
    """Run the training; returns the checkpoint's folder. Everything is logged as JSON lines."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    log = _Log(out / "log.jsonl")
    world = training_world(options.env)
    config = preset(options.env, options.size, world.vocabulary(), aux_dim=world.aux_dim)
    model = VLAModel(config)
    n_parameters = sum(p.numel() for p in model.parameters())
    train_config = TrainConfig(
        n_updates=options.updates,
        batch_windows=options.batch_windows,
        window_steps=options.window_steps if config.memory_steps == 1 else config.memory_steps,
        narrations_per_window=2 if config.memory_steps == 1 else 6,
        learning_rate=options.learning_rate,
        seed=options.seed,
    )
    log.write({"options": asdict(options), "parameters": n_parameters})
    trainer = Trainer(model, train_config)
    sampler = WindowSampler(config, train_config, model)
    envs = world.make_envs(options.slots)
    whole = world.max_collect_steps

    def gather(n: int, round_index: int, max_steps: int, policy: VLAAgent | None) -> None:
        driver = Driver(
            noise=options.noise,
            policy=policy,
            policy_share=0.0 if policy is None else 1.0,
            max_steps=max_steps,
            hasten=world.hasten,
        )
        seed = options.seed * 1000 + round_index
        sampler.add(_collect(envs, world, config, n, driver, seed=seed, log=log))

    gather(options.demos, 0, whole, None)
    if options.starts:
        gather(options.starts, STARTS_ROUND, options.window_steps, None)

    rounds = options.dagger_rounds
    milestones = list(np.linspace(options.dagger_start, 0.85, rounds)) if rounds else []
    losses: list[dict[str, float]] = []
    started = time.perf_counter()
    while (done := _progress(trainer, options, log)) < 1.0:
        losses.append(trainer.update(sampler.draw()))
        step = trainer.step
        if step % 100 == 0:
            mean = {k: float(np.mean([x[k] for x in losses])) for k in losses[0]}
            rate = len(losses) / (time.perf_counter() - started)
            log.write({"update": step, "updates_per_s": round(rate, 3), **_round(mean)})
            losses, started = [], time.perf_counter()
        if milestones and done >= milestones[0]:
            milestones.pop(0)
            agent = _agent(trainer, out)
            log.write({"update": step, "val": world.evaluate(agent, envs, options.val_tasks)})
            number = rounds - len(milestones)
            gather(options.dagger_demos, number, whole, agent)
            started = time.perf_counter()
        elif step % 500 == 0:
            _save(trainer, options, out, sampler.n_steps)
    agent = _agent(trainer, out)
    _save(trainer, options, out, sampler.n_steps)
    log.write({"update": trainer.step, "val": world.evaluate(agent, envs, options.val_tasks)})
    envs.close()
    return out


def _progress(trainer: Trainer, options: Options, log: _Log) -> float:
    """How far the training is, in [0, 1]: by updates or by the time budget."""
    if options.minutes > 0:
        trainer.time_spent = log.minutes() / options.minutes
    return max(trainer.step / options.updates, trainer.time_spent)


def _collect(
    envs: Any,
    world: TrainingWorld,
    config: VLAConfig,
    n: int,
    driver: Driver,
    *,
    seed: int,
    log: _Log,
) -> list[Demo]:
    started = time.perf_counter()
    tasks: list[Task] = world.train_tasks(n, seed)

    def tell(done: int) -> None:
        if done % 500 == 0:
            log.write({"collected": done, "seconds": round(time.perf_counter() - started, 1)})

    demos = collect(
        envs,
        tasks,
        config=config,
        driver=driver,
        aux_targets=world.aux_targets,
        seed=seed,
        progress=tell,
    )
    log.write(
        {
            "seed": seed,
            "episodes": len(demos),
            "steps": sum(d.n_steps for d in demos),
            "success": round(float(np.mean([d.success for d in demos])), 3),
            "seconds": round(time.perf_counter() - started, 1),
        }
    )
    return demos


def _agent(trainer: Trainer, out: Path) -> VLAAgent:
    return VLAAgent(trainer.averaged_model(), name=out.name, weights_sha256="0" * 64)


def _save(trainer: Trainer, options: Options, out: Path, n_steps: int) -> None:
    save_checkpoint(
        out,
        trainer.averaged_model(),
        training={
            "command": f"pilotage train vla {_flags(options)}",
            "options": asdict(options),
            "updates": trainer.step,
            "labelled_steps": n_steps,
            "torch": torch.__version__,
        },
    )


def _flags(options: Options) -> str:
    """The flags that differ from the defaults, as typed on the command line."""
    default = asdict(Options())
    changed = {k: v for k, v in asdict(options).items() if v != default[k] or k in ("env", "size")}
    return " ".join(f"--{k.replace('_', '-')} {shlex.quote(str(v))}" for k, v in changed.items())


def _round(values: dict[str, float]) -> dict[str, float]:
    return {k: round(v, 4) for k, v in values.items()}


class _Log:
    """JSON lines in a file and on standard error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.time()

    def minutes(self) -> float:
        return (time.time() - self.started) / 60

    def write(self, row: dict[str, Any]) -> None:
        line = json.dumps({"minutes": round(self.minutes(), 2), **row})
        with self.path.open("a") as stream:
            stream.write(line + "\n")
        print(line, file=sys.stderr, flush=True)


def main(argv: list[str] | None = None) -> int:
    """Entry point; flags come from `Options`."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    for name, value in asdict(Options()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    print(train(Options(**vars(parser.parse_args(argv)))))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
