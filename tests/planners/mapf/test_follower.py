"""Follower-lite against golden vectors, another reading of its file, networkx and brute force."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch

from pilotage.envs.mapf import MapfInstance, MapfSimulator
from pilotage.planners.mapf import FollowerLite, FollowerPolicy, GridGraph, load_follower_lite
from pilotage.planners.mapf.follower_costs import FollowerCosts
from pilotage.planners.mapf.follower_kernel import plan, search_memory
from pilotage.planners.mapf.follower_network import ONNX_NAMES

FILE = "mapf/follower/follower-lite.onnx"


@pytest.fixture
def network(data_path) -> FollowerLite:
    pytest.importorskip("onnx", reason="reading the network needs the extra onnx")
    return load_follower_lite(data_path(FILE))


def random_grid(seed: int, size: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).random((size, size)) < 0.75


def digraph(graph: GridGraph, enter: np.ndarray) -> nx.DiGraph:
    """Edges weigh what it costs to enter their heads."""
    edges = nx.DiGraph()
    edges.add_nodes_from(range(graph.n_vertices))
    for v in range(graph.n_vertices):
        for u in graph.neighbours[v, 1:].tolist():
            if u >= 0:
                edges.add_edge(v, u, weight=float(enter[u]))
    return edges


def untrained(seed: int = 0) -> FollowerLite:
    torch.manual_seed(seed)
    return FollowerLite().eval().requires_grad_(False)


def test_golden_vectors_of_the_trained_network(network) -> None:
    windows = torch.zeros(6, 2, 7, 7)
    windows[1:, 1, 3, 3] = 1
    for k, (rows, cols) in enumerate([(-1, 0), (1, 0), (0, -1), (0, 1)]):
        for step in range(4):
            windows[2 + k, 0, 3 + rows * step, 3 + cols * step] = 1
    logits, values = network(windows)
    assert values[:2].tolist() == pytest.approx([0.23921, 0.24649], abs=1e-5)
    nothing = [-0.08518, -0.03259, -0.00727, -0.00599, -0.05522]
    alone = [-1.80527, -1.15826, -1.49202, 0.35515, -0.07077]
    assert logits[0].tolist() == pytest.approx(nothing, abs=1e-5)
    assert logits[1].tolist() == pytest.approx(alone, abs=1e-5)
    assert logits[2:].argmax(dim=1).tolist() == [1, 2, 3, 4]
    best = logits[2:].max(dim=1).values
    assert best.tolist() == pytest.approx([15.934, 10.612, 13.433, 14.719], abs=1e-3)


def test_the_file_s_own_graph_gives_the_same_numbers(data_path, network) -> None:
    onnx = pytest.importorskip("onnx")
    from onnx.reference import ReferenceEvaluator

    model = onnx.load(data_path(FILE), load_external_data=False)
    theirs = ReferenceEvaluator(
        onnx.utils.Extractor(model).extract_model(["obs"], ["values", "action_logits"])
    )
    windows = np.random.default_rng(0).integers(-1, 2, (5, 2, 7, 7)).astype(np.float32)
    logits, values = network(torch.from_numpy(windows))
    for i in range(5):
        value, each = theirs.run(None, {"obs": windows[i : i + 1]})
        assert values[i].item() == pytest.approx(float(value), abs=1e-5)
        assert logits[i].numpy() == pytest.approx(each[0], abs=1e-4)


def test_an_agent_in_a_corridor_backs_off(network) -> None:
    """From the map to the probabilities; published planner and network give the same ones."""
    free = np.zeros((9, 15), bool)
    free[4] = True
    policy = FollowerPolicy(free, 2, network, sample=False)
    scores = policy.preferences(np.array([[4, 7], [4, 8]]), np.array([[4, 14], [4, 0]]))
    assert np.exp(scores[0]) == pytest.approx([0.0013, 0.0074, 0.0004, 0.8783, 0.1126], abs=6e-5)
    assert np.argmax(scores[0]) == 3


def write_onnx(path, change=lambda weights: weights) -> None:
    onnx = pytest.importorskip("onnx")
    weights = {}
    for name, parameter in FollowerLite().state_dict().items():
        module, _, kind = name.partition(".")
        weights[f"{ONNX_NAMES[module]}.{kind}"] = parameter.numpy()
    tensors = [onnx.numpy_helper.from_array(w, k) for k, w in change(weights).items()]
    graph = onnx.helper.make_graph([], "g", [], [], initializer=tensors)
    path.write_bytes(onnx.helper.make_model(graph).SerializeToString())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: {k: v for k, v in w.items() if "critic" not in k}, "has no weights 'critic_lin"),
        (lambda w: {k: v[..., :1] for k, v in w.items()}, r"is float32 \[8, 2, 3, 1\], expected"),
        (lambda w: {k: v.astype(np.float64) for k, v in w.items()}, "is float64"),
        (lambda w: {k: v * np.float32("nan") for k, v in w.items()}, "not finite"),
        (lambda w: {}, "it has none"),
    ],
)
def test_other_weights_are_refused(tmp_path, change, message) -> None:
    write_onnx(tmp_path / "x.onnx")
    assert isinstance(load_follower_lite(tmp_path / "x.onnx"), FollowerLite)
    write_onnx(tmp_path / "x.onnx", change)
    with pytest.raises(ValueError, match=message):
        load_follower_lite(tmp_path / "x.onnx")


def test_a_broken_file_is_refused(tmp_path) -> None:
    path = tmp_path / "x.onnx"
    write_onnx(path)
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"not a model", whole[:-1]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"x\.onnx is not an intact ONNX model"):
            load_follower_lite(path)
    with pytest.raises(FileNotFoundError):
        load_follower_lite(tmp_path / "none.onnx")


def test_static_costs_of_a_corridor_by_hand() -> None:
    costs = FollowerCosts(GridGraph(np.array([[1, 1, 1, 0, 1]], bool)))
    assert costs.enter.tolist() == [1.0, 1.5, 1.0, 1.0]  # mean distances 3/2, 1, 3/2, none
    assert costs.field(2).tolist() == [2.5, 1.5, 0.0, np.inf]


@pytest.mark.parametrize("seed", range(5))
def test_costs_are_those_of_networkx(seed) -> None:
    graph = GridGraph(random_grid(seed))
    costs = FollowerCosts(graph)
    unit = digraph(graph, np.ones(graph.n_vertices))
    means = np.zeros(graph.n_vertices)
    for v, lengths in nx.all_pairs_shortest_path_length(unit):
        others = [n for n in lengths.values() if n > 0]
        means[v] = np.mean(others) if others else np.inf
    largest = means[np.isfinite(means)].max()
    expected = np.where(np.isfinite(means), largest / means, 1.0)
    assert costs.enter == pytest.approx(expected)
    backwards = digraph(graph, costs.enter)  # the way from the goal charges the same cells
    for goal in (0, graph.n_vertices - 1, 0):
        field = costs.field(goal)
        lengths = nx.single_source_dijkstra_path_length(backwards, goal)
        expected = [lengths.get(v, np.inf) for v in range(graph.n_vertices)]
        assert field == pytest.approx(expected)


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("seed", range(8))
def test_paths_are_as_cheap_as_those_of_networkx(seed, static) -> None:
    """Exactly, without static costs; with them the heuristic may exceed the cost to go of a cell by
    its own cost less that of the goal, and so may the path."""
    rng = np.random.default_rng(seed)
    graph = GridGraph(random_grid(seed, 12))
    costs = FollowerCosts(graph, static=static)
    extra = rng.integers(0, 6, graph.n_vertices).astype(np.int32)
    edges = digraph(graph, costs.enter + extra)
    memory = search_memory(graph.n_vertices)
    for start, goal in rng.integers(0, graph.n_vertices, (20, 2)).tolist():
        to_go = costs.field(goal)
        n = plan(graph.neighbours, costs.enter, extra, to_go, start, goal, memory)
        if start == goal or not nx.has_path(edges, start, goal):
            assert n == 0
            continue
        path = memory.path[:n][::-1].tolist()
        assert (path[0], path[-1]) == (start, goal)
        cost = nx.path_weight(edges, path, "weight")  # fails on a step that is no edge
        cheapest = nx.dijkstra_path_length(edges, start, goal)
        slack = costs.enter.max() - costs.enter[goal]
        assert cheapest - 1e-9 <= cost <= cheapest + slack + 1e-4


def test_a_path_leads_round_a_crowd_that_is_remembered() -> None:
    free = np.ones((3, 5), bool)
    free[1, 1:4] = False
    still = np.array([[0, 0], [0, 2]])
    goals = np.array([[0, 4], [2, 2]])
    policy = FollowerPolicy(free, 2, untrained())
    upper = [policy.observe(still, goals)[0, 0, 3, 3:].tolist() for _ in range(6)]
    assert upper[0] == [1, 1, 1, 1]  # 4 cells, against 8 by the lower row
    assert upper[-1] == [1, 0, 0, 0]
    blind = FollowerPolicy(free, 2, untrained(), dynamic_cost=False)
    assert [blind.observe(still, goals)[0, 0, 3, 4] for _ in range(6)] == [1] * 6


def test_a_painted_path_stops_where_it_first_leaves_the_window() -> None:
    free = np.array(
        [
            [0, 1, 1, 1, 1, 1],
            [0, 1, 0, 0, 0, 1],
            [1, 1, 0, 0, 0, 1],
            [0, 0, 0, 0, 0, 1],
            [0, 0, 1, 1, 1, 1],
        ],
        bool,
    )
    policy = FollowerPolicy(free, 1, untrained())
    walls = policy.observe(np.array([[2, 1]]), np.array([[4, 2]]))[0, 0]
    seen = np.zeros((5, 5))
    seen[[2, 1, 0, 0, 0, 0], [1, 1, 1, 2, 3, 4]] = 1  # column 5 is outside, and the rest unpainted
    expected = np.where(free[:, :5], seen, -1)
    assert np.array_equal(walls[1:6, 2:7], expected)
    assert policy.observe(np.array([[2, 1]]), np.array([[2, 1]]))[0, 0].max() == 0  # no path


@pytest.mark.parametrize("seed", range(3))
def test_windows_are_those_of_the_simulator_besides_the_path(seed) -> None:
    """Also at the rim, where POGEMA shows a ring of walls with free cells behind it."""
    rng = np.random.default_rng(seed)
    free = random_grid(seed, 5)
    cells = rng.permutation(np.argwhere(free))[:6]
    sim = MapfSimulator(1, n_agents=6, max_height=5, max_width=5)
    sim.reset(0, MapfInstance.lifelong(free, cells, [[c] for c in cells]))
    theirs = sim.observe()[0, :, :, 2:9, 2:9]
    ours = FollowerPolicy(free, 6, untrained()).observe(cells, cells)
    assert np.array_equal(ours, theirs[:, :2] * np.array([-1, 1])[None, :, None, None])


def test_sightings_count_the_others_until_the_goal_changes() -> None:
    rng = np.random.default_rng(3)
    free = random_grid(5, 14)
    policy = FollowerPolicy(free, 12, untrained())
    where = policy.graph.cells
    expected = np.zeros((12, len(where)), int)
    goals = rng.permutation(where)[:12]
    for step in range(4):
        cells = rng.permutation(where)[:12]
        if step == 2:
            goals = goals.copy()
            goals[5] = goals[6]
            expected[5] = 0
        for i in range(12):
            for j in range(12):
                if i != j and np.abs(cells[i] - cells[j]).max() <= 5:
                    expected[i, policy.graph.index[tuple(cells[j])]] += 1
        policy.observe(cells, goals)
        assert np.array_equal(policy.sightings, expected)


def test_actions_are_drawn_from_the_probabilities() -> None:
    network = untrained()
    network.policy.bias += torch.tensor([2.0, 0.0, 1.0, -2.0, 0.0])  # far from even
    free, cells, goals = np.ones((1, 3), bool), np.array([[0, 0]]), np.array([[0, 2]])
    policy = FollowerPolicy(free, 1, network, seed=1)
    greedy = FollowerPolicy(free, 1, network, sample=False)
    expected = np.exp(greedy.preferences(cells, goals)[0])
    assert expected.sum() == pytest.approx(1)
    drawn = [int(policy.act(cells, goals)[0]) for _ in range(2000)]
    shares = np.bincount(drawn, minlength=5) / 2000
    assert shares == pytest.approx(expected, abs=4 * 0.5 / np.sqrt(2000))
    assert greedy.act(cells, goals)[0] == 0


def test_the_seed_decides() -> None:
    free = random_grid(11)
    cells = np.random.default_rng(0).permutation(np.argwhere(free))[:8]
    goals = cells[::-1].copy()
    one, again, other = (FollowerPolicy(free, 8, untrained(), seed=s) for s in (7, 7, 8))
    for _ in range(3):
        actions = one.act(cells, goals)
        assert np.array_equal(actions, again.act(cells, goals))
        assert not np.array_equal(actions, other.act(cells, goals))


def test_bad_arguments_are_refused() -> None:
    policy = FollowerPolicy(np.array([[1, 1, 0]], bool), 2, untrained())
    good = np.array([[0, 0], [0, 1]])
    for cells, goals, message in (
        (good[:1], good, r"cells have shape \[1, 2\]"),
        (good, good + 1, r"goals\[0\] is \[1, 1\], which is not a free cell"),
        (good[[0, 0]], good, "two agents stand on one cell"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.act(cells, goals)
    with pytest.raises(ValueError, match="n_agents must be >= 1, got 0"):
        FollowerPolicy(np.ones((1, 1), bool), 0, untrained())
