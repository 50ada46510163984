"""Windowed policies in the simulator, and their search against joint brute force and by hand."""

from __future__ import annotations

from itertools import pairwise

import networkx as nx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotage.envs.mapf import MapfInstance, MapfSimulator
from pilotage.envs.mapf.validation import lifelong_report
from pilotage.planners.mapf import GridGraph, PibtPolicy, RhcrPolicy, WindowedPibtPolicy
from pilotage.planners.mapf import window_search as search
from pilotage.planners.mapf.guidance import STEP, GuidedFields, crossing_lanes, no_guidance

POLICIES = {
    "rhcr": lambda free, n, **o: RhcrPolicy(free, n, window=6, every=3, **o),
    "rhcr, every step": lambda free, n, **o: RhcrPolicy(free, n, window=4, every=1, **o),
    "pibt-lns": lambda free, n, **o: WindowedPibtPolicy(free, n, window=6, work=1500, **o),
}


def crowd(seed: int, n_agents: int, *, size: int = 8, density: float = 0.15) -> MapfInstance:
    """A lifelong team in the largest room of a random map."""
    rng = np.random.default_rng(seed)
    free = rng.random((size, size)) >= density
    graph = GridGraph(free)
    edges = nx.Graph()
    edges.add_nodes_from(range(graph.n_vertices))
    edges.add_edges_from((v, u) for v in edges for u in graph.neighbours[v, 1:].tolist() if u >= 0)
    room = sorted(max(nx.connected_components(edges), key=len))
    cells = graph.cells[room]
    starts = rng.permutation(cells)[:n_agents]
    lists = [rng.permutation(cells)[:20] for _ in range(n_agents)]
    return MapfInstance.lifelong(free, starts, lists, name=f"crowd {seed}")


def play(instance: MapfInstance, policy, n_steps: int) -> MapfSimulator:
    """Plays, and refuses any walk in which the simulator had to stop somebody."""
    sim = MapfSimulator(
        1,
        n_agents=instance.n_agents,
        max_height=instance.free.shape[0],
        max_width=instance.free.shape[1],
    )
    sim.reset(0, instance)
    walked = [sim.positions()[0]]
    for _ in range(n_steps):
        actions = policy.act(walked[-1], sim.positions("goals")[0])
        sim.step(actions[None])
        assert sim.stopped.sum() == 0
        walked.append(sim.positions()[0])
    assert not lifelong_report(instance, np.stack(walked, axis=1)).violations
    return sim


@pytest.mark.parametrize("name", POLICIES)
@settings(deadline=None, max_examples=12)
@given(seed=st.integers(0, 10**6), share=st.sampled_from([0.1, 0.4, 0.8]))
def test_nobody_is_held_up(name, seed, share) -> None:
    """In thin and in crowded rooms (also where half of the windows are PIBT's): 200 steps."""
    cells = crowd(seed, 1)
    room = int((cells.free).sum() * 0.6)
    instance = crowd(seed, max(1, int(room * share)))
    play(instance, POLICIES[name](instance.free, instance.n_agents, seed=seed), 200)


def test_windows_reach_more_goals_than_one_step_at_a_time() -> None:
    reached = {"pibt": 0, "pibt-lns": 0, "rhcr": 0}
    for seed in range(4):
        instance = crowd(seed, 16)
        reached["pibt"] += play(instance, PibtPolicy(instance.free, 16), 128).reached.sum()
        for name in ("pibt-lns", "rhcr"):
            policy = POLICIES[name](instance.free, 16)
            reached[name] += play(instance, policy, 128).reached.sum()
    assert reached["pibt-lns"] > 1.1 * reached["pibt"]
    assert reached["rhcr"] > 0.8 * reached["pibt"]


def test_rhcr_falls_back_where_no_order_has_a_plan() -> None:
    """Two agents face each other where neither can give way: whoever plans second is stuck."""
    ends = np.array([[0, 0], [0, 1]])
    policy = RhcrPolicy(np.ones((1, 2), bool), 2, window=4, every=2)
    assert policy.act(ends, ends[::-1]).tolist() == [0, 0]
    assert (policy.n_windows, policy.n_fallbacks) == (1, 1)
    ring = np.array([[0, 0], [0, 1], [1, 1], [1, 0]])
    turning = RhcrPolicy(np.ones((2, 2), bool), 4, window=4, every=2)
    assert turning.act(ring, np.roll(ring, -1, axis=0)).tolist() == [4, 2, 3, 1]
    assert (turning.n_windows, turning.n_fallbacks) == (1, 0)
    alone = RhcrPolicy(np.ones((1, 5), bool), 1, window=4, every=2)
    assert alone.act(np.array([[0, 0]]), np.array([[0, 4]])).tolist() == [4]
    assert (alone.n_windows, alone.n_fallbacks) == (1, 0)


