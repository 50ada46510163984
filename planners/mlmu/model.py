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

from pilotage.planners.mlmu.lines import FIRST_CELL
from pilotage.planners.mlmu.objectives import Objective

_BASE = 10_000.0  # of the rotations' wavelengths
_EMBEDDING_STD = 0.2


@dataclass(frozen=True)
class MazeNetConfig:
    """Sizes. Published: width 128 and 4 heads, with 7 (3M) or 20 (8M) layers in each half.

    size: rows and columns of the largest maze. objective: how paths are hidden in training, and so
    how they are read off; it changes no weight's shape.
    """

    size: int
    objective: Objective = Objective.MLM_U
    d_model: int = 128
    n_layers: int = 7
    n_heads: int = 4

    def __post_init__(self) -> None:
        object.__setattr__(self, "objective", Objective(self.objective))
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


class _Block(nn.Module):
    """Attention to another set of tokens or to its own, then an MLP; both after layer norm."""

    def __init__(self, c: MazeNetConfig, *, crosses: bool) -> None:
        super().__init__()
        self.n_heads, self.crosses = c.n_heads, crosses
        self.attention_norm = nn.LayerNorm(c.d_model)
        self.query = nn.Linear(c.d_model, c.d_model)
        self.key_value = nn.Linear(c.d_model, 2 * c.d_model)
        self.attention_out = nn.Linear(c.d_model, c.d_model)
        self.ffn_norm = nn.LayerNorm(c.d_model)
        self.ffn_in = nn.Linear(c.d_model, 4 * c.d_model)
        self.ffn_out = nn.Linear(4 * c.d_model, c.d_model)

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


def rotations(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [N, width] for int64 places [N]; angles in float64, kept as float32.

    In half precision an angle of a long prompt would be wrong by a radian.
    """
    half = torch.arange(0, width, 2, dtype=torch.float64, device=places.device)
    angles = places[:, None].double() * _BASE ** (-half / width)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().float(), angles.sin().float()


def _rotate(x: Tensor, cosines: Tensor, sines: Tensor) -> Tensor:
    with torch.autocast(x.device.type, enabled=False):
        first, second = x.float().chunk(2, dim=-1)
        turned = x.float() * cosines + torch.cat([-second, first], dim=-1) * sines
    return turned.to(x.dtype)


def _start(module: nn.Module) -> None:
    """Random weights that keep the scale of what comes in (LeCun). With GPT-2's 0.02 small networks
    begin with an attention so even that they see no places."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=module.in_features**-0.5)
        nn.init.zeros_(module.bias)
    elif isinstance(module, nn.Embedding):
        nn.init.normal_(module.weight, std=_EMBEDDING_STD)


class MazeNet(nn.Module):
    """Pre-norm, GELU, biases, no dropout, output tied to the input embedding."""

    def __init__(self, config: MazeNetConfig) -> None:
        super().__init__()
        c = self.config = config
        self.tokens = nn.Embedding(c.vocab_size, c.d_model)
        self.asking = nn.Parameter(torch.zeros(c.d_model))  # what every query begins from
        self.encoder = nn.ModuleList([_Block(c, crosses=False) for _ in range(c.n_layers)])
        self.encoder_norm = nn.LayerNorm(c.d_model)
        self.decoder = nn.ModuleList([_Block(c, crosses=True) for _ in range(c.n_layers)])
        self.final_norm = nn.LayerNorm(c.d_model)
        self.apply(_start)
        nn.init.normal_(self.asking, std=_EMBEDDING_STD)
        for block in (*self.encoder, *self.decoder):
            for matrix in (block.attention_out.weight, block.ffn_out.weight):  # into the stream
                nn.init.normal_(matrix, std=(2 * c.n_layers * matrix.shape[1]) ** -0.5)

    def forward(self, tokens: Tensor, encoder: Tensor, decoder: Tensor, first: int) -> Tensor:
        """Logits float [B, Q, V] of the tokens at places first, ..., first + Q - 1.

        tokens int64 [B, T]; masks bool as in `objectives.Sight`: encoder [B, T, T], decoder
        [B, Q, T]. A place may be asked for beyond the tokens that are there.
        """
        n, n_asked = decoder.shape[:2]
        width = self.config.d_model // self.config.n_heads
        here = rotations(torch.arange(tokens.shape[1], device=tokens.device), width)
        asked = rotations(torch.arange(first, first + n_asked, device=tokens.device), width)
        memory = self.tokens(tokens)
        for block in self.encoder:
            memory = block(memory, memory, Turns(here, here), encoder)
        memory = self.encoder_norm(memory)
        x = self.asking.expand(n, n_asked, -1)
        for block in self.decoder:
            x = block(x, memory, Turns(asked, here), decoder)
        return functional.linear(self.final_norm(x), self.tokens.weight)


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
