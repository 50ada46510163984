"""Large neighbourhood search: take a few agents out of a plan, plan them again, keep the better.

After MAPF-LNS (Li et al. 2021, Anytime Multi-Agent Path Finding via Large Neighborhood Search,
IJCAI), from the paper: three ways to choose the agents, weighted by how much they have gained.
  delayed  an agent with a large delay, and those that are met on short walks towards its goal
  place    agents that pass near a vertex, mostly where three or more ways meet
  random   any
They are planned one after another, in random order, around the others (SIPP: in a dense team a
vertex is free for a few intervals only, and most searches end without a shorter path).
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable

import numpy as np

from pilotage.envs.mapf.instance import MapfInstance
from pilotage.planners.mapf.results import Problem, arrival_steps, stack_paths
from pilotage.planners.mapf.safe_intervals import SafeIntervals, SafeIntervalSearch
from pilotage.planners.mapf.space_time import Reservations

REACTION = 0.05  # how fast the weights follow the gains
GROUP_SIZES = (2, 4, 8, 16)
Listener = Callable[[float, int], None]  # hears of better plans: seconds since the start, cost


def refine(
    problem: Problem,
    search: SafeIntervalSearch,
    plan: np.ndarray,
    *,
    seed: int,
    on_better: Listener | None = None,
) -> np.ndarray:
    """A plan with a sum of costs not above that of `plan`, vertices int32 [T + 1, N].

    Uses the problem's time up, unless the lower bound is reached. `on_better` is called at each
    better plan.
    """
    arrivals = arrival_steps(plan, problem.goals)
    paths = [plan[: arrivals[i] + 1, i].copy() for i in range(problem.n_agents)]
    state = _Refinement(problem, search, paths, np.random.default_rng(seed))
    while not problem.deadline.passed and state.total > problem.lower_bound:
        before = state.total
        state.improve()
        if on_better is not None and state.total < before:
            on_better(problem.deadline.elapsed, state.total)
    return stack_paths(state.paths)


@functools.cache
def compile_refine() -> None:
    """Compile what `refine` runs, by one neighbourhood of a toy: to be called before a clock."""
    free = np.ones((1, 3), bool)
    problem = Problem(MapfInstance.one_shot(free, [[0, 0]], [[0, 2]], name="toy"), 600.0)
    problem.measure()
    path = np.array([0, 0, 1, 2], np.int32)
    search = SafeIntervalSearch(problem.graph)
    state = _Refinement(problem, search, [path], np.random.default_rng(0))
    state._plan_again([0])


class _Refinement:
    """The plan while it is improved. `paths[i]` ends with the arrival at the goal for good."""

    def __init__(
        self,
        problem: Problem,
        search: SafeIntervalSearch,
        paths: list[np.ndarray],
        rng: np.random.Generator,
    ) -> None:
        self.problem, self.search, self.paths, self.rng = problem, search, paths, rng
        self.total = sum(len(p) - 1 for p in paths)
        n_steps = max(len(p) for p in paths)
        self.reserved = Reservations(problem.graph.n_vertices, n_steps)
        for agent, path in enumerate(paths):
            self.reserved.add(agent, path)
        self._safe = SafeIntervals(problem.graph.n_vertices)
        self._look_at(np.arange(problem.graph.n_vertices, dtype=np.int32))
        self._ways = (self._delayed, self._place, self._random)
        self._gains = np.ones((len(self._ways), len(GROUP_SIZES)))
        self._tabu: set[int] = set()
        neighbours = problem.graph.neighbours
        self._junctions = np.flatnonzero((neighbours[:, 1:] >= 0).sum(axis=1) >= 3)

    def improve(self) -> None:
        """One neighbourhood."""
        odds = (self._gains / self._gains.sum()).ravel()
        choice = int(self.rng.choice(len(odds), p=odds))
        way, size = divmod(choice, len(GROUP_SIZES))
        wanted = min(GROUP_SIZES[size], self.problem.n_agents)
        agents = self._ways[way](wanted)
        gain = self._plan_again(agents)
        pace = max(gain, 0) / max(len(agents), 1)
        self._gains[way, size] += REACTION * (pace - self._gains[way, size])
        np.maximum(self._gains, 0.01, out=self._gains)

    def _plan_again(self, agents: list[int]) -> int:
        """New paths for these, kept when they are together not longer; the steps gained."""
        old = {i: self.paths[i] for i in agents}
        budget = sum(len(p) - 1 for p in old.values())
        shortest = self.problem.shortest
        for i in agents:
            self.reserved.remove(old[i])
        touched = np.unique(np.concatenate(list(old.values())))
        self._look_at(touched)
        left = budget  # what the agents not planned yet may use
        least = int(shortest[agents].sum())
        new: dict[int, np.ndarray] = {}
        self.rng.shuffle(agents)
        for i in agents:
            least -= int(shortest[i])
            path, _ = self.search.find(
                self.problem.fields.table[self.problem.rows[i]],
                int(self.problem.starts[i]),
                int(self.problem.goals[i]),
                deadline=self.problem.deadline,
                safe=self._safe,
                max_cost=left - least,
            )
            if path is None:
                break
            left -= len(path) - 1
            new[i] = path
            self.reserved.add(i, path)
            self._look_at(np.unique(path))
        else:
            self.paths = [new.get(i, p) for i, p in enumerate(self.paths)]
            self.total -= left
            return left
        for path in new.values():
            self.reserved.remove(path)
        for i, path in old.items():
            self.reserved.add(i, path)
        self._look_at(np.unique(np.concatenate([touched, *new.values()])))
        return 0

    def _look_at(self, vertices: np.ndarray) -> None:
        """Find the safe intervals of these anew."""
        self._safe.read(self.reserved.table, vertices, self.problem.graph.neighbours)

    def _random(self, size: int) -> list[int]:
        return self.rng.choice(self.problem.n_agents, size, replace=False).tolist()

    def _place(self, size: int) -> list[int]:
        """Agents that pass near a vertex, the nearest vertices first."""
        spots = self._junctions if len(self._junctions) else self.problem.goals
        table = self.reserved.table
        first = int(self.rng.choice(spots))
        queue, seen = deque([first]), {first}
        found: dict[int, None] = {}
        while queue and len(found) < size:
            v = queue.popleft()
            here = np.unique(table[:, v])
            for i in self.rng.permutation(here[here >= 0]).tolist():
                found[i] = None
            for u in self.problem.graph.neighbours[v, 1:].tolist():
                if u >= 0 and u not in seen:
                    seen.add(u)
                    queue.append(u)
        return list(found)[:size]

    def _delayed(self, size: int) -> list[int]:
        """The agent with the largest delay that was not chosen lately, and who is in its way."""
        delays = np.array([len(p) - 1 for p in self.paths]) - self.problem.shortest
        if len(self._tabu) >= self.problem.n_agents:
            self._tabu.clear()
        masked = delays.copy()
        masked[list(self._tabu)] = -1
        agent = int(np.argmax(masked))
        if masked[agent] <= 0:
            self._tabu.clear()
            agent = int(np.argmax(delays))
        self._tabu.add(agent)
        found: dict[int, None] = {agent: None}
        for _ in range(10):
            if len(found) >= size:
                break
            self._walk(int(self.rng.choice(list(found))), size, found)
        return list(found)[:size]

    def _walk(self, agent: int, size: int, found: dict[int, None]) -> None:
        """A random walk from somewhere on the path that could still be faster; who is met."""
        path, table = self.paths[agent], self.reserved.table
        field = self.problem.fields.table[self.problem.rows[agent]]
        step = int(self.rng.integers(len(path)))
        v = int(path[step])
        while len(found) < size and step + 1 < len(path):
            ways = [u for u in self.problem.graph.neighbours[v].tolist() if u >= 0]
            ways = [u for u in ways if step + 1 + field[u] < len(path) - 1]
            if not ways:
                return
            u = int(self.rng.choice(ways))
            now, then = min(step, len(table) - 1), min(step + 1, len(table) - 1)
            met = {int(table[then, u])}
            if table[now, u] == table[then, v]:
                met.add(int(table[now, u]))
            found |= dict.fromkeys(met - {-1, agent})
            v, step = u, step + 1
