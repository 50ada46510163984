"""The transformer block that the learned planners share: pre-norm, GELU, biases, rotary places.

Places are told by the rotation of queries and keys alone (RoPE, Su et al. 2021, arXiv:2104.09864).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

_BASE = 10_000.0  # of the rotations' wavelengths
EMBEDDING_STD = 0.2


class Block(nn.Module):
    """Attention to another set of tokens or to its own, then an MLP; both after layer norm."""

    def __init__(self, d_model: int, n_heads: int, *, crosses: bool) -> None:
        super().__init__()
        self.n_heads, self.crosses = n_heads, crosses
        self.attention_norm = nn.LayerNorm(d_model)
        self.query = nn.Linear(d_model, d_model)
        self.key_value = nn.Linear(d_model, 2 * d_model)
        self.attention_out = nn.Linear(d_model, d_model)
        self.ffn_norm = nn.LayerNorm(d_model)
        self.ffn_in = nn.Linear(d_model, 4 * d_model)
        self.ffn_out = nn.Linear(4 * d_model, d_model)

    def forward(self, x: Tensor, memory: Tensor, turns: Turns, mask: Tensor) -> Tensor:
        """x [B, Q, D] with `memory` [B, T, D] (or itself) seen where `mask` [B, Q, T] is True."""
        normed = self.attention_norm(x)
        x = x + self._attend(normed, memory if self.crosses else normed, turns, mask)
        inner = functional.gelu(self.ffn_in(self.ffn_norm(x)))
        return x + self.ffn_out(inner)  # type: ignore[no-any-return]

    def _attend(self, x: Tensor, memory: Tensor, turns: Turns, mask: Tensor) -> Tensor:
        query = turns.of_queries(self._heads(self.query(x)))
        key, value = (self._heads(part) for part in self.key_value(memory).chunk(2, dim=-1))
        heads = functional.scaled_dot_product_attention(
            query, turns.of_keys(key), value, attn_mask=mask[:, None]
        )
        return self.attention_out(heads.transpose(1, 2).flatten(2))  # type: ignore[no-any-return]

    def _heads(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.n_heads, -1)).transpose(1, 2)  # [B, heads, tokens, D / heads]


@dataclass(frozen=True)
class Turns:
    """Rotations of queries and keys: cosines and sines float32 [tokens, D / heads] of each."""

    queries: tuple[Tensor, Tensor]
    keys: tuple[Tensor, Tensor]

    def of_queries(self, x: Tensor) -> Tensor:
        return _rotate(x, *self.queries)

    def of_keys(self, x: Tensor) -> Tensor:
        return _rotate(x, *self.keys)


def rotations(places: Tensor, width: int, *, base: float = _BASE) -> tuple[Tensor, Tensor]:
    """Cosines and sines [N, width] for int64 places [N]; angles in float64, kept as float32.

    Wavelengths are 2 pi to 2 pi * `base`: as long as the sequences that are read. In half
    precision an angle of a long prompt would be wrong by a radian.
    """
    half = torch.arange(0, width, 2, dtype=torch.float64, device=places.device)
    angles = places[:, None].double() * base ** (-half / width)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        first, second = x.float().chunk(2, dim=-1)
        turned = x.float() * cosines + torch.cat([-second, first], dim=-1) * sines
    return turned.to(x.dtype)


def start_weights(module: nn.Module) -> None:
    """Random weights that keep the scale of what comes in (LeCun). With GPT-2's 0.02 small networks
    begin with an attention so even that they see no places."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=EMBEDDING_STD)


def start_blocks(blocks: Sequence[Any]) -> None:
    """Smaller weights where these `Block`s add to the residual stream, by how many they are."""
    for block in blocks:
        for matrix in (block.attention_out.weight, block.ffn_out.weight):
            nn.init.normal_(matrix, std=(len(blocks) * matrix.shape[1]) ** -0.5)
