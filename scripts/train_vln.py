"""Train a text-only agent for Room-to-Room: `pilotage train vln --agent text-transformer`.

The data folder needs `R2R_train.json`, the graphs, and (but for blind agents) the captions. One
scan of train in five is held out by its hash: the log's success rates come from there, and nothing
else was used for choosing. The checkpoint holds weights and hashed words, no sentence. A training
that was stopped goes on by the same command, with batches of its own.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pilotage.agents.vln.checkpoint import (
    AnyNavigator,
    make_navigator,
    n_parameters,
    save_navigator,
)
from pilotage.agents.vln.matching import WordTable, idf
from pilotage.agents.vln.minilm import minilm_words
from pilotage.agents.vln.network import NetworkConfig
from pilotage.agents.vln.policy import TextAgent
from pilotage.agents.vln.reading import Reader
from pilotage.agents.vln.words import make_lexicon
from pilotage.envs.r2r.dataset import R2RData, shared_data
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.envs.r2r.vector_env import R2RVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.names import unknown
from pilotage.episodes.types import BASELINE, Task
from pilotage.planners.checkpoints import (
    read_state,
    restore_training,
    training_tensors,
    write_state,
)
from pilotage.scripts.trainings import TrainingLog, claim, command_of, read_flags
from pilotage.scripts.vln_training import (
    Practice,
    batches_by_length,
    captions_of,
    is_held_out,
    scans_of,
)

# name -> kind, whether it reads captions
AGENTS = {
    "linear": ("linear", True),
    "blind-linear": ("linear", False),
    "text-transformer": ("transformer", True),
    "blind-transformer": ("transformer", False),
}
VECTOR_WIDTH = 64
SAVE_EVERY = 250  # updates
STATE = "trainer.safetensors"  # of a training that may go on
N_BUCKETS = {"minilm": 2048, "hashed": 16384}


@dataclass(frozen=True)
class Options:
    """Flags of the command; saved with the checkpoint."""

    agent: str = "text-transformer"
    out: str = ""  # default: runs/vln/AGENT
    data: str = ""  # default: the folder that PILOTAGE_DATA names
    words: str = "minilm"  # or "hashed": random vectors, no further package
    updates: int = 2000
    minutes: float = 0.0  # time budget; the schedule ends with it (0: none)
    batch: int = 64
    learning_rate: float = 0.0  # 0: 0.001 for transformers, 0.05 for linear agents
    width: int = 64
    encoder_layers: int = 2
    place_layers: int = 1
    dropout: float = 0.2
    teacher_until: float = 0.1  # share of the training in which the expert drives all episodes
    teacher_last: float = 0.3  # share of episodes that it drives from half of the training on
    progress_weight: float = 0.5
    average: float = 0.99  # of the weights, per update
    checks: int = 3  # how often the held-out success is logged on the way
    check_tasks: int = 400
    seed: int = 0
    threads: int = 1

    @property
    def folder(self) -> Path:
        return Path(self.out or f"runs/vln/{self.agent}")


def train(options: Options) -> Path:
    """Run the training; returns the checkpoint's folder.

    Raises KeyError for an unknown agent, ValueError for unknown `words`, RuntimeError when MiniLM
    is not installed, ValueError where the folder holds another training, DataMissing and DataError
    for the data.
    """
    if options.agent not in AGENTS:
        raise unknown("agent", options.agent, tuple(AGENTS))
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)
    claim(options.folder, options)
    return _Training(options).run()


class _Training:
    """One training: its model, its batches, its clock."""

    def __init__(self, options: Options) -> None:
        self.o, self.out = options, options.folder
        self.data = shared_data(options.data or None)
        tasks = split_tasks("r2r", "train", self.data.root)
        self.tasks = [t for t in tasks if not is_held_out(t.scene["scan"])]
        self.held = [t for t in tasks if is_held_out(t.scene["scan"])]
        kind, self.reads = AGENTS[options.agent]
        table = word_table(options, self.data)
        self.model = make_navigator(kind, table, _settings(options, kind, self.reads))
        self.average = make_navigator(kind, table, self.model.settings())
        self.average.load_state_dict(self.model.state_dict())
        rate = options.learning_rate or (0.05 if kind == "linear" else 1e-3)
        decay = 0.0 if kind == "linear" else 0.02
        self.optimizer = torch.optim.AdamW(self.model.parameters(), rate, weight_decay=decay)
        self.rate = rate
        self.practice = Practice(
            self.model, options.batch, self.data.root, text=self.reads, seed=options.seed
        )
        self.step, self.decisions, self.minutes_before = 0, 0, 0.0
        self.log = TrainingLog(self.out / "log.jsonl")
        self._resume()
        self.rng = np.random.default_rng([options.seed, self.step])
        self.began = time.monotonic()
        self.log.write({"options": asdict(options), "parameters": n_parameters(self.model)})
        self.log.write({"train": len(self.tasks), "held_out": len(self.held), "from": self.step})

    def run(self) -> Path:
        waiting: list[list[Task]] = []
        rows: list[tuple[float, float, float]] = []
        checks = np.linspace(0, 1, self.o.checks + 2)[1:-1].tolist()
        checks = [share for share in checks if share > self._done()]
        while (done := self._done()) < 1.0:
            if checks and done >= checks[0]:
                checks.pop(0)
                self._check()
            waiting = waiting or batches_by_length(self.tasks, self.o.batch, self.rng)
            played = self._update(waiting.pop(), done)
            rows.append(played)
            if self.step % 50 == 0:
                names = ("loss", "imitation", "agreement")
                mean = dict(zip(names, np.mean(rows, axis=0).tolist()))
                self.log.rounded({"update": self.step, **mean})
                rows = []
                if self.step % SAVE_EVERY == 0:
                    self._save()
        self._save()
        self._check()
        self.practice.envs.close()
        return self.out

    def _done(self) -> float:
        spent = self._minutes() / self.o.minutes if self.o.minutes else 0.0
        return max(self.step / self.o.updates, spent)

    def _minutes(self) -> float:
        return self.minutes_before + (time.monotonic() - self.began) / 60

    def _update(self, tasks: list[Task], done: float) -> tuple[float, float, float]:
        o = self.o
        for group in self.optimizer.param_groups:
            warm = min(1.0, (self.step + 1) / 50)
            group["lr"] = self.rate * warm * (0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * done)))
        fall = np.clip((done - o.teacher_until) / max(1e-9, 0.5 - o.teacher_until), 0, 1)
        share = 1.0 + (o.teacher_last - 1.0) * float(fall)
        self.model.train()
        played = self.practice.play(tasks, share, o.progress_weight)
        self.optimizer.zero_grad()
        played.loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.step += 1
        self.decisions += played.n_decisions
        keep = min(o.average, self.step / (self.step + 10))
        with torch.no_grad():
            for mean, now in zip(self.average.parameters(), self.model.parameters()):
                mean.lerp_(now, 1 - keep)
        return played.loss.item(), played.imitation, played.agreement

    def _check(self) -> None:
        """Success of the averaged weights on some held-out tasks, the same ones each time."""
        order = np.random.default_rng(0).permutation(len(self.held))[: self.o.check_tasks]
        tasks = [self.held[i] for i in order.tolist()]
        found = success(self.average, tasks, self.data)
        self.log.write({"update": self.step, "held_out": found})
        self._save()

    def _save(self) -> None:
        """The checkpoint, and what it takes to go on."""
        save_navigator(
            self.out,
            self.average,
            training={
                "command": command_of("vln", self.o, always=("agent", "seed")),
                "options": asdict(self.o),
                "updates": self.step,
                "decisions": self.decisions,
                "minutes": round(self._minutes(), 1),
                "torch": torch.__version__,
            },
        )
        mean = {f"average.{name}": value for name, value in self.average.state_dict().items()}
        counts = torch.tensor([self.step, self.decisions, round(60 * self._minutes())])
        state = training_tensors(self.model, self.optimizer) | mean | {"counts": counts}
        write_state(self.out / STATE, state, {"agent": self.o.agent})

    def _resume(self) -> None:
        """Go on where `_save` was called last, if it was."""
        if not (self.out / STATE).is_file():
            return
        state = read_state(self.out / STATE, {"agent": self.o.agent})
        self.step, self.decisions, seconds = state.pop("counts").tolist()
        self.minutes_before = seconds / 60
        mean = {k.removeprefix("average."): v for k, v in state.items() if k.startswith("average.")}
        self.average.load_state_dict(mean)
        restore_training(self.model, self.optimizer, state)
        self.practice.draws.manual_seed(self.o.seed + self.step)
        torch.manual_seed(self.o.seed + self.step)


def _settings(options: Options, kind: str, reads: bool) -> dict[str, Any]:
    if kind == "linear":
        return {"reads": reads}
    config = NetworkConfig(
        width=options.width,
        encoder_layers=options.encoder_layers,
        place_layers=options.place_layers,
        dropout=options.dropout,
        reads=reads,
    )
    return asdict(config)


def word_table(options: Options, data: R2RData) -> WordTable:
    """The words' vectors, and their weights from the captions of the training scans."""
    if options.words not in N_BUCKETS:
        raise ValueError(f'--words must be "minilm" or "hashed", got {options.words!r}')
    words: list[str] = []
    vectors = np.zeros((0, VECTOR_WIDTH), np.float32)
    if options.words == "minilm":
        words, vectors = minilm_words(VECTOR_WIDTH)
    lexicon, table = make_lexicon(
        words, vectors, n_buckets=N_BUCKETS[options.words], seed=options.seed
    )
    scans = [s for s in scans_of(data.items("r2r", "train")) if not is_held_out(s)]
    reads = AGENTS[options.agent][1]
    lines = captions_of(data, scans, Reader(lexicon)) if reads else []
    return WordTable(lexicon, table, idf(lexicon, lines))


def success(model: AnyNavigator, tasks: list[Task], data: R2RData) -> dict[str, float]:
    """Success rate of a navigator on tasks, with n."""
    model.eval()
    envs = R2RVectorEnv(64, data=data.root)
    agent = TextAgent(model, name="training")
    try:
        records = run_episodes(envs, agent, tasks, [BASELINE], frames="none", on_error="raise")
    finally:
        envs.close()
    near = [bool((r.trace["distance_to_goal"] < 3.0).any()) for r in records]
    steps = [r.n_steps for r in records]
    return {
        "n": len(records),
        "SR": round(float(np.mean([r.success for r in records])), 4),
        "OSR": round(float(np.mean(near)), 4),
        "steps": round(float(np.mean(steps)), 2),
    }


def main(argv: list[str] | None = None) -> int:
    """Entry point; flags come from `Options`."""
    print(train(read_flags(Options, __doc__, argv)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
