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
from typing import Any

import numpy as np
import torch

from pilotage.agents.vla.adapters import adapt, load_trained_state, trained_state
from pilotage.agents.vla.checkpoint import CheckpointError, read_checkpoint, save_checkpoint
from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.demos import Demo, Driver, collect
from pilotage.agents.vla.grounding import pretrain_vision
from pilotage.agents.vla.model import VLAModel
from pilotage.agents.vla.policy import VLAAgent
from pilotage.agents.vla.presets import SMOL_RANK, preset
from pilotage.agents.vla.store import DemoStore, load_trainer, save_trainer
from pilotage.agents.vla.training import TrainConfig, Trainer, WindowSampler
from pilotage.episodes.types import Task
from pilotage.scripts.clamping import vla_clamps
from pilotage.scripts.cli_options import words
from pilotage.scripts.trainings import TrainingLog, claim, command_of, read_flags
from pilotage.scripts.worlds import TrainingWorld, training_world

SCENES_SHARE = 1.0  # of the expert's weight, for the demos of static views
ROUND_WEIGHT = 2.0  # of a policy-driven episode; an expert's has 1
LAST_ROUND = 0.8  # share of the training at the last DAgger round
# A pretrained decoder can say words; its adapters are warm sooner, and there are fewer updates.
OF_PRETRAINED = {"narration_weight": 0.0, "instruction_weight": 0.0, "warmup": 30, "ema": 0.99}
# fields of the configuration, and the modules that they size
TRAINING_HEADS = {"aux_dim": "aux", "n_pointed": "pointer", "finds_clause": "clause"}


@dataclass(frozen=True)
class Options:
    """Flags of the command; saved with the checkpoint."""

    env: str = "tabletop"
    size: str = "nano"
    out: str = ""  # default: runs/train/SIZE-ENV
    start_from: str = ""  # a checkpoint's folder whose weights the training begins with
    towers_from: str = ""  # a checkpoint's folder whose vision towers the towers begin as
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
    families: str = ""  # of tasks, by commas; all others are left out (default: none is)
    without_words: str = ""  # tasks that say one of these words, by commas, are left out
    save_every: int = 500  # updates
    clamp: str = ""  # what is held while it learns, and until when (`steering/clamp_specs.py`)
    release: str = ""

    def wants(self, task: Task) -> bool:
        """Whether a task is one of those that are trained on."""
        families, unwanted = words(self.families), words(self.without_words)
        said = task.instruction.lower().split()
        return (not families or task.family in families) and not set(unwanted) & set(said)

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
        if self.config.language:
            adapt(model, SMOL_RANK)
        if options.towers_from:
            towers_from(model, Path(options.towers_from))
        if options.start_from:
            start_from(model, Path(options.start_from))
        remembers = self.config.memory_steps > 1
        window = self.config.memory_steps if remembers else options.window_steps
        pretrained: dict[str, Any] = OF_PRETRAINED if self.config.language else {}
        train_config = TrainConfig(
            n_updates=options.updates,
            batch_windows=options.batch_windows,
            window_steps=window,
            narrations_per_window=_narrations(self.config, window),
            learning_rate=options.learning_rate,
            pointing_weight=options.pointing_weight,
            clause_weight=options.clause_weight,
            seed=options.seed,
            **pretrained,
        )
        self.trainer = Trainer(
            model, train_config, vla_clamps(options.clamp, options.release, model)
        )
        self.sampler = WindowSampler(self.config, train_config, model)
        self.envs = self.world.make_envs(options.slots)
        self.rounds_done, self.minutes_before = 0, 0.0
        n_parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
        self.log.write({"options": asdict(options), "parameters": n_parameters})

    def run(self) -> Path:
        if (self.out / "trainer.json").is_file():
            self._resume()
        else:
            self._look()
        self._gather_expert()
        for number in range(1, self.rounds_done + 1):
            demos = self._wanted(self.store.load(f"round-{number}"))
            self.sampler.add(demos, weight=ROUND_WEIGHT)
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
        expert = self._wanted(self._episodes("expert", self.o.demos, 0, None))
        self.sampler.add(expert)
        if scenes := self._wanted(self.store.load("scenes")):
            self.sampler.add(scenes, weight=SCENES_SHARE * len(expert) / len(scenes))

    def _wanted(self, demos: list[Demo]) -> list[Demo]:
        return [d for d in demos if self.o.wants(d.task)]

    def _tasks(self, n: int, seed: int) -> list[Task]:
        """`n` tasks of the train split that are wanted."""
        asked = n
        while len(found := self._filtered(self.world.train_tasks(asked, seed))) < n:
            if asked > 100 * n:
                raise ValueError(
                    f"only {len(found)} of {asked} tasks are of --families {self.o.families!r} "
                    f"without the words {self.o.without_words!r}; leave out less"
                )
            asked *= 2
        return found[:n]

    def _filtered(self, tasks: list[Task]) -> list[Task]:
        return [task for task in tasks if self.o.wants(task)]

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
            self._tasks(n, seed),
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
            if trainer.step % o.save_every == 0:
                self._save()
        self._save()

    def _round(self) -> None:
        """One round of DAgger: how good is the policy on val, then it drives on train."""
        self._save()
        agent = self._evaluate(min(40, self.o.val_tasks))
        number = self.rounds_done + 1
        demos = self._episodes(f"round-{number}", self.o.dagger_demos, number, agent)
        self.sampler.add(self._wanted(demos), weight=ROUND_WEIGHT)
        self.rounds_done = number

    def _evaluate(self, n: int) -> VLAAgent:
        model, clamps = self.trainer.averaged_model(), self.trainer.clamps
        if clamps is not None:
            clamps.at(self.trainer.step)
            clamps.onto(model.decoder)  # it is judged, and drives, as it is trained
        agent = VLAAgent(model, name=self.out.name, weights_sha256="0" * 64)
        asked = n
        while len(tasks := self._filtered(self.world.val_tasks(asked))) < n and asked < 100 * n:
            asked *= 2
        found = self.world.evaluate(agent, self.envs, tasks[:n])
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
            self.trainer.model,
            state=self.trainer.average,
            training={
                "command": command_of("vla", self.o, always=("env", "size")),
                "options": asdict(self.o),
                "updates": self.trainer.step,
                "minutes": round(self.minutes_before, 1),
                "labelled_steps": self.sampler.n_steps,
                "torch": torch.__version__,
            },
        )


