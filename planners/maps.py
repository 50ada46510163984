"""From the states that a learned model gave to a walk to a map: a graph, plans on it, its score.

A state is `observation * n_clones + clone`, whatever model told the clone.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

from pilotage.planners.plan import Plan, PlanStatus

MIN_EVIDENCE = 4  # agreements before two states are taken for one place:
SAME_PLACE = 3  # so many for leading to one place, 1 for leading to equal observations


@dataclass(frozen=True, eq=False)
class LearnedMap:
    """States in use, and where actions lead from them.

    graph: networkx MultiDiGraph, edges with "action" (key) and "probability". path: the decoded
    states int64 `[T]` of the walk that it was read from. move_cost: what a plan pays for a move,
    in nats, beside -log of its probability.
    """

    graph: nx.MultiDiGraph
    path: np.ndarray
    move_cost: float = 1e-6

    def plan(self, start: int, goal: int) -> tuple[Plan, list[int]]:
        """The cheapest way between two states, and its actions; with the small `move_cost` the
        likeliest one (the product of its probabilities; of equal ones the shortest). INFEASIBLE
        where the map knows none. Raises KeyError for a state that is not in use."""
        for state in (start, goal):
            if state not in self.graph:
                raise KeyError(
                    f"state {state} is not in use; {self.graph.number_of_nodes()} states are"
                )
        try:
            path = nx.shortest_path(self.graph, start, goal, weight=self._cost)
        except nx.NetworkXNoPath:
            return Plan(PlanStatus.INFEASIBLE), []
        actions = [_likeliest(self.graph[a][b]) for a, b in pairwise(path)]
        return Plan(PlanStatus.SOLVED, tuple(path), float(len(path) - 1)), actions

    def _cost(self, _: int, __: int, ways: Mapping[int, Mapping[str, float]]) -> float:
        """Of the likeliest action between two states."""
        return self.move_cost - math.log(max(way["probability"] for way in ways.values()))


def _likeliest(ways: Mapping[int, Mapping[str, float]]) -> int:
    """Of the actions that lead from one state to another, the one that does so most surely."""
    return max(ways, key=lambda action: ways[action]["probability"])


def read_map(
    path: np.ndarray,
    actions: np.ndarray,
    n_clones: int,
    *,
    least: float = 0.05,
    merge: bool = True,
    rare: float = 0.0,
) -> LearnedMap:
    """The map of a walk through states `observation * n_clones + clone`: every transition that
    makes up at least `least` of what its action did in its state.

    path: int `[T]`. actions: int `[T - 1]`. merge: a place may have been given to several clones.
    Two states of the same observation are taken for one place where nothing that the map knows of
    them tells them apart: whatever is done from both leads to equal observations, with
    `MIN_EVIDENCE` at least (state merging, Lang, Pearlmutter and Price 1998; the world is taken to
    be without chance). rare: states visited less than this share of what the state at a random
    step of the walk is are not on the map, though on its `path`.
    """
    acted = np.asarray(actions).tolist()
    used = Counter(zip(path[:-1].tolist(), acted, path[1:].tolist(), strict=True))
    if merge:
        names = _merged(_frequent(used, least), n_clones)
        path = np.array([names.get(state, state) for state in path.tolist()])
        used = Counter(zip(path[:-1].tolist(), acted, path[1:].tolist(), strict=True))
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(_often(path, rare))
    for (state, action, after), share in sorted(_frequent(used, least).items()):
        if state in graph and after in graph:
            graph.add_edge(state, after, key=action, action=action, probability=share)
    return LearnedMap(graph, path)


def _often(path: np.ndarray, rare: float) -> list[int]:
    """The states that are not rare, in order."""
    states, visits = np.unique(path, return_counts=True)
    typical = (visits**2).sum() / visits.sum()
    return [int(state) for state in states[visits >= rare * typical]]


Used = Counter[tuple[int, int, int]]  # (state, action, state after) -> how often


def _frequent(used: Used, least: float) -> dict[tuple[int, int, int], float]:
    """The share of each transition in what its action did in its state, where at least `least`."""
    of_action: Counter[tuple[int, int]] = Counter()
    for (state, action, _), n in used.items():
        of_action[state, action] += n
    shares = {edge: n / of_action[edge[:2]] for edge, n in used.items()}
    return {edge: share for edge, share in shares.items() if share >= least}


def _merged(edges: Mapping[tuple[int, int, int], float], n_clones: int) -> dict[int, int]:
    """State -> the state that stands for its place. Of several states after one action the most
    frequent counts."""
    after: dict[int, dict[int, int]] = {}
    for (a, action, b), _ in sorted(edges.items(), key=lambda item: item[1]):
        after.setdefault(a, {})[action] = b
        after.setdefault(b, {})
    names = {state: state for state in after}
    states = sorted(after, key=lambda state: (-len(after[state]), state))  # best known first
    for v in states:
        for u in states:
            if u == v:
                break
            if u // n_clones == v // n_clones and names[u] != names[v]:
                tried = _unified(names, after, u, v, n_clones)
                if tried is not None:
                    names = tried
                    break
    return names


def _unified(
    names: Mapping[int, int],
    after: Mapping[int, Mapping[int, int]],
    u: int,
    v: int,
    n_clones: int,
) -> dict[int, int] | None:
    """The names once u and v are one place, and with them all that follows; None where that would
    make one place of two observations, or where too little is known."""
    members: dict[int, set[int]] = {}
    for state, name in names.items():
        members.setdefault(name, set()).add(state)
    found = dict(names)
    waiting, evidence = [(u, v)], 0
    while waiting:
        a, b = (found[state] for state in waiting.pop())
        if a == b:
            continue
        if a // n_clones != b // n_clones:
            return None
        leads = [_leads(members[name], after) for name in (a, b)]
        for action in leads[0].keys() & leads[1].keys():
            ends = leads[0][action], leads[1][action]
            waiting.append(ends)
            evidence += SAME_PLACE if found[ends[0]] == found[ends[1]] else 1
        for state in members.pop(b):
            found[state] = a
            members[a].add(state)
    return found if evidence >= MIN_EVIDENCE else None


def _leads(states: set[int], after: Mapping[int, Mapping[int, int]]) -> dict[int, int]:
    """Where actions lead from a place that these states stand for."""
    leads: dict[int, int] = {}
    for state in sorted(states):
        leads = {**after[state], **leads}
    return leads


@dataclass(frozen=True)
class MapScore:
    """A map against the truth. purity: the share of the walk at which a state's cell is the one it
    is most often. Edges are (cell, action, cell) with every state renamed to its cell.

    edit_distance: states and edges to remove and to add until the map is the truth, over those of
    both (0: equal, 1: nothing in common). Each cell keeps its most visited state, which need not be
    the cheapest choice: an upper bound of the graph edit distance.
    """

    n_states: int
    n_cells: int
    purity: float
    precision: float
    recall: float
    edit_distance: float

    @property
    def f1(self) -> float:
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


def score_map(found: LearnedMap, cells: np.ndarray, leads: np.ndarray) -> MapScore:
    """cells: the true cells int `[T]` of the walk. leads: int `[cells, A]`, where each action truly
    leads."""
    places = cells_of(found, cells)
    right = np.array([places[s] for s in found.path.tolist()]) == cells
    edges = {(places[a], action, places[b]) for a, b, action in found.graph.edges(keys=True)}
    truth = {(c, a, int(leads[c, a])) for c in range(len(leads)) for a in range(leads.shape[1])}
    hits = len(edges & truth)
    return MapScore(
        n_states=found.graph.number_of_nodes(),
        n_cells=len(leads),
        purity=float(right.mean()),
        precision=hits / max(1, len(edges)),
        recall=hits / len(truth),
        edit_distance=_edit_distance(found, places, truth, len(leads)),
    )


def _edit_distance(
    found: LearnedMap, places: Mapping[int, int], truth: set[tuple[int, int, int]], n_cells: int
) -> float:
    kept = set(main_states(found, places))
    graph = found.graph
    matched = {
        (places[a], action, places[b])
        for a, b, action in graph.edges(keys=True)
        if a in kept and b in kept
    }
    n_right, n_all = len(matched & truth), graph.number_of_edges() + len(truth)
    edits = (graph.number_of_nodes() - len(kept)) + (n_cells - len(kept)) + (n_all - 2 * n_right)
    return edits / (graph.number_of_nodes() + n_cells + n_all)


def main_states(found: LearnedMap, places: Mapping[int, int]) -> list[int]:
    """For every cell on the map, in order, the most visited state. places: of `cells_of`."""
    visits = Counter(found.path.tolist())
    best: dict[int, int] = {}
    for state in sorted(places):
        if state not in found.graph:
            continue
        other = best.get(places[state])
        if other is None or visits[state] > visits[other]:
            best[places[state]] = state
    return [best[cell] for cell in sorted(best)]


def cells_of(found: LearnedMap, cells: np.ndarray) -> dict[int, int]:
    """The cell that a state stands for: the one at which it was decoded most often."""
    votes: dict[int, Counter[int]] = {}
    for state, cell in zip(found.path.tolist(), np.asarray(cells).tolist(), strict=True):
        votes.setdefault(state, Counter())[cell] += 1
    return {state: count.most_common(1)[0][0] for state, count in votes.items()}
