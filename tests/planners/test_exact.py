"""Search on one graph, against networkx, scipy.sparse.csgraph and brute force."""

from __future__ import annotations

import itertools
import math

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from scipy.sparse.csgraph import dijkstra as csgraph_dijkstra

from pilotage.planners.exact import astar, bfs, bidirectional, dijkstra
from pilotage.planners.plan import Plan, PlanStatus
from pilotage.planners.validate import check_path

KINDS = (nx.Graph, nx.DiGraph, nx.MultiGraph, nx.MultiDiGraph)


@st.composite
def graphs(draw, max_nodes=9):
    """A small graph of any kind, with self-loops and parallel edges, some weights left out."""
    graph = draw(st.sampled_from(KINDS))()
    n = draw(st.integers(2, max_nodes))
    graph.add_nodes_from(range(n))
    node = st.integers(0, n - 1)
    weights = st.one_of(st.none(), st.integers(0, 6))
    for a, b, w in draw(st.lists(st.tuples(node, node, weights), max_size=3 * n)):
        graph.add_edge(a, b, **({} if w is None else {"weight": w}))
    return graph


def zero(node, goal):
    return 0.0


def true_cost(graph, weight):
    try:
        return nx.shortest_path_length(graph, 0, 1, weight=weight)
    except nx.NetworkXNoPath:
        return None


@given(graphs())
def test_costs_equal_networkx_and_paths_stand_before_the_validator(graph):
    def exact_guess(node, goal):  # the tightest admissible heuristic
        try:
            return nx.shortest_path_length(graph, node, goal, weight="weight")
        except nx.NetworkXNoPath:
            return 99.0

    plans = {
        "dijkstra": (dijkstra(graph, 0, 1), "weight"),
        "astar": (astar(graph, 0, 1, heuristic=exact_guess), "weight"),
        "bidirectional": (bidirectional(graph, 0, 1), "weight"),
        "bfs": (bfs(graph, 0, 1), None),
    }
    for name, (plan, weight) in plans.items():
        distance = true_cost(graph, weight)
        if distance is None:
            assert plan.status == PlanStatus.INFEASIBLE, name
            continue
        verdict = check_path(
            graph, plan.path, 0, 1, weight=weight, claimed_cost=plan.cost, distance=distance
        )
        assert verdict.is_valid, (name, verdict)
        assert verdict.is_optimal, (name, verdict)


@given(st.integers(0, 2**31 - 1))
def test_costs_equal_csgraph_with_real_weights(seed):
    rng = np.random.default_rng(seed)
    dense = rng.random((12, 12)) * (rng.random((12, 12)) < 0.2)
    graph = nx.from_numpy_array(dense, create_using=nx.DiGraph)
    distance = csgraph_dijkstra(csr_array(dense), indices=0)[11]
    for plan in (dijkstra(graph, 0, 11), bidirectional(graph, 0, 11)):
        assert plan.is_solved == math.isfinite(distance)
        if plan.is_solved:
            assert plan.cost == pytest.approx(distance)


def inconsistent(goal_costs):
    """Admissible, but falls by more than an edge costs: nodes must be opened again."""
    return lambda node, goal: goal_costs[node] if node % 2 else 0.0


@given(graphs(max_nodes=7))
def test_astar_is_optimal_with_an_inconsistent_heuristic(graph):
    costs = nx.shortest_path_length(graph.reverse() if graph.is_directed() else graph, 1, None)
    flat = dict.fromkeys(graph, 0.0) | dict.fromkeys(costs, 0.0)
    for node in graph:
        try:
            flat[node] = nx.shortest_path_length(graph, node, 1, weight="weight")
        except nx.NetworkXNoPath:
            flat[node] = 50.0
    plan = astar(graph, 0, 1, heuristic=lambda n, g: 0.0 if n == g else inconsistent(flat)(n, g))
    assert plan.cost == true_cost(graph, "weight")