def _narrations(config: VLAConfig, window: int) -> int:
    """How many narrations a window holds; a pretrained decoder knows its words already."""
    if config.language:
        return 0
    return 3 if config.memory_steps > 1 else min(2, max(1, window // 2))


def start_from(model: VLAModel, folder: Path) -> None:
    """Put the weights of a checkpoint into `model`; heads that only training uses may differ, and
    then stay as they are.

    Raises:
        CheckpointError: the folder holds no readable checkpoint, or one of another architecture.
    """
    config, found, _ = read_checkpoint(folder)
    ours, theirs = model.config.to_json(), config.to_json()
    differs = [k for k in ours if ours[k] != theirs[k] and k != "temperature"]
    if other := [k for k in differs if k not in TRAINING_HEADS]:
        short = {k: (reprlib.repr(theirs[k]), reprlib.repr(ours[k])) for k in other}
        told = ", ".join(f"{k} {there} (here {here})" for k, (there, here) in short.items())
        raise CheckpointError(
            f"the agent in {folder} cannot be trained further as this one: {told}; "
            "give the same --env and --size, or train without --start-from"
        )
    fresh = tuple(f"{TRAINING_HEADS[k]}." for k in differs)
    kept = {k: v for k, v in trained_state(model).items() if k.startswith(fresh)}
    taken = {k: v.float() for k, v in found.items() if not k.startswith(fresh)}
    load_trained_state(model, taken | kept)


def towers_from(model: VLAModel, folder: Path) -> None:
    """Begin the vision towers as those of another agent; what leads out of them to a decoder of
    another width stays fresh.

    Raises:
        CheckpointError: the folder holds no readable checkpoint, or one with other towers.
    """
    _, found, _ = read_checkpoint(folder)
    ours = model.vision.state_dict()
    leads_out = ("connector", "position")
    taken = {k for k in ours if k.split(".")[1] not in leads_out}
    theirs = {k: found[name].float() for k in taken if (name := f"vision.{k}") in found}
    other = [k for k in taken if k not in theirs or theirs[k].shape != ours[k].shape]
    if other:
        raise CheckpointError(f"the agent in {folder} has other vision towers: {sorted(other)[:3]}")
    model.vision.load_state_dict(ours | theirs)


def main(argv: list[str] | None = None) -> int:
    """Entry point; flags come from `Options`."""
    print(train(read_flags(Options, __doc__, argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
