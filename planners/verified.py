"""Verified planning: an answer is checked before it is used; else retry, fall back, or abstain.

Around a learned planner this turns silent mistakes into counted ones. The check knows no planner
(`validate`), so what is accepted is right; what is not right is said to be so.

    planner = VerifiedPlanner(learned, grid_fault, retries=3, fallback=exact_grid_planner())
    answers = planner.solve(problems)
    planner.counts  # {"asked": 100, "accepted": 81, "retried": 9, "fell_back": 10, ...}
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from pilotage.planners.plan import Plan

Problem = TypeVar("Problem")


class Source(StrEnum):
    """Where a verified answer comes from."""

    ACCEPTED = "accepted"  # the planner's first answer
    RETRIED = "retried"  # a later answer of the planner
    FELL_BACK = "fell_back"  # the fallback's answer
    ABSTAINED = "abstained"  # no answer passed: there is none


@dataclass(frozen=True)
class VerifiedPlan:
    """`plan` passed the check, or is None if and only if ABSTAINED.

    `faults` says what was wrong with each rejected answer, in order.
    """

    source: Source
    plan: Plan | None
    faults: tuple[str, ...]

    def __post_init__(self) -> None:
        if (self.plan is None) != (self.source == Source.ABSTAINED):
            raise ValueError(f"source {self.source} with plan {self.plan}")


class VerifiedPlanner(Generic[Problem]):
    """Asks `propose`, checks, asks again for what failed, then the fallback, then abstains.

    Args:
        propose: (problems, attempt) -> a plan each; attempt 0, 1, ... lets it vary.
        fault: (problem, plan) -> None when the plan stands, else a word for what is wrong.
        retries: how many more times `propose` is asked.
        fallback: another planner, whose answers are checked as well; None abstains.

    An exception in `propose` or `fallback` is an error and passes through: it is no abstention.
    ValueError for negative retries, or when a planner answers another number of problems.
    """

    def __init__(
        self,
        propose: Callable[[Sequence[Problem], int], Sequence[Plan]],
        fault: Callable[[Problem, Plan], str | None],
        *,
        retries: int = 0,
        fallback: Callable[[Sequence[Problem], int], Sequence[Plan]] | None = None,
    ) -> None:
        if retries < 0:
            raise ValueError(f"retries must be >= 0, got {retries}")
        self.propose, self.fault = propose, fault
        self.retries, self.fallback = retries, fallback
        self._sources: Counter[str] = Counter()
        self._faults: Counter[str] = Counter()

    @property
    def counts(self) -> dict[str, int]:
        """Problems asked so far and where their answers came from; rejected answers by fault."""
        sources = {source.value: self._sources[source.value] for source in Source}
        faults = {f"fault:{name}": n for name, n in sorted(self._faults.items())}
        return {"asked": sum(sources.values()), **sources, **faults}

    def solve(self, problems: Sequence[Problem]) -> list[VerifiedPlan]:
        """A verified answer, or an abstention, for every problem."""
        faults: list[list[str]] = [[] for _ in problems]
        answers: list[VerifiedPlan | None] = [None] * len(problems)
        for attempt in range(self.retries + 1):
            source = Source.RETRIED if attempt else Source.ACCEPTED
            self._ask(self.propose, attempt, source, problems, answers, faults)
        if self.fallback is not None:
            self._ask(self.fallback, 0, Source.FELL_BACK, problems, answers, faults)
        done = [
            answer or VerifiedPlan(Source.ABSTAINED, None, tuple(said))
            for answer, said in zip(answers, faults)
        ]
        self._sources.update(answer.source.value for answer in done)
        self._faults.update(name for answer in done for name in answer.faults)
        return done

    def _ask(
        self,
        planner: Callable[[Sequence[Problem], int], Sequence[Plan]],
        attempt: int,
        source: Source,
        problems: Sequence[Problem],
        answers: list[VerifiedPlan | None],
        faults: list[list[str]],
    ) -> None:
        """Ask for what has no answer yet, and keep what passes the check."""
        open_ = [i for i, answer in enumerate(answers) if answer is None]
        if not open_:
            return
        plans = planner([problems[i] for i in open_], attempt)
        if len(plans) != len(open_):
            raise ValueError(f"the planner gave {len(plans)} answers to {len(open_)} problems")
        for i, plan in zip(open_, plans):
            fault = self.fault(problems[i], plan)
            if fault is None:
                answers[i] = VerifiedPlan(source, plan, tuple(faults[i]))
            else:
                faults[i].append(fault)
