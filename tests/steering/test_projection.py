"""Projection, search and clusters against brute force and against planted meanings."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_rand_score
from transformers import LlamaForCausalLM

from pilotage.steering import (
    NeuronProbe,
    Steerer,
    action_share,
    cluster_neurons,
    concept_embedding,
    project,
    project_layers,
    random_neurons,
    search,
    semantic_embeddings,
    value_vectors,
)
from pilotage.steering.projection import final_norm, largest

from .conftest import make_llama
from .helpers import begin, every_kind, groups, ids


def brute_force(values: np.ndarray, embeddings: np.ndarray, k: int) -> np.ndarray:
    logits = values.astype(np.float64) @ embeddings.astype(np.float64).T
    return np.argsort(-logits, axis=1, kind="stable")[:, :k]


def random_pair(n: int, size: int, d: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(n)
    return torch.randn(n, d, generator=generator), torch.randn(size, d, generator=generator)


@pytest.mark.parametrize("max_bytes", [2**26, 50_000, 22_000])
@pytest.mark.parametrize("size", [1000, 999, 70])
def test_projection_equals_brute_force(max_bytes: int, size: int) -> None:
    values, embeddings = random_pair(37, size, 16)
    found = project(values, embeddings, top_k=5, max_bytes=max_bytes)
    assert (found.token_ids.numpy() == brute_force(values.numpy(), embeddings.numpy(), 5)).all()
    logits = (values.double() @ embeddings.double().T).gather(1, found.token_ids)
    assert torch.allclose(found.logits.double(), logits, atol=1e-4)


@pytest.mark.parametrize("max_bytes", [2**26, 20_000])
def test_half_precision_is_projected_in_vocabulary_chunks(max_bytes: int) -> None:
    values, embeddings = random_pair(37, 1000, 16)
    values, embeddings = values.bfloat16(), embeddings.bfloat16()
    found = project(values, embeddings, top_k=5, max_bytes=max_bytes)
    expected = brute_force(values.float().numpy(), embeddings.float().numpy(), 5)
    logits = values.float().double() @ embeddings.float().double().T
    assert torch.allclose(
        logits.gather(1, found.token_ids), logits.gather(1, torch.from_numpy(expected)), atol=1e-5
    )


@pytest.mark.parametrize("size", [64 * 40, 64 * 40 + 17, 300])
def test_largest_is_topk_even_when_one_block_holds_them_all(size: int) -> None:
    logits = torch.randn(8, size, generator=torch.Generator().manual_seed(1))
    logits[0, 64:80] += 100
    logits[1, -3:] += 100
    values, indices = largest(logits, 9)
    expected = logits.topk(9, dim=1)
    assert torch.equal(values, expected.values)
    assert torch.equal(indices, expected.indices)


def test_projection_refuses_what_cannot_be() -> None:
    values, embeddings = random_pair(3, 100, 16)
    with pytest.raises(ValueError, match="max_bytes=1000 is too small; give at least"):
        project(values, embeddings, max_bytes=1000)
    with pytest.raises(ValueError, match="top_k must be from 1 to the vocabulary's 100"):
        project(values, embeddings, top_k=101)
    with pytest.raises(ValueError, match="16 wide, embeddings 8"):
        project(values, embeddings[:, :8])


def test_neuron_writes_its_planted_token(llama: LlamaForCausalLM) -> None:
    """A value vector set to a token's unembedding row is found by that token and reads as it."""
    rows = torch.nn.functional.normalize(llama.lm_head.weight.detach(), dim=-1)
    with torch.no_grad():
        llama.lm_head.weight.copy_(rows)
        llama.model.layers[2].mlp.down_proj.weight[:, 11] = 9 * rows[33]
        llama.model.layers[0].mlp.down_proj.weight[:, 4] = 1e-3 * rows[33]
    loud, small = search(llama, [33], by="cosine", limit=2)
    assert {(loud.layer, loud.neuron), (small.layer, small.neuron)} == {(2, 11), (0, 4)}
    assert loud.score == pytest.approx(1.0, abs=1e-5)
    best = search(llama, [33], by="logit", limit=3)[0]
    assert (best.layer, best.neuron, best.score) == (2, 11, pytest.approx(9.0, rel=1e-4))
    layer, projection = next(iter(project_layers(llama, layers=[2], top_k=3)))
    assert layer == 2
    assert projection.words(11, lambda token: f"<{token}>")[0] == "<33>"
    with pytest.raises(ValueError, match="below 50"):
        search(llama, [50])
    with pytest.raises(ValueError, match="logit, cosine"):
        search(llama, [3], by="rank")


def test_action_share_counts_top_tokens_per_layer(llama: LlamaForCausalLM) -> None:
    shares = action_share(llama, range(40, 50), top_k=6)
    for layer in range(3):
        top = brute_force(
            value_vectors(llama, layer).numpy(), llama.lm_head.weight.detach().numpy(), 6
        )
        assert shares[layer] == pytest.approx(((top >= 40) & (top < 50)).mean(), abs=1e-6)


