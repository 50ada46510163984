"""The concepts of `pilotage bench experiment`: what is asked for, where it means something, and how
it is measured.

On Tabletop every concept has words that the agent was trained to obey (`envs/tabletop/grammar.py`):
a speed in all families, a height at which things are carried, a side from which to come. On Rooms
the words are those of its route instructions, said where they were not trained: behind a point to
go to. What is fitted is fitted to these words; clamps hold the value vectors nearest to the words
of `cmd_read.CONCEPTS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from pilotage.episodes.metrics import episode_metrics
from pilotage.episodes.types import EpisodeRecord
from pilotage.scripts.make_conditions import PROMPTS


@dataclass(frozen=True)
class Concept:
    """One thing to steer.

    prompt: said behind the instruction. families: where the agent learned what it means. measured:
    the name in `METRICS`. words: of `cmd_read.CONCEPTS`, for value vectors. offset: the direction
    `[3]` of the actions that are added as a control, zero where there is none. scales_actions:
    whether actions are scaled as a control.
    """

    name: str
    prompt: str
    families: tuple[str, ...]
    measured: str
    words: str
    offset: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scales_actions: bool = False
    env: str = "tabletop"


def _mean_speed(record: EpisodeRecord) -> float:
    return episode_metrics(record)["mean_speed"]


def _height(record: EpisodeRecord) -> float:
    """95th percentile of the hand's height, m: how high it is where it is highest, but for a
    twentieth of the time."""
    return float(np.quantile(_hand(record)[:, 2], 0.95))


def _lateral(record: EpisodeRecord) -> float:
    """Mean of the hand's y, m; left is negative. Paired episodes begin at the same place, so that
    a difference of two is a displacement."""
    return float(_hand(record)[:, 1].mean())


def _turn(record: EpisodeRecord) -> float:
    """Mean change of the heading, rad per step; left is positive."""
    changes = np.diff(np.ravel(record.trace["heading"]).astype(np.float64))
    return float(np.mean((changes + np.pi) % (2 * np.pi) - np.pi)) if len(changes) else np.nan


def _hand(record: EpisodeRecord) -> np.ndarray:
    """float64 `[T + 1, 3]`, m."""
    return np.asarray(record.trace["ee_position"], np.float64)


METRICS: dict[str, Callable[[EpisodeRecord], float]] = {
    "speed_m_s": _mean_speed,
    "height_m": _height,
    "lateral_m": _lateral,
    "turn_rad": _turn,
}
_FREE, _CARRY, _POINT = ("reach", "lift"), ("pick_place",), ("pointnav",)
CONCEPTS = {
    concept.name: concept
    for concept in (
        Concept("fast", PROMPTS["fast"], _FREE, "speed_m_s", "fast", scales_actions=True),
        Concept("slow", PROMPTS["slow"], _FREE, "speed_m_s", "slow", scales_actions=True),
        Concept("high", "keeping it high", _CARRY, "height_m", "up", (0.0, 0.0, 1.0)),
        Concept("low", "keeping it low", _CARRY, "height_m", "down", (0.0, 0.0, -1.0)),
        Concept("left", "from the left", _FREE, "lateral_m", "left", (0.0, -1.0, 0.0)),
        Concept("right", "from the right", _FREE, "lateral_m", "right", (0.0, 1.0, 0.0)),
        Concept("rooms-left", "turn left", _POINT, "turn_rad", "left", env="rooms"),
        Concept("rooms-right", "turn right", _POINT, "turn_rad", "right", env="rooms"),
    )
}


def measure(record: EpisodeRecord, concept: Concept) -> float:
    """The concept's quantity in an episode, in the unit that its name ends with."""
    return METRICS[concept.measured](record)


def as_settings(concept: Concept) -> dict[str, Any]:
    """What results of a concept depend on, for files that are read again."""
    return {
        "concept": concept.name,
        "prompt": concept.prompt,
        "families": list(concept.families),
        "measured": concept.measured,
        "words": concept.words,
    }
