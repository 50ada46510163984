"""What every planner of a single path answers: a path, or a named reason why there is none."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from enum import IntEnum

Node = Hashable


class PlanStatus(IntEnum):
    """How a search ended. "Proved impossible" is not "ran out of budget"."""

    SOLVED = 0
    INFEASIBLE = 1  # the whole reachable part was searched: no path exists
    TIMED_OUT = 2  # the budget was spent first: nothing is known


@dataclass(frozen=True)
class Plan:
    """The answer of a planner. `path` (start and goal included) and `cost` if and only if SOLVED.

    `n_expanded` counts the nodes whose neighbours were looked at; the goal counts.
    """

    status: PlanStatus
    path: tuple[Node, ...] | None = None
    cost: float | None = None
    n_expanded: int = 0

    def __post_init__(self) -> None:
        solved = self.status == PlanStatus.SOLVED
        if solved != (self.path is not None) or solved != (self.cost is not None):
            raise ValueError(
                f"status {self.status.name} with path {self.path!r} and cost {self.cost!r}: a plan "
                "has a path and a cost if and only if it is SOLVED"
            )
        if solved and not self.path:
            raise ValueError("a SOLVED plan has at least its start in `path`; it is empty")

    @property
    def is_solved(self) -> bool:
        return self.status == PlanStatus.SOLVED
