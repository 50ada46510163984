"""Cached decoding of rows with prompts of unlike length, in forwards of one shape."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from pilotage.agents.vla.cache import CACHE_ARGUMENT, RowCache


class RowDecoder:
    """Feeds a transformers stack of R rows, whose keys and values stay in a cache of fixed shape.

    stack: `LlamaModel`, `GemmaModel`: what maps embeddings to final states. capacity: tokens a row.
    """

    def __init__(self, stack: nn.Module, *, n_rows: int, capacity: int) -> None:
        self._stack = stack
        config: Any = stack.config
        weight = next(stack.parameters())
        head_dim = getattr(config, "head_dim", None)
        self._cache = RowCache(
            n_layers=config.num_hidden_layers,
            n_rows=n_rows,
            n_heads=config.num_key_value_heads,
            capacity=capacity,
            head_dim=head_dim or config.hidden_size // config.num_attention_heads,
            device=weight.device,
            dtype=weight.dtype,
        )
        self._oldest = torch.zeros(n_rows, dtype=torch.long, device=weight.device)

    def restart(self) -> None:
        """Forget everything: new decisions begin."""
        self._cache.order.fill_(-1)

    def feed(
        self,
        states: torch.Tensor,
        *,
        places: torch.Tensor,
        turns: torch.Tensor,
        keep: torch.Tensor,
    ) -> torch.Tensor:
        """Final states `[R, Q, d]` of tokens with embeddings `[R, Q, d]`.

        places: int64 `[R, Q]`, each token's position. turns: int64 `[R, Q]`; a token sees those
        whose turn is not after its own, so equal turns see one another. keep: bool `[R, Q]`; False
        is padding that nothing sees.
        """
        mask = self._cache.begin(places, turns, keep, pinned=0, oldest=self._oldest)
        output = self._stack(
            inputs_embeds=states,
            attention_mask=mask,
            position_ids=torch.where(keep, places, 0),
            use_cache=True,
            **{CACHE_ARGUMENT: self._cache},
        )
        return output.last_hidden_state
