"""A Mobility-VLA-style agent: a goal frame once an instruction, then shortest paths on the map.

Of Mobility VLA (arXiv:2407.07775): the tour is known beforehand, the high level names a frame of
it, the low level localises itself at each step, plans on the topological graph and walks one edge.
Here frames are words and a scorer stands for the language model; the graph is the navigation graph.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pilotage.agents.scripted import ScriptedAgent
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task

from .grounding import best_named
from .scorers import Lexical, Scorer
from .tour import Tour, metres_of

STOP = 0  # of the panoramic action space; k >= 1 goes to candidate k - 1


@dataclass
class _Walk:
    tour: Tour
    goal: int
    rng: np.random.Generator
    task: Task
    n_lost: int = 0
    answer: str | None = None  # the id of the object that it names where it stops


class MobilityAgent(ScriptedAgent):
    """Walks to the best-scored frame of the tour, stops there and names an object that it sees:
    the receipt's `object` is its id, the tour's `things` what can be named.

    Args:
        tour_of: the tour of a scan.
        scorer: the high level; it reads the instruction only.
        lost: the chance, at each step, that the agent takes itself to be at a neighbouring frame.
            Its plan then begins there; where the next frame of the plan is not beside its true
            place, it takes the candidate nearest to it, by metres on the map.
    """

    def __init__(
        self, tour_of: Callable[[str], Tour], scorer: Scorer, *, lost: float = 0.0
    ) -> None:
        if not 0 <= lost < 1:
            raise ValueError(f"lost must be in [0, 1), got {lost}")
        self._tour_of, self._scorer, self._lost = tour_of, scorer, lost
        self.agent_id = f"mobility-{scorer.name}"
        self._walks: list[_Walk | None] = []

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id, "scorer": self._scorer.name, "lost": self._lost}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._walks = [None] * n_slots

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        tour = self._tour_of(task.scene["scan"])
        goal = self._goal(tour, task)
        self._walks[slot] = _Walk(tour, goal, np.random.default_rng(seeds.noise), task)

    def _goal(self, tour: Tour, task: Task) -> int:
        return int(np.argmax(self._scorer.scores(tour, task.instruction)))

    def _named(self, walk: _Walk, here: int) -> str | None:
        return best_named(walk.tour, here, walk.task.instruction)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        actions = np.zeros(len(active), np.int64)
        for slot in np.flatnonzero(active).tolist():
            walk = self._walks[slot]
            if walk is not None:
                here = observations["viewpoint"][slot]
                actions[slot] = self._step(walk, here, observations["candidate_ids"][slot].split())
                if actions[slot] == STOP:
                    walk.answer = self._named(walk, walk.tour.index[here])
        return actions

    def finish_slot(self, slot: int) -> dict[str, Json]:
        walk = self._walks[slot]
        if walk is None:
            return {}
        return {
            "goal_frame": walk.tour.viewpoints[walk.goal],
            "n_lost": walk.n_lost,
            "object": walk.answer,
        }

    def _step(self, walk: _Walk, viewpoint: str, candidates: Sequence[str]) -> int:
        tour = walk.tour
        believed = here = tour.index[viewpoint]
        near = [there for there, _ in tour.neighbours[here]]
        if near and walk.rng.random() < self._lost:
            believed = int(walk.rng.choice(near))
            walk.n_lost += 1
        if believed == walk.goal:
            return STOP
        places = [tour.index[name] for name in candidates]
        try:
            wanted = tour.route(believed, walk.goal)[1]
        except ValueError:  # another part of the building: there is no way, so it stays
            return STOP
        if wanted in places:
            return 1 + places.index(wanted)
        ways = [metres_of(tour.neighbours, tour.route(place, wanted)) for place in places]
        return 1 + int(np.argmin(ways)) if ways else STOP


class OracleMobilityAgent(MobilityAgent):
    """Knows a frame that sees the object, the end of the annotated path where that is one, and the
    object where it stands before it: privileged, the ceiling of every scorer."""

    def __init__(self, tour_of: Callable[[str], Tour], *, lost: float = 0.0) -> None:
        super().__init__(tour_of, Lexical(), lost=lost)
        self.agent_id = "mobility-oracle"

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id, "scorer": "oracle", "lost": self._lost}

    def _goal(self, tour: Tour, task: Task) -> int:
        seeing, end = list(task.goal["seen_from"]), task.goal["viewpoint"]
        return tour.index[end if end in seeing else seeing[0]]

    def _named(self, walk: _Walk, here: int) -> str | None:
        wanted: str = walk.task.goal["object"]
        return wanted if wanted in dict(walk.tour.things[here]) else None
