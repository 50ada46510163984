"""Maze networks on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pilotage.planners.checkpoints import load_model, save_model
from pilotage.planners.mlmu.model import MazeNet, MazeNetConfig

FORMAT = "pilotage-mlmu-1"


def save_net(net: MazeNet, folder: Path, training: Mapping[str, object] | None = None) -> None:
    """Write the checkpoint, with what `training` says of how it was made."""
    save_model(folder, FORMAT, asdict(net.config), net.state_dict(), training)


def load_net(folder: Path, *, size: int | None = None) -> MazeNet:
    """The network of a folder, in eval mode.

    ValueError that names the file and the remedy: it is for mazes of another `size`, or what
    `load_model` refuses. FileNotFoundError without the files.
    """
    net = load_model(
        folder, FORMAT, "a maze network", lambda config: MazeNet(MazeNetConfig(**config))
    )
    if size is not None and net.config.size != size:
        raise ValueError(
            f"{folder / 'net.json'} is of a network for {net.config.size} x {net.config.size} "
            f"cells, not {size} x {size}; choose that size or train another"
        )
    return net
