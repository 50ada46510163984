"""The encoder-decoder of MLM-U (Nolte et al. 2024, arXiv:2412.05117), for every objective alike.

The encoder is a transformer over the prompt and what is seen of the path. The decoder has no
self-attention: each place asks the encoder's last layer, beginning from one learned vector, and
knows where it is by the rotation of its queries alone (RoPE, Su et al. 2021, arXiv:2104.09864). So
the places of a path are predicted independently of each other, given what is seen. The published
decoder runs over all places; this one over those that are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from pilotage.planners.blocks import (
    EMBEDDING_STD,
    Block,
    Turns,
    rotations,
    start_blocks,
    start_weights,
)
from pilotage.planners.mlmu.lines import FIRST_CELL, N_STATES, PromptKind
from pilotage.planners.mlmu.objectives import Objective


@dataclass(frozen=True)
class MazeNetConfig:
    """Sizes. Published: width 128 and 4 heads, with 7 (3M) or 20 (8M) layers in each half.

    size: rows and columns of the largest maze. objective: how paths are hidden in training, and so
    how they are read off; it changes no weight's shape. prompt: how a maze is told (`lines`); the
    published way is "edges".
    """

    size: int
    objective: Objective = Objective.MLM_U
    d_model: int = 128
    n_layers: int = 7
    n_heads: int = 4
    prompt: PromptKind = PromptKind.EDGES

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", Objective(self.objective))
        object.__setattr__(self, "prompt", PromptKind(self.prompt))
        if self.size < 2 or self.n_layers < 1:
            raise ValueError(
                f"size must be >= 2 and n_layers >= 1, got {self.size} and {self.n_layers}"
            )
        if self.d_model % (2 * self.n_heads):
            raise ValueError(
                f"d_model {self.d_model} must be a multiple of 2 * n_heads = {2 * self.n_heads} "
                "(rotations pair the channels of a head); change one"
            )

    @property
    def vocab_size(self) -> int:
        return FIRST_CELL + self.size**2


class MazeNet(nn.Module):
    """Pre-norm, GELU, biases, no dropout, output tied to the input embedding."""

    def __init__(self, config: MazeNetConfig) -> None:
        super().__init__()
        c = self.config = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.states = nn.Embedding(N_STATES, c.d_model) if c.prompt is PromptKind.WALLS else None
        self.asking = nn.Parameter(torch.zeros(c.d_model))  # what every query begins from
        self.encoder = nn.ModuleList(
            [Block(c.d_model, c.n_heads, crosses=False) for _ in range(c.n_layers)]
        )
        self.encoder_norm = nn.LayerNorm(c.d_model)
        self.decoder = nn.ModuleList(
            [Block(c.d_model, c.n_heads, crosses=True) for _ in range(c.n_layers)]
        )
        self.final_norm = nn.LayerNorm(c.d_model)
        self.apply(start_weights)
        nn.init.normal_(self.asking, std=EMBEDDING_STD)
        start_blocks([*self.encoder, *self.decoder])

    def forward(self, tokens: Tensor, encoder: Tensor, decoder: Tensor, first: int) -> Tensor:
        """Logits float [B, Q, V] of the tokens at places first, ..., first + Q - 1.

        tokens int64 [B, T]; masks bool as in `objectives.Sight`: encoder [B, T, T], decoder
        [B, Q, T]. A place may be asked for beyond the tokens that are there.
        """
        n, n_asked = decoder.shape[:2]
        width = self.config.d_model // self.config.n_heads
        here = rotations(torch.arange(tokens.shape[1], device=tokens.device), width)
        asked = rotations(torch.arange(first, first + n_asked, device=tokens.device), width)
        memory = self._embedded(tokens)
        for block in self.encoder:
            memory = block(memory, memory, Turns(here, here), encoder)
        memory = self.encoder_norm(memory)
        x = self.asking.expand(n, n_asked, -1)
        for block in self.decoder:
            x = block(x, memory, Turns(asked, here), decoder)
        return functional.linear(self.final_norm(x), self.tokens.weight)

    def _embedded(self, tokens: Tensor) -> Tensor:
        """Words, and what cells of a prompt of walls say of their sides beside."""
        if self.states is None:
            return self.tokens(tokens)  # type: ignore[no-any-return]
        state, word = tokens // self.config.vocab_size - 1, tokens % self.config.vocab_size
        said = self.states(state.clamp(min=0)) * (state >= 0)[..., None]
        return self.tokens(word) + said  # type: ignore[no-any-return]


def training_flops(config: MazeNetConfig, n_rows: int, n_prompt: int, n_path: int) -> int:
    """Floating-point operations of the matrix products of one update, forward and backward.

    The backward pass is taken as twice the forward pass. All objectives cost the same: their masks
    hide, they do not skip.
    """
    d, total = config.d_model, n_prompt + n_path
    encoder = 24 * total * d * d + 4 * total * total * d
    decoder = 20 * n_path * d * d + 4 * total * d * d + 4 * n_path * total * d
    head = 2 * n_path * d * config.vocab_size
    return 3 * n_rows * (config.n_layers * (encoder + decoder) + head)
