"""A key-value cache with one lane per row, of fixed shape.

Rows of a batch are at different points of different episodes, so each has its own write positions.
The shape never changes: a row's result cannot depend on how long its neighbours' episodes are.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import LlamaModel

# transformers 5.24 renamed the argument, and warns about the old name.
CACHE_ARGUMENT = (
    "cache" if "cache" in inspect.signature(LlamaModel.forward).parameters else "past_key_values"
)


class RowCache:
    """Stands in for a transformers `Cache` in a Llama forward with a prepared 4-D mask.

    Keys and values: `[n_layers, R, heads, capacity + 1, head_dim]`; the last place is a bin for
    tokens that must leave no trace. `order[r, j]` is the logical position held at place j, -1 when
    the place is free.
    """

    def __init__(
        self,
        *,
        n_layers: int,
        n_rows: int,
        n_heads: int,
        capacity: int,
        head_dim: int,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
    ) -> None:
        shape = (n_layers, n_rows, n_heads, capacity + 1, head_dim)
        self.keys = torch.zeros(shape, device=device, dtype=dtype)
        self.values = torch.zeros(shape, device=device, dtype=dtype)
        self.order = torch.full((n_rows, capacity + 1), -1, dtype=torch.long, device=device)
        self.trash = capacity
        self._rows = torch.arange(n_rows, device=device)[:, None]
        self._places = torch.zeros(n_rows, 0, dtype=torch.long, device=device)

    def clear_row(self, row: int) -> None:
        self.order[row] = -1

    def begin(
        self,
        places: torch.Tensor,
        order: torch.Tensor,
        keep: torch.Tensor,
        *,
        pinned: int,
        oldest: torch.Tensor,
    ) -> torch.Tensor:
        """Announce the next forward; returns its attention mask, bool `[R, 1, Q, capacity + 1]`.

        places, order: int64 `[R, Q]`, where each token is written and its logical position;
        keep: bool `[R, Q]`, False sends the token to the bin (nothing ever attends to it).
        A token sees every held token whose logical position is not after its own and either below
        `pinned` (the instruction) or at least `oldest[r]` (int64 `[R]`, the window's start: places
        of a ring that are about to be overwritten hold older tokens).
        """
        self._places = torch.where(keep, places, self.trash)
        held = torch.where(keep, order, -1)
        self.order[self._rows, self._places] = held
        self.order[:, self.trash] = -1
        inside = (self.order >= oldest[:, None]) | (self.order < pinned)
        inside &= self.order >= 0
        visible = inside[:, None, :] & (self.order[:, None, :] <= order[:, :, None])
        # A token that nobody keeps still needs one key, or its softmax is 0/0.
        visible[..., self.trash] |= ~visible.any(dim=-1)
        return visible[:, None]

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        *_: Any,
        **__: Any,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Called by every attention layer: write `[R, heads, Q, head_dim]`, return everything.

        What else transformers passes differs between its versions; a cache whose places were
        announced by `begin` needs none of it.
        """
        keys, values = self.keys[layer_idx], self.values[layer_idx]
        keys[self._rows, :, self._places] = key_states.transpose(1, 2)
        values[self._rows, :, self._places] = value_states.transpose(1, 2)
        return keys, values

    def get_seq_length(self, layer_idx: int = 0) -> int:
        return 0  # positions are always given explicitly
