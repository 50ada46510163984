"""Networks with discrete bottlenecks on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

from pilotage.planners.checkpoints import load_model, save_model
from pilotage.planners.tdb.model import TDB, TDBConfig

FORMAT = "pilotage-tdb-1"
WHAT = "a transformer with discrete bottlenecks"


def save_net(net: TDB, folder: Path, training: Mapping[str, object] | None = None) -> None:
    """Write the checkpoint, with what `training` says of how it was made."""
    save_model(folder, FORMAT, asdict(net.config), net.state_dict(), training)


def load_net(folder: Path) -> TDB:
    """The network of a folder, in eval mode. Raises what `checkpoints.load_model` raises."""
    return load_model(folder, FORMAT, WHAT, lambda config: TDB(TDBConfig(**config)))
