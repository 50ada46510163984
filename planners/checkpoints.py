"""Learned planners and unfinished trainings on disk: safetensors and JSON, nothing that runs code.

A checkpoint is a folder with `net.safetensors` and `net.json` (format, sizes, how it was made). An
unfinished training is one file: weights, moments of the optimizer, progress, and what it is of.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

Net = TypeVar("Net", bound=nn.Module)


def save_model(
    folder: Path,
    form: str,
    config: Mapping[str, object],
    tensors: Mapping[str, Tensor],
    training: Mapping[str, object] | None = None,
) -> None:
    """Write `net.safetensors`, then `net.json` with the sizes and what `training` says of it."""
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "net.safetensors", tensors, {})
    text = {"format": form, "config": dict(config), "training": dict(training or {})}
    temporary = folder / "net.json.tmp"
    temporary.write_text(json.dumps(text, indent=1) + "\n")
    os.replace(temporary, folder / "net.json")


def read_header(folder: Path, form: str, what: str) -> dict[str, Any]:
    """`net.json`: "config" and "training". `what` names the kind in the message of a ValueError,
    which is raised where the file is none or of another format."""
    header = folder / "net.json"
    try:
        text: dict[str, Any] = json.loads(header.read_text())
        written = text["format"]
        text["config"].keys()
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{header} does not describe {what}: {error!r}") from error
    if written != form:
        raise ValueError(f"{header} has format {written!r}, this reads {form!r}; train it again")
    return text


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """`net.safetensors`. ValueError that names the file when it is torn."""
    path = folder / "net.safetensors"
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ValueError(f"{path} does not hold the weights of a planner: {error}") from error


def load_model(
    folder: Path, form: str, what: str, build: Callable[[Mapping[str, Any]], Net]
) -> Net:
    """The network that `build` makes of the header's sizes, with its weights, in eval mode.

    ValueError that names the file: no such checkpoint, sizes that `build` refuses (TypeError or
    ValueError), weights that do not fit them. FileNotFoundError without the files.
    """
    config = read_header(folder, form, what)["config"]
    try:
        net = build(config)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'net.json'} does not describe {what}: {error!r}") from error
    try:
        net.load_state_dict(load_tensors(folder))
    except RuntimeError as error:
        raise ValueError(
            f"{folder / 'net.safetensors'} does not hold the weights of {folder / 'net.json'}: "
            f"{error}"
        ) from error
    return net.eval()


def write_state(path: Path, tensors: Mapping[str, Tensor], about: Mapping[str, object]) -> None:
    """Write an unfinished training; `about` says of what, and `read_state` asks for the same."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, tensors, {"about": json.dumps(about, sort_keys=True)})


def read_state(
    path: Path, about: Mapping[str, object], *, what: str = "a training"
) -> dict[str, Tensor]:
    """The tensors of an unfinished training.

    ValueError that names the first thing in which it is not the training of `about`, or when the
    file is none.
    """
    try:
        with safe_open(path, framework="pt") as file:  # type: ignore[no-untyped-call]
            found = json.loads((file.metadata() or {})["about"])
    except (SafetensorError, KeyError, ValueError) as error:
        raise ValueError(f"{path} is not the state of {what}: {error!r}") from error
    wanted = json.loads(json.dumps(about))
    for name, value in wanted.items():
        if found.get(name) != value:
            raise ValueError(
                f"{path} is of another training: its {name} is {found.get(name)}, not {value}; "
                "use the same options, or another file"
            )
    return load_file(path)


def training_tensors(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and moments, by names that `restore_training` knows."""
    found = {f"net.{name}": value for name, value in net.state_dict().items()}
    for k, parameter in enumerate(net.parameters()):
        for name, value in optimizer.state[parameter].items():
            found[f"optimizer.{k}.{name}"] = value
    return found


def restore_training(
    net: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> None:
    """Put back what `training_tensors` gave, onto the device of the network."""
    device = next(net.parameters()).device
    for k, parameter in enumerate(net.parameters()):
        moments = _part(tensors, f"optimizer.{k}.")
        optimizer.state[parameter] = {
            name: value.cpu() if name == "step" else value.to(device)
            for name, value in moments.items()
        }
    net.load_state_dict(_part(tensors, "net."))


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


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
