"""What all trainings share: a folder that belongs to one set of options, and its log.

A training is a frozen dataclass of options, from which the flags are made. Its folder holds
`options.json`, `log.jsonl` (one JSON object a line, the live curves), an unfinished training's
state, and at the end the checkpoint with the command that made it.
"""

from __future__ import annotations

import argparse
import importlib.resources
import json
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from pilotage.episodes.files import write_atomically

Options = TypeVar("Options")

MACHINES_OWN = frozenset({"threads", "device", "every"})  # may change when a training goes on


def shipped(name: str) -> Path:
    """The folder of a checkpoint that comes with the package."""
    return Path(str(importlib.resources.files("pilotage.assets"))) / name


def read_flags(kind: type[Options], about: str | None, argv: Sequence[str] | None) -> Options:
    """The options of a command line: one flag a field, of the type of its default."""
    parser = argparse.ArgumentParser(
        description=about,
        allow_abbrev=False,
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    default: Any = kind()
    for name, value in asdict(default).items():
        parser.add_argument(
            f"--{name.replace('_', '-')}", type=type(value), default=value, help=" "
        )
    return kind(**vars(parser.parse_args(argv)))


def command_of(verb: str, options: Any, *, always: Sequence[str] = ()) -> str:
    """The command that asks for these options: those that are not the default, and `always`."""
    default = asdict(type(options)())
    chosen = {k: v for k, v in asdict(options).items() if v != default[k] or k in always}
    flags = [f"--{k.replace('_', '-')} {shlex.quote(str(v))}" for k, v in chosen.items()]
    return " ".join([f"pilotage train {verb}", *flags])


def claim(out: Path, options: Any) -> None:
    """Note the options in the folder, or check that they are those of the training in it (what is
    the machine's own may change).

    Raises:
        ValueError: the folder holds a training with other options.
    """
    out.mkdir(parents=True, exist_ok=True)
    path, ours = out / "options.json", asdict(options)
    if not path.is_file():
        write_atomically(path, json.dumps(ours, indent=1).encode())
        return
    theirs = json.loads(path.read_text())
    theirs = asdict(type(options)()) | theirs  # an option that is newer than the folder
    other = [k for k in ours if ours[k] != theirs[k] and k not in MACHINES_OWN]
    if other:
        told = ", ".join(f"{k} {theirs[k]!r} (now {ours[k]!r})" for k in other)
        raise ValueError(f"{out} holds a training with other options: {told}; give another --out")


class TrainingLog:
    """JSON lines in a file and on standard error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.started = time.monotonic()

    def write(self, row: dict[str, Any]) -> None:
        minutes = round((time.monotonic() - self.started) / 60, 2)
        line = json.dumps({"minutes": minutes, **row})
        with self.path.open("a") as stream:
            stream.write(line + "\n")
        print(line, file=sys.stderr, flush=True)

    def rounded(self, row: dict[str, float]) -> None:
        self.write({k: v if isinstance(v, int) else round(v, 4) for k, v in row.items()})

    def every(self, n: int, name: str) -> Callable[[int], None]:
        """A progress callback that writes when another `n` are done."""
        last = 0

        def tell(done: int) -> None:
            nonlocal last
            if done // n > last // n:
                self.write({name: done})
            last = done

        return tell


class Run:
    """A training's folder and log."""

    def __init__(self, verb: str, options: Any) -> None:
        import torch

        torch.set_num_threads(options.threads)
        self.verb, self.options, self.out = verb, options, Path(options.out)
        claim(self.out, options)
        self.log = TrainingLog(self.out / "log.jsonl")
        self.log.write({"options": asdict(options)})

    @property
    def state(self) -> Path:
        """The file of the unfinished training."""
        return self.out / "state.safetensors"

    def about(self, test: dict[str, Any]) -> dict[str, Any]:
        """What a checkpoint says of how it was made; `test` is logged as well."""
        import torch

        self.log.write({"test": test})
        return {
            "command": command_of(self.verb, self.options),
            "options": asdict(self.options),
            "test": test,
            "torch": torch.__version__,
        }
