"""The graph in the weights, and lines completed by networks: against enumeration and GPT-2."""

from __future__ import annotations

import networkx as nx
import numpy as np
import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from pilotage.envs.pathgraph.alpine import (
    END,
    FIRST_NODE,
    alpine_dag,
    degree,
    make_dataset,
    observations,
    reachable,
)
from pilotage.planners.alpine import (
    PathGPT,
    PathGPTConfig,
    complete,
    construct,
    learned_graph_planner,
    memoriser,
    read_adjacency,
    read_reachability,
    score,
    weight_gap,
)
from pilotage.planners.alpine.training import AlpineRecipe, train_alpine
from pilotage.planners.problems import GraphProblem, graph_fault
from pilotage.planners.verified import Source, VerifiedPlanner


def pairs_of(graph: nx.DiGraph) -> list[tuple[int, int]]:
    return [(s, t) for s, t in np.argwhere(reachable(graph)).tolist()]


@pytest.mark.parametrize("seed", range(6))
def test_the_built_network_gives_every_valid_path_and_hardly_anything_else(seed: int) -> None:
    """The probability of all simple paths together, by enumeration, is at least 1 - epsilon, and
    each of them has some."""
    epsilon = 0.05
    graph = alpine_dag(7, p=0.4, seed=seed)
    model = construct(graph, epsilon=epsilon)
    for s, t in pairs_of(graph):
        total = 0.0
        for path in nx.all_simple_paths(graph, s, t):
            tokens = torch.tensor([[x + FIRST_NODE for x in (s, t, *path)] + [END]])
            log_p = model(tokens)[0, 1:-1].log_softmax(-1)  # from the target on
            told = log_p.gather(1, tokens[0, 2:, None])
            p = float(told.sum().exp())
            assert p > 1e-3
            total += p
        assert 1 - epsilon <= total <= 1 + 1e-5, (s, t)


def test_the_built_network_plans_where_a_memoriser_cannot() -> None:
    data = make_dataset(40, train_fraction=0.0, n_walks=2, seed=3)
    degrees = degree(data)
    pairs = [pair for pair in data.test if degrees[pair] >= 2]
    assert len(pairs) > 20
    built = score(data.graph, pairs, complete(construct(data.graph), pairs), degrees)
    remembered = memoriser(*observations(data.lines, 40), pairs)
    assert built.valid == 1.0
    assert score(data.graph, pairs, remembered).valid < 0.8


def test_first_step_of_a_built_line_is_its_source() -> None:
    graph = alpine_dag(12, p=0.3, seed=1)
    for (s, t), path in zip(
        pairs_of(graph), complete(construct(graph), pairs_of(graph)), strict=True
    ):
        assert path[0] == s
        assert path[-1] == t


@pytest.mark.parametrize(("n", "p"), [(3, 0.6), (9, 0.5), (60, 0.1)])
def test_what_was_written_into_the_weights_is_read_out_exactly(n: int, p: float) -> None:
    graph = alpine_dag(n, p=p, seed=2)
    model = construct(graph)
    scale = float(read_adjacency(model).max())
    wanted = nx.to_numpy_array(graph, nodelist=range(n))
    assert np.array_equal(read_adjacency(model).numpy() / np.float32(scale), wanted)
    closure = nx.to_numpy_array(nx.transitive_closure(graph, reflexive=True), nodelist=range(n))
    off = ~np.eye(n, dtype=bool)
    leads = read_reachability(model).numpy() / np.float32(scale)
    assert np.array_equal(leads[off], closure.T[off])
    assert weight_gap(read_adjacency(model), wanted > 0).roc_area == 1.0


def test_a_graph_that_cannot_be_written_is_refused() -> None:
    with pytest.raises(ValueError, match="has a cycle"):
        construct(nx.DiGraph([(0, 1), (1, 2), (2, 0)]))
    with pytest.raises(ValueError, match="nodes must be 0 to 1"):
        construct(nx.DiGraph([("a", "b")]))
    with pytest.raises(ValueError, match="epsilon must be between 0 and 1, got 0"):
        construct(alpine_dag(5), epsilon=0)


def test_the_network_is_gpt2_without_biases() -> None:
    """The same weights in transformers' GPT-2 give the same logits."""
    torch.manual_seed(0)
    model = PathGPT(PathGPTConfig(23, 16, d_model=24, n_layers=2, n_heads=3))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    peer = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=23, n_positions=16, n_embd=24, n_layer=2, n_head=3, n_inner=96,
            resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, activation_function="gelu_new",
        )
    ).eval()  # fmt: skip
    weights = {k: torch.zeros_like(v) for k, v in peer.state_dict().items()}
    weights["transformer.wte.weight"] = weights["lm_head.weight"] = model.tokens.weight
    weights["transformer.wpe.weight"] = model.positions.weight
    weights["transformer.ln_f.weight"] = model.final_norm.weight
    for k, block in enumerate(model.blocks):
        weights |= {
            f"transformer.h.{k}.ln_1.weight": block.attention_norm.weight,
            f"transformer.h.{k}.attn.c_attn.weight": block.query_key_value.weight.T,
            f"transformer.h.{k}.attn.c_proj.weight": block.attention_out.weight.T,
            f"transformer.h.{k}.ln_2.weight": block.ffn_norm.weight,
            f"transformer.h.{k}.mlp.c_fc.weight": block.ffn_in.weight.T,
            f"transformer.h.{k}.mlp.c_proj.weight": block.ffn_out.weight.T,
        }
    peer.load_state_dict(weights)
    tokens = torch.randint(0, 23, (4, 16))
    with torch.no_grad():
        assert torch.allclose(model(tokens), peer(tokens).logits, atol=1e-4)


