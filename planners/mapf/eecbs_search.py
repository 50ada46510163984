"""EECBS: plans whose cost is proved to be at most w times the least sum of costs.

Li, Ruml and Koenig 2021, EECBS: A Bounded-Suboptimal Search for Multi-Agent Path Finding (AAAI;
arXiv:2010.01367), from the paper. As CBS it splits conflicts into constraints; its nodes are
expanded by explicit estimation search (`explicit_estimation`), and its low level finds paths that
meet few other agents (`calm_path`). From the paper also: conflicts that raise the bound on both
sides are split first, and a child with fewer conflicts whose path its parent could have taken
replaces the parent's path instead of splitting it (bypass).

Differences from the paper. Every agent's shortest length under its constraints is computed exactly,
so bounds are sums of these. The room of w is shared by the team (as in flexible ECBS: Chan et al.
2022, Flex Distribution for Bounded-Suboptimal Multi-Agent Path Finding, AAAI): a node's cost is at
most w times its bound, while one path may be longer than w times its own. Since a replaced path was
at least as long as the shortest, the shortest path of the child always fits. The
bound is raised by a weighted cover of conflicts that cost on both sides (`pair_bounds`), whose
weights are the least raise of a split, not the cost of a search over the pair; symmetric conflicts
are split as a whole (`symmetries`).
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.eecbs_paths import LowLevel, OutOfTime
from pilotage.planners.mapf.explicit_estimation import Errors, ExplicitEstimation, Node
from pilotage.planners.mapf.pair_bounds import least_total
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    compiled_before_the_clock,
    stack_paths,
)
from pilotage.planners.mapf.symmetries import Branch, Conflict, Side, Symmetries
from pilotage.planners.mapf.traffic import Traffic

DETOUR = 6  # steps above its shortest path that also a short path may take from the shared room


@compiled_before_the_clock
def eecbs(
    instance: MapfInstance,
    *,
    time_limit_s: float,
    suboptimality: float = 1.2,
    max_nodes: int = 200_000,
) -> PlanResult:
    """A plan with sum_of_costs <= suboptimality * lower_bound, where no plan costs less than
    `lower_bound`; `optimal` is True when they meet.

    When the time or the nodes are used up the status is TIMED_OUT, and `lower_bound` is what the
    search has proved. As `cbs`, it ends only where a plan exists, unless an agent has no path.

    Args:
        instance: one goal per agent.
        time_limit_s: for all of it, in seconds.
        suboptimality: w >= 1; 1.0 gives the least sum of costs.
        max_nodes: give up after making this many nodes.

    Raises:
        ValueError: a lifelong instance; a time limit, `suboptimality` or `max_nodes` out of range.
    """
    if not (math.isfinite(suboptimality) and suboptimality >= 1.0):
        raise ValueError(f"suboptimality must be finite and >= 1, got {suboptimality}")
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be >= 1, got {max_nodes}")
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    if decided is not None:
        return decided
    search = _Eecbs(problem, suboptimality)
    try:
        return search.solve(max_nodes)
    except OutOfTime:
        return search.out_of_time()


class _Eecbs:
    def __init__(self, problem: Problem, suboptimality: float) -> None:
        self.problem = problem
        self.fields = problem.fields.table[problem.rows]  # int32 [N, V]
        self.queue = ExplicitEstimation(suboptimality)
        self.queue.bound = problem.lower_bound
        self.errors = Errors()
        self.traffic = Traffic(problem.graph, problem.n_agents, 2 * int(problem.shortest.max()) + 2)
        self.low = LowLevel(problem, self.fields)
        self.symmetries = Symmetries(problem, self.low.table)
        self.made = 0

    def solve(self, max_nodes: int) -> PlanResult:
        self._push(self._root())
        while True:
            selected = self.queue.select()
            if selected is None:
                return self.problem.failed(
                    PlanStatus.INFEASIBLE,
                    n_expanded=self.made,
                    message="no constraint set has a plan",
                )
            node, to_raise_the_bound = selected
            if node.n_conflicts == 0:
                return self._solved(node)
            if self.problem.deadline.passed or self.made >= max_nodes:
                return self.out_of_time()
            before = node.bound
            first = self._rank(node)
            if node.bound > before:
                self.queue.file_by_bound(node)
                if to_raise_the_bound:
                    continue  # another may now have the least
            self._expand(node, _conflict(node, first))

    def _solved(self, node: Node) -> PlanResult:
        return self.problem.solved(
            stack_paths(list(node.paths)),
            first_solution_s=self.problem.deadline.elapsed,
            n_expanded=self.made,
            optimal=node.cost == self.queue.bound,
            lower_bound=self.queue.bound,
        )

    def out_of_time(self) -> PlanResult:
        return self.problem.failed(
            PlanStatus.TIMED_OUT,
            n_expanded=self.made,
            lower_bound=self.queue.bound,
            message="time or nodes are used up",
        )

    def _root(self) -> Node:
        """Shortest paths, agent after agent, each meeting as few of those before it as possible.
        Detours are kept for the conflicts that are left."""
        n, least = self.problem.n_agents, self.problem.lower_bound
        paths: tuple[np.ndarray, ...] = ()
        found = [np.zeros((0, 5), np.int64)]
        for agent in range(n):
            shortest = int(self.problem.shortest[agent])
            path = self.low.path(agent, (), shortest, shortest, self.traffic)
            found.append(self.traffic.conflicts_of(agent, path))
            self.traffic.put(agent, path)
            paths = (*paths, path)
        conflicts = np.concatenate(found)
        unknown = np.full(len(conflicts), -1)
        return Node(paths, ((),) * n, conflicts, unknown, least, least, least)

    def _longest(self, shortest: int, others: int, bound: int) -> int:
        """How long a path may be beside paths of the others that cost `others`, under constraints
        that no plan keeps for less than `bound`: the node's cost stays within w times its bound."""
        room = self.queue.allowed(bound) - others - shortest
        own = max(self.queue.allowed(shortest) - shortest, DETOUR)
        return shortest + min(own, room)

    def _push(self, node: Node) -> None:
        self.made += 1
        node.estimate = self.errors.estimate(node)
        self.queue.push(node)

    def _expand(self, node: Node, conflict: Conflict) -> None:
        """Open the children, or the node again with a path that meets fewer."""
        self.traffic.follow(node.paths)
        children = []
        for branch in self.symmetries.split(conflict, *self._sides(node, conflict)):
            child = self._child(node, branch)
            if child is None:
                continue
            fits = child.cost <= self.queue.allowed(node.shortest)
            if fits and child.n_conflicts < node.n_conflicts:
                children = [
                    replace(
                        child,
                        constraints=node.constraints,
                        shortest=node.shortest,
                        bound=node.bound,
                    )
                ]
                break
            children.append(child)
        node.closed = True
        if children:
            self.errors.learn(node, min(children, key=lambda c: (c.n_conflicts, c.cost)))
        for child in children:
            self._push(child)

    def _child(self, node: Node, branch: Branch) -> Node | None:
        """The node with constraints more; None when their agent has no path."""
        agent, more = branch
        constraints = (*node.constraints[agent], *more)
        shortest = self.low.shortest(agent, constraints)
        if shortest is None:
            return None
        together = node.shortest + shortest - self.low.known(agent, node.constraints[agent])
        others = node.cost - (len(node.paths[agent]) - 1)
        longest = self._longest(shortest, others, together)
        self.traffic.take(agent)
        path = self.low.path(agent, constraints, shortest, longest, self.traffic)
        met = self.traffic.conflicts_of(agent, path)
        self.traffic.put(agent, node.paths[agent])
        apart = (node.conflicts[:, 0] != agent) & (node.conflicts[:, 1] != agent)
        return Node(
            (*node.paths[:agent], path, *node.paths[agent + 1 :]),
            (*node.constraints[:agent], constraints, *node.constraints[agent + 1 :]),
            np.concatenate([node.conflicts[apart], met]),
            np.concatenate([node.ranks[apart], np.full(len(met), -1)]),
            others + len(path) - 1,
            together,
            max(together, node.bound),
        )

    def _rank(self, node: Node) -> int:
        """The row of the conflict to split first: one that costs on both sides, else on one, and
        among these the earliest. Raises the node's bound by what pairs of agents in conflicts that
        cost on both sides must pay."""
        ranks = node.ranks
        for row in np.flatnonzero(ranks < 0).tolist():
            conflict = _conflict(node, row)
            sides = self._sides(node, conflict)
            rank = self.symmetries.rank(conflict, *sides)
            ranks[row] = 1 + self._least_raise(node, conflict, sides) if rank == 2 else rank
        if not node.ranked:
            pairs: dict[tuple[int, int], int] = {}
            costly = ranks >= 2
            for (i, j), rank in zip(node.conflicts[costly, :2].tolist(), ranks[costly].tolist()):
                pairs[i, j] = max(pairs.get((i, j), 0), rank - 1)
            node.bound = max(node.bound, node.shortest + least_total(pairs))
            node.ranked = True
        return int(np.lexsort((node.conflicts[:, 2], -ranks))[0])

    def _least_raise(self, node: Node, conflict: Conflict, sides: tuple[Side, Side]) -> int:
        """How much a split that costs on both sides costs on the cheaper one; at least 1."""
        raises = []
        for agent, more in self.symmetries.split(conflict, *sides):
            before = node.constraints[agent]
            after = self.low.shortest(agent, (*before, *more))
            if after is not None:
                raises.append(after - self.low.known(agent, before))
        return max(1, min(raises, default=1))

    def _sides(self, node: Node, conflict: Conflict) -> tuple[Side, Side]:
        i, j = (
            Side(
                node.paths[agent],
                node.constraints[agent],
                self.low.diagram(agent, node.constraints[agent]),
            )
            for agent in conflict[:2]
        )
        return i, j


def _conflict(node: Node, row: int) -> Conflict:
    i, j, step, v, u = node.conflicts[row].tolist()
    return i, j, step, v, u