def test_final_norm_and_centring_are_off_by_default(llama: LlamaForCausalLM) -> None:
    with torch.no_grad():
        llama.model.norm.weight.copy_(torch.linspace(0.1, 3, 32))
    values, head = value_vectors(llama, 0).numpy(), llama.lm_head.weight.detach().numpy()
    weight = llama.model.norm.weight.detach().numpy()
    cases = [
        ({}, values, head),
        ({"final_norm": True}, values * weight, head),
        ({"centre": True}, values, head - head.mean(0)),
    ]
    seen = []
    for options, v, e in cases:
        _, projection = next(iter(project_layers(llama, top_k=4, **options)))
        assert (projection.token_ids.numpy() == brute_force(v, e, 4)).all()
        seen.append(projection.token_ids)
    assert not torch.equal(seen[0], seen[1])
    assert final_norm(llama) is llama.model.norm


def test_semantic_embedding_is_the_weighted_mean_of_top_tokens() -> None:
    values, embeddings = random_pair(9, 60, 8)
    found = semantic_embeddings(values, embeddings, top_k=4)
    logits = values.numpy().astype(np.float64) @ embeddings.numpy().T.astype(np.float64)
    for i in range(9):
        top = np.argsort(-logits[i])[:4]
        weights = np.exp(logits[i, top])
        expected = (weights[:, None] * embeddings.numpy()[top]).sum(0) / weights.sum()
        assert np.allclose(found[i].numpy(), expected, atol=1e-5)


def plant_concepts() -> tuple[LlamaForCausalLM, np.ndarray]:
    """A model whose every neuron writes one of four groups of tokens."""
    model = make_llama(vocab_size=40)
    generator = torch.Generator().manual_seed(3)
    centres = torch.linalg.qr(torch.randn(32, 4, generator=generator))[0].T
    truth = torch.arange(3 * 48) % 4
    with torch.no_grad():
        rows = centres.repeat_interleave(10, 0) + 0.02 * torch.randn(40, 32, generator=generator)
        model.lm_head.weight.copy_(rows)
        for layer in range(3):
            vectors = centres[truth[layer * 48 : (layer + 1) * 48]]
            noise = 0.05 * torch.randn(48, 32, generator=generator)
            model.model.layers[layer].mlp.down_proj.weight.copy_((3 * vectors + noise).T)
    return model, truth.numpy()


def test_clusters_find_planted_concepts() -> None:
    model, truth = plant_concepts()
    clusters = cluster_neurons(model, 4, top_k=5, seed=1)
    assert adjusted_rand_score(truth, clusters.labels.numpy()) == 1.0
    concept = concept_embedding(model, list(range(20, 30)))  # the third group of tokens
    best, score = clusters.rank(concept)[0]
    assert score > 0.95
    chosen = clusters.neuron_set(best, 10.0, size=6, concept=concept)
    assert len(chosen.neurons) == 6
    assert all(truth[layer * 48 + neuron] == 2 for layer, neuron in chosen.neurons)
    again = cluster_neurons(model, 4, top_k=5, seed=1)
    assert torch.equal(again.labels, clusters.labels)
    with pytest.raises(ValueError, match="has 36 neurons, asked for 37"):
        clusters.neuron_set(best, 10.0, size=37)


def test_random_neurons_keep_the_count_per_layer() -> None:
    model, _ = plant_concepts()
    clusters = cluster_neurons(model, 4, top_k=5)
    chosen = clusters.neuron_set(0, 10.0, size=7)
    control = random_neurons(chosen, model, seed=2)
    assert {k: len(v) for k, v in control.by_layer().items()} == {
        k: len(v) for k, v in chosen.by_layer().items()
    }
    assert not set(control.neurons) & set(chosen.neurons)
    assert control == random_neurons(chosen, model, seed=2)
    assert control != random_neurons(chosen, model, seed=3)


def test_probe_reads_neurons_and_lens_while_steered(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    inputs: list[torch.Tensor] = []
    down_proj = llama.model.layers[1].mlp.down_proj
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [every_kind()[3]])
        with NeuronProbe(llama, {1: [3, 5, 20], 0: [7]}, lens_layers=[2], top_k=4) as probe:
            look = down_proj.register_forward_pre_hook(lambda m, args: inputs.append(args[0]))
            begin(steerer, layout)
            logits = llama(tokens).logits
            begin(steerer, layout[:, :1], phase="decode")
            llama(tokens[:, :1])
            first, second = probe.take()
            assert probe.take() == []
            look.remove()
    assert probe.names == [(0, 7), (1, 3), (1, 5), (1, 20)]
    assert first.neurons[0, 1:3].tolist() == [4.0, 4.0]
    assert torch.equal(first.neurons[:, 1:], inputs[0][:, -1, [3, 5, 20]])
    assert second.neurons.shape == (2, 4)
    assert torch.equal(first.token_ids[0], logits[:, -1].topk(4).indices)
    assert torch.allclose(first.logits[0], logits[:, -1].topk(4).values, atol=1e-5)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in llama.modules())


def test_probe_refuses_neurons_that_do_not_exist(llama: LlamaForCausalLM) -> None:
    with pytest.raises(ValueError, match="neurons 0 to 47"):
        NeuronProbe(llama, {0: [48]})