def journeys_of(graph: GridGraph, costs, here, goals) -> search.Journeys:
    """Made from the definitions, with networkx for the distances."""
    net = nx.DiGraph()
    for v in range(graph.n_vertices):
        for action in range(1, 5):
            u = int(graph.neighbours[v, action])
            if u >= 0:
                net.add_edge(v, u, weight=int(costs[v, action]))
    n, n_goals = goals.shape
    table = np.zeros((graph.n_vertices, graph.n_vertices), np.int32)
    for v, lengths in nx.all_pairs_dijkstra_path_length(net):
        for u, length in lengths.items():
            table[u, v] = length
    later = np.zeros((n, n_goals), np.int32)
    for k in range(n_goals - 2, -1, -1):
        later[:, k] = later[:, k + 1] + table[goals[:, k + 1], goals[:, k]]
    ideal = table[goals[:, 0], here] + later[:, 0]
    return search.Journeys(
        graph.neighbours, costs, table, goals.astype(np.int32), goals, later, ideal
    )


def cheapest_windows(i: int, window: int, w: search.Journeys, p: search.WindowPlan) -> int | None:
    """All walks of agent i around the others, one after another."""
    best = None
    walks = [[int(p.where[0, i])]]
    while walks:
        walk = walks.pop()
        if len(walk) == window + 1:
            stage = int(walk[0] == w.goals[i, 0])
            cost = 0
            for v, u in pairwise(walk):
                if stage == w.goals.shape[1]:
                    cost += v != u
                else:
                    cost += int(w.costs[v, w.neighbours[v].tolist().index(u)])
                    stage += u == w.goals[i, stage]
            if stage < w.goals.shape[1]:
                cost += int(w.table[w.rows[i, stage], walk[-1]] + w.later[i, stage])
            best = cost if best is None else min(best, cost)
            continue
        t, v = len(walk) - 1, walk[-1]
        for u in w.neighbours[v].tolist():
            if u < 0 or p.who[t + 1, u] >= 0:
                continue
            swapped = u != v and p.who[t, u] >= 0 and p.who[t + 1, v] == p.who[t, u]
            if not swapped:
                walks.append([*walk, u])
    return best


@pytest.mark.parametrize("n_goals", [1, 2])
def test_the_cheapest_path_of_a_window(n_goals) -> None:
    """Three agents whose paths are known and a fourth: against all its walks of five steps."""
    rng = np.random.default_rng(n_goals)
    blocked = dear = 0
    for seed in range(60):
        instance = crowd(seed, 4, size=4)
        graph = GridGraph(instance.free)
        here = graph.vertices(instance.starts)
        lists = np.array([x[:n_goals] for x in instance.goal_lists])
        goals = graph.vertices(lists).astype(np.int32)
        w = journeys_of(graph, crossing_lanes(graph, penalty=0.5), here, goals)
        p = search.window_plan(4, graph.n_vertices, 5, n_goals, seed)
        p.where[0] = here
        order = rng.permutation(3)
        if search.plan_in_order(order, w, p) < 3:
            continue
        expected = cheapest_windows(3, 5, w, p)
        found = search.find(3, 1 << 29, w, p)
        if expected is None:
            assert found == -1
            blocked += 1
            continue
        assert found == expected == search.path_cost(3, p.path, w)
        assert search.find(3, expected - 1, w, p) == -1
        dear += expected > w.ideal[3]
    assert dear > 3


