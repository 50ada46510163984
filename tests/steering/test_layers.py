"""Streams, voids, skipping and commitment on networks whose layers are known by construction."""

from __future__ import annotations

from copy import deepcopy
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from pilotage.steering.commitment import commitment_depth
from pilotage.steering.interventions import Intervention
from pilotage.steering.steerer import Steerer
from pilotage.steering.streams import Streams, lens
from pilotage.steering.voids import Skipping, last_active, shuffled, void_layers

from .conftest import N_LAYERS, VOCABULARY, D, make_llama
from .helpers import begin, groups, ids, unit

R, S = 2, 6


def silence(model: LlamaForCausalLM, layer: int) -> None:
    """Make a block that does nothing."""
    block = model.model.layers[layer]
    block.self_attn.o_proj.weight.data.zero_()
    block.mlp.down_proj.weight.data.zero_()


@torch.inference_mode()
def test_streams_are_the_hidden_states_of_the_model(llama: LlamaForCausalLM) -> None:
    tokens = ids(R, S)
    plain = llama.model(tokens, output_hidden_states=True).hidden_states
    for whole in (False, True):
        with Streams(llama, all_positions=whole) as seen:
            logits = llama(tokens).logits
        found = seen.take()
        assert found.shape == ((R, S, N_LAYERS + 1, D) if whole else (R, N_LAYERS + 1, D))
        found = found if whole else found[:, None]
        for layer in range(N_LAYERS):
            torch.testing.assert_close(found[..., layer, :], plain[layer][:, -found.shape[1] :])
        read = lens(llama, range(10, 30))(found[..., -1, :])
        torch.testing.assert_close(read, logits[:, -found.shape[1] :, 10:30], rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"no forward ran through layers\.0\.resid:in"):
        seen.take()
    with pytest.raises(ValueError, match="the model has tokens 0 to 49"):
        lens(llama, range(40, 60))


@torch.inference_mode()
def test_an_edit_belongs_to_its_layer(llama: LlamaForCausalLM) -> None:
    tokens, push = ids(R, S), 3 * unit(D, 1)
    with Streams(llama) as seen:
        llama(tokens)
    plain = seen.take()
    edit = Intervention("add", "layers.1.resid:out", 3.0, direction=unit(D, 1))
    with Steerer(llama, n_rows=R) as steerer:
        steerer.set_row(1, [edit])  # row 0 ends in padding
        with Streams(llama) as seen:
            begin(steerer, groups(R, S))
            llama(tokens)
    steered = seen.take()
    torch.testing.assert_close(steered[:, :2], plain[:, :2])
    torch.testing.assert_close(steered[1, 2], plain[1, 2] + push, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(steered[0], plain[0])


def by_definition(norms: list[float], alpha: float) -> list[bool]:
    """L2 adaptive computation as the paper writes it, for one token."""
    gains = [b - a for a, b in pairwise(norms)]
    found = []
    for layer, gain in enumerate(gains):
        seen = gains[:layer] or [gain]
        found.append(gain < alpha * (max(seen) - min(seen)))
    return found


def test_voids_are_those_of_the_definition() -> None:
    norms = np.random.default_rng(0).random((50, 7)).cumsum(1)
    norms[::2] = norms[::2, ::-1]  # some shrink
    for alpha in (0.0, 0.3, 0.8):
        expected = [by_definition(row.tolist(), alpha) for row in norms]
        np.testing.assert_array_equal(void_layers(norms, alpha=alpha), expected)
    with pytest.raises(ValueError, match="alpha must be in"):
        void_layers(norms, alpha=1.5)
    with pytest.raises(ValueError, match="at least one block"):
        void_layers(norms[:, :1])


def test_the_last_active_block_and_the_control_of_voids() -> None:
    voids = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 0, 0, 0], [0, 1, 1, 1]], dtype=bool)
    assert last_active(voids).tolist() == [3, 0, 4, 1]
    many = np.tile(voids, (100, 1))
    mixed = shuffled(many, seed=3)
    np.testing.assert_array_equal(mixed.sum(1), many.sum(1))
    assert 0.3 < mixed[::4, 0].mean() < 0.7  # no longer at places 1 and 3 only


