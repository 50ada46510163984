"""The map that an agent draws of an unknown building: where it was, and what it saw from there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from .spectrum import Scene
from .tour import metres_of, shortest_route


@dataclass
class KnownMap:
    """Places by id. `ways[place]` are the ways out, (place, metres), known from one end at least;
    `scenes` what is seen at places that it visited, and toward those that it only saw."""

    ways: dict[str, list[tuple[str, float]]] = field(default_factory=dict)
    scenes: dict[str, Scene] = field(default_factory=dict)
    words: dict[str, set[str]] = field(default_factory=dict)  # of visited places
    visited: list[str] = field(default_factory=list)  # in the order of the first visit

    def visit(self, place: str, near: Sequence[tuple[str, float]]) -> None:
        """Stand at a place and see the ways out of it."""
        if place not in self.words:
            self.visited.append(place)
        self.ways[place] = list(near)
        for there, metres in near:
            back = self.ways.setdefault(there, [])
            if place not in {name for name, _ in back}:
                back.append((place, metres))

    def seen_only(self) -> list[str]:
        """Places that were seen and not visited, the latest seen last."""
        known = set(self.visited)
        return [place for place in self.ways if place not in known]

    def route(self, start: str, goal: str) -> list[str]:
        """A shortest known path, both ends included. KeyError without one."""
        return shortest_route(self.ways, start, goal)

    def metres(self, route: Sequence[str]) -> float:
        return metres_of(self.ways, route)