def test_a_line_is_the_same_in_any_batch() -> None:
    torch.manual_seed(1)
    model = PathGPT(PathGPTConfig(12, 16, d_model=16)).eval()
    pairs = [(0, 5), (3, 9), (1, 2), (4, 4)]
    together = complete(model, pairs, seed=7)
    assert together == [complete(model, [pair], seed=7)[0] for pair in pairs]
    assert together != complete(model, pairs, seed=8)
    assert complete(model, []) == []


def test_sampled_tokens_follow_the_networks_probabilities() -> None:
    """The first step from node 0 of a fork: two ways of equal probability, over many seeds."""
    graph = nx.DiGraph([(0, 1), (0, 2), (1, 3), (2, 3)])
    model = construct(graph)
    firsts = [complete(model, [(0, 3)], seed=k)[0][1] for k in range(400)]
    assert set(firsts) == {1, 2}
    assert abs(firsts.count(1) - 200) < 50  # five standard deviations


def test_the_memorisers_ceiling_at_the_default_split() -> None:
    """A perfect memoriser reaches about 99 % there, because hardly any test pair has a degree of 2
    or more: 99.1 was measured on another seed of the same recipe."""
    data = make_dataset(100, seed=0)
    degrees = degree(data)
    pairs = list(data.test)
    paths = memoriser(*observations(data.lines, 100), pairs)
    found = score(data.graph, pairs, paths, degrees)
    assert found.by_degree[0][0] == 1.0
    assert 0.98 < found.valid < 0.998
    assert sum(n for _, n in found.by_degree.values()) == found.n == len(pairs)


def test_score_counts_what_is_not_a_path() -> None:
    graph = nx.DiGraph([(0, 1), (1, 2), (0, 2), (2, 3)])
    pairs = [(0, 2), (0, 2), (0, 2), (0, 3), (0, 3)]
    paths = [[0, 2], [0, 1, 2], [0, 1], [0, 3], []]
    found = score(graph, pairs, paths, {(0, 2): 0, (0, 3): 1})
    assert (found.n, found.valid, found.optimal) == (5, 0.4, 0.2)
    assert found.by_degree == {0: (2 / 3, 3), 1: (0.0, 2)}
    with pytest.raises(ValueError, match="1 paths for 5 pairs"):
        score(graph, pairs, [[0]])


def test_a_verified_learned_planner_abstains_on_another_graph() -> None:
    known, other = alpine_dag(20, p=0.3, seed=0), alpine_dag(20, p=0.3, seed=1)
    planner = VerifiedPlanner(learned_graph_planner(construct(known)), graph_fault, retries=1)
    s, t = next(p for p in pairs_of(known) if nx.has_path(known, *p))
    (answer,) = planner.solve([GraphProblem(known, s, t)])
    assert answer.source == Source.ACCEPTED
    wrong = [GraphProblem(other, *pair) for pair in pairs_of(other)[:30]]
    sources = {answer.source for answer in planner.solve(wrong)}
    assert Source.ABSTAINED in sources
    with pytest.raises(ValueError, match="node 20 is none of the 20"):
        planner.solve([GraphProblem(known, 20, 1)])


@pytest.mark.slow
def test_training_writes_the_graph_into_the_weights() -> None:
    data = make_dataset(20, p=0.25, train_fraction=0.5, n_walks=10, seed=0)
    adjacent, _ = observations(data.lines, 20)
    seen: list[tuple[int, float]] = []
    model = train_alpine(
        data,
        AlpineRecipe(n_iterations=1200, learning_rate=2e-3),
        d_model=60,
        every=600,
        tell=lambda step, loss, _: seen.append((step, loss)),
    )
    assert [step for step, _ in seen] == [600, 1200]
    assert seen[1][1] < seen[0][1]
    assert weight_gap(read_adjacency(model, through_norms=True), adjacent).roc_area > 0.8
    pairs = list(data.train)
    assert score(data.graph, pairs, complete(model, pairs)).valid > 0.9


def test_the_recipes_learning_rate() -> None:
    recipe = AlpineRecipe(n_iterations=1000)
    assert recipe.rate(0) == pytest.approx(1e-5)
    assert recipe.rate(49) == pytest.approx(5e-4)
    assert recipe.rate(525) == pytest.approx((5e-4 + 5e-5) / 2)
    assert recipe.rate(1000) == pytest.approx(5e-5)