@torch.inference_mode()
def test_a_layer_that_does_nothing_is_a_void_and_can_be_skipped(llama: LlamaForCausalLM) -> None:
    silence(llama, 2)
    tokens = ids(R, S)
    with Streams(llama, all_positions=True) as seen:
        plain = llama(tokens).logits
    norms = seen.take().norm(dim=-1).numpy()
    assert void_layers(norms)[..., 2].all()
    for layer in range(N_LAYERS):
        mask = torch.zeros(R, S, N_LAYERS, dtype=torch.bool)
        mask[..., layer] = True
        with Skipping(llama, mask):
            skipped = llama(tokens).logits
        assert torch.allclose(skipped, plain, atol=1e-5) == (layer == 2)
    torch.testing.assert_close(llama(tokens).logits, plain)  # nothing stays attached


@torch.inference_mode()
@pytest.mark.parametrize("gone", [[0], [1], [2], [0, 1], [1, 2]])
def test_skipping_is_the_model_without_those_blocks(
    llama: LlamaForCausalLM, gone: list[int]
) -> None:
    tokens = ids(R, S)
    mask = torch.zeros(R, S, N_LAYERS, dtype=torch.bool)
    mask[..., gone] = True
    with Skipping(llama, mask):
        skipped = llama(tokens).logits
    shorter = deepcopy(llama)
    kept = [b for n, b in enumerate(shorter.model.layers) if n not in gone]
    shorter.model.layers = nn.ModuleList(kept)
    torch.testing.assert_close(
        skipped, shorter(tokens, use_cache=False).logits, rtol=1e-4, atol=1e-4
    )


@torch.inference_mode()
def test_only_the_tokens_that_skip_are_changed(llama: LlamaForCausalLM) -> None:
    tokens = ids(R, S)
    mask = torch.zeros(R, S, N_LAYERS, dtype=torch.bool)
    mask[1, 3, N_LAYERS - 1] = True
    with Streams(llama, all_positions=True) as seen:
        plain = llama(tokens).logits
    before = lens(llama, range(VOCABULARY))(seen.take()[1, 3, N_LAYERS - 1])
    with Skipping(llama, mask):
        skipped = llama(tokens).logits
    torch.testing.assert_close(skipped[1, 3], before, rtol=1e-4, atol=1e-4)
    mask[1, 3] = False
    others = torch.ones(R, S, dtype=torch.bool)
    others[1, 3] = False
    torch.testing.assert_close(skipped[others], plain[others])
    with pytest.raises(ValueError, match=r"must be bool \[R, S, 3\]"):
        Skipping(llama, mask[..., :2])
    with Skipping(llama, mask), pytest.raises(ValueError, match=r"\[2, 4\] tokens, the mask"):
        llama(tokens[:, :4])


@torch.inference_mode()
@pytest.mark.parametrize("turn", range(N_LAYERS))
def test_a_stream_that_turns_at_a_layer_commits_there(turn: int) -> None:
    model = make_llama(mlp_bias=True)
    for layer in range(N_LAYERS):
        silence(model, layer)
        model.model.layers[layer].mlp.down_proj.bias.data.zero_()
    tokens = ids(R, S)
    said = model(tokens).logits[:, -1].argmax(-1).tolist()  # by the embedding alone
    word = next(w for w in range(VOCABULARY) if w not in said)
    model.model.layers[turn].mlp.down_proj.bias.data = 50 * model.lm_head.weight[word].clone()
    with Streams(model) as seen:
        chosen = model(tokens).logits[:, -1].argmax(-1)
    assert chosen.tolist() == [word] * R
    tops = lens(model, range(VOCABULARY))(seen.take()[:, 1:]).argmax(-1)
    depth = commitment_depth(tops.numpy(), chosen.numpy())
    assert depth.tolist() == [turn] * R


def test_to_commit_is_to_stay() -> None:
    tops = np.array([[5, 9, 5, 5], [5, 5, 5, 5], [1, 2, 3, 4], [3, 8, 6, 5]])
    chosen = np.array([5, 5, 9, 5])
    assert commitment_depth(tops, chosen).tolist() == [2, 0, 4, 3]
    assert commitment_depth(tops, chosen, tolerance=3).tolist() == [2, 0, 4, 0]
    narrow = np.array([[-100, 100]], dtype=np.int8)
    assert commitment_depth(narrow, narrow[:, 1]).tolist() == [1]  # no overflow of small integers
    with pytest.raises(ValueError, match=r"must be chosen \[3\] \+ \[L\]"):
        commitment_depth(tops, chosen[:3])
