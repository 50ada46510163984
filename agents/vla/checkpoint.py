"""Agents on disk: a folder with `model.safetensors` and `agent.json`. No pickle anywhere."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from pilotage.agents.vla.adapters import install, trained_state
from pilotage.agents.vla.config import VLAConfig
from pilotage.agents.vla.model import VLAModel

FORMAT = 1


class CheckpointError(ValueError):
    """A checkpoint that cannot be used; the message names the file and the remedy."""


def save_checkpoint(
    folder: Path,
    model: VLAModel,
    *,
    training: dict[str, Any],
    state: Mapping[str, torch.Tensor] | None = None,
    half: bool = True,
) -> None:
    """Write the folder atomically per file: weights (float16 on disk if `half`), then agent.json.

    state: the weights to write instead of those that `model` has now; of a pretrained decoder
    there are only those that were trained (`adapters.trained_state`).

    `training` says how it was made: command, seed, steps, data. agent.json carries the SHA-256 of
    the weight file, so that a torn pair is noticed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = trained_state(model) if state is None else state
    dtype = torch.float16 if half else torch.float32
    tensors = {k: v.detach().to("cpu", dtype).contiguous() for k, v in state.items()}
    weights = folder / "model.safetensors"
    temporary = weights.with_suffix(".tmp")
    save_file(tensors, temporary)
    os.replace(temporary, weights)
    header = {
        "format": FORMAT,
        "config": model.config.to_json(),
        "weights_sha256": file_sha256(weights),
        "training": training,
    }
    temporary = folder / "agent.json.tmp"
    temporary.write_text(json.dumps(header, indent=1) + "\n")
    os.replace(temporary, folder / "agent.json")


def load_checkpoint(folder: Path) -> tuple[VLAModel, dict[str, Any]]:
    """The model (float32, eval mode) and its agent.json. CheckpointError says what is wrong."""
    config, tensors, header = read_checkpoint(folder)
    try:
        model = VLAModel(config)
    except (ValueError, RuntimeError) as error:
        raise CheckpointError(f"the agent in {folder} cannot be built: {error}") from error
    try:
        if config.language:
            install(model, tensors)
        else:
            model.load_state_dict({k: v.float() for k, v in tensors.items()})
    except RuntimeError as error:
        weights = folder / "model.safetensors"
        raise CheckpointError(f"{weights} does not fit its configuration: {error}") from error
    return model.eval().requires_grad_(False), header


def read_checkpoint(
    folder: Path,
) -> tuple[VLAConfig, dict[str, torch.Tensor], dict[str, Any]]:
    """The configuration, the trained weights as they were saved, and agent.json. CheckpointError
    says what is wrong."""
    header = read_header(folder)
    try:
        config = VLAConfig.from_json(header["config"])
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / 'agent.json'} is not a valid agent header: {error}"
        ) from error
    return config, read_weights(folder, header), header


def read_header(folder: Path) -> dict[str, Any]:
    """agent.json of an agent's folder. CheckpointError where a file is missing or of no use."""
    path = folder / "agent.json"
    for needed in (path, folder / "model.safetensors"):
        if not needed.is_file():
            raise CheckpointError(
                f"{needed} is missing; an agent folder holds agent.json and model.safetensors"
            )
    try:
        header: dict[str, Any] = json.loads(path.read_text())
        version, _ = header["format"], header["weights_sha256"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is not a valid agent header: {error}") from error
    if version != FORMAT:
        raise CheckpointError(
            f"{path} has format {version!r}, this version reads {FORMAT}; "
            "train it again or use the version of pilotage that wrote it"
        )
    return header


def read_weights(folder: Path, header: dict[str, Any]) -> dict[str, torch.Tensor]:
    """The tensors that a header speaks of. CheckpointError where they are others."""
    weights, expected = folder / "model.safetensors", str(header["weights_sha256"])
    found = file_sha256(weights)
    if found != expected:
        raise CheckpointError(
            f"{weights} does not match agent.json (SHA-256 {found[:12]}, expected "
            f"{expected[:12]}): truncated or changed; copy the folder again"
        )
    try:
        return load_file(weights)
    except SafetensorError as error:
        raise CheckpointError(f"{weights} cannot be read: {error}") from error


def file_sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
