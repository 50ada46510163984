"""From a learned model to a map: a graph of the states in use, plans on it, and its score."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx
import numpy as np

from pilotage.planners.cscg.model import CSCG
from pilotage.planners.plan import Plan, PlanStatus

MIN_EVIDENCE = 4  # agreements before two states are taken for one place:
SAME_PLACE = 3  # so many for leading to one place, 1 for leading to equal observations


@dataclass(frozen=True, eq=False)
class LearnedMap:
    """States in use, and where actions lead from them.

    graph: networkx MultiDiGraph, edges with "action" (key) and "probability". path: the decoded
    states int64 `[T]` of the walk that it was read from.
    """

    graph: nx.MultiDiGraph
    path: np.ndarray

    def plan(self, start: int, goal: int) -> tuple[Plan, list[int]]:
        """The likeliest way between two states (the product of its probabilities; of equal ones
        the shortest), and its actions. INFEASIBLE where the map knows none. Raises KeyError for a
        state that is not in use."""
        for state in (start, goal):
            if state not in self.graph:
                raise KeyError(
                    f"state {state} is not in use; {self.graph.number_of_nodes()} states are"
                )
        try:
            path = nx.shortest_path(self.graph, start, goal, weight=_surprise)
        except nx.NetworkXNoPath:
            return Plan(PlanStatus.INFEASIBLE), []
        actions = [_likeliest(self.graph[a][b]) for a, b in pairwise(path)]
        return Plan(PlanStatus.SOLVED, tuple(path), float(len(path) - 1)), actions


def _likeliest(ways: Mapping[int, Mapping[str, float]]) -> int:
    """Of the actions that lead from one state to another, the one that does so most surely."""
    return max(ways, key=lambda action: ways[action]["probability"])


def _surprise(_: int, __: int, ways: Mapping[int, Mapping[str, float]]) -> float:
    """-log p of the likeliest action between two states, and a little for every step."""
    return 1e-6 - math.log(max(way["probability"] for way in ways.values()))


def learn_map(
    model: CSCG,
    observations: np.ndarray,
    actions: np.ndarray,
    *,
    least: float = 0.05,
    merge: bool = True,
) -> LearnedMap:
    """The map of a model on a walk: every transition of the decoded path that makes up at least
    `least` of what its action did in its state.

    merge: a place may have been given to several clones. Two states of the same observation are
    taken for one place where nothing that the map knows of them tells them apart: whatever is done
    from both leads to equal observations, with `MIN_EVIDENCE` at least (state merging, Lang,
    Pearlmutter and Price 1998; the world is taken to be without chance).
    """
    path = model.decode(observations, actions)
    acted = np.asarray(actions).tolist()
    used = Counter(zip(path[:-1].tolist(), acted, path[1:].tolist(), strict=True))
    if merge:
        names = _merged(_frequent(used, least), model.n_clones)
        path = np.array([names.get(state, state) for state in path.tolist()])
        used = Counter(zip(path[:-1].tolist(), acted, path[1:].tolist(), strict=True))
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(sorted(set(path.tolist())))
    for (state, action, after), share in sorted(_frequent(used, least).items()):
        graph.add_edge(state, after, key=action, action=action, probability=share)
    return LearnedMap(graph, path)


def map_walk(
    model: CSCG, observations: np.ndarray, actions: np.ndarray, *, pseudocount: float
) -> LearnedMap:
    """The map of one walk from beginning to end: EM, hard EM, and what the model then knows."""
    model.fit(observations, actions, pseudocount=pseudocount)
    model.refine(observations, actions)
    return learn_map(model, observations, actions)


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
    is most often. Edges are (cell, action, cell) with every state renamed to its cell."""

    n_states: int
    n_cells: int
    purity: float
    precision: float
    recall: float

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
    )


def cells_of(found: LearnedMap, cells: np.ndarray) -> dict[int, int]:
    """The cell that a state stands for: the one at which it was decoded most often."""
    votes: dict[int, Counter[int]] = {}
    for state, cell in zip(found.path.tolist(), np.asarray(cells).tolist(), strict=True):
        votes.setdefault(state, Counter())[cell] += 1
    return {state: count.most_common(1)[0][0] for state, count in votes.items()}
