"""Ask every question in both orders of its paths, and count.

A solver that always says "Path 1" is right half the time; asked in both orders it is right in both
for no question at all. So the counts below keep the orders apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pilotage.envs.patheval.criteria import SCENARIOS
from pilotage.envs.patheval.prompts import read_choice, write_prompt
from pilotage.envs.patheval.questions import Question
from pilotage.envs.patheval.symbolic import Ask
from pilotage.episodes.statistics import wilson_interval


@dataclass(frozen=True)
class Answer:
    """Of one question: the choices 1, 2 or None (unreadable), as given and swapped.

    A choice is what was said: after swapping 1 is the path that was the second. `truth` is the
    better path as given.
    """

    scenario: int
    truth: int
    choices: tuple[int | None, int | None]
    replies: tuple[str, str]

    @property
    def right(self) -> tuple[bool, bool]:
        """As given, and swapped."""
        return self.choices[0] == self.truth, self.choices[1] == 3 - self.truth


def evaluate(questions: Sequence[Question], ask: Ask, *, show: str = "measures") -> list[Answer]:
    """What `ask` answers, each question in both orders.

    Raises ValueError when there are not as many replies as prompts.
    """
    prompts = [write_prompt(q, show) for q in questions]
    prompts += [write_prompt(q.swapped(), show) for q in questions]
    replies = list(ask(prompts))
    if len(replies) != len(prompts):
        raise ValueError(f"the solver gave {len(replies)} replies to {len(prompts)} prompts")
    n = len(questions)
    return [
        Answer(
            q.scenario,
            q.answer,
            (read_choice(replies[k]), read_choice(replies[n + k])),
            (replies[k], replies[n + k]),
        )
        for k, q in enumerate(questions)
    ]


def summary(answers: Sequence[Answer]) -> dict[str, Any]:
    """Counts as shares with Wilson's 95 % interval; a question is one draw.

    `right`: as given; `swapped`: in the other order; `both`: right in both orders; `same path`: the
    same path chosen in both; `says 1`: of all readable replies; `unreadable`: replies, a number.
    """
    n = len(answers)
    choices = [c for a in answers for c in a.choices if c is not None]
    same = sum(a.choices[0] is not None and a.choices[1] == 3 - a.choices[0] for a in answers)
    return {
        "n": n,
        "right (95 %)": _share(sum(a.right[0] for a in answers), n),
        "swapped (95 %)": _share(sum(a.right[1] for a in answers), n),
        "both (95 %)": _share(sum(all(a.right) for a in answers), n),
        "same path": round(same / n, 3) if n else None,
        "says 1": round(choices.count(1) / len(choices), 3) if choices else None,
        "unreadable": 2 * n - len(choices),
    }


def by_scenario(answers: Sequence[Answer]) -> list[dict[str, Any]]:
    """A row of `summary` for each scenario that was asked."""
    rows = []
    for k, scenario in enumerate(SCENARIOS):
        mine = [a for a in answers if a.scenario == k]
        if mine:
            rows.append({"scenario": scenario.name, **summary(mine)})
    return rows


def _share(count: int, n: int) -> str:
    within = wilson_interval(count, n)
    return f"{within.estimate:.3f} ({within.low:.3f}, {within.high:.3f})"
