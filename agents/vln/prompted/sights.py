"""What one slot sees at a decision, as plain data, with its directions in words."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from pilotage.episodes.types import Observations

HEADING_STEP = math.pi / 6  # between the centres of neighbouring views
SECTOR = math.pi / 4
SIDES = (
    *("ahead", "ahead right", "right", "back right", "back", "back left", "left"),
    "ahead left",
)


@dataclass(frozen=True)
class Place:
    """A place that can be gone to. Angles in radians, clockwise; elevation above the horizon."""

    id: str
    heading: float  # relative to where the agent looks, in [-pi, pi)
    elevation: float
    distance: float  # m
    caption: str

    @property
    def side(self) -> int:
        """Which of the 8 `SIDES` it lies in."""
        return round(self.heading / SECTOR) % len(SIDES)


@dataclass(frozen=True)
class Sight:
    """What is seen from where the agent stands."""

    instruction: str
    viewpoint: str
    heading: float  # of the agent, rad, a multiple of 30 deg
    places: tuple[Place, ...]  # place k is action k + 1
    around: tuple[str, ...]  # captions of the 8 `SIDES`; empty in a world without captions
    expert: int | None

    @property
    def here(self) -> str:
        """All that is seen around, each caption once, whatever the way the agent looks."""
        return " ".join(sorted({caption for caption in self.around if caption}))


def look(observations: Observations, slot: int) -> Sight:
    """The sight of a slot of a panoramic world."""
    geometry = np.asarray(observations["candidates"], np.float64)[slot]
    heading, elevation = np.asarray(observations["pose"], np.float64)[slot].tolist()
    ids = observations["candidate_ids"][slot].split()
    texts = observations.get("candidate_text")
    captions = texts[slot].split("\n") if texts else []
    captions += [""] * (len(ids) - len(captions))
    places = tuple(
        Place(name, wrapped(float(row[0])), float(row[1]) + elevation, float(row[2]), caption)
        for name, row, caption in zip(ids, geometry, captions)
    )
    panorama = observations.get("panorama_text")
    lines = panorama[slot].split("\n") if panorama and panorama[slot] else []
    expert = observations.get("expert_action")
    return Sight(
        observations["instruction"][slot],
        observations["viewpoint"][slot],
        heading,
        places,
        tuple(line.partition(": ")[2] for line in lines),
        None if expert is None else int(expert[slot]),
    )


def wrapped(angle: float) -> float:
    """An angle brought into [-pi, pi)."""
    return (angle + math.pi) % (2 * math.pi) - math.pi


def view_centre(sight: Sight, place: Place) -> tuple[float, float]:
    """Relative heading and elevation of the centre of the view that faces a place best, rad.

    MapGPT words its directions by these, not by the true bearing.
    """
    absolute = sight.heading + place.heading
    centre = round(absolute / HEADING_STEP) * HEADING_STEP
    row = min(1, max(-1, round(place.elevation / HEADING_STEP)))
    return wrapped(centre - sight.heading + 1e-9) - 1e-9, row * HEADING_STEP


def move_words(heading: float, elevation: float) -> str:
    """MapGPT's seven ways to go: up or down first, then by heading."""
    if elevation > 0:
        return "go up"
    if elevation < 0:
        return "go down"
    if abs(heading) < 1e-6:
        return "go forward"
    side = "right" if heading > 0 else "left"
    return f"turn {side}" if abs(heading) <= math.pi / 2 + 1e-6 else "turn around"


def degrees_words(heading: float) -> str:
    """NavGPT's relative heading: "left 30°", "right 0°"."""
    turn = round(math.degrees(heading))
    return f"left {-turn}°" if turn < 0 else f"right {turn}°"


def short(caption: str, n_words: int) -> str:
    """The first words of a caption."""
    words = caption.split()
    return " ".join(words[:n_words]) + (" …" if len(words) > n_words else "")
