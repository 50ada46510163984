"""The cloned hidden Markov model against dense matrices and brute force; its maps against truth."""

from __future__ import annotations

import itertools

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom, random_room, random_walk
from pilotage.planners.cscg import CSCG, LearnedMap, learn_map, score_map
from pilotage.planners.cscg.model import _normalised
from pilotage.planners.plan import PlanStatus
from pilotage.scripts.bench_cscg import try_plans

N_SYMBOLS, M, A, T = 3, 2, 2, 7


@pytest.fixture
def model() -> CSCG:
    return CSCG(N_SYMBOLS, M, A, seed=0)


@pytest.fixture
def walk() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(1)
    return rng.integers(N_SYMBOLS, size=T), rng.integers(A, size=T - 1)


def _dense(model: CSCG) -> np.ndarray:
    """float64 `[A, N, N]` over states observation * M + clone."""
    n = model.n_states
    return model.transitions.transpose(0, 1, 3, 2, 4).reshape(A, n, n).astype(np.float64)


def _paths(seen: np.ndarray):
    """All state paths that could have given these observations."""
    blocks = [range(s * M, (s + 1) * M) for s in seen]
    return itertools.product(*blocks)


def _probability(dense: np.ndarray, path: tuple[int, ...], actions: np.ndarray) -> float:
    steps = zip(path, path[1:], actions, strict=False)
    return float(np.prod([dense[a, s, e] for s, e, a in steps])) / M


def test_rows_are_distributions_over_all_next_states(model: CSCG) -> None:
    np.testing.assert_allclose(_dense(model).sum(-1), 1.0, rtol=1e-5)


def test_the_likelihood_is_the_sum_over_all_paths(model: CSCG, walk) -> None:
    seen, actions = walk
    dense = _dense(model)
    total = sum(_probability(dense, path, actions) for path in _paths(seen))
    assert model.bits_per_step(seen, actions) == pytest.approx(-np.log2(total) / T, rel=1e-5)


def test_decoding_finds_the_likeliest_of_all_paths(model: CSCG, walk) -> None:
    seen, actions = walk
    dense = _dense(model)
    best = max(_paths(seen), key=lambda path: _probability(dense, path, actions))
    np.testing.assert_array_equal(model.decode(seen, actions), best)


def test_one_em_step_is_the_posterior_mean_over_all_paths(model: CSCG, walk) -> None:
    seen, actions = walk
    dense = _dense(model)
    counts = np.zeros((A, N_SYMBOLS * M, N_SYMBOLS * M))
    weights = {path: _probability(dense, path, actions) for path in _paths(seen)}
    total = sum(weights.values())
    for path, weight in weights.items():
        for s, e, a in zip(path, path[1:], actions, strict=False):
            counts[a, s, e] += weight / total
    blocks = (
        counts.reshape(A, N_SYMBOLS, M, N_SYMBOLS, M).transpose(0, 1, 3, 2, 4).astype(np.float32)
    )
    model.fit(seen, actions, pseudocount=0.01, max_iterations=1)
    np.testing.assert_allclose(model.transitions, _normalised(blocks, 0.01), atol=1e-5)


def test_em_never_loses_likelihood() -> None:
    room = random_room(3, 3, 3, seed=2)
    seen, actions, _ = random_walk(room, 600, seed=3)
    fit = CSCG(3, 6, 4, seed=0).fit(
        seen, actions, pseudocount=0.0, max_iterations=40, tolerance=-1.0
    )
    assert (np.diff(fit.bits) < 1e-5).all()
    assert fit.bits[-1] < 0.5 * fit.bits[0]


def test_an_aliased_room_is_learned_and_its_plans_arrive() -> None:
    """16 cells, 4 symbols: what one sees never says where one is."""
    room = random_room(4, 4, 4, seed=1)
    seen, actions, cells = random_walk(room, 4000, seed=5)
    model = CSCG(4, 16, len(ACTIONS), seed=0)
    fit = model.fit(seen, actions)
    model.refine(seen, actions)
    found = learn_map(model, seen, actions)
    score = score_map(found, cells, room.transitions())
    assert fit.converged
    assert score.f1 >= 0.98
    assert score.purity >= 0.99
    arrived, ratio = try_plans(found, room, cells, n=200, seed=0)
    assert arrived >= 0.95 * 200
    assert ratio <= 1.05
    # The symbols alone are no map: with one clone each, states stand for many cells.
    blind = CSCG(4, 1, len(ACTIONS), seed=0)
    blind.fit(seen, actions)
    assert score_map(learn_map(blind, seen, actions), cells, room.transitions()).purity < 0.6


