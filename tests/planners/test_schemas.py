"""Schemas: bindings against all bindings there are, ways and joined maps against networkx."""

from __future__ import annotations

import itertools
from functools import reduce

import networkx as nx
import numpy as np
import pytest

from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom, random_room, random_walk
from pilotage.planners.schemas import UNKNOWN, Binding, Schema, join, learn_schema

TORUS = AliasedRoom(np.arange(16).reshape(4, 4), wraps=True)
SAME_ACTIONS = nx.isomorphism.categorical_multiedge_match("action", None)


def _graph(schema: Schema) -> nx.MultiDiGraph:
    graph = nx.MultiDiGraph()
    graph.add_nodes_from(range(schema.n_slots))
    for slot, action in np.argwhere(schema.leads != UNKNOWN):
        graph.add_edge(slot, schema.leads[slot, action], action=action)
    return graph


def _same_structure(a: Schema, b: Schema) -> bool:
    return nx.is_isomorphic(_graph(a), _graph(b), edge_match=SAME_ACTIONS)


def _walk(room: AliasedRoom, n: int, seed: int) -> tuple[list[int], list[int]]:
    seen, actions, _ = random_walk(room, n, seed=seed)
    return seen.tolist(), actions.tolist()


def _share_consistent(leads: np.ndarray, seen, actions, start: int, bindings) -> float:
    """The share of the bindings under which a walk from `start` shows what was seen."""
    path = [start]
    for action in actions:
        path.append(int(leads[path[-1], action]))
    hits = [all(binding[s] == x for s, x in zip(path, seen)) for binding in bindings]
    return float(np.mean(hits))


