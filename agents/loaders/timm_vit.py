"""Vision transformers under the names of the timm library, as OpenVLA's checkpoints store them.

A module tree of plain torch: `patch_embed.proj`, `pos_embed`, `cls_token`, `reg_token`,
`blocks.<i>.{norm1, attn.qkv, attn.proj, ls1, norm2, mlp.fc1, mlp.fc2, ls2}`. DINOv2 with registers
(arXiv:2309.16588) has layer scales and prefix tokens, SigLIP (arXiv:2303.15343) has neither. What
is read is the output of the last block but one, without a norm, so later parts are not built.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from pilotage.agents.loaders.files import WeightFiles
from pilotage.agents.vla.checkpoint import CheckpointError

EPSILON = 1e-6  # of the layer norms
# What acting never reads: the last block, the final norm and SigLIP's pooling head.
UNUSED = (r"{prefix}blocks\.{last}\..+", r"{prefix}norm\..+", r"{prefix}attn_pool\..+")


@dataclass(frozen=True)
class ViTSizes:
    """image_size and patch in pixels; n_blocks: those that are run."""

    image_size: int
    patch: int
    width: int
    n_heads: int
    hidden: int
    n_blocks: int
    n_registers: int
    has_class_token: bool
    has_layer_scale: bool

    @property
    def n_patches(self) -> int:
        return (self.image_size // self.patch) ** 2

    @classmethod
    def read(
        cls, weights: WeightFiles, prefix: str, *, image_size: int, n_heads: int
    ) -> tuple[ViTSizes, list[str]]:
        """The sizes that the tensors on disk have, and patterns of the tensors not needed."""
        starts = f"{prefix}blocks."
        numbers = {
            int(n[len(starts) :].split(".")[0]) for n in weights.files if n.startswith(starts)
        }
        if len(numbers) < 2:
            raise CheckpointError(
                f"{weights.folder} has {len(numbers)} vision blocks under {prefix!r}, expected the "
                "blocks of a vision transformer named as in timm"
            )
        width, _, patch, _ = weights.shape(f"{prefix}patch_embed.proj.weight")
        if image_size % patch or width % n_heads:
            raise CheckpointError(
                f"{prefix}: {image_size} pixels are not whole patches of {patch}, or the width "
                f"{width} is not a multiple of {n_heads} heads; does config.json belong to these "
                "weights?"
            )
        registers = f"{prefix}reg_token"
        sizes = cls(
            image_size=image_size,
            patch=patch,
            width=width,
            n_heads=n_heads,
            hidden=weights.shape(f"{starts}0.mlp.fc1.weight")[0],
            n_blocks=max(numbers),
            n_registers=weights.shape(registers)[1] if registers in weights.files else 0,
            has_class_token=f"{prefix}cls_token" in weights.files,
            has_layer_scale=f"{starts}0.ls1.scale_factor" in weights.files,
        )
        words = {"prefix": prefix.replace(".", r"\."), "last": max(numbers)}
        return sizes, [pattern.format(**words) for pattern in UNUSED]


class _LayerScale(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale_factor = nn.Parameter(torch.ones(width))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.scale_factor


class _Attention(nn.Module):
    def __init__(self, width: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        rows, tokens, width = x.shape
        parts = self.qkv(x).view(rows, tokens, 3, self.n_heads, width // self.n_heads)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4).unbind(0)
        seen = nn.functional.scaled_dot_product_attention(queries, keys, values)
        return self.proj(seen.transpose(1, 2).reshape(rows, tokens, width))


class _MLP(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(nn.functional.gelu(self.fc1(x)))


class _Block(nn.Module):
    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        width = sizes.width
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = _Attention(width, sizes.n_heads)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = _MLP(width, sizes.hidden)
        self.ls1 = _LayerScale(width) if sizes.has_layer_scale else nn.Identity()
        self.ls2 = _LayerScale(width) if sizes.has_layer_scale else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.ls1(self.attn(self.norm1(x)))
        return x + self.ls2(self.mlp(self.norm2(x)))


class _PatchEmbed(nn.Module):
    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, stride=patch)


class TimmViT(nn.Module):
    """Pictures `[R, 3, size, size]` -> patches `[R, n_patches, width]`, row by row."""

    def __init__(self, sizes: ViTSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch_embed = _PatchEmbed(sizes.patch, sizes.width)
        if sizes.has_class_token:
            self.cls_token = nn.Parameter(torch.zeros(1, 1, sizes.width))
        if sizes.n_registers:
            self.reg_token = nn.Parameter(torch.zeros(1, sizes.n_registers, sizes.width))
        # Positions of the patches only: the class token's is part of the class token.
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.n_patches, sizes.width))
        self.blocks = nn.ModuleList([_Block(sizes) for _ in range(sizes.n_blocks)])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.patch_embed.proj(pictures).flatten(2).transpose(1, 2) + self.pos_embed
        before = []
        if self.sizes.has_class_token:
            before.append(self.cls_token.expand(len(x), -1, -1))
        if self.sizes.n_registers:
            before.append(self.reg_token.expand(len(x), -1, -1))
        x = torch.cat([*before, x], dim=1)
        for block in self.blocks:
            x = block(x)
        return x[:, -self.sizes.n_patches :]