def test_a_refined_model_refuses_what_it_has_never_seen() -> None:
    room = AliasedRoom(np.array([[0, 1]]))
    seen, actions, _ = random_walk(room, 50, seed=0)
    model = CSCG(2, 2, len(ACTIONS), seed=0)
    model.fit(seen, actions)
    model.refine(seen, actions)
    with pytest.raises(ValueError, match="no path of states"):
        model.decode(np.array([0, 0]), np.array([1]))  # right of cell 0 is cell 1, never cell 0
    assert model.bits_per_step(np.array([0, 0]), np.array([1])) == np.inf
    with pytest.raises(ValueError, match="no probability"):
        model.fit(np.array([0, 0]), np.array([1]))


def test_copies_of_a_place_are_merged_and_places_that_look_alike_are_not() -> None:
    """A ring of 5 cells with the symbols 0, 0, 1, 0, 1 and one action; half-way the walk is decoded
    into a second copy of the ring. Cells of one symbol differ in what comes next, or after it."""
    n = 100
    cells = np.arange(n) % 5
    seen = np.array([0, 0, 1, 0, 1])[cells]
    model = CSCG(2, 6, 1, seed=0)
    first, second = np.array([0, 1, 6, 2, 7]), np.array([3, 4, 8, 5, 9])
    path = np.where(np.arange(n) < n // 2, first[cells], second[cells])
    model.decode = lambda *_: path  # type: ignore[method-assign]
    actions = np.zeros(n - 1, int)
    assert len(learn_map(model, seen, actions, merge=False).graph) == 10
    merged = learn_map(model, seen, actions)
    assert len(merged.graph) == 5
    assert score_map(merged, cells, np.array([[1], [2], [3], [4], [0]])).f1 == 1.0


def test_a_map_without_a_way_says_so() -> None:
    model = CSCG(2, 1, 1, seed=0)
    seen, actions = np.array([0, 0, 1, 1]), np.zeros(3, int)  # from 0 to 1 and never back
    found = learn_map(model, seen, actions)
    assert found.plan(0, 1)[0].is_solved
    assert found.plan(1, 0)[0].status == PlanStatus.INFEASIBLE
    assert found.plan(1, 1)[0].path == (1,)
    assert found.plan(1, 1)[1] == []
    with pytest.raises(KeyError, match="state 7 is not in use; 2 states are"):
        found.plan(0, 7)


def test_plans_take_the_likeliest_action_and_way() -> None:
    graph = nx.MultiDiGraph()
    graph.add_edge(0, 1, key=0, action=0, probability=0.06)
    graph.add_edge(0, 1, key=3, action=3, probability=1.0)
    graph.add_edge(0, 2, key=1, action=1, probability=0.06)  # a short cut that rarely works
    graph.add_edge(1, 2, key=2, action=2, probability=1.0)
    found = LearnedMap(graph, np.array([0]))
    assert found.plan(0, 1)[1] == [3]
    assert found.plan(0, 2)[1] == [3, 2]


def test_the_score_counts_wrong_and_missing_edges() -> None:
    room = AliasedRoom(np.array([[0, 1]]))
    seen, actions, cells = random_walk(room, 60, seed=1)
    model = CSCG(2, 1, len(ACTIONS), seed=0)
    found = learn_map(model, seen, actions)
    assert score_map(found, cells, room.transitions()).f1 == 1.0
    graph = found.graph.copy()
    graph.remove_edge(0, 1, key=1)  # of 8 true edges one is gone
    graph.add_edge(0, 1, key=0)  # and one is wrong
    score = score_map(LearnedMap(graph, found.path), cells, room.transitions())
    assert (score.precision, score.recall) == (7 / 8, 7 / 8)


@pytest.mark.parametrize(
    ("seen", "actions", "words"),
    [
        ([0, 1, 5], [0, 0], "observation 5 at step 2; there are 0 to 2"),
        ([0, 1, 2], [0, -1], "action -1 at step 1; there are 0 to 1"),
        ([0, 1, 2], [0], r"must be \[T\] and \[T - 1\]"),
    ],
)
def test_sequences_that_do_not_fit_are_refused(model: CSCG, seen, actions, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        model.fit(np.array(seen), np.array(actions))


def test_a_room_moves_as_a_grid_does() -> None:
    room = AliasedRoom(np.arange(6).reshape(2, 3))
    leads = room.transitions()
    left, right, up, down = range(4)
    assert leads[4, left] == 3
    assert leads[4, right] == 5
    assert leads[4, up] == 1
    assert leads[1, up] == 1, "a wall"
    assert leads[1, down] == 4
    assert sorted(room.graph()[0]) == [1, 3]
    seen, actions, cells = random_walk(room, 200, seed=0)
    np.testing.assert_array_equal(leads[cells[:-1], actions], cells[1:])
    np.testing.assert_array_equal(seen, cells)


def test_rooms_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="need 1 to 4 symbols, got 5"):
        random_room(2, 2, 5, seed=0)
    with pytest.raises(ValueError, match="at least 2 cells"):
        AliasedRoom(np.zeros((1, 1), int))
    with pytest.raises(ValueError, match="at least 2 steps"):
        random_walk(random_room(2, 2, 2, seed=0), 1, seed=0)