def test_neighbourhoods_never_make_a_plan_dearer_and_keep_its_books() -> None:
    gained = 0
    for seed in range(8):
        instance = crowd(seed, 14)
        graph = GridGraph(instance.free)
        here = graph.vertices(instance.starts)
        goals = graph.vertices(np.array([x[:1] for x in instance.goal_lists])).astype(np.int32)
        w = journeys_of(graph, no_guidance(graph), here, goals)
        p = search.window_plan(14, graph.n_vertices, 8, 1, seed)
        cells = instance.starts
        policy = PibtPolicy(instance.free, 14)
        for t in range(9):
            p.where[t] = graph.vertices(cells)
            cells = policy.next_cells(cells, graph.cells[goals[:, 0]])
        search.take_plan(w, p)
        before = int(p.cost.sum())
        search.improve(3000, w, p)
        after = p.where.copy()
        assert after[0].tolist() == here.tolist()
        gained += before - int(p.cost.sum())
        assert p.cost.sum() <= before
        assert [search.path_cost(i, after[:, i].copy(), w) for i in range(14)] == p.cost.tolist()
        who = p.who.copy()
        search.take_plan(w, p)
        assert np.array_equal(who, p.who)
        for now, then in pairwise(after):
            assert len(set(then.tolist())) == 14
            moved = {(a, b) for a, b in zip(now.tolist(), then.tolist()) if a != b}
            assert not any((b, a) in moved for a, b in moved)
    assert gained > 0


def test_goals_ahead_are_used() -> None:
    """Where the next goal is known an agent goes on to it in the window that reaches the first."""
    free = np.ones((1, 7), bool)
    policy = RhcrPolicy(free, 1, window=4, every=4)
    cells, goals = np.array([[0, 3]]), np.array([[[0, 4], [0, 2]]])
    assert policy.act(cells, goals).tolist() == [4]
    assert policy.act(np.array([[0, 4]]), goals).tolist() == [3]


def test_guided_fields_are_cheapest_ways() -> None:
    graph = GridGraph(crowd(5, 1).free)
    costs = crossing_lanes(graph, penalty=0.75)
    w = journeys_of(graph, costs, np.zeros(1, int), np.zeros((1, 1), int))
    fields = GuidedFields(graph, costs)
    reached = 0
    for goal in range(0, graph.n_vertices, 5):
        ours = fields.field(goal)
        known = (w.table[goal] > 0) | (np.arange(graph.n_vertices) == goal)
        assert (ours[known] == w.table[goal][known]).all()
        assert (ours[~known] > 1 << 20).all()
        reached += known.sum()
    assert reached > 100
    here = graph.vertices(np.array([graph.cells[3]]))[0]
    row, col = graph.cells[here]
    assert costs[here, 3 if row % 2 == 0 else 4] == STEP + 6  # against its row
    assert costs[here, 1 if col % 2 == 1 else 2] == STEP + 6  # against its column
    assert costs[here, 0] == STEP


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda f: RhcrPolicy(f, 0), "n_agents must be >= 1"),
        (lambda f: RhcrPolicy(f, 1, window=0), "window must be between 1 and 100, got 0"),
        (lambda f: RhcrPolicy(f, 1, every=11), "every must be between 1 and the window 10"),
        (lambda f: RhcrPolicy(f, 1, max_restarts=-1), "max_restarts must be >= 0"),
        (lambda f: WindowedPibtPolicy(f, 1, work=-1), "work must be >= 0"),
        (lambda f: WindowedPibtPolicy(f, 1, costs=np.zeros((4, 5), int)), "must be positive"),
        (lambda f: crossing_lanes(GridGraph(f), penalty=-1.0), "penalty must be >= 0, got -1"),
    ],
)
def test_bad_options_are_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make(np.ones((2, 2), bool))


@pytest.mark.parametrize("policy", [RhcrPolicy, WindowedPibtPolicy])
@pytest.mark.parametrize(
    ("cells", "goals", "message"),
    [
        ([[0, 0], [0, 0]], [[0, 1], [0, 0]], "two agents stand on one cell"),
        ([[0, 0], [0, 1]], [[0, 1], [0, 2]], r"goals\[1\] is \[0, 2\], which is not a free cell"),
        ([[0, 0], [0, 1]], [[0, 1], [0, 3]], "agent 1 cannot reach its goal"),
        ([[0, 0], [0, 1]], [[0, 1]], "goals have shape"),
    ],
)
def test_bad_steps_are_refused(policy, cells, goals, message) -> None:
    team = policy(np.array([[1, 1, 0, 1]], bool), 2)
    with pytest.raises(ValueError, match=message):
        team.act(np.array(cells), np.array(goals))