def test_brute_force_on_every_graph_of_four_nodes():
    pairs = list(itertools.combinations(range(4), 2))
    for chosen in itertools.product((0, 1, 2), repeat=len(pairs)):  # absent, weight 1, weight 3
        graph = nx.Graph()
        graph.add_nodes_from(range(4))
        cost = {}
        for (a, b), c in zip(pairs, chosen):
            if c:
                cost[a, b] = cost[b, a] = 2 * c - 1
                graph.add_edge(a, b, weight=2 * c - 1)
        best = math.inf
        for k in range(3):
            for middle in itertools.permutations((1, 2), k):
                walk = (0, *middle, 3)
                best = min(best, sum(cost.get(e, math.inf) for e in itertools.pairwise(walk)))
        for plan in (dijkstra(graph, 0, 3), bidirectional(graph, 0, 3)):
            assert (plan.cost if plan.is_solved else math.inf) == best


@pytest.mark.parametrize("search", [bfs, dijkstra])
def test_the_tie_break_picks_the_path(search):
    graph = nx.Graph([("s", "b"), ("s", "a"), ("a", "g"), ("b", "g")])
    assert search(graph, "s", "g").path == ("s", "b", "g")  # found first
    assert search(graph, "s", "g", tie_break=str).path == ("s", "a", "g")
    smallest_last = search(graph, "s", "g", tie_break=lambda n: -ord(n))
    assert smallest_last.path == ("s", "b", "g")


@pytest.mark.parametrize("search", [bfs, dijkstra, bidirectional])
def test_out_of_budget_is_not_infeasible(search):
    line = nx.path_graph(9)
    assert search(line, 0, 8, max_expanded=3).status == PlanStatus.TIMED_OUT
    assert search(line, 0, 8, max_expanded=9).status == PlanStatus.SOLVED
    line.add_node("island")
    assert search(line, 0, "island").status == PlanStatus.INFEASIBLE
    with pytest.raises(ValueError, match="max_expanded must be >= 1"):
        search(line, 0, 8, max_expanded=0)


def test_start_is_goal():
    graph = nx.Graph([(0, 0), (0, 1)])
    for search in (bfs, dijkstra, bidirectional):
        plan = search(graph, 0, 0)
        assert (plan.path, plan.cost) == ((0,), 0.0)


@pytest.mark.parametrize(
    ("edit", "error", "message"),
    [
        ({"weight": -1}, ValueError, r"edge \(0, 1\): weight=-1.0 is negative.*bellman_ford"),
        ({"weight": math.nan}, ValueError, r"edge \(0, 1\): weight is NaN"),
        ({"weight": math.inf}, ValueError, "remove the edge"),
        ({"weight": "long"}, TypeError, "'long' is not a number"),
        ({"weight": None}, TypeError, "None is not a number"),
    ],
)
def test_bad_weights_are_named(edit, error, message):
    graph = nx.DiGraph([(0, 1, edit), (1, 2)])
    for search in (dijkstra, bidirectional):
        with pytest.raises(error, match=message):
            search(graph, 0, 2)
    assert bfs(graph, 0, 2).cost == 2  # looks at no weight


def test_bad_graphs_and_nodes_are_named():
    with pytest.raises(ValueError, match="no nodes"):
        bfs(nx.Graph(), 0, 1)
    with pytest.raises(KeyError, match="goal 7 is not one of the graph's 2 nodes"):
        bfs(nx.Graph([(0, 1)]), 0, 7)
    with pytest.raises(TypeError, match="expected a networkx graph"):
        bfs({0: [1]}, 0, 1)
    with pytest.raises(ValueError, match=r"1\.0 at the goal"):
        astar(nx.path_graph(3), 0, 2, heuristic=lambda n, g: 1.0)
    with pytest.raises(ValueError, match=r"-1\.0 at 0"):
        astar(nx.path_graph(3), 0, 2, heuristic=lambda n, g: float(n == g) - 1.0)


def test_a_plan_cannot_contradict_itself():
    with pytest.raises(ValueError, match="if and only if"):
        Plan(PlanStatus.INFEASIBLE, (1,), 0.0)
    with pytest.raises(ValueError, match="if and only if"):
        Plan(PlanStatus.SOLVED)
    with pytest.raises(ValueError, match="empty"):
        Plan(PlanStatus.SOLVED, (), 0.0)
