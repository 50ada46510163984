"""What an intervention delivers, against edited weights, closed forms, and hand-made forwards."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention, Steerer, random_matched, value_vectors
from pilotage.steering.sites import find_layers

from .conftest import make_llama
from .helpers import NEURONS, RESID, begin, every_kind, groups, ids, steered_logits, unit


def block_outputs(model: nn.Module, tokens: torch.Tensor, layer: int) -> torch.Tensor:
    kept: list[torch.Tensor] = []
    handle = find_layers(model)[layer].register_forward_hook(lambda m, a, out: kept.append(out))
    with torch.no_grad():
        model(tokens)
    handle.remove()
    return kept[0]


def steered_blocks(model: nn.Module, tokens: torch.Tensor, what: Intervention) -> torch.Tensor:
    """Output of block 1 with row 0 steered."""
    with Steerer(model, n_rows=len(tokens)) as steerer:
        steerer.set_row(0, [what])
        begin(steerer, groups(*tokens.shape) * 0)
        out = block_outputs(model, tokens, 1)
        steerer.check_receipt(steerer.receipt(0))
    return out


def test_clamp_equals_edited_weights(llama: LlamaForCausalLM) -> None:
    """Clamping neuron i to alpha is the same network as one whose down_proj has column i zeroed and
    alpha times that column as a bias."""
    tokens, neurons, alpha = ids(2, 6), [3, 5, 9], 4.0
    edited = copy.deepcopy(llama)
    old = edited.model.layers[1].mlp.down_proj
    new = nn.Linear(48, 32)
    with torch.no_grad():
        new.weight.copy_(old.weight)
        new.weight[:, neurons] = 0
        new.bias.copy_(alpha * old.weight[:, neurons].sum(1))
        edited.model.layers[1].mlp.down_proj = new
        expected = edited(tokens).logits
        plain = llama(tokens).logits
    what = Intervention("clamp", NEURONS, alpha, neurons=torch.tensor(neurons))
    out = steered_logits(llama, tokens, {0: [what]})
    assert torch.allclose(out[0], expected[0], atol=1e-4)
    assert not torch.allclose(out[0], plain[0], atol=1e-2)
    assert torch.equal(out[1], plain[1])


def test_ablated_neurons_equal_edited_weights(llama: LlamaForCausalLM) -> None:
    tokens, neurons = ids(2, 6), [1, 40]
    edited = copy.deepcopy(llama)
    with torch.no_grad():
        edited.model.layers[1].mlp.down_proj.weight[:, neurons] *= 0.25
        expected = edited(tokens).logits
    what = Intervention("ablate", NEURONS, 0.75, neurons=torch.tensor(neurons))
    out = steered_logits(llama, tokens, {0: [what]})
    assert torch.allclose(out[0], expected[0], atol=1e-5)


def test_clamp_equals_a_hand_made_block(llama: LlamaForCausalLM) -> None:
    """The block's MLP written out: the neurons are SiLU(gate) * up, after the gate."""
    tokens = ids(1, 5)
    block = llama.model.layers[1]
    seen: list[torch.Tensor] = []
    handle = block.post_attention_layernorm.register_forward_pre_hook(
        lambda m, args: seen.append(args[0])
    )
    what = Intervention("clamp", NEURONS, -1.5, neurons=torch.tensor([0, 7]))
    out = steered_blocks(llama, tokens, what)
    handle.remove()
    stream = seen[0]
    normed = stream * torch.rsqrt(stream.pow(2).mean(-1, keepdim=True) + 1e-6)
    x = functional.silu(normed @ block.mlp.gate_proj.weight.T) * (
        normed @ block.mlp.up_proj.weight.T
    )
    x = x.clone()
    x[..., [0, 7]] = -1.5
    assert torch.allclose(out, stream + x @ block.mlp.down_proj.weight.T, atol=1e-5)


def test_add_at_the_last_block_has_a_closed_form(llama: LlamaForCausalLM) -> None:
    """After the last block there is only the final norm and the unembedding."""
    tokens, v = ids(2, 6), unit(32, 3)
    last = block_outputs(llama, tokens, 2)
    shifted = last + 2.0 * v
    normed = shifted * torch.rsqrt(shifted.pow(2).mean(-1, keepdim=True) + 1e-6)
    expected = normed @ llama.lm_head.weight.T
    out = steered_logits(
        llama, tokens, {0: [Intervention("add", "layers.2.resid:out", 2.0, direction=v)]}
    )
    assert torch.allclose(out[0], expected[0], atol=1e-4)


