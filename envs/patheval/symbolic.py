"""Solvers that read the prompt and nothing else: by the rule, and floors that ignore it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

from pilotage.envs.patheval.criteria import SCENARIOS, better
from pilotage.envs.patheval.descriptors import DESCRIPTORS, measure
from pilotage.envs.patheval.prompts import ASK

Ask = Callable[[Sequence[str]], Sequence[str]]  # prompts -> as many replies


def solve_by_rule(prompts: Sequence[str]) -> list[str]:
    """The published rule on the numbers of the prompt: right every time.

    Without measures in the prompt it takes them from the drawing. Raises ValueError for a text that
    is not such a prompt.
    """
    return [f"Path {_solve(prompt)}" for prompt in prompts]


def _solve(prompt: str) -> int:
    known = [s for s in SCENARIOS if prompt.startswith(s.text + "\n")]
    if len(known) != 1 or not prompt.endswith(ASK):
        raise ValueError(f"this is no question about two paths: {prompt[:60]!r} ...")
    first, second = read_measures(prompt)
    chosen = better(known[0].signs, first, second)
    return chosen if chosen is not None else 1


def read_measures(prompt: str) -> np.ndarray:
    """float64 [2, 7] of a prompt, as written there or measured in its drawing."""
    _, *parts = re.split(r"^Path [12]:$", prompt, flags=re.MULTILINE)
    if len(parts) != 2:
        raise ValueError(f"expected two paths in the prompt, found {len(parts)}")
    if f"- {DESCRIPTORS[0]}:" in prompt:
        return np.array([[_value(part, name) for name in DESCRIPTORS] for part in parts])
    walls = _rows(prompt, r"^Walls \(x0 y0 x1 y1\): (.*)$")
    return np.stack([measure(_rows(part, r"^- vertices \(x y\): (.*)$"), walls) for part in parts])


def _value(part: str, name: str) -> float:
    found = re.search(rf"^- {name}: (\S+)$", part, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"the prompt says nothing of {name!r}")
    return float(found[1])


def _rows(text: str, pattern: str) -> np.ndarray:
    found = re.search(pattern, text, flags=re.MULTILINE)
    if found is None:
        raise ValueError(f"the prompt has no line {pattern!r}")
    return np.array([[float(word) for word in row.split()] for row in found[1].split("; ")])


def always_first(prompts: Sequence[str]) -> list[str]:
    """Path 1, whatever is asked: what a bias for a position can do."""
    return ["Path 1"] * len(prompts)


def at_random(prompts: Sequence[str], *, seed: int = 0) -> list[str]:
    """A fair coin for each prompt."""
    rng = np.random.default_rng([44, seed])
    return [f"Path {1 + int(k)}" for k in rng.integers(2, size=len(prompts))]


def shorter(prompts: Sequence[str]) -> list[str]:
    """The shorter path, whatever is asked: a planner's habit."""
    length = DESCRIPTORS.index("path length")
    return [f"Path {1 + int(np.argmin(read_measures(p)[:, length]))}" for p in prompts]


def without_scenario(prompts: Sequence[str]) -> list[str]:
    """The path that more scenarios would choose, the one at hand being ignored.

    What a solver can reach that reads the measures but not what is asked.
    """
    replies = []
    for prompt in prompts:
        first, second = read_measures(prompt)
        votes = [better(scenario.signs, first, second) for scenario in SCENARIOS]
        replies.append(f"Path {1 if votes.count(1) >= votes.count(2) else 2}")
    return replies
