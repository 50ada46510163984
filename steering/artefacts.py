"""One portable file format: safetensors with a JSON header. No pickle, nothing half-written.

The header (metadata key `pilotage`) names the format, what the file is, and its payload's digest;
the model digest in it ties what was found in one model to that model.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn

FORMAT = "pilotage.steering/1"


class ArtefactError(ValueError):
    """A vector or neuron file that is damaged, of another kind, or for another model."""


def model_digest(decoder: nn.Module) -> str:
    """Hex SHA-256 over the sorted parameters: names, types, shapes, bytes."""
    state = hashlib.sha256()
    for name, parameter in sorted(decoder.named_parameters()):
        state.update(f"{name}|{parameter.dtype}|{list(parameter.shape)}\n".encode())
        data = parameter.detach().cpu().contiguous().reshape(-1)
        state.update(data.view(torch.uint8).numpy().data)
    return state.hexdigest()


def payload_digest(tensors: Mapping[str, torch.Tensor]) -> str:
    """Hex SHA-256 over named tensors."""
    state = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        state.update(f"{name}|{tensor.dtype}|{list(tensor.shape)}\n".encode())
        state.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return state.hexdigest()


def write(
    path: Path | str, what: str, tensors: Mapping[str, torch.Tensor], header: Mapping[str, Any]
) -> None:
    """Write an artefact: to a temporary file beside it, then renamed."""
    path = Path(path)
    head = {**header, "format": FORMAT, "what": what, "payload": payload_digest(tensors)}
    text = json.dumps(head, sort_keys=True, allow_nan=False)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        save_file(dict(tensors), temporary, metadata={"pilotage": text})
        with open(temporary, "rb") as written:
            os.fsync(written.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path | str, what: str) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Tensors and header of an artefact. Raises FileNotFoundError, or ArtefactError saying why."""
    tensors, header = _open(path, what, with_tensors=True)
    if header.get("what") != what:
        raise ArtefactError(f"{path} is a {header.get('what')} file, not a {what} file")
    if header.get("payload") != payload_digest(tensors):
        raise ArtefactError(f"{path}: the numbers do not match the digest in the header")
    return tensors, header


def kind_of(path: Path | str) -> str:
    """What an artefact is, by its header. Errors as in `read`."""
    _, header = _open(path, "vector or map", with_tensors=False)
    return str(header.get("what"))


def _open(
    path: Path | str, what: str, *, with_tensors: bool
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {what} file {path}")
    tensors = {}
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if with_tensors:
                tensors = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise ArtefactError(f"{path} is damaged or is not a safetensors file: {error}") from error
    if "pilotage" not in metadata:
        raise ArtefactError(f"{path} has no Pilotage header; write it with save_vector")
    try:
        header = json.loads(metadata["pilotage"])
    except json.JSONDecodeError as error:
        raise ArtefactError(f"{path}: the header is not JSON: {error}") from error
    if header.get("format") != FORMAT:
        raise ArtefactError(f"{path} has format {header.get('format')!r}, expected {FORMAT!r}")
    return tensors, header


def origin_of(what: str, found: Any) -> dict[str, Any]:
    """JSON for an intervention's `origin`. what: "vector" or "map"; found: that artefact."""
    origin: dict[str, Any] = {what: found.digest, "method": found.method}
    if found.model_digest:
        origin["model"] = found.model_digest
    if found.file:
        origin["file"] = found.file
    return origin


def check_model(
    path: Path | str, found: str, expected: str | None, *, allow_other_model: bool
) -> None:
    """Refuse an artefact of another model, naming the file and both digests."""
    if expected is not None and found != expected and not allow_other_model:
        raise ArtefactError(
            f"{path} was made with the model {found or '(unknown)'}, this one is {expected}; "
            "pass allow_other_model=True if that is meant"
        )
