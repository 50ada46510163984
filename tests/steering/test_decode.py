"""Steering a decode with a key-value cache."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from transformers import DynamicCache, LlamaForCausalLM

from pilotage.agents.vla.cache import CACHE_ARGUMENT
from pilotage.steering import Steerer

from .helpers import begin, conditions, groups, ids, steered_logits


def run_cached(
    model: nn.Module, tokens: torch.Tensor, n_prompt: int, steerer: Steerer, layout: np.ndarray
) -> torch.Tensor:
    cache, logits = DynamicCache(config=model.config), []
    begin(steerer, layout[:, :n_prompt])
    logits.append(model(tokens[:, :n_prompt], use_cache=True, **{CACHE_ARGUMENT: cache}).logits)
    for k in range(tokens.shape[1] - n_prompt):
        at = slice(n_prompt + k, n_prompt + k + 1)
        begin(steerer, layout[:, at], phase="decode", decode_token=k)
        logits.append(model(tokens[:, at], use_cache=True, **{CACHE_ARGUMENT: cache}).logits)
    return torch.cat(logits, 1)


def test_cached_decode_equals_one_uncached_forward(llama: LlamaForCausalLM) -> None:
    tokens, mixed = ids(8, 9), conditions(llama)
    layout = groups(8, 9)
    whole = steered_logits(llama, tokens, dict(enumerate(mixed)), layout)
    with Steerer(llama, n_rows=8) as steerer, torch.no_grad():
        for row, interventions in enumerate(mixed):
            steerer.set_row(row, interventions)
        stepwise = run_cached(llama, tokens, 5, steerer, layout)
        receipts = [steerer.receipt(row) for row in range(8)]
    assert torch.allclose(whole, stepwise, atol=1e-4)
    for row, receipt in enumerate(receipts):
        steerer.check_receipt(receipt)
        assert receipt["forwards"] == {"prefill": 1, "decode": 4}
        for entry in receipt["interventions"]:
            decoded = 3 if row == 0 else 4
            assert entry["edited_tokens"] == {"prefill": 5, "decode": decoded}
