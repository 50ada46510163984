"""A small GPT over token lines `s t s a b ... t end` (Wang et al. 2024, arXiv:2405.09220)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional


@dataclass(frozen=True)
class PathGPTConfig:
    """Sizes. The defaults are the published ones: one layer, one head, width 120.

    norms, tied and relu choose between the trained network (layer norms, output tied to the input
    embedding, GELU) and the one that a graph can be written into (`weights.construct`).
    """

    vocab_size: int
    n_positions: int = 32
    d_model: int = 120
    n_layers: int = 1
    n_heads: int = 1
    d_ff: int = 0  # 0: four times d_model
    norms: bool = True
    tied: bool = True
    relu: bool = False

    def __post_init__(self) -> None:
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of n_heads {self.n_heads}; change one"
            )

    @property
    def ff_width(self) -> int:
        return self.d_ff or 4 * self.d_model


class _Block(nn.Module):
    def __init__(self, c: PathGPTConfig) -> None:
        super().__init__()
        self.n_heads, self.relu = c.n_heads, c.relu
        self.attention_norm = _norm(c)
        self.query_key_value = nn.Linear(c.d_model, 3 * c.d_model, bias=False)
        self.attention_out = nn.Linear(c.d_model, c.d_model, bias=False)
        self.ffn_norm = _norm(c)
        self.ffn_in = nn.Linear(c.d_model, c.ff_width, bias=False)
        self.ffn_out = nn.Linear(c.ff_width, c.d_model, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.attend(self.attention_norm(x))
        return x + self.ffn(self.ffn_norm(x))

    def attend(self, x: torch.Tensor) -> torch.Tensor:
        n_rows, length, width = x.shape
        parts = self.query_key_value(x).view(n_rows, length, 3, self.n_heads, -1)
        query, key, value = (part.transpose(1, 2) for part in parts.unbind(2))
        heads = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.attention_out(heads.transpose(1, 2).reshape(n_rows, length, width))

    def ffn(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.ffn_in(x)
        inner = inner.relu() if self.relu else functional.gelu(inner, approximate="tanh")
        return self.ffn_out(inner)


class PathGPT(nn.Module):
    """Decoder-only, learned absolute positions, no biases, no dropout."""

    def __init__(self, config: PathGPTConfig) -> None:
        super().__init__()
        c = self.config = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.positions = nn.Embedding(c.n_positions, c.d_model)
        self.blocks = nn.ModuleList([_Block(c) for _ in range(c.n_layers)])
        self.final_norm = _norm(c)
        self.head = nn.Linear(c.d_model, c.vocab_size, bias=False)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_stream = name.endswith(("attention_out.weight", "ffn_out.weight"))
                nn.init.normal_(
                    parameter, std=0.02 / (2 * c.n_layers) ** 0.5 if into_stream else 0.02
                )
        if c.tied:
            self.head.weight = self.tokens.weight

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits float `[B, S, V]` of the next token from tokens int64 `[B, S]`."""
        if tokens.shape[1] > self.config.n_positions:
            raise ValueError(
                f"{tokens.shape[1]} tokens do not fit into n_positions {self.config.n_positions}"
            )
        x = self.tokens(tokens) + self.positions.weight[: tokens.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.final_norm(x))


def _norm(c: PathGPTConfig) -> nn.Module:
    return nn.LayerNorm(c.d_model, bias=False) if c.norms else nn.Identity()
