"""Tours of scans from REVERIE's boxes and NavGPT's captions, and scorers of them by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from pilotage.agents.vln.maps.learned import Features, Learned, fit
from pilotage.agents.vln.maps.scorers import Lexical, Mixture, Scorer, Semantic
from pilotage.agents.vln.maps.tour import Tour
from pilotage.agents.vln.prompted.embedding import MiniLM
from pilotage.envs.r2r.dataset import R2RData
from pilotage.envs.r2r.tasks import split_tasks
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Task
from pilotage.scripts.vln_training import is_held_out

SCORERS = ("lexical", "captions", "both", "minilm", "mixture", "learned-words", "learned")
N_TRAIN = 1500  # instructions that the learned scorers see


@dataclass
class Tours:
    """Reads each scan once; trains the learned scorers when they are first asked for."""

    data: R2RData
    n_train: int = N_TRAIN
    seed: int = 0
    _tours: dict[str, Tour] = field(default_factory=dict)
    _semantic: Semantic | None = None

    def __getitem__(self, scan: str) -> Tour:
        if scan not in self._tours:
            self._tours[scan] = tour_of(self.data, scan)
        return self._tours[scan]

    def scorer(self, name: str, played: Sequence[Task] = ()) -> Scorer:
        """A scorer by name; KeyError for an unknown one. The learned ones train on no path of
        `played`."""
        if name == "lexical":
            return Lexical("names")
        if name in ("captions", "both"):
            return Lexical(name)
        if name == "minilm":
            return self._minilm()
        if name == "mixture":
            return Mixture([Lexical("names"), self._minilm()])
        if name == "learned":
            return self._learned(Features(self._minilm()), name, played)
        if name == "learned-words":
            return self._learned(Features(), name, played)
        raise unknown("scorer", name, SCORERS)

    def goals(self, task: Task) -> np.ndarray:
        """bool [V]: the frames that see the object of a REVERIE task."""
        tour = self[task.scene["scan"]]
        seen = np.zeros(len(tour.viewpoints), bool)
        seen[[tour.index[viewpoint] for viewpoint in task.goal["seen_from"]]] = True
        return seen

    def _minilm(self) -> Semantic:
        self._semantic = self._semantic or Semantic(MiniLM())
        return self._semantic

    def _learned(self, features: Features, name: str, played: Sequence[Task]) -> Learned:
        """Trained on instructions of train in scans that are not held out."""
        paths = {task.info["path_id"] for task in played}
        known = [
            task
            for task in split_tasks("reverie", "train", self.data.root)
            if not is_held_out(task.scene["scan"]) and task.info["path_id"] not in paths
        ]
        order = np.random.default_rng(self.seed).permutation(len(known))[: self.n_train]
        tasks = [known[i] for i in order.tolist()]
        rows = [features.of(self[t.scene["scan"]], t.instruction) for t in tasks]
        return Learned(features, fit(rows, [self.goals(t) for t in tasks]), name)


def tour_of(data: R2RData, scan: str) -> Tour:
    """All viewpoints of a scan; the object names are REVERIE's ground truth."""
    graph = data.graph(scan)
    boxes, captions = data.boxes(scan), data.captions(scan)
    things = tuple(
        tuple((k, t["name"]) for k, t in boxes.get(v, {}).items() if t["visible_pos"])
        for v in graph.viewpoints
    )
    names = tuple(tuple(sorted({name for _, name in seen})) for seen in things)
    neighbours = tuple(
        tuple((int(j), float(graph.edge_length[i, j])) for j in np.flatnonzero(row))
        for i, row in enumerate(graph.adjacent)
    )
    texts = tuple(" ".join(captions[v]) for v in graph.viewpoints)
    return Tour(scan, graph.viewpoints, names, texts, neighbours, things)