def test_ablate_removes_the_direction_and_nothing_else(llama: LlamaForCausalLM) -> None:
    tokens, v = ids(1, 6), unit(32, 3)
    before = block_outputs(llama, tokens, 1)[0].double()
    out = steered_blocks(llama, tokens, Intervention("ablate", RESID, 1.0, direction=v))[0].double()
    basis = torch.linalg.qr(torch.cat([v.double()[:, None], torch.eye(32).double()[:, :31]], 1))[0]
    assert torch.allclose(out @ v.double(), torch.zeros(6).double(), atol=1e-6)
    assert torch.allclose(out @ basis[:, 1:], before @ basis[:, 1:], atol=1e-5)


@pytest.mark.parametrize("coefficient", [0.6, -0.6])
def test_norm_preserving_add_keeps_the_norm_and_turns(
    llama: LlamaForCausalLM, coefficient: float
) -> None:
    tokens, v = ids(1, 6), unit(32, 3)
    before = block_outputs(llama, tokens, 1)[0]
    what = Intervention("add_norm_preserving", RESID, coefficient, direction=v)
    out = steered_blocks(llama, tokens, what)[0]
    assert torch.allclose(out.norm(dim=-1), before.norm(dim=-1), rtol=1e-5)
    turned = functional.cosine_similarity(out, v[None]) - functional.cosine_similarity(
        before, v[None]
    )
    assert (turned * coefficient > 0).all()
    rest = before / before.norm(dim=-1, keepdim=True) + coefficient * v
    assert torch.allclose(functional.cosine_similarity(out, rest), torch.ones(6), atol=1e-6)


@pytest.mark.parametrize("number", range(7))
@pytest.mark.parametrize("orthogonal", [False, True])
def test_matched_control_delivers_the_same_norm_at_every_token(
    number: int, orthogonal: bool
) -> None:
    """Measured outside the steerer, on the block's output, for each of many random controls."""
    model, tokens = make_llama(), ids(1, 6)
    target = every_kind()[number]
    before = block_outputs(model, tokens, 1)[0].double()
    wanted = (steered_blocks(model, tokens, target)[0].double() - before).norm(dim=-1)
    for seed in range(5):
        control = random_matched(target, model, seed, orthogonal=orthogonal)
        change = steered_blocks(model, tokens, control)[0].double() - before
        assert torch.allclose(change.norm(dim=-1), wanted, rtol=1e-5)
        aim = steered_blocks(model, tokens, target)[0].double() - before
        assert (functional.cosine_similarity(change, aim).abs() < 0.9).any()


def test_control_of_a_turn_keeps_the_norm_too(llama: LlamaForCausalLM) -> None:
    tokens = ids(1, 6)
    before = block_outputs(llama, tokens, 1)[0]
    control = random_matched(every_kind()[1], llama, 3)
    out = steered_blocks(llama, tokens, control)[0]
    assert torch.allclose(out.norm(dim=-1), before.norm(dim=-1), rtol=1e-5)


def test_control_of_an_ablation_goes_against_what_is_there(llama: LlamaForCausalLM) -> None:
    tokens = ids(4, 6)
    before = block_outputs(llama, tokens, 1)[0]
    for seed in range(5):
        control = random_matched(every_kind()[2], llama, seed)
        change = steered_blocks(llama, tokens, control)[0] - before
        assert ((change @ control.direction) * (before @ control.direction) < 0).all()


def test_control_that_comes_later_takes_the_norm_too(llama: LlamaForCausalLM) -> None:
    """Its row shares a lane that has so far run without controls."""
    tokens = ids(1, 6)
    before = block_outputs(llama, tokens, 1)[0]
    for target in every_kind()[1:]:
        lengths = []
        with Steerer(llama, n_rows=1) as steerer:
            for what in (target, random_matched(target, llama, 1)):
                steerer.set_row(0, [what])
                begin(steerer, groups(1, 6) * 0)
                lengths.append((block_outputs(llama, tokens, 1)[0] - before).norm(dim=-1))
        assert torch.allclose(lengths[0], lengths[1], rtol=1e-4)


