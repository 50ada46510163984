"""The high-level queue of EECBS: explicit estimation search, with errors learned on the way.

Thayer and Ruml 2011, Bounded Suboptimal Search: A Direct Approach Using Inadmissible Estimates
(IJCAI), as Li, Ruml and Koenig 2021 (arXiv:2010.01367) use it. A node has a proven bound (no plan
below it costs less) and an estimate (what its best plan will probably cost). Expanded is, among
nodes whose own cost is within w times the least proven bound,
  1. the one with the fewest conflicts among those whose estimate is within w times the least,
  2. else the one with the least estimate,
  3. else the one with the least bound: to raise it.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

import numpy as np

from pilotage.planners.mapf.constraints import Constraint


@dataclass(eq=False)
class Node:
    """Constraints, and a path for each agent that keeps them."""

    paths: tuple[np.ndarray, ...]
    constraints: tuple[tuple[Constraint, ...], ...]  # by agent
    conflicts: np.ndarray  # int64 [n, 5], see `symmetries.Conflict`
    # int64 [n]: on how many sides a conflict costs for sure, 0 or 1, or, where it does on both, 1 +
    # what it costs on the cheaper one; -1: not looked at
    ranks: np.ndarray
    cost: int  # of the paths
    shortest: int  # the agents' shortest paths under their constraints, added up
    bound: int  # no plan under the constraints costs less; at least `shortest`
    estimate: float = 0.0
    ranked: bool = False  # the bound has seen the conflicts
    closed: bool = False

    @property
    def n_conflicts(self) -> int:
        return len(self.conflicts)


class Errors:
    """How much more a step towards a plan costs, and how many more steps it takes, than its node
    promised: means over all expansions so far (the paper's online one-step errors)."""

    def __init__(self) -> None:
        self._cost, self._steps, self._n = 0.0, 0.0, 0

    def learn(self, parent: Node, child: Node) -> None:
        """From the best child; a step should take one conflict away and cost nothing."""
        self._n += 1
        self._cost += (child.cost - parent.cost - self._cost) / self._n
        took = child.n_conflicts - (parent.n_conflicts - 1)
        self._steps += (took - self._steps) / self._n

    def estimate(self, node: Node) -> float:
        """The cost of the best plan below a node, probably (Thayer and Ruml, equation 9)."""
        per_step = max(self._cost, 0.0) / max(1.0 - self._steps, 0.01)
        return max(node.cost + node.n_conflicts * per_step, float(node.bound))


class ExplicitEstimation:
    """The open nodes in three orders.

    Args:
        suboptimality: w >= 1.
    """

    def __init__(self, suboptimality: float) -> None:
        self.w = suboptimality
        self.bound = 0  # proven for the whole problem; never falls
        self._by_bound: list[tuple[int, int, int, Node]] = []
        self._by_estimate: list[tuple[float, int, Node]] = []
        self._waiting: list[tuple[float, int, Node]] = []  # estimate too high for the focal list
        self._focal: list[tuple[int, float, int, Node]] = []
        self._n = 0

    def push(self, node: Node) -> None:
        """Open a node; its estimate is kept from now on."""
        self._n += 1
        self.file_by_bound(node)
        heapq.heappush(self._by_estimate, (node.estimate, self._n, node))
        heapq.heappush(self._waiting, (node.estimate, self._n, node))

    def file_by_bound(self, node: Node) -> None:
        """Put an open node where its bound, which was raised, belongs."""
        self._n += 1
        heapq.heappush(self._by_bound, (node.bound, node.n_conflicts, self._n, node))

    def select(self) -> tuple[Node, bool] | None:
        """The node to expand, still open, and whether it is the one with the least bound; None
        when no node is open."""
        while self._by_bound and self._is_stale(self._by_bound[0]):
            heapq.heappop(self._by_bound)
        while self._by_estimate and self._by_estimate[0][-1].closed:
            heapq.heappop(self._by_estimate)
        if not self._by_bound:
            return None
        lowest, likely = self._by_bound[0][-1], self._by_estimate[0][-1]
        self.bound = max(self.bound, lowest.bound)
        allowed = self.allowed(self.bound)
        calmest = self._calmest(self.w * likely.estimate)
        if calmest.cost <= allowed:
            return calmest, False
        if likely.cost <= allowed:
            return likely, False
        return lowest, True

    def allowed(self, bound: int) -> int:
        """The largest whole cost within w times a bound."""
        return math.floor(self.w * bound)

    def _is_stale(self, entry: tuple[int, int, int, Node]) -> bool:
        return entry[-1].closed or entry[0] < entry[-1].bound

    def _calmest(self, limit: float) -> Node:
        """The open node with the fewest conflicts and an estimate up to `limit`, which the node
        with the least estimate keeps."""
        while self._waiting and self._waiting[0][0] <= limit:
            estimate, at, node = heapq.heappop(self._waiting)
            heapq.heappush(self._focal, (node.n_conflicts, estimate, at, node))
        while True:
            _, estimate, at, node = self._focal[0]
            if not node.closed and estimate <= limit:
                return node
            heapq.heappop(self._focal)
            if not node.closed:  # the limit has fallen since
                heapq.heappush(self._waiting, (estimate, at, node))
