"""Networks that complete paths on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pilotage.planners.alpine.model import PathGPT, PathGPTConfig
from pilotage.planners.checkpoints import load_model, save_model

FORMAT = "pilotage-alpine-1"
WHAT = "a network that completes paths"


def save_net(net: PathGPT, folder: Path, training: Mapping[str, object] | None = None) -> None:
    """Write the checkpoint, with what `training` says of how it was made."""
    save_model(folder, FORMAT, asdict(net.config), net.state_dict(), training)


def load_net(folder: Path) -> PathGPT:
    """The network of a folder, in eval mode. Raises what `checkpoints.load_model` raises."""
    return load_model(folder, FORMAT, WHAT, lambda config: PathGPT(PathGPTConfig(**config)))
