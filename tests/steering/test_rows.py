"""Unsteered rows keep every bit, and steered ones do not depend on their neighbours."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention, Steerer, random_matched

from .conftest import make_llama
from .helpers import RESID, begin, conditions, every_kind, groups, ids, steered_logits, unit


@pytest.mark.parametrize("number", range(7))
def test_coefficient_zero_and_unsteered_rows_are_bit_identical(
    llama: LlamaForCausalLM, number: int
) -> None:
    tokens = ids(6, 8)
    with torch.no_grad():
        plain = llama(tokens).logits
    what = every_kind()[number]
    rows = {
        1: [what],
        2: [what.with_coefficient(0.0)],
        3: [random_matched(what, llama, 1)],
        4: [random_matched(what, llama, 1).with_coefficient(0.0)],
    }
    out = steered_logits(llama, tokens, rows)
    for row in (0, 2, 4, 5):
        assert torch.equal(out[row], plain[row])
    for row in (1, 3):
        assert not torch.allclose(out[row], plain[row], atol=1e-3)
    with torch.no_grad():
        assert torch.equal(llama(tokens).logits, plain)


def test_negative_zero_survives_in_unedited_rows(llama: LlamaForCausalLM) -> None:
    """Bit-identity, not only equality: adding 0.0 would turn -0.0 into 0.0."""
    branch = llama.model.layers[1].mlp.down_proj
    kept: list[torch.Tensor] = []
    zeros = branch.register_forward_hook(lambda m, a, out: torch.full_like(out, -0.0))
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1.0, direction=unit(32, 1))])
        look = branch.register_forward_hook(lambda m, a, out: kept.append(out))
        begin(steerer, groups(2, 4))
        llama(ids(2, 4))
        look.remove()
    zeros.remove()
    assert torch.signbit(kept[0][1]).all()
    assert torch.signbit(kept[0][0, -1]).all()  # padding
    assert not torch.signbit(kept[0][0, :-1]).all()


def test_rows_of_a_mixed_batch_equal_the_rows_alone(llama: LlamaForCausalLM) -> None:
    """In a batch of the same shape bit-identical, alone close; receipts the same bits too."""
    tokens, mixed = ids(8, 7), conditions(llama)
    layout = groups(8, 7)
    together = steered_logits(llama, tokens, dict(enumerate(mixed)), layout)
    for row, interventions in enumerate(mixed):
        same_shape = steered_logits(llama, tokens, {row: interventions}, layout)
        assert torch.equal(together[row], same_shape[row])
        alone = steered_logits(
            llama, tokens[row : row + 1], {0: interventions}, layout[row : row + 1]
        )
        assert torch.allclose(together[row], alone[0], atol=1e-4)


def test_batch_rows_may_be_any_of_the_steerer_rows(llama: LlamaForCausalLM) -> None:
    tokens, mixed = ids(8, 7), conditions(llama)
    together = steered_logits(llama, tokens, dict(enumerate(mixed)))
    with Steerer(llama, n_rows=11) as steerer, torch.no_grad():
        order = torch.tensor([10, 0, 3, 7, 1, 9, 2, 5])
        for position, row in enumerate(order.tolist()):
            steerer.set_row(row, mixed[position])
        for _ in range(2):
            begin(steerer, groups(8, 7) * 0, rows=order)
            assert torch.equal(llama(tokens).logits, together)
        begin(steerer, groups(3, 7) * 0, rows=[3, 7, 1])
        assert torch.allclose(llama(tokens[2:5]).logits, together[2:5], atol=1e-4)
        steerer.set_coefficient(7, 0, 0.3)
        begin(steerer, groups(3, 7) * 0, rows=[3, 7, 1])
        weaker = llama(tokens[2:5]).logits[1]
        steerer.set_coefficient(3, 0, 0.0)
        steerer.set_coefficient(3, 1, 0.0)
        begin(steerer, groups(3, 7) * 0, rows=[3, 7, 1])
        assert torch.equal(llama(tokens[2:5]).logits[0], llama_plain(llama, tokens[2:5])[0])
    alone = steered_logits(
        llama, tokens[3:4], {0: [mixed[3][0].with_coefficient(0.3), *mixed[3][1:]]}
    )
    assert torch.allclose(weaker, alone[0], atol=1e-4)


def llama_plain(model: nn.Module, tokens: torch.Tensor) -> torch.Tensor:
    copy = make_llama()
    copy.load_state_dict(model.state_dict())
    return copy(tokens).logits
