"""The discrete bottleneck and its maps: beside loops, brute force, and rooms that are known."""

from __future__ import annotations

from pathlib import Path

import networkx as nx
import numpy as np
import pytest
import torch
from torch.nn import functional

from pilotage.envs.pathgraph.aliased import ACTIONS, AliasedRoom, random_room, random_walk
from pilotage.planners.maps import LearnedMap, read_map, score_map
from pilotage.planners.tdb import TDB, Reading, TDBConfig, TdbRecipe, accuracy, read_walk, train_tdb
from pilotage.planners.tdb.bottleneck import Bottleneck
from pilotage.planners.tdb.checkpoint import load_net, save_net
from pilotage.planners.tdb.walks import name_tuples, read_off_map
from pilotage.scripts.bench_tdb import Walk, foreseen_by_a_knower, row_of

SMALL = TDBConfig(
    3, 4, context=12, n_codes=16, d_code=8, d_model=16, n_layers=1, n_heads=2, d_head=16, n_gram=2
)


def a_net(**sizes: int) -> TDB:
    torch.manual_seed(0)
    return TDB(TDBConfig(**{**vars(SMALL), **sizes})).eval()


def a_walk(n: int = 60) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(3, size=n), rng.integers(4, size=n - 1)


def unit(*shape: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def test_each_vector_gets_the_nearest_code_of_its_own_book() -> None:
    books = Bottleneck(2, 5, 4)
    vectors = unit(7, 2, 4)
    numbers = books.nearest(vectors)
    for n in range(7):
        for m in range(2):
            gaps = [(vectors[n, m] - code).square().sum().item() for code in books.codes[m]]
            assert numbers[n, m] == int(np.argmin(gaps))


def test_the_gradient_goes_straight_through() -> None:
    books = Bottleneck(1, 5, 4)
    vectors = unit(6, 1, 4).requires_grad_()
    numbers = books.nearest(vectors)
    weights = torch.arange(24.0).view(6, 1, 4)
    said = books.quantise(vectors, numbers)
    torch.testing.assert_close(said, 2.0 * books.codes[0, numbers[:, 0]][:, None])  # sqrt(4)
    (said * weights).sum().backward()
    torch.testing.assert_close(vectors.grad, 2.0 * weights)


def test_codes_begin_one_in_each_cluster_and_follow_its_mean() -> None:
    centres = torch.eye(4)
    generator = torch.Generator().manual_seed(0)
    own = torch.arange(200) % 4
    points = centres[own] + 0.05 * torch.randn(200, 4, generator=generator)
    points = functional.normalize(points, dim=-1)[:, None]
    books = Bottleneck(1, 4, 4, decay=0.5)
    books.begin(points, generator)
    numbers = books.nearest(points)[:, 0]
    assert len({(int(a), int(b)) for a, b in zip(own, numbers)}) == 4
    turned = points.roll(1, dims=-1)  # the clusters change places
    numbers = books.nearest(turned)
    sums = {k: turned[numbers[:, 0] == k, 0].sum(0) * 4 / 200 for k in range(4)}
    wanted = {k: 0.5 * books.sums[0, k] + 0.5 * sums[k] for k in range(4)}
    books.follow(turned, numbers, generator)
    for k in range(4):
        torch.testing.assert_close(books.codes[0, k], wanted[k] / wanted[k].norm())


def test_codes_out_of_use_become_vectors_of_the_batch() -> None:
    books = Bottleneck(1, 3, 2, decay=0.1)
    books.codes[0] = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]])
    books.sums[0], books.counts[0] = books.codes[0], 1e-3
    points = functional.normalize(torch.tensor([[1.0, 0.1], [1.0, -0.1]]), dim=-1)[:, None]
    books.follow(points, books.nearest(points), torch.Generator().manual_seed(0))
    for k in (1, 2):
        assert any(torch.allclose(books.codes[0, k], point[0]) for point in points)


@pytest.mark.parametrize("place", [0, 5, 11])
def test_what_is_said_at_a_place_does_not_know_what_comes(place: int) -> None:
    net = a_net()
    seen, acted = (torch.from_numpy(x)[None] for x in a_walk(12))
    said = net.vectors(seen, acted)
    other = seen.clone()
    other[0, place] = (other[0, place] + 1) % 3
    differs = (net.vectors(other, acted) - said).abs().amax((0, 2, 3)) > 1e-6
    assert not differs[:place].any()
    assert differs[place]
    if place:
        moved = acted.clone()
        moved[0, place - 1] = (moved[0, place - 1] + 1) % 4  # the action that led to the place
        differs = (net.vectors(seen, moved) - said).abs().amax((0, 2, 3)) > 1e-6
        assert not differs[:place].any()
        assert differs[place]