def test_negative_share_beside_a_control_of_its_lane(llama: LlamaForCausalLM) -> None:
    """A control goes towards the goal whatever the sign; the rows beside it keep theirs."""
    tokens = ids(1, 6).repeat(2, 1)
    away = Intervention("ablate", NEURONS, -0.5, neurons=torch.tensor([3, 5, 9]))
    alone = steered_logits(llama, tokens, {0: [away]})
    beside = steered_logits(llama, tokens, {0: [away], 1: [random_matched(away, llama, 1)]})
    assert torch.equal(alone[0], beside[0])


def test_control_of_neurons_writes_only_along_other_neurons(llama: LlamaForCausalLM) -> None:
    tokens, target = ids(1, 6), every_kind()[3]
    for seed in range(20):
        control = random_matched(target, llama, seed)
        assert len(control.neurons) == 3
        assert not set(control.neurons.tolist()) & set(target.neurons.tolist())
    change = steered_blocks(llama, tokens, control)[0] - block_outputs(llama, tokens, 1)[0]
    basis = value_vectors(llama, 1)[control.neurons]
    weights = torch.linalg.lstsq(basis.T, change.T).solution
    assert torch.allclose(weights.T @ basis, change, atol=1e-4)


def test_orthogonal_control_and_seeds(llama: LlamaForCausalLM) -> None:
    target = every_kind()[0]
    control = random_matched(target, llama, 5, orthogonal=True)
    assert abs(float(control.direction @ target.direction)) < 1e-6
    assert torch.equal(
        control.direction, random_matched(target, llama, 5, orthogonal=True).direction
    )
    assert not torch.equal(control.direction, random_matched(target, llama, 6).direction)
    assert control.origin["random_matched"]["seed"] == 5


def test_one_seed_draws_independently_at_different_layers(llama: LlamaForCausalLM) -> None:
    directions = [
        random_matched(
            Intervention("add", f"layers.{i}.resid:out", 1.0, direction=unit(32, 0)), llama, 1
        ).direction
        for i in range(2)
    ]
    assert abs(float(directions[0] @ directions[1])) < 0.9


def test_interventions_of_a_row_act_in_their_order(llama: LlamaForCausalLM) -> None:
    tokens, v = ids(1, 6), unit(32, 3)
    add = Intervention("add", RESID, 2.0, direction=v)
    ablate = Intervention("ablate", RESID, 1.0, direction=v)
    before = block_outputs(llama, tokens, 1)[0]
    for order, expected in (([add, ablate], 0.0), ([ablate, add], 2.0), ([add, add], None)):
        with Steerer(llama, n_rows=1) as steerer:
            steerer.set_row(0, order)
            begin(steerer, groups(1, 6) * 0)
            out = block_outputs(llama, tokens, 1)[0]
            for entry in steerer.receipt(0)["interventions"]:
                assert entry["edited_tokens"]["prefill"] == 6
        along = out @ v if expected is not None else (out - before) @ v
        goal = torch.full((6,), 4.0 if expected is None else expected)
        assert torch.allclose(along, goal, atol=1e-5)


@pytest.mark.parametrize(
    "place", ["mlp.down_proj:out", "self_attn.o_proj:in", "self_attn.o_proj:out"]
)
def test_other_places_change_their_own_tensor(llama: LlamaForCausalLM, place: str) -> None:
    tokens, v = ids(2, 6), unit(32, 3)
    module = llama.get_submodule(f"model.layers.1.{place.split(':')[0]}")
    kept: list[torch.Tensor] = []
    plain: list[torch.Tensor] = []
    what = Intervention("add", f"layers.1.{place}", 1.5, direction=v)
    for store, rows in ((plain, {}), (kept, {0: [what]})):
        with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
            for row, interventions in rows.items():
                steerer.set_row(row, interventions)
            begin(steerer, groups(2, 6) * 0)
            if place.endswith("in"):
                handle = module.register_forward_pre_hook(lambda m, a, s=store: s.append(a[0]))
            else:
                handle = module.register_forward_hook(lambda m, a, o, s=store: s.append(o))
            llama(tokens)
            handle.remove()
    assert torch.allclose(kept[0][0], plain[0][0] + 1.5 * v, atol=1e-5)
    assert torch.equal(kept[0][1], plain[0][1])


def test_half_precision_model_is_steered_in_its_own_type(llama: LlamaForCausalLM) -> None:
    model = llama.to(torch.bfloat16)
    tokens = ids(len(every_kind()), 6)
    rows = {row: [what] for row, what in enumerate(every_kind())}
    out = steered_logits(model, tokens, rows)
    assert out.dtype == torch.bfloat16
    assert torch.isfinite(out).all()
