"""Train a VLA by behaviour cloning and DAgger: `pilotage train vla --env tabletop --size nano`.

First the vision tower learns what static views show (`agents/vla/grounding.py`). Then the expert
labels every state that is visited: its own episodes under noise, and in rounds episodes driven by
the policy itself (DAgger, Ross et al. 2011, arXiv:1011.0686). All tasks come from the train split;
the log's success rates come from the val split. A training that was stopped goes on by the same
command.
"""

from __future__ import annotations

import reprlib
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from pilotage.agents.vla.checkpoint import CheckpointError, load_checkpoint, save_checkpoint
from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo, Driver, collect
from pilotage.agents.vla.grounding import pretrain_vision
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.presets import preset
from pilotage.agents.vla.store import DemoStore, load_trainer, save_trainer
from pilotage.agents.vla.training import TrainConfig, Trainer, WindowSampler
from pilotage.scripts.trainings import TrainingLog, claim, command_of, read_flags
from pilotage.scripts.worlds import TrainingWorld, training_world

SCENES_SHARE = 1.0  # of the expert's weight, for the demos of static views
ROUND_WEIGHT = 2.0  # of a policy-driven episode; an expert's has 1
LAST_ROUND = 0.8  # share of the training at the last DAgger round
SAVE_EVERY = 500  # updates
# fields of the configuration, and the modules that they size
TRAINING_HEADS = {"aux_dim": "aux", "n_pointed": "pointer", "finds_clause": "clause"}


@dataclass(frozen=True)
class Options:
    """Flags of the command; saved with the checkpoint."""

    env: str = "tabletop"
    size: str = "nano"
    out: str = ""  # default: runs/train/SIZE-ENV
    start_from: str = ""  # a checkpoint's folder whose weights the training begins with
    updates: int = 9000
    minutes: float = 0.0  # time budget of updates and rounds; the schedule ends with it (0: none)
    scenes: int = 4000  # static scenes (tabletop) or houses (rooms) that ground the vision tower
    view_updates: int = 2500  # of the vision tower
    demos: int = 1200  # expert episodes before the first update
    dagger_rounds: int = 4
    dagger_demos: int = 150  # policy-driven episodes a round
    dagger_start: float = 0.35  # share of the training before the first round
    noise: float = 0.25
    slots: int = 16
    val_tasks: int = 60
    seed: int = 0
    threads: int = 1
    learning_rate: float = 1e-3
    pointing_weight: float = 4.0  # of the pointing loss, relative to the action loss
    clause_weight: float = 0.3  # of telling which words are being carried out, likewise
    batch_windows: int = 16
    window_steps: int = 8  # env steps a window holds, in worlds without memory

    @property
    def folder(self) -> Path:
        return Path(self.out or f"runs/train/{self.size}-{self.env}")


def train(options: Options) -> Path:
    """Run the training, or go on with it; returns the checkpoint's folder.

    Raises:
        ValueError: the folder holds a training with other options.
        CheckpointError: what it holds cannot be read.
    """
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    out = options.folder
    claim(out, options)
    return _Training(options, out).run()


