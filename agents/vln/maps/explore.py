"""A Meta-Explore-style agent: explores an unknown building, and goes back where that was wrong.

Of Meta-Explore (arXiv:2303.04077): a mode selector says at each place whether to explore further or
to exploit the map drawn so far; exploiting is a search over all places seen and not visited, each
judged by how well the way to it fits the instruction, by the spectra of scene objects along it.
Here nothing is trained: the explorer compares words, the selector is a rule, and the agent ends
where its evidence was best.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilotage.agents.scripted import ScriptedAgent
from pilotage.episodes.names import unknown
from pilotage.episodes.types import Condition, Json, Observations, Seeds, Task

from .grounding import best_thing
from .known import KnownMap
from .scorers import clauses
from .spectrum import N_COLUMNS, Bag, Scene, aligned, blocks_of, category_of
from .tour import content_words

SEARCHES = ("sos", "bag", "last", "none")
STOP = 0  # of the panoramic action space; k >= 1 goes to candidate k - 1
BUDGET = 20  # steps, after which it goes to the best place that it saw
FACING = 1  # views to either side of the way to a place that count as seen toward it
Boxes = Mapping[str, Mapping[str, Any]]  # object id -> name, visible_pos, bbox2d


@dataclass
class _Trip:
    scan: str
    instruction: str
    map: KnownMap = field(default_factory=KnownMap)
    plan: list[str] = field(default_factory=list)
    ending: bool = False
    n_steps: int = 0
    n_local_goals: int = 0
    answer: str | None = None


class ExploringAgent(ScriptedAgent):
    """Explores, searches its map for a local goal, stops at the best place and names an object.

    Args:
        boxes_at: the objects seen from (scan, viewpoint), asked only where the agent stands.
        search: how a local goal is chosen where no way to a new place shows a word of the
            instruction: "sos" and "bag" by the alignment of the instruction with the way there, in
            spectra or in categories alone; "last" takes the place seen last; "none" is the explorer
            alone, which then takes any new place, else the neighbour visited first.
        budget: steps, after which it walks to the best place that it visited.

    Raises KeyError for an unknown search, ValueError for a budget below 1.
    """

    def __init__(
        self, boxes_at: Callable[[str, str], Boxes], *, search: str = "sos", budget: int = BUDGET
    ) -> None:
        if search not in SEARCHES:
            raise unknown("search", search, SEARCHES)
        if budget < 1:
            raise ValueError(f"budget must be at least one step, got {budget}")
        self._boxes_at, self._search, self._budget = boxes_at, search, budget
        self._scene = Bag if search == "bag" else Scene
        self.agent_id = f"metaexplore-{search}"
        self._trips: list[_Trip | None] = []

    def manifest(self) -> dict[str, Json]:
        return {"agent": self.agent_id, "search": self._search, "budget": self._budget}

    def prepare(self, conditions: Sequence[Condition], n_slots: int) -> None:
        super().prepare(conditions, n_slots)
        self._trips = [None] * n_slots

    def reset_slot(self, slot: int, task: Task, condition: Condition, seeds: Seeds) -> None:
        self._trips[slot] = _Trip(task.scene["scan"], task.instruction)

    def act(self, observations: Observations, active: np.ndarray) -> np.ndarray:
        actions = np.zeros(len(active), np.int64)
        for slot in np.flatnonzero(active).tolist():
            trip = self._trips[slot]
            if trip is not None:
                seen = {name: values[slot] for name, values in observations.items()}
                actions[slot] = self._act(trip, seen)
        return actions

    def _act(self, trip: _Trip, seen: Mapping[str, Any]) -> int:
        """The action for the observation of one slot."""
        here, ids = seen["viewpoint"], seen["candidate_ids"].split()
        places = seen["candidates"][: len(ids)]
        headings = (places[:, 0] + seen["pose"][0]).tolist()
        boxes = self._look(trip, here, dict(zip(ids, headings)))
        trip.map.visit(here, list(zip(ids, places[:, 2].tolist())))
        names = " ".join(thing["name"] for thing in boxes.values())
        trip.map.words[here] = set(content_words(f"{names} {seen.get('panorama_text', '')}"))
        texts = dict(zip(ids, seen.get("candidate_text", "").split("\n")))
        wanted = self._next(trip, here, texts, boxes)
        trip.n_steps += 1
        if wanted != here:
            return 1 + ids.index(wanted)
        trip.answer = best_thing(_things(boxes), trip.instruction, _idf(trip.map))
        return STOP

    def finish_slot(self, slot: int) -> dict[str, Json]:
        trip = self._trips[slot]
        if trip is None:
            return {}
        return {
            "object": trip.answer,
            "n_visited": len(trip.map.visited),
            "n_local_goals": trip.n_local_goals,
        }

    def _look(self, trip: _Trip, here: str, headings: Mapping[str, float]) -> Boxes:
        """The boxes seen here; notes the scene here and toward every place not visited."""
        seen = {k: t for k, t in self._boxes_at(trip.scan, here).items() if t["visible_pos"]}
        if here not in trip.map.words:
            trip.map.scenes[here] = self._scene(blocks_of(seen.values()))
        for place, heading in headings.items():
            if place not in trip.map.words:
                column = round(heading / (2 * math.pi / N_COLUMNS))
                facing = {(column + k) % N_COLUMNS for k in range(-FACING, FACING + 1)}
                trip.map.scenes[place] = self._scene(blocks_of(seen.values(), facing))
        return seen

    def _next(self, trip: _Trip, here: str, texts: Mapping[str, str], boxes: Boxes) -> str:
        """The neighbour to go to; `here` to stop."""
        if trip.plan:
            return trip.plan.pop(0)
        if trip.ending or _complete(trip, here, boxes):
            return here
        new = [place for place, _ in trip.map.ways[here] if place not in trip.map.words]
        if trip.n_steps >= self._budget or not trip.map.seen_only():
            trip.ending = True
            return self._follow(trip, here, _best_visited(trip))
        leads = _leads(trip, new, texts)
        if new and (max(leads) > 0 or self._search == "none"):
            return new[int(np.argmax(leads))]
        if self._search == "none":
            near = [place for place, _ in trip.map.ways[here]]
            return min(near, key=lambda place: (trip.map.visited.index(place), place))
        trip.n_local_goals += 1
        return self._follow(trip, here, self._local_goal(trip, here))

    def _follow(self, trip: _Trip, here: str, goal: str) -> str:
        route = trip.map.route(here, goal)[1:]
        trip.plan = route[1:]
        return route[0] if route else here

    def _local_goal(self, trip: _Trip, here: str) -> str:
        """Of the places seen only, the one whose corrected trajectory (the shortest known way from
        the start) fits best; of equals the nearest."""
        places = trip.map.seen_only()
        if self._search == "last":
            return places[-1]
        phrases = content_words(trip.instruction)
        kept: dict[str, list[float]] = {}

        def fit(place: str) -> tuple[float, float]:
            way = trip.map.route(trip.map.visited[0], place)
            for there in way:
                if there not in kept:
                    kept[there] = [trip.map.scenes[there].similarity(p) for p in phrases]
            near = trip.map.metres(trip.map.route(here, place))
            return round(aligned(np.array([kept[there] for there in way]).T), 9), -near

        return max(places, key=fit)


def _things(boxes: Boxes) -> list[tuple[str, str]]:
    return [(number, thing["name"]) for number, thing in boxes.items()]


def _idf(known: KnownMap) -> dict[str, float]:
    """The rarity of words over the places visited so far, log((n + 1) / places with)."""
    n = len(known.words)
    count = Counter(word for words in known.words.values() for word in words)
    return {word: math.log((n + 1) / times) for word, times in count.items()}


def _best_visited(trip: _Trip) -> str:
    """The visited place that shares the rarest words with the instruction, the first of equals."""
    idf, wanted = _idf(trip.map), set(content_words(trip.instruction))

    def evidence(place: str) -> float:
        return round(sum(idf[word] for word in sorted(wanted & trip.map.words[place])), 9)

    return max(trip.map.visited, key=evidence)


def _leads(trip: _Trip, new: Sequence[str], texts: Mapping[str, str]) -> list[int]:
    """The explorer: how many words of the instruction are read in the direction of each place."""
    wanted = set(content_words(trip.instruction))
    return [len(wanted & set(content_words(texts.get(place, "")))) for place in new]


def _complete(trip: _Trip, here: str, boxes: Boxes) -> bool:
    """Something is here whose whole name the instruction has, its category in the last clause, and
    a word of the first clause is read here: the room and the thing."""
    parts = clauses(trip.instruction)
    every, last = set(content_words(trip.instruction)), set(content_words(parts[-1]))
    room = set(content_words(parts[0])) if len(parts) > 1 else set()
    if room and not room & trip.map.words[here]:
        return False
    names = [thing["name"] for thing in boxes.values()]
    return any(category_of(n) in last and every.issuperset(content_words(n)) for n in names)
