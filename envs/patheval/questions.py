"""Questions: a scene, a scenario, two paths that differ clearly, and which is the better one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pilotage.envs.patheval.criteria import SCENARIOS, better
from pilotage.envs.patheval.descriptors import measure
from pilotage.envs.patheval.routes import find_routes
from pilotage.envs.patheval.scenes import FAMILIES, Scene, make_scene
from pilotage.envs.requests import SPLITS, check_request

RUNS = 30  # of the planner in each scene, as published
PAIRS = 5  # of each scene
_ENOUGH = 400  # scenes without a new question, after which more would not help


@dataclass(frozen=True, eq=False)
class Question:
    """Which of two paths through a scene suits a scenario better?

    scenario: index in SCENARIOS. paths: float64 [V, 2] each. measures: float64 [2, 7].
    answer: 1 or 2.
    """

    scene: Scene
    scenario: int
    paths: tuple[np.ndarray, np.ndarray]
    measures: np.ndarray
    answer: int

    def swapped(self) -> Question:
        """The same question with the paths in the other order."""
        first, second = self.paths
        return replace(
            self, paths=(second, first), measures=self.measures[::-1], answer=3 - self.answer
        )


def make_questions(
    split: str,
    n_each: int,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    margin: float = 1.0,
    opposed: bool = False,
    n_runs: int = RUNS,
) -> list[Question]:
    """`n_each` questions of each of the 15 scenarios, in the order of the scenarios.

    Families of scenes take turns; a scene belongs to one split and seed, and gives up to PAIRS
    pairs; no path is in two. With a `margin` above 1 paths must differ by so many times the
    published thresholds: easier questions, and fewer.

    A pair is asked about once; with `opposed` twice, for two scenarios to which different paths are
    the better ones. Then whoever does not heed the scenario is right half the time (without, far
    more often), and some scenarios have more than `n_each` questions.

    Raises ValueError: unknown split or family, a negative number, a margin that is not positive, or
    one so large that some scenario stays without questions.
    """
    families = check_request(split, n_each, seed, families, FAMILIES)
    found: list[list[Question]] = [[] for _ in SCENARIOS]
    waited = 0
    for scene, first, second in _pairs(split, seed, families, n_runs):
        missing = [k for k, questions in enumerate(found) if len(questions) < n_each]
        if not missing:
            break
        measures = np.stack([measure(first, scene.walls), measure(second, scene.walls)])
        answers = [better(scenario.signs, *measures, margin=margin) for scenario in SCENARIOS]
        chosen = _opposed(answers, found, missing) if opposed else _one(answers, found, missing)
        waited = 0 if chosen else waited + 1
        for k in chosen:
            question = Question(scene, k, (first, second), measures, answers[k] or 0)
            # The better path comes first and second in turns: always "1" is right half the time.
            turn = not opposed and question.answer != 1 + len(found[k]) % 2
            found[k].append(question.swapped() if turn else question)
        if waited > _ENOUGH * PAIRS:
            names = [SCENARIOS[k].name for k in missing]
            raise ValueError(
                f"{_ENOUGH} scenes gave no question of {names} with margin {margin}; lower it"
            )
    return [question for questions in found for question in questions]


Found = Sequence[Sequence[Question]]


def _one(answers: Sequence[int | None], found: Found, missing: Sequence[int]) -> list[int]:
    """The scenario, of those that still want questions, that has the fewest."""
    fitting = [k for k in missing if answers[k] is not None]
    return [min(fitting, key=lambda k: len(found[k]))] if fitting else []


def _opposed(answers: Sequence[int | None], found: Found, missing: Sequence[int]) -> list[int]:
    """Two scenarios that want different paths, those with the fewest; one at least is missing."""
    sides = [[k for k, a in enumerate(answers) if a == side] for side in (1, 2)]
    if not all(sides):
        return []
    chosen = [min(side, key=lambda k: len(found[k])) for side in sides]
    return chosen if set(chosen) & set(missing) else []


def _pairs(
    split: str, seed: int, families: Sequence[str], n_runs: int
) -> Iterator[tuple[Scene, np.ndarray, np.ndarray]]:
    """Pairs of paths, scene by scene, for ever."""
    rng = np.random.default_rng([43, SPLITS.index(split), seed])
    while True:
        for family in families:
            number = int(rng.integers(2**31)) * len(SPLITS) + SPLITS.index(split)
            scene = make_scene(family, number)
            routes = find_routes(scene, n_runs, seed=number)
            measures = np.array([measure(route, scene.walls) for route in routes])
            for i, j in far_apart(measures, PAIRS):
                yield scene, routes[i], routes[j]


def far_apart(measures: np.ndarray, n_pairs: int) -> list[tuple[int, int]]:
    """The `n_pairs` pairs of paths that differ most, each path in one at most.

    measures: float64 [R, 7]. They are scaled to 0 to 1 among the paths of the scene; the farthest
    pair is taken, then the farthest of those that are left (as published).
    """
    if len(measures) < 2:
        return []
    span = np.ptp(measures, axis=0)
    scaled = (measures - measures.min(axis=0)) / np.where(span > 0, span, 1.0)
    apart = np.linalg.norm(scaled[:, None] - scaled[None], axis=-1)
    apart[np.tril_indices(len(apart))] = -1.0
    pairs: list[tuple[int, int]] = []
    while len(pairs) < n_pairs and apart.max() > 0:
        i, j = (int(k) for k in np.unravel_index(int(apart.argmax()), apart.shape))
        pairs.append((i, j))
        apart[[i, j]] = -1.0
        apart[:, [i, j]] = -1.0
    return pairs