class _Training:
    """One training: its model, its data, its clock."""

    def __init__(self, options: Options, out: Path) -> None:
        self.o, self.out = options, out
        self.log = TrainingLog(out / "log.jsonl")
        self.store = DemoStore(out / "demos")
        self.world: TrainingWorld = training_world(options.env)
        vocabulary = self.world.vocabulary()
        self.config: VLAConfig = preset(
            options.env, options.size, vocabulary, aux_dim=self.world.aux_dim
        )
        model = VLAModel(self.config)
        if options.start_from:
            start_from(model, Path(options.start_from))
        remembers = self.config.memory_steps > 1
        window = self.config.memory_steps if remembers else options.window_steps
        train_config = TrainConfig(
            n_updates=options.updates,
            batch_windows=options.batch_windows,
            window_steps=window,
            narrations_per_window=3 if remembers else min(2, max(1, window // 2)),
            learning_rate=options.learning_rate,
            pointing_weight=options.pointing_weight,
            clause_weight=options.clause_weight,
            seed=options.seed,
        )
        self.trainer = Trainer(model, train_config)
        self.sampler = WindowSampler(self.config, train_config, model)
        self.envs = self.world.make_envs(options.slots)
        self.rounds_done, self.minutes_before = 0, 0.0
        n_parameters = sum(p.numel() for p in model.parameters())
        self.log.write({"options": asdict(options), "parameters": n_parameters})

    def run(self) -> Path:
        if (self.out / "trainer.json").is_file():
            self._resume()
        else:
            self._look()
        self._gather_expert()
        for number in range(1, self.rounds_done + 1):
            self.sampler.add(self.store.load(f"round-{number}"), weight=ROUND_WEIGHT)
        self._update_until_done()
        self._evaluate(self.o.val_tasks)
        self.envs.close()
        return self.out

    def _resume(self) -> None:
        state = load_trainer(self.out, self.trainer)
        self.rounds_done, self.minutes_before = state["rounds_done"], state["minutes"]
        self.sampler.rng.bit_generator.state = state["sampler"]
        self.log.write({"resumed_at": self.trainer.step, "rounds_done": self.rounds_done})

    def _look(self) -> None:
        """Ground the vision towers, and keep what the expert would do in the views."""
        o, log = self.o, self.log
        if not o.scenes:
            self.store.save("scenes", [])
            return
        views, demos = self.world.look(o.scenes, o.seed, self.config, log.every(1000, "scenes"))
        log.write({"views": len(views), "demos": len(demos)})
        self.store.save("scenes", demos)
        if o.view_updates:
            pretrain_vision(
                self.trainer.model, views, n_updates=o.view_updates, seed=o.seed, tell=log.rounded
            )
        self.trainer.restart_average()
        self._save()

    def _gather_expert(self) -> None:
        expert = self._episodes("expert", self.o.demos, 0, None)
        self.sampler.add(expert)
        if scenes := self.store.load("scenes"):
            self.sampler.add(scenes, weight=SCENES_SHARE * len(expert) / len(scenes))

    def _episodes(self, name: str, n: int, round_index: int, policy: VLAAgent | None) -> list[Demo]:
        """Labelled episodes, played now or read from the folder."""
        if self.store.has(name):
            return self.store.load(name)
        o, world, started = self.o, self.world, time.perf_counter()
        driver = Driver(
            noise=o.noise,
            policy=policy,
            policy_share=0.0 if policy is None else 1.0,
            max_steps=world.max_collect_steps,
            patience=world.patience,
            hasten=world.hasten,
        )
        seed = o.seed * 1000 + round_index
        demos = collect(
            self.envs,
            world.train_tasks(n, seed),
            config=self.config,
            driver=driver,
            aux_targets=world.aux_targets,
            seed=seed,
            siblings=world.siblings,
            pointing=world.pointing,
            clause_of=world.clause_of,
            progress=self.log.every(500, name),
        )
        films = {id(d.images): d for d in demos}.values()
        self.store.save(name, demos)
        self.log.write(
            {
                "episodes": name,
                "demos": len(demos),
                "steps": sum(d.n_steps for d in films),
                "successes": sum(d.success for d in demos),
                "seconds": round(time.perf_counter() - started, 1),
            }
        )
        return demos

    def _update_until_done(self) -> None:
        o, trainer = self.o, self.trainer
        rounds = np.linspace(o.dagger_start, LAST_ROUND, o.dagger_rounds).tolist()
        losses: list[dict[str, float]] = []
        began = started = time.monotonic()
        before = self.minutes_before
        while True:
            self.minutes_before = before + (time.monotonic() - began) / 60
            trainer.time_spent = self.minutes_before / o.minutes if o.minutes > 0 else 0.0
            done = max(trainer.step / o.updates, trainer.time_spent)
            if done >= 1.0:
                break
            if self.rounds_done < len(rounds) and done >= rounds[self.rounds_done]:
                self._round()
            losses.append(trainer.update(self.sampler.draw()))
            if trainer.step % 100 == 0:
                rate = len(losses) / (time.monotonic() - started)
                mean = {k: float(np.mean([x[k] for x in losses])) for k in losses[0]}
                self.log.rounded({"update": trainer.step, "updates_per_s": rate, **mean})
                losses, started = [], time.monotonic()
            if trainer.step % SAVE_EVERY == 0:
                self._save()
        self._save()

    def _round(self) -> None:
        """One round of DAgger: how good is the policy on val, then it drives on train."""
        self._save()
        agent = self._evaluate(min(40, self.o.val_tasks))
        number = self.rounds_done + 1
        demos = self._episodes(f"round-{number}", self.o.dagger_demos, number, agent)
        self.sampler.add(demos, weight=ROUND_WEIGHT)
        self.rounds_done = number

    def _evaluate(self, n: int) -> VLAAgent:
        agent = VLAAgent(self.trainer.averaged_model(), name=self.out.name, weights_sha256="0" * 64)
        found = self.world.evaluate(agent, self.envs, n)
        self.log.write({"update": self.trainer.step, "val": found})
        return agent

    def _save(self) -> None:
        save_trainer(
            self.out,
            self.trainer,
            {
                "rounds_done": self.rounds_done,
                "minutes": self.minutes_before,
                "sampler": self.sampler.rng.bit_generator.state,
            },
        )
        save_checkpoint(
            self.out,
            self.trainer.averaged_model(),
            training={
                "command": command_of("vla", self.o, always=("env", "size")),
                "options": asdict(self.o),
                "updates": self.trainer.step,
                "minutes": round(self.minutes_before, 1),
                "labelled_steps": self.sampler.n_steps,
                "torch": torch.__version__,
            },
        )


def start_from(model: VLAModel, folder: Path) -> None:
    """Put the weights of a checkpoint into `model`; heads that only training uses may differ, and
    then stay as they are.

    Raises:
        CheckpointError: the folder holds no readable checkpoint, or one of another architecture.
    """
    found, _ = load_checkpoint(folder)
    ours, theirs = model.config.to_json(), found.config.to_json()
    differs = [k for k in ours if ours[k] != theirs[k] and k != "temperature"]
    if other := [k for k in differs if k not in TRAINING_HEADS]:
        short = {k: (reprlib.repr(theirs[k]), reprlib.repr(ours[k])) for k in other}
        told = ", ".join(f"{k} {there} (here {here})" for k, (there, here) in short.items())
        raise CheckpointError(
            f"the agent in {folder} cannot be trained further as this one: {told}; "
            "give the same --env and --size, or train without --start-from"
        )
    fresh = tuple(f"{TRAINING_HEADS[k]}." for k in differs)
    kept = {k: v for k, v in model.state_dict().items() if k.startswith(fresh)}
    taken = {k: v for k, v in found.state_dict().items() if not k.startswith(fresh)}
    model.load_state_dict(taken | kept)


def main(argv: list[str] | None = None) -> int:
    """Entry point; flags come from `Options`."""
    print(train(read_flags(Options, __doc__, argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