def test_predictions_know_the_code_and_the_actions_in_between_alone() -> None:
    net = a_net()
    _, acted = (torch.from_numpy(x)[None] for x in a_walk(12))
    codes = unit(1, 12, 1, 8)
    said = net.predict(codes, acted)
    assert [x.shape[1] for x in said] == [11, 10, 9]
    for t in range(11):
        moved = acted.clone()
        moved[0, t] = (moved[0, t] + 1) % 4
        for s, (one, two) in enumerate(zip(said, net.predict(codes, moved)), start=1):
            differs = ((one - two).abs().amax((0, 2)) > 1e-6).nonzero()[:, 0].tolist()
            assert differs == [p for p in range(12 - s) if p <= t < p + s]


def test_a_long_walk_is_read_as_its_windows_are() -> None:
    net = a_net()
    seen, acted = a_walk(61)
    whole = read_walk(net, seen, acted, burn_in=8)
    assert whole.first == 8
    assert len(whole.codes) == len(whole.predicted) == 53
    assert (whole.predicted[:-1] >= 0).all()
    for first in (0, 3, 49):  # window by window, the last of its places has the longest history
        part = read_walk(net, seen[first : first + 12], acted[first : first + 11], burn_in=8)
        if first in range(0, 49, 3):  # windows of 12 with 8 of burn-in go on by 3
            at = slice(first, first + 3)
            np.testing.assert_array_equal(part.codes[:3], whole.codes[at])
            np.testing.assert_array_equal(part.predicted[:3], whole.predicted[at])
    right = [whole.predicted[k] == seen[8 + k + 1] for k in range(52)]
    assert accuracy(whole, seen) == pytest.approx(np.mean(right))


def test_a_training_that_was_stopped_goes_on_bit_for_bit(tmp_path: Path) -> None:
    seen, acted = a_walk(400)
    recipe = TdbRecipe(8, 4, free_share=0.5)
    net = train_tdb(seen, acted, SMALL, recipe)

    class Stop(Exception):
        pass

    for at in (2, 6):  # once before the codebooks, once after

        def stop(progress, _, at=at) -> None:
            if progress.n_updates == at:
                raise Stop

        with pytest.raises(Stop):
            train_tdb(
                seen, acted, SMALL, recipe, every=2, tell=stop, state=tmp_path / f"{at}.safetensors"
            )
        again = train_tdb(seen, acted, SMALL, recipe, state=tmp_path / f"{at}.safetensors")
        for name, value in net.state_dict().items():
            assert torch.equal(value, again.state_dict()[name]), name
    with pytest.raises(ValueError, match="its recipe is"):
        train_tdb(seen, acted, SMALL, TdbRecipe(9, 4), state=tmp_path / "2.safetensors")


def test_a_checkpoint_comes_back_and_another_is_refused(tmp_path: Path) -> None:
    net = a_net()
    save_net(net, tmp_path, {"command": "none"})
    again = load_net(tmp_path)
    assert again.config == net.config
    for name, value in net.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name
    text = (tmp_path / "net.json").read_text()
    (tmp_path / "net.json").write_text(text.replace("pilotage-tdb-1", "pilotage-mlmu-1"))
    with pytest.raises(ValueError, match="has format 'pilotage-mlmu-1', this reads"):
        load_net(tmp_path)
    (tmp_path / "net.json").write_text(text.replace('"n_codes": 16', '"n_codes": 17'))
    with pytest.raises(ValueError, match="does not hold the weights"):
        load_net(tmp_path)


def test_codes_that_tell_the_cell_make_the_true_map_whatever_their_names() -> None:
    room = random_room(4, 4, 4, seed=1)
    seen, acted, cells = random_walk(room, 4000, seed=2)
    copies = np.random.default_rng(0).integers(2, size=4000)  # two codes for every cell
    reading = Reading(10, (2 * cells + copies)[10:, None], np.zeros(3990, np.int64))
    found = read_off_map(reading, seen, acted)
    score = score_map(found, cells[10:], room.transitions())
    assert (score.n_states, score.f1, score.edit_distance) == (16, 1.0, 0.0)
    apart = score_map(
        read_off_map(reading, seen, acted, merge=False), cells[10:], room.transitions()
    )
    assert apart.n_states == 32
    assert apart.edit_distance > 0.3


def test_states_that_are_hardly_visited_are_not_on_the_map() -> None:
    """A ring of three cells, ten times; once a state that is nowhere else."""
    path = np.array([0, 1, 2] * 10 + [3, 1, 2])
    actions = np.zeros(len(path) - 1, np.int64)
    whole = read_map(path, actions, 10, merge=False, least=0.0)
    assert set(whole.graph) == {0, 1, 2, 3}
    found = read_map(path, actions, 10, merge=False, least=0.0, rare=0.2)
    assert set(found.graph.edges(keys=True)) == {(0, 1, 0), (1, 2, 0), (2, 0, 0)}
    np.testing.assert_array_equal(found.path, path)


