"""A decoder without norms, every part of it known: linear if its activation is the identity."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from pilotage.steering import ModelMap, describe_model

D, D_FF, N_LAYERS, TOKENS = 5, 7, 3, 4


class _Mixing(nn.Module):
    """An attention whose pattern `[S, S]` is fixed."""

    def __init__(self, pattern: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("pattern", pattern)
        self.o_proj = nn.Linear(D, D, bias=False)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.o_proj(self.pattern @ h)


class _Ffn(nn.Module):
    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.up = nn.Linear(D, D_FF, bias=False)
        self.act = act
        self.down = nn.Linear(D_FF, D, bias=False)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        return self.down(self.act(self.up(h)))


class _Block(nn.Module):
    def __init__(self, pattern: torch.Tensor, act: nn.Module) -> None:
        super().__init__()
        self.attn, self.ffn = _Mixing(pattern), _Ffn(act)

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        h = h + self.attn(h)
        return h + self.ffn(h)


class PlainNet(nn.Module):
    """Blocks over a stream `[R, S, d]`; the metric reads `reader` `[S, d]`."""

    def __init__(self, act: type[nn.Module] = nn.Identity, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        patterns = torch.rand(N_LAYERS, TOKENS, TOKENS).tril()
        patterns = patterns / patterns.sum(-1, keepdim=True)
        self.layers = nn.ModuleList([_Block(pattern, act()) for pattern in patterns])
        self.reader = torch.randn(TOKENS, D)
        self.requires_grad_(False)
        names = {"attention_out": "attn.o_proj", "ffn": "ffn", "up": "ffn.up", "down": "ffn.down"}
        describe_model(self, ModelMap(layers="layers", **names))

    def forward(self, h: torch.Tensor) -> torch.Tensor:
        for block in self.layers:
            h = block(h)
        return (h * self.reader).sum((1, 2))

    def matrix(self, layer: int) -> np.ndarray:
        """A block as one matrix `[S d, S d]`; only where the activation is the identity."""
        block = self.layers[layer]
        one = np.eye(TOKENS * D)
        mixed = np.kron(block.attn.pattern.numpy(), block.attn.o_proj.weight.numpy())
        ffn = block.ffn.down.weight.numpy() @ block.ffn.up.weight.numpy()
        return (one + np.kron(np.eye(TOKENS), ffn)) @ (one + mixed)

    def reading_after(self, layer: int) -> np.ndarray:
        """How much the metric changes with the stream after a block, float64 `[S, d]`."""
        row = self.reader.numpy().ravel().astype(np.float64)
        for later in reversed(range(layer + 1, N_LAYERS)):
            row = row @ self.matrix(later)
        return row.reshape(TOKENS, D)


def two_inputs(rows: int = 3, seed: int = 5) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        side: torch.randn(rows, TOKENS, D, generator=generator) for side in ("positive", "negative")
    }
