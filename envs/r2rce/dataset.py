"""One data folder of R2R-CE and RxR-CE: episodes, traces and known places, each read once."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from pilotage.envs.r2r.annotations import SPLIT_ALIASES, SPLITS
from pilotage.envs.r2r.continuous import (
    ContinuousEpisode,
    ExpertTrace,
    episode_file,
    read_episodes,
    read_traces,
    trace_file,
)
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.dataset import shared_data as shared_graphs
from pilotage.envs.r2r.files import data_root

from .places import Places, known_places
from .rxr import SpokenEpisode, read_rxr, rxr_file


@dataclass
class _Walks:
    """Trajectory id -> points on the floor of one scan; the instructions of a path share them."""

    references: dict[str, np.ndarray] = field(default_factory=dict)
    traces: dict[str, np.ndarray] = field(default_factory=dict)


class R2RCEData:
    """Reads what lies under a data folder (layout: `pilotage data`). Nothing is read before use.

    Raises on use: DataMissing for a file that is not there, DataError for one that is damaged.
    """

    def __init__(self, root: str | Path | None = None) -> None:
        self.root = data_root(root)
        self.graphs: R2RData = shared_graphs(self.root)
        self._episodes: dict[str, list[ContinuousEpisode]] = {}
        self._traces: dict[str, dict[str, ExpertTrace]] = {}
        self._spoken: dict[str, list[SpokenEpisode]] = {}
        self._places: dict[tuple[str, float], Places] = {}
        self._walks: dict[str, _Walks] = {}

    def episodes(self, split: str) -> list[ContinuousEpisode]:
        """The R2R-CE episodes of a split."""
        split = SPLIT_ALIASES.get(split, split)
        if split not in self._episodes:
            self._episodes[split] = read_episodes(episode_file(self.root, split))
        return self._episodes[split]

    def spoken(self, split: str) -> list[SpokenEpisode]:
        """The RxR-CE episodes of the guides of a split."""
        split = SPLIT_ALIASES.get(split, split)
        if split not in self._spoken:
            self._spoken[split] = read_rxr(rxr_file(self.root, split))
        return self._spoken[split]

    def traces(self, split: str) -> dict[str, ExpertTrace]:
        """episode id -> the expert's trace, of R2R-CE."""
        split = SPLIT_ALIASES.get(split, split)
        if split not in self._traces:
            path = trace_file(self.root, split)
            self._traces[split] = read_traces(path, self.episodes(split))
        return self._traces[split]

    def has_traces(self, split: str) -> bool:
        """Whether the traces of a split are there."""
        return trace_file(self.root, split).exists()

    def places(self, scan: str, link_m: float) -> Places:
        """The known places of a scan: from its graph, and from the R2R-CE episodes and traces of
        every split that is there (RxR's paths run over the same viewpoints)."""
        key = (scan, link_m)
        if key not in self._places:
            walked = self._walked().get(scan, _Walks())
            self._places[key] = known_places(
                self.graphs.graph(scan),
                list(walked.references.values()),
                list(walked.traces.values()),
                link_m=link_m,
            )
        return self._places[key]

    def _walked(self) -> dict[str, _Walks]:
        """What is known of every scan."""
        if not self._walks:
            for split in SPLITS[:-1]:  # test splits hide where their paths go
                if not episode_file(self.root, split).exists():
                    continue
                steps = self.traces(split) if self.has_traces(split) else {}
                for e in self.episodes(split):
                    walks = self._walks.setdefault(e.scan, _Walks())
                    walks.references[e.trajectory_id] = e.reference
                    if e.episode_id in steps:
                        walks.traces[e.trajectory_id] = steps[e.episode_id].locations
        return self._walks


@lru_cache(maxsize=4)
def _shared(root: Path) -> R2RCEData:
    return R2RCEData(root)


def shared_data(root: str | Path | None = None) -> R2RCEData:
    """The reader of a folder, shared by all that name the same one: files are read once."""
    return _shared(data_root(root))