def test_tuples_that_differ_in_few_codes_are_one() -> None:
    codes = np.array([[1, 1, 1]] * 3 + [[1, 1, 2]] + [[3, 3, 2]] * 2)
    names, n = name_tuples(codes, 1)
    assert names.tolist() == [0, 0, 0, 0, 1, 1]
    assert n == 2
    assert name_tuples(codes, 0)[1] == 3


def test_the_edit_distance_is_the_exact_one_where_the_match_is_plain() -> None:
    """Beside networkx, on a ring of five cells with one action: a missing edge, a wrong edge, a
    second state for a cell. There no other match is cheaper."""
    leads = np.array([[1], [2], [3], [4], [0]])
    ring = [(k, (k + 1) % 5) for k in range(5)]
    truth = nx.DiGraph(ring)
    walk = list(range(5)) * 3
    cases = [(ring, walk), (ring[1:], walk), ([*ring, (0, 3)], walk), ([*ring, (4, 5)], [*walk, 5])]
    for edges, path in cases:
        graph = nx.MultiDiGraph()
        graph.add_nodes_from(range(5))
        for a, b in edges:
            graph.add_edge(a, b, key=0, action=0, probability=1.0)
        cells = np.array(path) % 5
        score = score_map(LearnedMap(graph, np.array(path)), cells, leads)
        exact = nx.graph_edit_distance(nx.DiGraph(graph), truth)
        sizes = len(graph) + graph.number_of_edges() + 5 + 5
        assert score.edit_distance == pytest.approx(exact / sizes)


def test_a_knower_of_the_room_foresees_what_most_of_the_possible_walks_see() -> None:
    """On a torus, where no wall tells where one is: only what is seen does."""
    room = AliasedRoom(random_room(3, 3, 3, seed=0).symbols, wraps=True)
    seen, acted, cells = random_walk(room, 30, seed=1)
    leads, symbols = room.transitions(), room.symbols.ravel()
    right = []
    for t in range(29):
        counts = np.zeros(3)
        for start in range(9):
            track = [start]
            for action in acted[: t + 1]:
                track.append(int(leads[track[-1], action]))
            if (symbols[track[:-1]] == seen[: t + 1]).all():
                counts[symbols[track[-1]]] += 1
        right.append(counts.argmax() == seen[t + 1])
    walk = Walk(room, seen, acted, cells)
    assert foreseen_by_a_knower(walk, 0) == pytest.approx(np.mean(right))


def test_a_room_of_twins_is_learned_and_its_plans_arrive() -> None:
    """Left and right look alike: where one is, only the way there tells."""
    room = AliasedRoom(np.array([[0, 1, 0], [1, 2, 1]]))
    config = TDBConfig(3, 4, context=24, n_codes=24, d_code=8, d_model=32, n_layers=2, n_gram=8)
    seen, acted, _ = random_walk(room, 8000, seed=0)
    net = train_tdb(seen, acted, config, TdbRecipe(400, 8, learning_rate=5e-3))
    test = Walk(room, *random_walk(room, 2000, seed=1))
    row = row_of(net, test, n_plans=50)
    assert float(row["foreseen"]) > 0.95
    assert float(row["edge F1"]) > 0.9
    reading = read_walk(net, test.observations, test.actions)
    blind = read_map(test.observations[reading.first :], test.actions[reading.first :], 1)
    score = score_map(blind, test.cells[reading.first :], room.transitions())
    assert float(row["purity"]) > 0.95 > score.purity  # the observation alone does not tell


@pytest.mark.parametrize(
    ("seen", "acted", "words"),
    [
        ([0] * 11, [0] * 10, r"N >= the context 12"),
        ([0] * 12 + [3], [0] * 12, "observation 3 at step 12; there are 0 to 2"),
        ([0] * 13, [0] * 11 + [len(ACTIONS)], "action 4 at step 11; there are 0 to 3"),
        ([0] * 13, [0] * 13, r"must be \[N\] and \[N - 1\]"),
    ],
)
def test_walks_that_do_not_fit_are_refused(seen, acted, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        read_walk(a_net(), np.array(seen), np.array(acted))


def test_sizes_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="must be a multiple of 2"):
        TDBConfig(3, 4, d_model=20, n_heads=4)
    with pytest.raises(ValueError, match=r"sizes must be at least 1, got \{'n_codes': 0\}"):
        TDBConfig(3, 4, n_codes=0)
    with pytest.raises(ValueError, match="must be longer than n_ahead 3"):
        TDBConfig(3, 4, context=3)
    with pytest.raises(ValueError, match=r"free_share must be in \[0, 1\), got 1"):
        TdbRecipe(free_share=1.0)
    with pytest.raises(ValueError, match="burn_in 12 must be below the context 12"):
        read_walk(a_net(), *a_walk(), burn_in=12)
