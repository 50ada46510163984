"""Clone-structured models on disk."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from pilotage.planners.checkpoints import load_tensors, read_header, save_model
from pilotage.planners.cscg.model import CSCG

FORMAT = "pilotage-cscg-1"
WHAT = "a clone-structured model"


def save_net(model: CSCG, folder: Path, training: Mapping[str, object] | None = None) -> None:
    """Write the checkpoint, with what `training` says of how it was made."""
    sizes = {
        "n_observations": model.n_observations,
        "n_clones": model.n_clones,
        "n_actions": model.n_actions,
    }
    save_model(
        folder, FORMAT, sizes, {"transitions": torch.from_numpy(model.transitions)}, training
    )


def load_net(folder: Path) -> CSCG:
    """The model of a folder. ValueError that names the file: no such checkpoint, or transitions
    that do not fit its sizes. FileNotFoundError without the files."""
    config = read_header(folder, FORMAT, WHAT)["config"]
    try:
        model = CSCG(**config, seed=0)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / 'net.json'} does not describe {WHAT}: {error!r}") from error
    found = load_tensors(folder).get("transitions")
    if found is None or found.shape != model.transitions.shape:
        shape = None if found is None else list(found.shape)
        raise ValueError(
            f"{folder / 'net.safetensors'} does not hold the transitions of "
            f"{folder / 'net.json'}: shape {shape}, not {list(model.transitions.shape)}"
        )
    model.transitions = found.numpy()
    return model
