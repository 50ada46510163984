"""Receipts and doses against what plain hooks measure, and what makes a receipt fail."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM

from pilotage.steering import Intervention, ReceiptMismatch, Steerer

from .helpers import RESID, begin, every_kind, groups, ids, unit


def test_receipt_norm_and_dose_against_a_plain_hook(llama: LlamaForCausalLM) -> None:
    """|dh| and |dh|/|h| measured on the block's output, outside the steerer."""
    tokens, layout = ids(7, 6), groups(7, 6)
    outputs: list[torch.Tensor] = []
    handle = llama.model.layers[1].register_forward_hook(lambda m, a, out: outputs.append(out))
    kinds = every_kind()[:3] + every_kind()[5:]
    with Steerer(llama, n_rows=7) as steerer, torch.no_grad():
        llama(tokens)
        for row, what in enumerate(kinds):
            steerer.set_row(row, [what])
        begin(steerer, layout)
        llama(tokens)
        doses = steerer.last_dose()
        receipts = [steerer.receipt(row) for row in range(7)]
    handle.remove()
    change, before = (outputs[1] - outputs[0]).norm(dim=-1), outputs[0].norm(dim=-1)
    for row in range(6):
        n = 5 if row == 0 else 6
        entry = receipts[row]["interventions"][0]
        assert entry["delivered_norm_sum"]["prefill"] == pytest.approx(
            float(change[row].sum()), rel=1e-4
        )
        expected = float((change[row] / before[row]).sum()) / n
        assert entry["mean_dose"] == pytest.approx(expected, rel=1e-4)
        assert doses[row] == pytest.approx(expected, rel=1e-4)
    assert doses.dtype == np.float32
    assert (doses[6:] == 0).all()


def test_clamp_dose_is_over_the_stream_it_is_added_to(llama: LlamaForCausalLM) -> None:
    tokens = ids(1, 6)
    blocks: list[torch.Tensor] = []
    streams: list[torch.Tensor] = []
    block = llama.model.layers[1]
    handles = [
        block.register_forward_hook(lambda m, a, out: blocks.append(out)),
        block.post_attention_layernorm.register_forward_pre_hook(lambda m, a: streams.append(a[0])),
    ]
    with Steerer(llama, n_rows=1) as steerer, torch.no_grad():
        llama(tokens)
        steerer.set_row(0, [every_kind()[3]])
        begin(steerer, groups(1, 6) * 0)
        llama(tokens)
        entry = steerer.receipt(0)["interventions"][0]
    for handle in handles:
        handle.remove()
    change = (blocks[1] - blocks[0]).norm(dim=-1)
    assert entry["mean_delivered_norm"] == pytest.approx(float(change.mean()), rel=1e-4)
    dose = float((change / streams[0].norm(dim=-1)).mean())
    assert entry["mean_dose"] == pytest.approx(dose, rel=1e-4)


def test_last_dose_is_of_the_last_env_step(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1.0, direction=unit(32, 1))])
        begin(steerer, layout, env_steps=np.array([0, 0]))
        llama(tokens)
        first = steerer.last_dose()[0]
        begin(steerer, layout[:, :1], phase="decode", env_steps=np.array([0, 0]))
        llama(tokens[:, :1])
        with_decode = steerer.last_dose()[0]
        steerer.set_coefficient(0, 0, 2.0)
        begin(steerer, layout, env_steps=np.array([1, 1]))
        llama(tokens)
        second = steerer.last_dose()[0]
        begin(steerer, layout, env_steps=np.array([2, 2]), live=np.array([False, True]))
        llama(tokens)
        steerer.check_receipt(steerer.receipt(0))
        steerer.set_row(0, [])
        assert steerer.last_dose()[0] == 0
    assert second == pytest.approx(2 * first, rel=1e-5)
    assert with_decode != first


def test_receipt_starts_anew_for_each_episode_of_a_row(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    what = every_kind()[0]
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [what])
        steerer.set_row(1, [what])
        for _ in range(3):
            begin(steerer, layout)
            llama(tokens)
        first = steerer.receipt(0)
        steerer.set_row(0, [what])
        begin(steerer, layout)
        llama(tokens)
        second, other = steerer.receipt(0), steerer.receipt(1)
    for receipt in (first, second, other):
        steerer.check_receipt(receipt)
    assert second["forwards"] == {"prefill": 1, "decode": 0}
    assert [r["interventions"][0]["edited_tokens"]["prefill"] for r in (first, second, other)] == [
        18,
        6,
        24,
    ]


def test_forward_without_begin_and_skipped_module_fail_the_receipt(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(2, 6), groups(2, 6) * 0
    with Steerer(llama, n_rows=2) as steerer, torch.no_grad():
        steerer.set_row(0, [every_kind()[0]])
        begin(steerer, layout)
        llama(tokens)
        llama(tokens)
        with pytest.raises(ReceiptMismatch, match="6 tokens planned in prefill, 12 edited"):
            steerer.check_receipt(steerer.receipt(0))
        steerer.set_row(0, [every_kind()[3]])
        begin(steerer, layout)
        begin(steerer, layout)
        llama(tokens)
        with pytest.raises(ReceiptMismatch, match="12 tokens planned in prefill, 6 edited"):
            steerer.check_receipt(steerer.receipt(0))


def test_addition_below_the_precision_fails_the_receipt(llama: LlamaForCausalLM) -> None:
    tokens, layout = ids(1, 6), groups(1, 6) * 0
    with Steerer(llama, n_rows=1) as steerer, torch.no_grad():
        steerer.set_row(0, [Intervention("add", RESID, 1e-30, direction=unit(32, 1))])
        begin(steerer, layout)
        llama(tokens)
        with pytest.raises(ReceiptMismatch, match="precision"):
            steerer.check_receipt(steerer.receipt(0))
