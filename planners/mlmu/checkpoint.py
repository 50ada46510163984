"""Networks and unfinished trainings on disk: safetensors and JSON, nothing that runs code."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor

from pilotage.planners.mlmu.model import MazeNet, MazeNetConfig

FORMAT = "pilotage-mlmu-1"


def save_net(net: MazeNet, folder: Path, training: Mapping[str, object] | None = None) -> None:
    """Write `net.safetensors`, then `net.json` with the sizes and what `training` says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "net.safetensors", net.state_dict(), {})
    text = {"format": FORMAT, "config": asdict(net.config), "training": dict(training or {})}
    temporary = folder / "net.json.tmp"
    temporary.write_text(json.dumps(text, indent=1) + "\n")
    os.replace(temporary, folder / "net.json")


def load_net(folder: Path, *, size: int | None = None) -> MazeNet:
    """The network of a folder, in eval mode.

    ValueError that names the file and the remedy: it is for mazes of another `size`, it is no such
    checkpoint, or the weights do not fit the sizes. FileNotFoundError without the files.
    """
    header = folder / "net.json"
    try:
        text = json.loads(header.read_text())
        written, values = text["format"], text["config"]
        config = MazeNetConfig(**values)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{header} does not describe a maze network: {error!r}") from error
    if written != FORMAT:
        raise ValueError(f"{header} has format {written!r}, this reads {FORMAT!r}; train it again")
    if size is not None and config.size != size:
        raise ValueError(
            f"{header} is of a network for {config.size} x {config.size} cells, not {size} x "
            f"{size}; choose that size or train another"
        )
    net = MazeNet(config)
    weights = folder / "net.safetensors"
    try:
        net.load_state_dict(load_file(weights))
    except (SafetensorError, RuntimeError) as error:
        raise ValueError(f"{weights} does not hold the weights of {header}: {error}") from error
    return net.eval()


def write_state(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write an unfinished training; `about` says of what, and `read_state` asks for the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, tensors, {"about": json.dumps(about, sort_keys=True)})


def read_state(path: Path, about: Mapping[str, object]) -> dict[str, Tensor]:
    """The tensors of an unfinished training.

    ValueError that names the first thing in which it is not the training of `about`, or when the
    file is none.
    """
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            found = json.loads((file.metadata() or {})["about"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not the state of a maze training: {error!r}") from error
    wanted = json.loads(json.dumps(about))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ValueError(
                f"{path} is of another training: its {name} is {found.get(name)}, not {value}; "
                "use the same options, or another file"
            )
    return load_file(path)


def digest_of(*arrays: np.ndarray) -> str:
    """Twelve hex digits that change with any number in integer arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(np.ascontiguousarray(array, dtype=np.int64).tobytes())
    return found.hexdigest()[:12]


def _write(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    temporary = path.with_suffix(".tmp")
    plain = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    save_file(plain, temporary, metadata=metadata)
    os.replace(temporary, path)
