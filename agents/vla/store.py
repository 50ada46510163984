"""What a training needs to go on after it was stopped: its demonstrations and its optimiser.

Everything is safetensors beside JSON; a file is renamed into place when it is whole, and the JSON
comes last, so that what is named there can be read.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load_file as load_arrays
from safetensors.numpy import save_file as save_arrays
from safetensors.torch import load_file, save_file

from pilotage.agents.vla.adapters import load_trained_state, trained_state
from pilotage.agents.vla.checkpoint import CheckpointError
from pilotage.agents.vla.demos import Demo
from pilotage.agents.vla.training import Trainer
from pilotage.episodes.files import write_atomically
from pilotage.episodes.types import Task

OPTIONAL = ("pointed", "clause")  # arrays that a demo may lack
CHUNK_STEPS = 20_000  # env steps a file of demonstrations holds, about


class DemoStore:
    """Named lists of demonstrations in a folder. Demos that share pictures share them on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def has(self, name: str) -> bool:
        return (self.folder / f"{name}.json").is_file()

    def save(self, name: str, demos: Sequence[Demo]) -> None:
        """Write `demos` under `name`, replacing what was there."""
        rows = []
        for number, chunk in enumerate(_chunks(demos)):
            file = f"{name}-{number:03d}.safetensors"
            films = list({id(d.images): d for d in chunk}.values())
            index = {id(d.images): k for k, d in enumerate(films)}
            arrays = {
                f"images.{k}": np.concatenate([d.images[k] for d in films])
                for k in range(len(films[0].images))
            }
            arrays["proprio"] = np.concatenate([d.proprio for d in films])
            arrays["actions"] = np.concatenate([d.actions for d in chunk])
            arrays["aux"] = np.concatenate([d.aux for d in chunk])
            for key in OPTIONAL:
                if some := [getattr(d, key) for d in chunk if getattr(d, key) is not None]:
                    arrays[key] = np.concatenate(some)
            _save(arrays, self.folder / file)
            rows.append(
                {
                    "file": file,
                    "film_steps": [d.n_steps for d in films],
                    "demos": [
                        {
                            "film": index[id(d.images)],
                            "task": d.task.to_json(),
                            "narrations": d.narrations,
                            "success": d.success,
                            **{key: getattr(d, key) is not None for key in OPTIONAL},
                        }
                        for d in chunk
                    ],
                }
            )
        write_atomically(self.folder / f"{name}.json", json.dumps(rows).encode())

    def load(self, name: str) -> list[Demo]:
        """The demos saved under `name`. CheckpointError when a file is missing or torn."""
        demos: list[Demo] = []
        try:
            for row in json.loads((self.folder / f"{name}.json").read_text()):
                demos += _read_chunk(row, load_arrays(self.folder / row["file"]))
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            raise CheckpointError(
                f"the demonstrations {name!r} in {self.folder} cannot be read ({error}); delete "
                "the folder and train again"
            ) from error
        return demos


def _read_chunk(row: dict[str, Any], arrays: dict[str, np.ndarray]) -> Iterator[Demo]:
    ends = np.cumsum(row["film_steps"]).tolist()
    n_cameras = sum(name.startswith("images.") for name in arrays)
    films = [
        ([arrays[f"images.{k}"][end - n : end] for k in range(n_cameras)], slice(end - n, end))
        for n, end in zip(row["film_steps"], ends, strict=True)
    ]
    at = 0
    optional_at = dict.fromkeys(OPTIONAL, 0)
    for entry in row["demos"]:
        images, span = films[entry["film"]]
        n_steps = span.stop - span.start
        steps = slice(at, at + n_steps)
        at = steps.stop
        optional = {}
        for key in OPTIONAL:
            if entry.get(key):
                optional[key] = arrays[key][optional_at[key] : optional_at[key] + n_steps]
                optional_at[key] += n_steps
        yield Demo(
            task=Task.from_json(entry["task"]),
            images=images,
            proprio=arrays["proprio"][span],
            actions=arrays["actions"][steps],
            narrations=entry["narrations"],
            aux=arrays["aux"][steps],
            success=entry["success"],
            **optional,
        )


def _chunks(demos: Sequence[Demo]) -> Iterator[list[Demo]]:
    """Runs of demos of about `CHUNK_STEPS` steps; demos that share pictures stay together."""
    chunk: list[Demo] = []
    size = 0
    for demo in demos:
        is_new = not chunk or chunk[-1].images is not demo.images
        if is_new and size >= CHUNK_STEPS:
            yield chunk
            chunk, size = [], 0
        chunk.append(demo)
        size += demo.n_steps * is_new
    if chunk:
        yield chunk


def save_trainer(folder: Path, trainer: Trainer, extra: dict[str, Any]) -> None:
    """Write the trainer's weights, running average and moments, then `extra` (JSON), the marker."""
    tensors = {f"model.{k}": v for k, v in trained_state(trainer.model).items()}
    tensors |= {f"average.{k}": v for k, v in trainer.average.items()}
    for k, parameter in enumerate(_parameters(trainer)):
        for name, value in trainer.optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer.{k}.{name}"] = torch.as_tensor(value)
    path = folder / f"trainer-{trainer.step}.safetensors"
    temporary = path.with_suffix(".tmp")
    save_file({k: v.detach().contiguous().clone() for k, v in tensors.items()}, temporary)
    os.replace(temporary, path)
    state = {**extra, "step": trainer.step, "file": path.name}
    write_atomically(folder / "trainer.json", json.dumps(state).encode())
    for old in folder.glob("trainer-*.safetensors"):
        if old != path:
            old.unlink()


def load_trainer(folder: Path, trainer: Trainer) -> dict[str, Any]:
    """Put a saved state into `trainer`; returns the JSON saved with it. CheckpointError if torn."""
    try:
        state: dict[str, Any] = json.loads((folder / "trainer.json").read_text())
        tensors = load_file(folder / state["file"])
        load_trained_state(trainer.model, _part(tensors, "model."))
        trainer.average = _part(tensors, "average.")
        for k, parameter in enumerate(_parameters(trainer)):
            if moments := _part(tensors, f"optimizer.{k}."):
                trainer.optimizer.state[parameter] = moments
        trainer.step = int(state["step"])
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"the training in {folder} cannot go on ({error}); give another --out, or delete it"
        ) from error
    return state


def _parameters(trainer: Trainer) -> list[torch.nn.Parameter]:
    return [p for group in trainer.optimizer.param_groups for p in group["params"]]


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _save(arrays: dict[str, np.ndarray], path: Path) -> None:
    temporary = path.with_suffix(".tmp")
    save_arrays({k: np.ascontiguousarray(v) for k, v in arrays.items()}, temporary)
    os.replace(temporary, path)
