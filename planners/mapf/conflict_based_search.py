"""CBS: plans with the least sum of costs (Sharon et al. 2015, Conflict-Based Search for Optimal
Multi-Agent Pathfinding, Artificial Intelligence 219).

The high level is a best-first search over sets of constraints "agent i must not be at v (or move
from v to u) at step t"; the low level is space-time A*. A conflict is split into two constraints of
which every plan keeps at least one. From later papers: conflicts that raise the cost on both
sides (cardinal, read off the widths of the agents' decision diagrams; Boyarski et al. 2015, IJCAI)
are split first, a cover of the agents in cardinal conflicts bounds what they must still cost
(Felner et al. 2018, ICAPS), and symmetric conflicts are split as a whole (`symmetries`).

CBS ends only where a plan exists: on an instance without one it runs until its time is up, unless
an agent has no path at all. `lacam` proves infeasibility.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import numba
import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.constraints import Constraint, ConstraintTable, earliest_end
from pilotage.planners.mapf.graph import FAR
from pilotage.planners.mapf.pair_bounds import least_total
from pilotage.planners.mapf.results import (
    PlanResult,
    PlanStatus,
    Problem,
    compiled_before_the_clock,
    stack_paths,
)
from pilotage.planners.mapf.space_time import SpaceTimeSearch
from pilotage.planners.mapf.symmetries import Branch, Conflict, Diagram, Side, Symmetries


@dataclass(frozen=True)
class _Node:
    constraints: tuple[Constraint, ...]
    paths: tuple[np.ndarray, ...]
    diagrams: tuple[Diagram | None, ...]  # by agent, made when needed

    @property
    def cost(self) -> int:
        return sum(len(path) - 1 for path in self.paths)


@compiled_before_the_clock
def cbs(instance: MapfInstance, *, time_limit_s: float, max_nodes: int = 200_000) -> PlanResult:
    """The plan with the least sum of costs (`optimal` is True when SOLVED).

    When the time or the nodes are used up the status is TIMED_OUT, and `lower_bound` is what the
    search has proved.

    Raises:
        ValueError: a lifelong instance, a time limit or `max_nodes` out of range.
    """
    if max_nodes < 1:
        raise ValueError(f"max_nodes must be >= 1, got {max_nodes}")
    problem = Problem(instance, time_limit_s)
    decided = problem.measure()
    return decided if decided is not None else _Cbs(problem).solve(max_nodes)


class _Cbs:
    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.search = SpaceTimeSearch(problem.graph)
        self.table = ConstraintTable(problem.graph)
        self.symmetries = Symmetries(problem, self.table)
        self.fields = problem.fields.table[problem.rows]  # int32 [N, V]

    def solve(self, max_nodes: int) -> PlanResult:
        n = self.problem.n_agents
        paths: tuple[np.ndarray, ...] = ()
        for agent in range(n):
            path = self._path(agent, (), paths)
            if path is None:
                return self._out_of_time(0, 0)
            paths = (*paths, path)
        heap: list[tuple[int, int, int, int, _Node, list[Conflict]]] = []
        made = 0
        bound = self.problem.lower_bound
        children = [_Node((), paths, (None,) * n)]
        while True:
            for child in children:
                conflicts = find_conflicts(child.paths)
                child, ranked, extra = self._look(child, conflicts)
                f = max(child.cost + extra, bound)
                made += 1
                heapq.heappush(heap, (f, len(conflicts), child.cost, made, child, ranked))
            if not heap:
                return self.problem.failed(
                    PlanStatus.INFEASIBLE, n_expanded=made, message="no constraint set has a plan"
                )
            f, _, _, _, node, ranked = heapq.heappop(heap)
            bound = max(bound, f)
            if not ranked:
                return self.problem.solved(
                    stack_paths(list(node.paths)),
                    first_solution_s=self.problem.deadline.elapsed,
                    n_expanded=made,
                    optimal=True,
                    lower_bound=bound,
                )
            if self.problem.deadline.passed or made >= max_nodes:
                return self._out_of_time(made, bound)
            children = []
            for branch in self.symmetries.split(ranked[0], *_sides(node, ranked[0])):
                grown = self._constrain(node, branch)
                if self.problem.deadline.passed:
                    return self._out_of_time(made, bound)
                if grown is not None:
                    children.append(grown)

    def _out_of_time(self, made: int, bound: int) -> PlanResult:
        return self.problem.failed(
            PlanStatus.TIMED_OUT,
            n_expanded=made,
            lower_bound=bound,
            message="time or nodes are used up",
        )

    def _constrain(self, node: _Node, branch: Branch) -> _Node | None:
        """The node with constraints more; None when their agent has no path."""
        agent, more = branch
        constraints = (*node.constraints, *more)
        path = self._path(agent, constraints, node.paths)
        if path is None:
            return None
        paths = (*node.paths[:agent], path, *node.paths[agent + 1 :])
        diagrams = (*node.diagrams[:agent], None, *node.diagrams[agent + 1 :])
        return _Node(constraints, paths, diagrams)

    def _path(
        self, agent: int, constraints: tuple[Constraint, ...], others: tuple[np.ndarray, ...]
    ) -> np.ndarray | None:
        neighbours = self.problem.graph.neighbours
        rest = [p for i, p in enumerate(others) if i != agent]
        soft = np.zeros((max(map(len, rest), default=0), len(neighbours), 5), np.uint16)
        for other in rest:
            _add_soft(soft, other, neighbours)
        mine = _of(agent, constraints)
        with self.table.forbidding(mine) as forbidden:
            path, _ = self.search.find(
                self.fields[agent],
                int(self.problem.starts[agent]),
                int(self.problem.goals[agent]),
                deadline=self.problem.deadline,
                reserved=self.table.closed(mine),
                forbidden=forbidden,
                soft=soft,
                hold=earliest_end(mine),
            )
        return path

    def _look(self, node: _Node, conflicts: list[Conflict]) -> tuple[_Node, list[Conflict], int]:
        """The node with the diagrams it needed, its conflicts (the best to split first), and how
        much its plan must at least still grow."""
        diagrams = list(node.diagrams)
        for agent in {i for c in conflicts for i in c[:2]}:
            if diagrams[agent] is None:
                diagrams[agent] = self._diagram(agent, node)
        looked = _Node(node.constraints, node.paths, tuple(diagrams))
        ranks = [self.symmetries.rank(c, *_sides(looked, c)) for c in conflicts]
        order = sorted(range(len(conflicts)), key=lambda k: (-ranks[k], conflicts[k][2]))
        pairs = {c[:2]: 1 for c, rank in zip(conflicts, ranks) if rank == 2}
        return looked, [conflicts[k] for k in order], least_total(pairs)

    def _diagram(self, agent: int, node: _Node) -> Diagram:
        cost = len(node.paths[agent]) - 1
        with self.table.forbidding(_of(agent, node.constraints), cost) as forbidden:
            level = decision_diagram(
                self.problem.graph.neighbours,
                self.fields[agent],
                int(self.problem.starts[agent]),
                int(self.problem.goals[agent]),
                cost,
                forbidden,
            )
        return Diagram.of_states(np.flatnonzero(level).astype(np.int32), level.shape[1])


def find_conflicts(paths: tuple[np.ndarray, ...]) -> list[Conflict]:
    """All conflicts of vertex paths; the ends are held for ever."""
    return [tuple(row) for row in _conflicts(stack_paths(list(paths))).tolist()]


def _of(agent: int, constraints: tuple[Constraint, ...]) -> tuple[Constraint, ...]:
    return tuple(c for c in constraints if c[0] == agent)


def _sides(node: _Node, conflict: Conflict) -> tuple[Side, Side]:
    """The two agents of a conflict; their diagrams must have been made."""
    sides = []
    for agent in conflict[:2]:
        diagram = node.diagrams[agent]
        if diagram is None:
            raise RuntimeError(f"agent {agent} has a conflict and no diagram")
        sides.append(Side(node.paths[agent], _of(agent, node.constraints), diagram))
    return sides[0], sides[1]


@numba.njit(cache=True)
def _conflicts(where):  # type: ignore[no-untyped-def]
    """int64 [n, 5] of (i, j, step, vertex of i, vertex of j); i < j; where is [T + 1, N]."""
    found = []
    length, n = where.shape
    for t in range(1, length):
        for i in range(n):
            for j in range(i + 1, n):
                together = where[t, i] == where[t, j]
                swapped = where[t, i] == where[t - 1, j] and where[t, j] == where[t - 1, i]
                if together or swapped:
                    found.append((i, j, t, where[t, i], where[t, j]))
    out = np.empty((len(found), 5), np.int64)
    for k in range(len(found)):
        out[k, 0], out[k, 1], out[k, 2], out[k, 3], out[k, 4] = found[k]
    return out


@numba.njit(cache=True)
def _add_soft(soft, path, neighbours):  # type: ignore[no-untyped-def]
    """Count a path: actions that would meet it, in soft uint16 [T, V, 5] by step."""
    for t in range(len(soft)):
        before, after = path[min(t, len(path) - 1)], path[min(t + 1, len(path) - 1)]
        for v in neighbours[after]:
            if v >= 0:
                for action in range(5):
                    if neighbours[v, action] == after:
                        soft[t, v, action] += 1
        if before != after:
            for action in range(1, 5):
                if neighbours[after, action] == before:
                    soft[t, after, action] += 1


@numba.njit(cache=True)
def decision_diagram(neighbours, field, start, goal, cost, forbidden):  # type: ignore[no-untyped-def]
    """bool [cost + 1, V]: where the agent can be at each step on a path of this cost."""
    n = len(field)
    level = np.zeros((cost + 1, n), np.bool_)
    level[0, start] = True
    for t in range(cost):
        for v in range(n):
            if not level[t, v]:
                continue
            for action in range(5):
                u = neighbours[v, action]
                if u < 0 or field[u] > cost - t - 1 or field[u] >= FAR:
                    continue
                if t < len(forbidden) and forbidden[t, v, action] > 0:
                    continue
                level[t + 1, u] = True
    for v in range(n):
        if v != goal:
            level[cost, v] = False
    for t in range(cost - 1, -1, -1):
        for v in range(n):
            if not level[t, v]:
                continue
            onward = False
            for action in range(5):
                u = neighbours[v, action]
                if u < 0 or not level[t + 1, u]:
                    continue
                if t >= len(forbidden) or forbidden[t, v, action] == 0:
                    onward = True
            level[t, v] = onward
    return level
