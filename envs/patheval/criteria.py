"""The 15 scenarios, what each asks of a path, and which of two paths suits it better.

The signs are those of the published table (arXiv:2411.18711, `Scenarios.xlsx`); the wording is
ours. +1: more is better, -1: less is better, 0: does not count; columns as `DESCRIPTORS`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# A difference below this says nothing (published values); columns as `DESCRIPTORS`.
THRESHOLDS = np.array([0.8, 0.8, 0.8, 50.0, 1.0, 30.0, 90.0])


@dataclass(frozen=True)
class Scenario:
    """name: a word or two. text: what is asked, in words. signs: int [7]."""

    name: str
    text: str
    signs: tuple[int, int, int, int, int, int, int]


SCENARIOS: tuple[Scenario, ...] = (
    Scenario(
        "truck",
        "A truck with a long trailer must get through. It has trouble with turns: few sharp turns, "
        "a small maximum turning angle and a smooth path matter.",
        (0, 0, 0, 0, -1, -1, -1),
    ),
    Scenario(
        "firefighter",
        "A firefighting robot goes past burning buildings. It must keep away from them, on average "
        "and at the nearest point, and must not lose time on a long path.",
        (1, 1, 0, -1, 0, 0, 0),
    ),
    Scenario(
        "war zone",
        "A supply robot crosses a war zone under cover of the walls. It should stay near to them "
        "on average and nowhere be far out in the open, on a short path.",
        (-1, 0, -1, -1, 0, 0, 0),
    ),
    Scenario(
        "drone",
        "A fast delivery drone flies between buildings. It needs clearance on average and at the "
        "nearest point, a short path, and one that is smooth, with few sharp turns and a small "
        "maximum turning angle.",
        (1, 1, 0, -1, -1, -1, -1),
    ),
    Scenario(
        "earthquake aid",
        "A robot brings aid through a town after an earthquake. At the nearest point it must keep "
        "away from walls that may fall, and it must arrive soon, by a short path.",
        (0, 1, 0, -1, 0, 0, 0),
    ),
    Scenario(
        "museum",
        "A robot guides visitors through a museum. It must not come too near to any exhibit, and "
        "few sharp turns and a smooth path keep the group together.",
        (0, 1, 0, 0, -1, 0, -1),
    ),
    Scenario(
        "articulated bus",
        "An articulated bus with a joint in its middle drives through. Few sharp turns, a small "
        "maximum turning angle and a smooth path matter, nothing else.",
        (0, 0, 0, 0, -1, -1, -1),
    ),
    Scenario(
        "harvester",
        "A wide harvester moves between rows of trees. It needs clearance on average and at the "
        "nearest point; how long the path is does not matter.",
        (1, 1, 0, 0, 0, 0, 0),
    ),
    Scenario(
        "forklift",
        "A forklift carries a high stack through a store. At the nearest point it must keep away "
        "from the shelves; few sharp turns, a small maximum turning angle and a smooth path keep "
        "the stack from falling.",
        (0, 1, 0, 0, -1, -1, -1),
    ),
    Scenario(
        "crane",
        "A mobile crane drives with a hanging load that must not swing. Few sharp turns, a small "
        "maximum turning angle and a smooth path matter.",
        (0, 0, 0, 0, -1, -1, -1),
    ),
    Scenario(
        "taxi",
        "A driverless taxi takes a passenger who wants to feel safe and at ease: clearance on "
        "average and at the nearest point, and a smooth path with few sharp turns and a small "
        "maximum turning angle.",
        (1, 1, 0, 0, -1, -1, -1),
    ),
    Scenario(
        "Mars rover",
        "A rover on Mars must save energy: a short path, few sharp turns, and a smooth one.",
        (0, 0, 0, -1, -1, 0, -1),
    ),
    Scenario(
        "guide for the blind",
        "A robot leads a blind person. It needs clearance on average and at the nearest point, and "
        "a smooth path with few sharp turns and a small maximum turning angle.",
        (1, 1, 0, 0, -1, -1, -1),
    ),
    Scenario(
        "soil robot",
        "A robot takes samples of the soil along the walls. It should stay near to them on average "
        "and nowhere be far from them, and a long path gathers more samples.",
        (-1, 0, -1, 1, 0, 0, 0),
    ),
    Scenario(
        "nuclear inspection",
        "A robot inspects the walls of a nuclear plant. It should stay near to them on average and "
        "nowhere be far from them, see much on a long path, and move smoothly, with few sharp "
        "turns and a small maximum turning angle.",
        (-1, 0, -1, 1, -1, -1, -1),
    ),
)


def better(
    signs: tuple[int, ...], first: np.ndarray, second: np.ndarray, *, margin: float = 1.0
) -> int | None:
    """1 or 2: the path that suits the scenario better, by its measures [7]; None: no such path.

    Measures that differ by less than `margin` times their threshold are dropped; if all that are
    left and count speak for one path it is that one (the published rule, with margin 1). There is
    none where they disagree, or none is left.

    Raises ValueError for a margin that is not positive.
    """
    if not margin > 0:
        raise ValueError(f"margin must be > 0, got {margin}")
    difference = np.round(np.asarray(first) - np.asarray(second), 2)
    says = np.sign(difference) * np.array(signs)
    said = set(says[np.abs(difference) >= margin * THRESHOLDS].tolist()) - {0}
    if len(said) != 1:
        return None
    return 1 if said.pop() > 0 else 2
