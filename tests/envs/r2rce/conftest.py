"""Invented buildings with R2R-CE episodes, and traces of the expert, in the published layout."""

from __future__ import annotations

import gzip
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotage.agents.scripted import ExpertAgent
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.synthetic import write_synthetic
from pilotage.envs.r2rce.dataset import R2RCEData
from pilotage.envs.r2rce.places import CAMERA_M
from pilotage.envs.r2rce.tasks import split_tasks
from pilotage.envs.r2rce.vector_env import R2RCEVectorEnv
from pilotage.episodes.loop import run_episodes
from pilotage.episodes.types import BASELINE


def write_gz(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(json.dumps(value).encode()))


def habitat(points: np.ndarray) -> list[list[float]]:
    """Points [n, 3], z up, in Habitat's frame, y up."""
    return [[float(x), float(z), -float(y)] for x, y, z in points]


def write_episodes(root: Path, split: str) -> None:
    """An episode for each instruction of a split of R2R that stays on one floor (the invented stair
    is a ladder, which no horizontal move climbs); along the graph as the crow flies."""
    data = R2RData(root)
    entries = []
    for k, item in enumerate(data.items("r2r", split)):
        graph = data.graph(item.scan)
        index = [graph.viewpoints.index(v) for v in item.path]
        floor = graph.position[index] - [0.0, 0.0, CAMERA_M]
        if np.ptp(floor[:, 2]) > 1.0:
            continue
        half = -item.heading / 2
        length = float(np.linalg.norm(np.diff(floor, axis=0), axis=1).sum())
        entries.append(
            {
                "episode_id": k + 1,
                "trajectory_id": int(item.path_id),
                "scene_id": f"mp3d/{item.scan}/{item.scan}.glb",
                "start_position": habitat(floor[:1])[0],
                "start_rotation": [0.0, math.sin(half), 0.0, math.cos(half)],
                "goals": [{"position": habitat(floor[-1:])[0], "radius": 3.0}],
                "reference_path": habitat(floor),
                "instruction": {"instruction_text": item.instruction},
                "info": {"geodesic_distance": length},
            }
        )
    write_gz(root / "r2r_ce" / "R2R_VLNCE_v1-3" / split / f"{split}.json.gz", {"episodes": entries})


@pytest.fixture(scope="session")
def world_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two buildings; train without traces, val_seen with those of the expert."""
    root = tmp_path_factory.mktemp("data") / "continuous"
    write_synthetic(root)
    for split in ("train", "val_seen"):
        write_episodes(root, split)
    bare = R2RCEVectorEnv(6, text=False, expert_actions=True, data=root)
    tasks = split_tasks("r2rce", "val_seen", root)
    traces = {}
    for record in run_episodes(bare, ExpertAgent(), tasks, [BASELINE], frames="none"):
        moved = np.concatenate([[True], record.actions == 1])
        places = record.trace["position"][moved]
        traces[record.task.info["episode_id"]] = {
            "actions": record.actions.tolist(),
            "locations": habitat(places),
        }
    write_gz(root / "r2r_ce" / "gt" / "val_seen_gt.json.gz", traces)
    return root


@pytest.fixture(scope="session")
def data(world_root: Path) -> R2RCEData:
    return R2RCEData(world_root)
