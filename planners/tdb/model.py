"""The Transformer with Discrete Bottlenecks (Dedieu et al. 2024, arXiv:2401.05946).

A causal transformer reads observations and actions; what it says at an observation is replaced by
the nearest codes of one or several codebooks. From the codes and the actions that follow, and from
nothing else, the next S observations are predicted: so the codes must say where one is.

Here an observation and the action that led to it are one token, which halves the length. With
`n_gram` > 1 a token also holds those before it; the published network has 1.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pilotage.planners.blocks import (
    Block,
    Turns,
    rotations,
    start_blocks,
    start_weights,
)
from pilotage.planners.tdb.bottleneck import Bottleneck


@dataclass(frozen=True)
class TDBConfig:
    """Sizes.

    context: observations that are read at once. n_ahead: observations that are predicted, S.
    d_code: width of a code. d_head: width of what predicts.
    """

    n_observations: int
    n_actions: int
    context: int = 48
    n_ahead: int = 3
    n_bottlenecks: int = 1
    n_codes: int = 128
    d_code: int = 32
    d_model: int = 64
    n_layers: int = 2
    n_heads: int = 4
    d_head: int = 128
    n_gram: int = 4

    def __post_init__(self) -> None:
        sizes = {name: value for name, value in vars(self).items() if value < 1}
        if sizes:
            raise ValueError(f"sizes must be at least 1, got {sizes}")
        if self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of 2 * n_heads = {2 * self.n_heads} "
                "(rotations pair the channels of a head); change one"
            )
        if self.context <= self.n_ahead:
            raise ValueError(
                f"context {self.context} must be longer than n_ahead {self.n_ahead}; nothing would "
                "be left to predict"
            )


class TDB(nn.Module):
    """Pre-norm transformer over tokens (observation, action before it), codebooks, prediction."""

    def __init__(self, config: TDBConfig) -> None:
        super().__init__()
        c = self.config = config
        n_tokens = c.n_observations * (c.n_actions + 1)
        self.tokens = nn.ModuleList(
            [nn.Embedding(n_tokens + 1, c.d_model) for _ in range(c.n_gram)]
        )
        self.blocks = nn.ModuleList(
            [Block(c.d_model, c.n_heads, crosses=False) for _ in range(c.n_layers)]
        )
        self.final_norm = nn.LayerNorm(c.d_model)
        self.to_code = nn.Linear(c.d_model, c.n_bottlenecks * c.d_code)
        self.futures = nn.ModuleList(
            [nn.Embedding(c.n_actions ** (s + 1), c.d_head) for s in range(c.n_ahead)]
        )
        self.from_code = nn.Linear(c.n_bottlenecks * c.d_code, c.n_ahead * c.d_head)
        self.heads = nn.ModuleList(
            [nn.Linear(c.d_head, c.n_observations) for _ in range(c.n_ahead)]
        )
        self.apply(start_weights)
        start_blocks(list(self.blocks))
        for table in self.futures:
            nn.init.normal_(table.weight)  # type: ignore[arg-type]
        self.bottleneck = Bottleneck(c.n_bottlenecks, c.n_codes, c.d_code)

    def vectors(self, observations: Tensor, actions: Tensor) -> Tensor:
        """Unit vectors [B, T, M, D] from observations int64 [B, T] and actions [B, T - 1] (number t
        leads from observation t to t + 1)."""
        c = self.config
        n, length = observations.shape
        before = functional.pad(actions, (1, 0), value=c.n_actions)  # none before the first
        tokens = observations * (c.n_actions + 1) + before
        none = c.n_observations * (c.n_actions + 1)
        x = torch.zeros(n, length, c.d_model, device=tokens.device)
        for back, table in enumerate(self.tokens):
            x = x + table(functional.pad(tokens, (back, 0), value=none)[:, :length])
        places = torch.arange(length, device=tokens.device)
        here = rotations(places, c.d_model // c.n_heads, base=float(2 * c.context))
        sees = (places[:, None] >= places).expand(1, -1, -1)
        for block in self.blocks:
            x = block(x, x, Turns(here, here), sees)
        found = self.to_code(self.final_norm(x)).unflatten(-1, (c.n_bottlenecks, c.d_code))
        return functional.normalize(found, dim=-1)

    def predict(self, codes: Tensor, actions: Tensor) -> list[Tensor]:
        """For s = 1, ..., S: logits [B, T - s, O] of the observation s steps after each of the
        first T - s places, from codes [B, T, M, D] (times sqrt(D)) and actions [B, T - 1]."""
        c = self.config
        said = self.from_code(codes.flatten(-2)).unflatten(-1, (c.n_ahead, c.d_head))
        length = codes.shape[1]
        logits = []
        chosen = torch.zeros_like(actions)
        for s, (table, head) in enumerate(zip(self.futures, self.heads, strict=True)):
            n_places = length - 1 - s
            chosen = chosen[:, :n_places] * c.n_actions + actions[:, s : s + n_places]
            mixed = functional.gelu(said[:, :n_places, s] + table(chosen))
            logits.append(head(mixed))
        return logits
