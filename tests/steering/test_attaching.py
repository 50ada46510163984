"""Hooks come and go with the `with` block."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from transformers import LlamaForCausalLM

from pilotage.steering import Steerer

from .helpers import begin, every_kind, groups, ids, steered_logits


def all_hooks(model: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())


def test_hooks_are_removed_on_exception(llama: LlamaForCausalLM) -> None:
    tokens = ids(2, 6)
    with torch.no_grad():
        plain = llama(tokens).logits

    def fail() -> None:
        with Steerer(llama, n_rows=2) as steerer:
            steerer.set_row(0, every_kind())
            assert all_hooks(llama) > 0
            begin(steerer, groups(2, 6))
            llama(ids(2, 5))

    with pytest.raises(RuntimeError, match="announced"):
        fail()
    assert all_hooks(llama) == 0
    with torch.no_grad():
        assert torch.equal(llama(tokens).logits, plain)
    with Steerer(llama, n_rows=2):
        pass  # the model can be steered again


def test_nested_steerers_are_refused_and_sequential_ones_work(llama: LlamaForCausalLM) -> None:
    with Steerer(llama, n_rows=1) as outer:
        with pytest.raises(RuntimeError, match="already steered"), Steerer(llama.model, n_rows=1):
            pass
        outer.set_row(0, [every_kind()[0]])
        begin(outer, groups(1, 4) * 0)
        with torch.no_grad():
            llama(ids(1, 4))
        outer.check_receipt(outer.receipt(0))
    with pytest.raises(RuntimeError, match="outside"):
        begin(outer, groups(1, 4))
    with outer, torch.no_grad():
        begin(outer, groups(1, 4) * 0)
        llama(ids(1, 4))
        assert outer.receipt(0)["interventions"][0]["edited_tokens"]["prefill"] == 8


def test_rows_set_before_entering_and_inside_are_the_same(llama: LlamaForCausalLM) -> None:
    tokens, what = ids(1, 6), every_kind()[0]
    inside = steered_logits(llama, tokens, {0: [what]})
    steerer = Steerer(llama, n_rows=1)
    steerer.prepare([[what], [what, what]])
    steerer.set_row(0, [what])
    n_lanes = len(steerer._lanes)
    with steerer, torch.no_grad():
        begin(steerer, groups(1, 6) * 0)
        before = llama(tokens).logits
        steerer.set_row(0, [what, what])
    assert torch.equal(before, inside)
    assert len(steerer._lanes) == n_lanes == 2
