"""Trained navigators on disk: `model.safetensors` and `agent.json`, as other agents have them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from pilotage.agents.vla.checkpoint import (
    FORMAT,
    CheckpointError,
    file_sha256,
    read_header,
    read_weights,
)
from pilotage.episodes.files import write_atomically

from .linear import LinearNavigator
from .matching import WordTable
from .network import NetworkConfig, TextNavigator
from .policy import TextAgent
from .words import Lexicon

AnyNavigator = LinearNavigator | TextNavigator


def make_navigator(kind: str, table: WordTable, settings: dict[str, Any]) -> AnyNavigator:
    """A navigator of a kind ("linear", "transformer"); ValueError for another kind."""
    if kind == "linear":
        return LinearNavigator(table, **settings)
    if kind == "transformer":
        return TextNavigator(table, NetworkConfig(**settings))
    raise ValueError(f'kind must be "linear" or "transformer", got {kind!r}')


def save_navigator(folder: Path, model: AnyNavigator, *, training: dict[str, Any]) -> None:
    """Write the folder, floats as float16; `training` says how it was made."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (t.detach().half() if t.is_floating_point() else t.detach()).contiguous()
        for name, t in model.state_dict().items()
    }
    write_atomically(folder / "model.safetensors", save(tensors))
    header = {
        "format": FORMAT,
        "agent": "vln-text",
        "kind": model.kind,
        "settings": model.settings(),
        "n_buckets": model.table.n_buckets,
        "weights_sha256": file_sha256(folder / "model.safetensors"),
        "training": training,
    }
    write_atomically(folder / "agent.json", (json.dumps(header, indent=1) + "\n").encode())


def load_navigator(folder: Path) -> tuple[AnyNavigator, dict[str, Any]]:
    """The navigator (float32, eval mode) and its agent.json. CheckpointError says what is wrong."""
    header = read_header(folder)
    try:
        kind, settings, n_buckets = (header[k] for k in ("kind", "settings", "n_buckets"))
    except KeyError as error:
        raise CheckpointError(
            f"{folder / 'agent.json'} is no header of a VLN agent: {error!r}"
        ) from error
    tensors = read_weights(folder, header)
    try:
        floats = {k: t.float() if t.is_floating_point() else t for k, t in tensors.items()}
        lexicon = Lexicon(floats["table.hashes"].numpy(), n_buckets)
        vectors, words = floats["table.vectors"].numpy(), floats["table.weights"].numpy()
        model = make_navigator(kind, WordTable(lexicon, vectors, words), settings)
        model.load_state_dict(floats)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        raise CheckpointError(f"{folder} does not fit together: {error}") from error
    return model.eval().requires_grad_(False), header


def load_text_agent(folder: Path) -> TextAgent:
    """The agent in a folder, named after the folder and its weights."""
    model, header = load_navigator(folder)
    digest = header["weights_sha256"]
    about = {"kind": header["kind"], "weights_sha256": digest, "torch": torch.__version__}
    return TextAgent(model, name=f"{folder.name}@{digest[:6]}", about=about)


def n_parameters(model: AnyNavigator) -> int:
    """Trained numbers; the word table, which is not trained, is left out."""
    return sum(int(np.prod(p.shape)) for p in model.parameters())