@pytest.mark.parametrize("distinct", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_evidence_is_the_mean_over_all_bindings(distinct, seed):
    rooms = [random_room(2, 3, 3, seed=seed), random_room(1, 4, 3, seed=seed)]
    n_symbols = 6 if distinct else 3
    if distinct:
        rooms[0] = AliasedRoom(np.random.default_rng(seed).permutation(6).reshape(2, 3))
    schemas = [Schema(room.transitions()) for room in rooms]
    seen, actions = _walk(rooms[0], 7, seed)
    binding = Binding(schemas, n_symbols, distinct=distinct)
    binding.see(seen[0])
    for symbol, action in zip(seen[1:], actions):
        binding.see(symbol, action)
    chances = []
    for schema in schemas:
        symbols, n = range(n_symbols), schema.n_slots
        every = (
            itertools.permutations(symbols, n) if distinct else itertools.product(symbols, repeat=n)
        )
        bindings = list(every)
        shares = [
            _share_consistent(schema.leads, seen, actions, start, bindings) for start in range(n)
        ]
        chances.append(np.array(shares) / n / 2)
    expected = np.concatenate(chances)
    np.testing.assert_allclose(np.exp(binding.log_evidence), expected, rtol=1e-9)
    totals = np.array([chance.sum() for chance in chances])
    np.testing.assert_allclose(binding.posterior(), totals / totals.sum())
    best = binding.best
    assert best.schema is schemas[int(np.argmax([c.max() for c in chances]))]
    assert best.bound[best.here] == seen[-1]


def test_a_room_is_told_from_a_torus_and_the_place_is_found():
    walled = AliasedRoom(random_room(4, 4, 4, seed=3).symbols)
    schemas = [Schema(TORUS.transitions()), Schema(walled.transitions())]
    seen, actions, cells = random_walk(walled, 120, seed=4)
    binding = Binding(schemas, 4, distinct=False)
    binding.see(int(seen[0]))
    for symbol, action in zip(seen[1:].tolist(), actions.tolist()):
        binding.see(symbol, action)
    best = binding.best
    assert best.schema is schemas[1]
    assert binding.posterior()[1] == pytest.approx(1)
    assert (best.start, best.here) == (cells[0], cells[-1])
    visited = np.unique(cells)
    np.testing.assert_array_equal(best.bound[visited], walled.symbols.ravel()[visited])
    assert binding.n_restarts == 0


def test_a_walk_that_nothing_explains_begins_anew():
    binding = Binding([Schema(TORUS.transitions())], 16, distinct=True)
    binding.see(0)
    binding.see(0, 1)  # two cells with one symbol
    assert binding.n_restarts == 1
    assert binding.best.bound.tolist().count(UNKNOWN) == 15
    with pytest.raises(ValueError, match="symbol 16 is outside 0 to 15"):
        binding.see(16)


def test_who_would_have_to_take_an_unknown_action_is_given_up():
    binding = Binding([Schema(np.array([[1], [UNKNOWN], [2]]))], 3, distinct=True)
    binding.see(0)
    binding.see(1, 0)
    assert np.isneginf(binding.log_evidence).tolist() == [False, True, True]
    assert binding.best.start == 0
    binding.see(2, 0)
    assert binding.n_restarts == 1


def test_ways_are_shortest_and_those_of_networkx():
    rng = np.random.default_rng(0)
    schema = Schema(np.where(rng.random((12, 3)) < 0.4, UNKNOWN, rng.integers(12, size=(12, 3))))
    graph = _graph(schema)
    for start, goal in itertools.product(range(12), range(12)):
        targets = np.arange(12) == goal
        steps, at = 0, start
        while (action := schema.toward(at, targets)) is not None:
            at, steps = int(schema.leads[at, action]), steps + 1
        if nx.has_path(graph, start, goal):
            assert (at, steps) == (goal, nx.shortest_path_length(graph, start, goal))
        else:
            assert (at, steps) == (start, 0)
    assert schema.toward(0, np.zeros(12, bool)) is None


def test_of_several_targets_the_nearest_is_gone_to():
    line = Schema(AliasedRoom(np.arange(7)[None]).transitions())
    assert ACTIONS[line.toward(2, np.isin(np.arange(7), [0, 6]))] == "left"
    assert ACTIONS[line.toward(4, np.isin(np.arange(7), [0, 6]))] == "right"


def test_a_walk_among_distinct_symbols_teaches_the_edges_that_it_used():
    room = AliasedRoom(np.random.default_rng(5).permutation(16).reshape(4, 4), wraps=True)
    seen, actions, _ = random_walk(room, 60, seed=6)
    schema = learn_schema(seen, actions, n_symbols=16, n_actions=4, n_clones=1, seed=0)
    slot = {symbol: k for k, symbol in enumerate(sorted(set(seen.tolist())))}
    expected = np.full((len(slot), 4), UNKNOWN)
    for before, action, after in zip(seen, actions, seen[1:]):
        expected[slot[before], action] = slot[after]
    np.testing.assert_array_equal(schema.leads, expected)


def test_a_walk_in_an_aliased_room_teaches_its_structure():
    room = AliasedRoom(np.array([[0, 1, 0], [2, 0, 1]]))
    seen, actions, _ = random_walk(room, 2000, seed=1)
    schema = learn_schema(seen, actions, n_symbols=3, n_actions=4, n_clones=5, seed=0)
    assert _same_structure(schema, Schema(room.transitions()))


def _joined(wraps: bool) -> tuple[Schema, Schema]:
    """What eight random walks teach, each in a room with other labels; and the truth."""
    parts = []
    for seed in range(8):
        symbols = np.random.default_rng(seed).permutation(16).reshape(4, 4)
        seen, actions, _ = random_walk(AliasedRoom(symbols, wraps), 100, seed=seed)
        learned = learn_schema(seen, actions, n_symbols=16, n_actions=4, n_clones=1, seed=0)
        assert learned.n_known < 62
        parts.append(learned)
    return reduce(join, parts), Schema(AliasedRoom(TORUS.symbols, wraps).transitions())


def test_partial_maps_of_walled_rooms_join_to_the_whole():
    assert _same_structure(*_joined(wraps=False))


def test_partial_maps_of_tori_join_to_a_part_of_one():
    joined, truth = _joined(wraps=True)
    assert joined.n_known >= 62
    matcher = nx.isomorphism.MultiDiGraphMatcher(_graph(truth), _graph(joined), None, SAME_ACTIONS)
    assert matcher.subgraph_is_monomorphic()


def _with_holes(room: AliasedRoom, n: int) -> Schema:
    leads = room.transitions()
    leads[:n, 0] = UNKNOWN
    return Schema(leads)


def test_maps_that_contradict_each_other_are_not_joined():
    walled = _with_holes(AliasedRoom(TORUS.symbols), 1)
    np.testing.assert_array_equal(join(walled, _with_holes(TORUS, 2)).leads, walled.leads)
    np.testing.assert_array_equal(join(_with_holes(TORUS, 2), walled).leads, walled.leads)


def test_a_ring_is_not_laid_on_a_dead_end():
    """Its slots meet three of the other's, each another one, and one edge contradicts."""
    dead_end = Schema(np.array([[1, UNKNOWN], [2, 1], [2, 2], [3, 3]]))
    ring = Schema(np.array([[1, 0], [2, UNKNOWN], [0, UNKNOWN]]))
    np.testing.assert_array_equal(join(dead_end, ring, least=1).leads, dead_end.leads)


def test_holes_are_filled_where_enough_edges_agree():
    hole = AliasedRoom(TORUS.symbols).transitions()
    hole[5, 1] = UNKNOWN
    one, other = _with_holes(AliasedRoom(TORUS.symbols), 4), Schema(hole)
    np.testing.assert_array_equal(join(one, other).leads, AliasedRoom(TORUS.symbols).transitions())
    np.testing.assert_array_equal(join(one, other, least=60).leads, other.leads)


def test_bad_schemas_are_named():
    for leads in (np.zeros(3, np.int64), np.array([[1]]), np.array([[-2]])):
        with pytest.raises(ValueError, match="leads must be"):
            Schema(leads)
    with pytest.raises(ValueError, match=r"of one number of actions, got \[1, 2\]"):
        Binding([Schema(np.zeros((1, 1), int)), Schema(np.zeros((1, 2), int))], 2, distinct=True)
    with pytest.raises(ValueError, match=r"got \[\]"):
        Binding([], 2, distinct=True)
